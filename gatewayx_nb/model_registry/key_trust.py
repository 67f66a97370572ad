"""What a project may not do with the user's keys and rights before the user has allowed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import TrustError
from gatewayx_nb.hints import Hint
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.secure_config import Permission, key_variable, origin
from gatewayx_nb.transport import is_local_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.secure_config import Config, Key


def find_key(source: EngineSource, config: Config) -> Key:
    """Return an engine's key; an entry may name the vendor's own variable."""
    return config.key(source.name, source.key if isinstance(source, EngineEntry) else "")


def is_project_engine(source: EngineSource, config: Config) -> bool:
    """Return whether the project has written an engine, or set where its requests go.

    Such an engine is called only by its name, because a project may be a stranger's, which guesses
    the names of the user's keys. A server on this machine that gets no key is not one of them.
    """
    if isinstance(source, EngineEntry) and not source.requires_key:
        url = str(config.options(source.name).get("base_url") or source.base_url)
        if is_local_url(url) and find_key(source, config).state != "set":
            return False
    return source.origin == "project" or any(config.key_destinations(source.name))


def missing_permissions(
    source: EngineSource, key: Key, sources: EngineSources, config: Config, choice: str = ""
) -> list[Permission]:
    """Return the permissions that the user has not given, and a call needs.

    A project's own key needs none, and neither do shipped, installed and user engines. A user key
    is sent to a project's engine file or entry, or to a base URL or network that the project sets,
    only if the user allows it. The exception is a key under its ``GATEWAYX_`` name for an engine
    that only the project has, if the caller has named that engine.

    Args:
        source: The engine.
        key: Its key.
        sources: All engines.
        config: Settings, keys and permissions.
        choice: Where the project chooses the engine; empty if the caller has named it. The code of
            the project then needs a permission to run, with any key or none.
    """
    needed: list[Permission] = []
    own = list(_own_targets(source, sources, config))
    if choice and isinstance(source, EngineFile):
        needed += [Permission(each.subject, each.target, choice) for each in own]
    is_users_key = key.state == "set" and key.owner != "project"
    # A key under the name of an engine that only the project has was set for this project.
    only_here = not sources.outside_project(source.name) and key.name == key_variable(source.name)
    if config.project and is_users_key and (choice or not only_here):
        needed += [*config.key_destinations(source.name), *own]
    by_target = {permission.target: permission for permission in reversed(needed)}
    return [permission for permission in by_target.values() if not config.may(permission)]


def check_permissions(
    source: EngineSource, key: Key, sources: EngineSources, config: Config, choice: str = ""
) -> None:
    """Check that an engine may be called; see `missing_permissions`.

    Raises:
        TrustError: If the project decides where a user key is sent, or which code of it runs, and
            the user has not allowed it.
    """
    missing = missing_permissions(source, key, sources, config, choice)
    if not missing:
        return
    listed = " and ".join(f"{each.target} ({each.where})" for each in missing)
    is_key_sent = key.state == "set" and key.owner != "project"
    action = f"send your own key for {source.name!r} to" if is_key_sent else "run"
    hint = Hint("trust", ids=",".join(each.id for each in missing))
    raise TrustError(
        f"this project would {action} {listed}.",
        hint=hint | Hint("set_project_key", engine=source.name) if is_key_sent else hint,
        engine=source.name,
    )


def _own_targets(
    source: EngineSource, sources: EngineSources, config: Config
) -> Iterator[Permission]:
    """Yield what a project's own engine needs a permission for: its host, or its file."""
    is_copy = any(sources.is_copy(source, other) for other in sources.outside_project(source.name))
    if source.origin != "project" or config.project is None or is_copy:
        return
    if isinstance(source, EngineEntry):
        yield Permission(source.name, origin(source.base_url), f"its entry {source.where}")
    elif isinstance(source, EngineFile):
        yield Permission(source.name, config.project.label(source.path), "a file of its own")
