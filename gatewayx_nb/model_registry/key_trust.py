"""Determines the permissions that a project needs in order to use the user's keys and rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import TrustError
from gatewayx_nb.hints import Hint
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.secure_config import Permission, engine_variable, origin
from gatewayx_nb.transport import is_local_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.files import Owner
    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.secure_config import Config, ImportPlan, Key


@dataclass(frozen=True, slots=True)
class Choice:
    """The reason for calling an engine that the caller has not named.

    Attributes:
        where: The place in the project that selects the engine; empty if the user's settings select
            it.
        is_redirected: Whether the address of the engine's requests may have been cloned with the
            project, or the project redirects an engine that the user has chosen.
        has_cloned_key: Whether the engine's key may have been cloned with the project; its owner
            could then see the prompts.
    """

    where: str = ""
    is_redirected: bool = False
    has_cloned_key: bool = False

    def __or__(self, other: Choice) -> Choice:
        """Return a choice that combines the reasons of both choices."""
        return Choice(
            self.where or other.where,
            self.is_redirected or other.is_redirected,
            self.has_cloned_key or other.has_cloned_key,
        )


NAMED_BY_CALLER = Choice()
"""The caller has named the engine, or the user has chosen it and the project changes nothing."""


def find_key(source: EngineSource, config: Config, owner: Owner | None = None) -> Key:
    """Return an engine's key; ``owner`` restricts the search to one owner's keys."""
    vendor_variable = source.key if isinstance(source, EngineEntry) else ""
    return config.key(source.name, vendor_variable, owner)


def is_project_engine(source: EngineSource, config: Config) -> bool:
    """Return whether the project defines an engine or determines where the engine's requests go.

    Such an engine is called only if the caller names it, because the project may come from a
    stranger who could guess the names of the user's keys and the ports of servers. A server on this
    machine that receives no key does not count if the user has allowed its address.
    """
    destinations = list(config.key_destinations(source.name))
    if isinstance(source, EngineEntry) and not source.requires_key:
        url = str(config.options(source.name).get("base_url") or source.base_url)
        if is_local_url(url) and find_key(source, config).state != "set":
            # No proxy is used for a local server, so only its address matters.
            network = list(config.network_permissions(source.name))
            addresses = [permission for permission in destinations if permission not in network]
            return not all(map(config.may, [*_project_targets(source, config), *addresses]))
    return source.origin == "project" or bool(destinations)


def missing_permissions(
    source: EngineSource,
    key: Key,
    sources: EngineSources,
    config: Config,
    choice: Choice = NAMED_BY_CALLER,
) -> list[Permission]:
    """Return the permissions that a call needs and the user has not given.

    The user must allow loading weights that the project's settings name, and sending headers that
    they add. The user must also allow sending a user key to the project's engine file or entry, or
    to a base URL or network that the project sets. There is one exception: if the engine exists
    only in the project and the caller named it, it receives a key that is set under its
    ``GATEWAYX_`` name. A project's own key needs no other permission, and neither do shipped,
    installed and user engines.

    Args:
        source: The engine.
        key: The engine's key.
        sources: All engines.
        config: Settings, keys and permissions.
        choice: Why the engine is called. If the project chooses the engine, its file or host needs
            a permission, with or without a key.
    """
    needed_permissions = list(config.header_permissions(source.name))
    project_targets = list(_project_targets(source, config))
    if choice.where:
        needed_permissions += [
            Permission(permission.subject, permission.target, choice.where)
            for permission in project_targets
        ]
    if source.origin != "project":
        needed_permissions += config.weights_permissions(source.name)
    if choice.is_redirected:
        needed_permissions += redirections(source, config)
    if choice.has_cloned_key:
        reason = "git may track the project's key file"
        needed_permissions.append(
            Permission(source.name, "the account of a key in the project", reason)
        )
    is_users_key = key.state == "set" and key.owner != "project"
    # If an engine exists only in the project, a key under its name was set for this project.
    engine_key_variable = engine_variable(source.name)
    was_set_for_project = (
        not sources.may_be_outside_project(source.name) and key.variable == engine_key_variable
    )
    if config.project and is_users_key and (choice.where or not was_set_for_project):
        needed_permissions += [*_destination_permissions(source, config), *project_targets]
    permission_by_target = {
        permission.target: permission for permission in reversed(needed_permissions)
    }
    return [
        permission for permission in permission_by_target.values() if not config.may(permission)
    ]


def check_permissions(
    source: EngineSource,
    key: Key,
    sources: EngineSources,
    config: Config,
    choice: Choice = NAMED_BY_CALLER,
) -> None:
    """Check that an engine may be called; see `missing_permissions`.

    Raises:
        TrustError: If the project decides where a user key is sent or which of its code runs, and
            the user has not allowed that.
    """
    permissions = missing_permissions(source, key, sources, config, choice)
    if not permissions:
        return
    targets_text = " and ".join(
        f"{permission.target} ({permission.where})" for permission in permissions
    )
    is_key_sent = key.state == "set" and key.owner != "project"
    action = "run" if isinstance(source, EngineFile) and source.origin == "project" else ""
    action = f"send your own key for {source.name!r} to" if is_key_sent else action
    if set(permissions) <= set(config.weights_permissions(source.name)):
        action = "load weights with"
    elif set(permissions) <= set(config.header_permissions(source.name)):
        action = f"send to the provider of {source.name!r}, with your calls,"
    hint = Hint("trust", ids=",".join(permission.id for permission in permissions))
    raise TrustError(
        f"this project would {action or 'send your prompts to'} {targets_text}.",
        hint=hint | Hint("set_project_key", engine=source.name) if is_key_sent else hint,
        engine=source.name,
    )


def redirections(source: EngineSource, config: Config) -> list[Permission]:
    """Return the hosts, networks and options that the project's files set for an engine."""
    permissions = list(_destination_permissions(source, config))
    if find_key(source, config).state == "set":
        return permissions
    # The shipped engines without a key use no proxy, and neither does a server on this machine.
    url = config.options(source.name).get("base_url")
    url = url or source.base_url if isinstance(source, EngineEntry) else ""
    if is_local_url(str(url)) or (isinstance(source, EngineFile) and source.origin == "shipped"):
        network = list(config.network_permissions(source.name))
        permissions = [permission for permission in permissions if permission not in network]
    return permissions


