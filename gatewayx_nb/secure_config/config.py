"""Provides the current settings, keys and permissions of a pool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    ConfigDir,
    FileStamp,
    absolute_path,
    endpoint_file_problem,
    find_project,
    refuse_link_in,
    refuse_unsafe,
    user_config_dir,
)
from gatewayx_nb.secure_config import headers, importing, key_store, settings
from gatewayx_nb.secure_config.key_lookup import VENDOR_VARIABLES, Key, KeyLookup, engine_variable
from gatewayx_nb.secure_config.settings import SHIPPED_ALIASES
from gatewayx_nb.secure_config.settings_table import SETTINGS
from gatewayx_nb.secure_config.trusted import Permission, TrustStore, option_target, origin
from gatewayx_nb.text import plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from decimal import Decimal

    from gatewayx_nb.files import Owner
    from gatewayx_nb.secure_config.importing import ConfirmImport, KeyImport
    from gatewayx_nb.secure_config.settings_table import Setting


class Config:
    """The settings and keys of a project and the user; `refresh` reads changed files.

    Args:
        home: The project folder, instead of the detected one.
        env: The environment variables; by default, those of the process.

    Attributes:
        problems: The reasons why settings files are not read, one line each.
        settings: The settings of the project and the user, merged.
        user_settings: The user's settings only.
        allowed_tools: The tools of MCP servers that the user has allowed, with their digests.
    """

    def __init__(self, home: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self.env = os.environ if env is None else env
        self.user = user_config_dir(self.env)
        self.project = ConfigDir(absolute_path(home), "project") if home else find_project(self.env)
        self.config_dirs = tuple(filter(None, (self.project, self.user)))
        self.keys = KeyLookup(self.env, self.config_dirs)
        self.trusted = TrustStore(self.user.root / "trusted.json", self.env)
        self.allowed_tools = TrustStore(self.user.root / "mcp_tools.json", self.env)
        self._stamps: list[FileStamp] = []
        self.problems: list[str] = []
        self.settings = self._project_settings = self.user_settings = settings.Settings()
        self.refresh()

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # The environment and the key files contain keys, so another process must read them itself.
        return (Config, (self.project.root if self.project else None,))

    def refresh(self) -> bool:
        """Read changed settings and key files; return whether any changed.

        Raises:
            ConfigError: If a settings file is invalid; the last valid settings stay in use.
        """
        self.keys.refresh()
        self.trusted.refresh()
        if self._stamps and not any(stamp.has_changed() for stamp in self._stamps):
            return False
        files = [path for folder in self.config_dirs for path in (folder.settings, folder.keys)]
        # Stamps are taken before reading, so that a change made during the read is noticed. They
        # are stored only after a valid read, so that the error is raised again until the file is
        # fixed.
        stamps = [FileStamp(path) for path in (*files, self.trusted.path)]
        problems = {folder: _settings_problem(folder) for folder in self.config_dirs}
        readable_folders = [folder for folder, problem in problems.items() if not problem]
        user = self.user.settings
        self.settings = settings.load((folder.settings for folder in readable_folders), user)
        self._project_settings, self.user_settings = (
            settings.load((folder.settings for folder in readable_folders if folder is owner), user)
            for owner in (self.project, self.user)
        )
        self.problems = list(filter(None, problems.values()))
        self._stamps = stamps
        return True

    def settings_in_force(self) -> Iterator[tuple[Setting, object, Owner | None]]:
        """Yield each setting, its value, and the owner of the file that sets it, if any."""
        settings_of: tuple[tuple[Owner, settings.Settings], ...] = (
            ("project", self._project_settings),
            ("user", self.user_settings),
        )
        for setting in SETTINGS:
            value = settings.value_of(self.settings, setting)
            owners = (
                owner
                for owner, values in settings_of
                if setting.path in values.explicitly_set
                and settings.value_of(values, setting) == value
            )
            yield setting, value, next(owners, None)

    def key(self, engine: str, vendor_variable: str = "", owner: Owner | None = None) -> Key:
        """Return an engine's key and its state.

        Args:
            engine: Name of the engine.
            vendor_variable: The vendor's variable in the engine's entry, if any; ignored for the
                engines in `VENDOR_VARIABLES`.
            owner: The owner whose key to return; ``None`` for the key that is used.
        """
        variables = _vendor_variables(engine, vendor_variable)
        # The project's settings must not affect whether a key counts as the user's.
        owners_settings = self.user_settings if owner == "user" else self.settings
        return self.keys.find(engine, variables if owners_settings.vendor_variables else (), owner)

    def inputs(self, engine: str, vendor_variable: str = "") -> tuple[object, ...]:
        """Return the values that determine an engine's key, options and trust, to detect changes.

        This is faster than reading the key and the options.
        """
        names = [engine_variable(engine, suffix) for suffix in ("API_KEY", "BASE_URL", "MODEL")]
        variables = _vendor_variables(engine, vendor_variable)
        extra_headers = self.settings.engines.get(engine, {}).get("headers", {})
        variables += ("GATEWAYX_TRUST", *headers.variables(extra_headers.values()))
        return (self.settings, self.trusted.revision, *self.keys.snapshot((*names, *variables)))

    def options(self, engine: str) -> dict[str, object]:
        """Return an engine's keyword arguments: its variables take precedence over its settings."""
        table = self.settings.engines.get(engine, {})
        options = {name: table[name] for name in table if name not in settings.POOL_OPTIONS}
        for option, suffix in (("base_url", "BASE_URL"), ("model", "MODEL")):
            if value := (self.keys.value(engine_variable(engine, suffix)) or "").strip():
                options[option] = value
        return options

    def rates(self, engine: str) -> settings.Rates:
        """Return the rate limits of an engine."""
        table = self.settings.engines.get(engine, {})
        return settings.Rates(*(table.get(name) for name in settings.RATE_OPTIONS))

    def headers(self, engine: str) -> dict[str, str]:
        """Return an engine's additional headers; the project's headers take precedence.

        The project's headers need a permission; see `header_permissions`.

        Raises:
            ConfigError: If an environment variable in a header is not set or invalid.
        """
        user_headers, project_headers = self._user_and_project_headers(engine)
        return headers.expand(user_headers | project_headers, self.env, engine)

    def header_permissions(self, engine: str) -> Iterator[Permission]:
        """Yield the permission to send the headers that the project's settings add, if any.

        A header may contain the values of the user's variables.
        """
        user_headers, project_headers = self._user_and_project_headers(engine)
        if added_headers := {
            name: project_headers[name]
            for name in sorted(project_headers)
            if project_headers[name] != user_headers.get(name)
        }:
            source = f"[engines.{engine}] headers in its settings"
            yield Permission(engine, option_target("headers", added_headers), source)

    def _user_and_project_headers(self, engine: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the user's and the project's headers by lower-case name, not expanded."""
        user_headers, project_headers = (
            {
                name.lower(): value
                for name, value in owners_settings.engines[engine].get("headers", {}).items()
            }
            if engine in owners_settings.engines
            else {}
            for owners_settings in (self.user_settings, self._project_settings)
        )
        return user_headers, project_headers

    def day_limits(self) -> Iterator[tuple[ConfigDir, Decimal]]:
        """Yield each daily cost limit with the project or user folder that sets it."""
        for folder, owners_settings in (
            (self.project, self._project_settings),
            (self.user, self.user_settings),
        ):
            if folder and owners_settings.limits.max_cost_per_day is not None:
                yield folder, owners_settings.limits.max_cost_per_day

    def key_destinations(self, engine: str) -> Iterator[Permission]:
        """Yield the permissions to send an engine's key where the project's settings point."""
        name = engine_variable(engine, "BASE_URL")
        table = self._project_settings.engines.get(engine, {})
        if self.keys.owner(name) == "project":
            yield Permission(engine, origin(self.keys.value(name) or ""), f"{name} in its key file")
        # The user's own variable takes precedence over the project's settings.
        elif self.keys.owner(name) is None and "base_url" in table:
            source = f"[engines.{engine}] base_url in its settings"
            yield Permission(engine, origin(str(table["base_url"])), source)
        yield from self.network_permissions(engine)

    def option_permissions(self, engine: str) -> Iterator[Permission]:
        """Yield the permissions for an engine's options in the project's settings.

        An option may name a host. Only engines that are not shipped need such a permission, because
        their code may use an option in any way.
        """
        for name, value in self._project_settings.engines.get(engine, {}).items():
            if name not in ("model", "base_url", *settings.POOL_OPTIONS):
                source = f"[engines.{engine}] {name} in its settings"
                yield Permission(engine, option_target(name, value), source)

    def weights_permissions(self, engine: str) -> Iterator[Permission]:
        """Yield the permission to load the weights that the project's settings name, if any.

        Weights can be crafted to exploit the parser that reads them.
        """
        user_path, project_path = (
            owners_settings.engines.get(engine, {}).get("model_path")
            for owners_settings in (self.user_settings, self._project_settings)
        )
        if project_path and project_path != user_path:
            source = f"[engines.{engine}] model_path in its settings"
            yield Permission(engine, option_target("model_path", project_path), source)

    def network_permissions(self, engine: str) -> Iterator[Permission]:
        """Yield the permission to send a key with the project's network settings, if any."""
        network = self._project_settings.network
        if network != settings.Network():
            yield Permission(engine, f"network {network.description}", "[network] in its settings")

    def hub_permissions(self) -> list[Permission]:
        """Return the permission to pull models with the project's network settings, if any."""
        return list(self.network_permissions("huggingface"))

    def mcp_permissions(self, name: str | None = None) -> list[Permission]:
        """Return the permissions that the project's MCP servers need.

        Args:
            name: The name of one server; all servers if omitted.
        """
        names = self._project_settings.mcp if name is None else [name]
        return [permission for server in names for permission in self._mcp_permissions(server)]

    def _mcp_permissions(self, name: str) -> Iterator[Permission]:
        server = self._project_settings.mcp.get(name)
        if server is None:
            return
        source = f"[mcp.{name}] in its settings"
        if server.url:
            # The whole URL, because a path may belong to another account on the same host.
            yield Permission(f"mcp:{name}", server.url, source)
            return
        # The command is shown in full, because its middle matters as much as its ends.
        target = plain(f"command = {server.address!r}")
        variables = f", with your {', '.join(server.env)}" if server.env else ""
        yield Permission(f"mcp:{name}", f"{target}{variables}", source)

    def is_mcp_of_project(self, name: str) -> bool:
        """Return whether the project's settings, not the user's own, describe an MCP server."""
        return name in self._project_settings.mcp

    def mcp_folder(self, name: str) -> Path:
        """Return the working directory of an MCP server in the settings.

        A server of the project runs in the project's folder; any other runs in the user's home
        folder, because ``python -m`` and ``npx`` would run code of a cloned project.
        """
        is_of_project = self.project is not None and self.is_mcp_of_project(name)
        return self.project.root if self.project and is_of_project else Path.home()

    def may(self, permission: Permission) -> bool:
        """Return whether the user has given the project a permission."""
        return self.project is not None and self.trusted.contains(self.project.root, permission)

    def allow(self, permissions: Iterable[Permission]) -> None:
        """Store permissions that the user gives the project."""
        if self.project:
            self.trusted.add(self.project.root, permissions)

    def hook_permission(self) -> Permission | None:
        """Return the permission for the project's cassette hook, if it has one."""
        setting = self._project_settings.redact
        if setting is None:
            return None
        module = setting.partition(":")[0]
        source = "[cassettes] redact in its settings"
        return Permission("[cassettes] redact", f"{module.replace('.', '/')}.py", source)

    def storage_folder(self) -> tuple[Path, Owner] | None:
        """Return the results folder and its owner; ``None`` for the default folder.

        ``GATEWAYX_STORAGE`` takes precedence over ``[storage] folder`` in the project's settings,
        which take precedence over the user's settings. A relative folder is relative to the project
        or user folder. A project may be a clone of a stranger's repository, so its folder must be
        inside the project.

        Raises:
            ConfigError: If the project's folder is outside the project, or a symlink.
        """
        if variable := self.env.get("GATEWAYX_STORAGE", "").strip():
            return absolute_path(variable), "user"
        if self.project and (folder := self._project_settings.storage_folder):
            return _folder_inside(folder, self.project.root), "project"
        if folder := self.user_settings.storage_folder:
            return absolute_path(self.user.root / Path(folder).expanduser()), "user"
        return None

    def project_choice(self, reference: str | None) -> str:
        """Return the project setting that chooses the engine of a reference; empty if none does.

        Args:
            reference: The caller's reference; ``None`` for the default model.
        """
        project_settings = self._project_settings
        if reference is None:
            if project_settings.default_model:
                return "default_model in its settings"
            reference = self.settings.default_model or ""
        is_alias = project_settings.aliases.get(reference) != SHIPPED_ALIASES.get(reference)
        return f"[aliases] {reference} in its settings" if is_alias else ""

    def set_key(self, engine: str, value: str, *, user: bool = False) -> Path:
        """Write an engine's key to the project's key file, or to the user's file without a project.

        Returns:
            The file that was written.
        """
        path = self._key_file(is_for_user=user)
        key_store.write(path, {engine_variable(engine): value.strip()})
        self.keys.refresh()
        return path

    def import_keys(
        self,
        source: Path,
        engines: Mapping[str, str],
        confirm: ConfirmImport,
        *,
        user: bool,
    ) -> KeyImport:
        """Import keys from a file into the project's or user's key file; see `importing.run`."""
        path = self._key_file(is_for_user=user)
        import_result = importing.run(source, path, engines, confirm, user=path == self.user.keys)
        self.keys.refresh()
        return import_result

    def remove_key(self, engine: str) -> list[Path]:
        """Remove an engine's key from the key files; return the files that contained it."""
        name = engine_variable(engine)
        paths = [folder.keys for folder in self.config_dirs]
        changed_files = [path for path in paths if key_store.remove(path, name)]
        self.keys.refresh()
        return changed_files

    def _key_file(self, *, is_for_user: bool) -> Path:
        return (self.user if is_for_user or not self.project else self.project).keys

    def save_default(self, reference: str) -> Path:
        """Write the default model to the project's settings or, without a project, the user's."""
        folder = self.project or self.user
        path = folder.settings
        refuse_unsafe(path, folder.root)
        settings.save_default(path, reference)
        self.refresh()
        return path


def _folder_inside(folder: str, root: Path) -> Path:
    path = Path(os.path.normpath(root / folder))
    if not path.is_relative_to(os.path.normpath(root)):
        raise ConfigError(
            f"the folder in a project's [storage] settings must be inside the project,"
            f" got {short_repr(folder)}.",
            hint="Set it in the settings of your user folder instead, or in the environment:"
            " GATEWAYX_STORAGE.",
        )
    refuse_link_in(path, root)
    return path


def _vendor_variables(engine: str, vendor_variable: str) -> tuple[str, ...]:
    return VENDOR_VARIABLES.get(engine, (vendor_variable,) if vendor_variable else ())


def _settings_problem(folder: ConfigDir) -> str:
    """Return why a folder's settings are not read; empty if they are read or do not exist."""
    path = folder.settings
    problem = endpoint_file_problem(path, folder.root) if os.path.lexists(path) else None
    return f"the settings {str(path)!r} are not read: the file {problem}." if problem else ""