def _destination_permissions(source: EngineSource, config: Config) -> Iterator[Permission]:
    yield from config.key_destinations(source.name)
    if source.origin in ("path", "user", "package"):
        yield from config.option_permissions(source.name)


def _project_targets(source: EngineSource, config: Config) -> Iterator[Permission]:
    """Yield the permissions that a project's own engine needs: for its host, or for its file."""
    if source.origin != "project" or config.project is None:
        return
    if isinstance(source, EngineEntry):
        yield Permission(source.name, origin(source.base_url), f"its entry {source.where}")
    elif isinstance(source, EngineFile):
        yield Permission(source.name, config.project.label(source.path), "a file of its own")


def key_destinations(
    engines: Iterable[str], sources: EngineSources, config: Config
) -> dict[str, list[Permission]]:
    """Return the hosts and files to which the project's files send the keys of engines.

    A key that is stored in the project needs no permission when it is used, so the user confirms
    its destinations before it is stored.
    """
    permissions: list[Permission] = []
    for name in engines if config.project else ():
        if source := sources.active.get(name):
            permissions += [
                *_destination_permissions(source, config),
                *_project_targets(source, config),
            ]
        else:
            permissions += config.key_destinations(name)
    return group_by_subject(permissions)


def untrusted_key_destinations(
    engines: Iterable[str], sources: EngineSources, config: Config, *, are_named_by_user: bool
) -> dict[str, list[Permission]]:
    """Return the `key_destinations` that need a permission but do not have it.

    Args:
        engines: Names of engines.
        sources: All engines.
        config: Settings, keys and permissions.
        are_named_by_user: Whether the user named the engines. An engine that exists only in the
            project then needs no permission, because its key has no other use.
    """
    checked_names = [
        name for name in engines if not are_named_by_user or sources.may_be_outside_project(name)
    ]
    destinations = key_destinations(checked_names, sources, config).values()
    return group_by_subject(
        permission
        for permissions in destinations
        for permission in permissions
        if not config.may(permission)
    )


def check_import(plan: ImportPlan, sources: EngineSources, config: Config) -> None:
    """Check that an import does not send a key to a host that the user may not know.

    The `key_destinations` of keys that are imported into the project must be allowed; a user key
    needs a permission when it is used. A base URL is allowed only for the key that is imported with
    it.

    Raises:
        TrustError: If a destination is not allowed.
    """
    keys = () if plan.user else plan.keys
    permissions_by_engine = untrusted_key_destinations(
        keys, sources, config, are_named_by_user=False
    )
    for engine, permissions in permissions_by_engine.items():
        targets_text = " and ".join(
            f"{permission.target} ({permission.where})" for permission in permissions
        )
        ids = ",".join(permission.id for permission in permissions)
        raise TrustError(
            f"this project would send the key for {engine!r} to {targets_text}; no key was stored.",
            hint=Hint("allow_key", engine=engine, ids=ids)
            | Hint("set_key_for_user", engine=engine),
            engine=engine,
        )
    for engine, url in plan.base_urls.items():
        source = sources.active.get(engine)
        key = find_key(source, config) if source else config.key(engine)
        if engine not in plan.keys or key.state == "set":
            raise TrustError(
                f"the file would send your key and prompts for {engine!r} to {origin(url)};"
                " nothing was imported.",
                hint=f"Delete the line {engine_variable(engine, 'BASE_URL')} from the file, or"
                " pass a function as `confirm` that allows it.",
                engine=engine,
            )


def group_by_subject(permissions: Iterable[Permission]) -> dict[str, list[Permission]]:
    """Return permissions, without duplicates, by the engine or setting that needs them."""
    permissions_by_subject: dict[str, list[Permission]] = {}
    unique_permissions = {permission.id: permission for permission in permissions}
    for permission in unique_permissions.values():
        permissions_by_subject.setdefault(permission.subject, []).append(permission)
    return permissions_by_subject
