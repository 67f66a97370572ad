"""Reads and validates ``config/gatewayx.toml``, and sets its default model."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gatewayx_nb.errors import ConfigError, did_you_mean
from gatewayx_nb.files import (
    atomic_write,
    parse_toml,
    quoted_path,
    read_toml,
    write_errors_as_config_error,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.mcp_server import SERVER_NAME, contains_key
from gatewayx_nb.secure_config import headers
from gatewayx_nb.secure_config.settings_table import (
    ENGINE_SETTINGS,
    MCP_SETTINGS,
    SETTINGS,
    Setting,
)
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

TomlTable = Mapping[str, Any]
T = TypeVar("T")

SHIPPED_ALIASES: Mapping[str, str] = MappingProxyType(
    {"claude": "anthropic", "gemini": "google", "gpt": "openai", "xai": "grok"}
)

_TABLES_WITH_FREE_NAMES = ("aliases", "engines", "mcp")
"""Tables in which the user chooses the names."""

_KNOWN_NAMES = {
    table: tuple(setting.name for setting in SETTINGS if setting.table == table)
    for table in dict.fromkeys(setting.table for setting in SETTINGS)
}
_KNOWN_NAMES[""] += (*filter(None, _KNOWN_NAMES), *_TABLES_WITH_FREE_NAMES)

RATE_OPTIONS = ("requests_per_minute", "tokens_per_minute")

POOL_OPTIONS = (*RATE_OPTIONS, "headers")
"""Engine options that the pool uses and does not pass to the engine."""


@dataclass(frozen=True, slots=True)
class Network:
    """Network settings for connections.

    Attributes:
        proxy: URL of a proxy to use instead of the environment's.
        ca_bundle: PEM file with additional certificate authorities.
        plain_http: Hosts, other than this machine, to which a key may be sent without TLS.
    """

    proxy: str | None = None
    ca_bundle: str | None = None
    plain_http: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """The settings that are not empty, in one line."""
        values = {"proxy": self.proxy, "ca_bundle": self.ca_bundle, "plain_http": self.plain_http}
        return ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items() if value)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on calls and their cost.

    Attributes:
        timeout: Seconds for a whole call, including its retries.
        concurrency: Maximum number of concurrent calls to one engine.
        retries: Maximum number of retries after the first attempt.
        max_cost: Maximum cost of all calls of a pool in US dollars; ``None`` means no limit.
        max_cost_per_day: Maximum cost per day in US dollars. A limit in the project's settings
            applies to the project's calls, and a limit in the user's settings to the calls of all
            projects.
        max_call_cost: Maximum cost of one call in US dollars; ``None`` means no limit.
        allow_unpriced: Whether calls with an unknown price are allowed under a cost limit.
        table_rows: Maximum number of rows of a table in a prompt.
    """

    # The default timeout and number of retries are those of OpenAI's SDK:
    # https://github.com/openai/openai-python/blob/main/src/openai/_constants.py
    timeout: float = 600.0
    concurrency: int = 512
    retries: int = 2
    max_cost: Decimal | None = None
    max_cost_per_day: Decimal | None = None
    max_call_cost: Decimal | None = None
    allow_unpriced: bool = False
    table_rows: int = 20


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Settings for calls in which a model calls functions.

    Attributes:
        approve: What happens to calls that need permission: with ``"ask"``, the user is asked;
            with ``"never"``, they are refused; with ``"always"``, which only the user's own file
            may contain, they are permitted.
        timeout: Maximum seconds for an asynchronous function, a function called during a map, or a
            call to an MCP server.
    """

    approve: Literal["ask", "never", "always"] = "ask"
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class MCPSettings:
    """The settings of an MCP server, ``[mcp.NAME]``.

    Attributes:
        command: The command that starts it, with its arguments; empty if there is a URL.
        url: The URL at which it listens; empty if there is a command.
        env: The names of the environment variables that it receives.
        only: The names of the tools to use; all tools if empty.
        timeout: Maximum seconds that it may take to start.
    """

    command: tuple[str, ...] = ()
    url: str = ""
    env: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    timeout: float = 60.0

    @property
    def address(self) -> str:
        """The command line or the URL."""
        return self.url or shlex.join(self.command)


@dataclass(frozen=True, slots=True)
class Rates:
    """Rate limits of an engine; ``None`` means no limit.

    Attributes:
        requests: Requests per minute.
        tokens: Tokens per minute, estimated before each call.
    """

    requests: float | None = None
    tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The content of the settings files; every setting has a default.

    Attributes:
        default_model: Reference of the model to call if the caller names no model.
        aliases: References by short name.
        limits: Limits on calls and their cost.
        network: Network settings for connections.
        tools: Settings for calls in which a model calls functions.
        vendor_variables: Whether vendors' own environment variables, such as ``XAI_API_KEY``, are
            read.
        redact: ``module:function`` that is applied to all text before it is written to a cassette.
        prompts: Whether a cassette stores requests as text or only as digests.
        strict_model: Whether a recording counts as missing if the reference now resolves to another
            model.
        storage_folder: The results folder, as written in the file; see
            `Config.storage_folder`.
        keep_days: The number of days after which the results of an unused job are deleted; ``None``
            to keep them.
        engines: Options of each engine, by engine name.
        mcp: The MCP servers, by name.
        explicitly_set: The names of the settings that a file contains, such as
            ``limits.timeout``.
    """

    default_model: str | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: SHIPPED_ALIASES)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    tools: ToolSettings = field(default_factory=ToolSettings)
    vendor_variables: bool = True
    redact: str | None = None
    prompts: Literal["text", "digest"] = "text"
    strict_model: bool = False
    storage_folder: str | None = None
    keep_days: float | None = None
    engines: Mapping[str, TomlTable] = field(default_factory=dict)
    mcp: Mapping[str, MCPSettings] = field(default_factory=dict)
    explicitly_set: frozenset[str] = field(default=frozenset(), compare=False)


_ATTRIBUTE_NAMES = {"storage.folder": "storage_folder"}
"""The attributes of `Settings` whose names differ from the names of their settings."""


def value_of(settings: Settings, setting: Setting) -> object:
    """Return the value of one setting."""
    section = getattr(settings, setting.table, settings) if setting.table else settings
    return getattr(section, _ATTRIBUTE_NAMES.get(setting.path, setting.name))


def load(paths: Iterable[Path], user: Path | None = None) -> Settings:
    """Read the settings files; earlier files take precedence, and missing files are skipped.

    The lowest value of each limit applies, so that a project cannot raise the user's limits.

    Args:
        paths: The files.
        user: The user's own file, the only one that may permit all tool calls; ``None`` if there
            is none.

    Raises:
        ConfigError: If a file is not valid TOML, or contains an unknown key or an invalid value.
    """
    merged_table: dict[str, Any] = {}
    for path in paths:
        if os.path.isfile(path):
            table = _read_table(path)
            # Each file is also validated alone, so that an error names the file.
            if _settings_from(table, path).tools.approve == "always" and path != user:
                raise _project_approval_error(path, user)
            # Servers are not merged: the result could be a command that neither file contains.
            servers = {**table.get("mcp", {}), **merged_table.get("mcp", {})}
            merged_table = _merge_tables(table, _with_stricter(merged_table, table))
            merged_table |= {"mcp": servers} if servers else {}
    return _settings_from(merged_table, None)


def _project_approval_error(path: Path, user: Path | None) -> ConfigError:
    return ConfigError(
        f"[tools] approve = 'always' in {str(path)!r} is invalid: a project cannot approve"
        " tool calls on your behalf.",
        hint=f"Delete that line. Your own settings are in {str(user)!r}." if user else None,
        topic="projects-permission",
    )


_STRICTER_VALUES = (
    ("keys", "vendor_variables", False),
    ("cassettes", "prompts", "digest"),
    ("tools", "approve", "never"),
)
"""The values, by table and name, that no other file can override."""


def _with_stricter(table: TomlTable, other_table: TomlTable) -> TomlTable:
    """Return ``table`` with the stricter values of ``other_table``.

    These are the lower value of each limit that both tables contain, and the values of
    `_STRICTER_VALUES` that ``other_table`` contains.
    """
    limits, other_limits = table.get("limits", {}), other_table.get("limits", {})
    stricter_values: dict[str, dict[str, Any]] = {
        "limits": {
            name: min(limits[name], other_limits[name]) for name in limits if name in other_limits
        }
    }
    for section, name, value in _STRICTER_VALUES:
        if other_table.get(section, {}).get(name) == value:
            stricter_values[section] = {name: value}
    return _merge_tables(table, stricter_values)


def save_default(path: Path, reference: str) -> None:
    """Set ``default_model`` in a settings file; the rest of the file is unchanged.

    Raises:
        ConfigError: If the file cannot be written, or its default model cannot be set without
            changing other values.
    """
    hint = as_hint(f"Run `chmod u+w {quoted_path(path.parent)}` if the folder is yours.")
    with write_errors_as_config_error(path, hint | Hint("omit_option", option="save")):
        data = path.read_bytes() if os.path.isfile(path) else b""
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        new_text = _with_default(text, reference)
        if not _differs_only_in_default(text, new_text, reference):
            raise ConfigError(
                f"the default model in {str(path)!r} cannot be replaced.",
                hint="Write this line above its first table:"
                f" default_model = {json.dumps(reference)}",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        content = new_text.replace("\n", "\r\n") if b"\r\n" in data else new_text
        atomic_write(path, content.encode(), keep_mode=True)


def _with_default(text: str, reference: str) -> str:
    """Return the text with ``default_model`` set above the first table, outside any table."""
    line = f"default_model = {json.dumps(reference)}\n"
    table = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    start = table.start() if table else len(text)
    assignment = re.compile(r"""^[ \t]*(["']?)default_model\1[ \t]*=.*\n?""", re.MULTILINE)
    # The replacement is a function, because `subn` would interpret a backslash in a string.
    text_above, count = assignment.subn(lambda _: line, text[:start], count=1)
    return (text_above if count else line + text_above) + text[start:]


def _differs_only_in_default(text: str, new_text: str, reference: str) -> bool:
    """Return whether ``new_text`` sets the default model and keeps all other values."""
    try:
        return parse_toml(new_text) == {**parse_toml(text), "default_model": reference}
    except ValueError:
        return False


def _read_table(path: Path) -> TomlTable:
    try:
        return read_toml(path)
    # `int` refuses integers of more than 4,300 digits with a ValueError.
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the settings {str(path)!r} cannot be read: {error}.",
            hint=_read_hint(path, error),
            topic="invalid-settings",
        ) from None


def _read_hint(path: Path, error: Exception) -> str:
    shell_path = quoted_path(path)
    remedy = "Fix the file"
    if isinstance(error, OSError):
        remedy = f"Make it readable (`chmod u+r {shell_path}`)"
    elif isinstance(error, tomllib.TOMLDecodeError):  # the only error that names a line
        remedy = "Fix that line"
    return f"{remedy}, or move the file away: `mv {shell_path} {shell_path}.off`."


def _merge_tables(base: TomlTable, overrides: TomlTable) -> dict[str, Any]:
    """Return ``base`` updated with ``overrides``; nested tables are merged recursively."""
    tables = {
        key: _merge_tables(base[key], value)
        for key, value in overrides.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **overrides, **tables}


def _settings_from(table: TomlTable, path: Path | None) -> Settings:
    """Validate a table and return the settings; error messages name ``path``."""
    reader = _Reader(path)
    reader.reject_unknown(table, "")
    aliases, engines = reader.table(table, "aliases"), reader.table(table, "engines")
    servers = reader.table(table, "mcp")
    values = {
        setting.path: reader.value(setting, reader.table(table, setting.table))
        for setting in SETTINGS
    }

    def table_values(name: str) -> dict[str, Any]:
        return {setting.name: values[setting.path] for setting in SETTINGS if setting.table == name}

    return Settings(
        default_model=values["default_model"],
        aliases={**SHIPPED_ALIASES, **{name: reader.string(aliases, name) for name in aliases}},
        limits=Limits(**table_values("limits")),
        network=Network(**table_values("network")),
        tools=ToolSettings(**table_values("tools")),
        **table_values("keys"),
        **table_values("cassettes"),
        storage_folder=values["storage.folder"],
        keep_days=values["storage.keep_days"],
        engines={name: reader.engine_options(engines, name) for name in engines},
        mcp={name: reader.mcp_server(servers, name) for name in servers},
        explicitly_set=frozenset(path for path in values if _is_set(table, path)),
    )


def _is_set(table: TomlTable, path: str) -> bool:
    *tables, name = path.split(".")
    return name in (table.get(tables[0], {}) if tables else table)


class _Reader:
    """Reads typed values from a parsed file; raises an error if a type does not match."""

    def __init__(self, path: Path | None) -> None:
        self.file_label = str(path or "config/gatewayx.toml")
        self._reads_one_file = path is not None

    def reject_unknown(self, table: TomlTable, name: str) -> None:
        known_names = _KNOWN_NAMES[name]
        for key in table:
            if key not in known_names:
                setting = f"[{name}] {key}" if name else key
                raise ConfigError(
                    f"unknown setting {setting!r} in {self.file_label}."
                    f"{did_you_mean(key, known_names)}",
                    hint=f"Valid settings: {', '.join(known_names)}.",
                    topic="unknown-setting",
                )

    def table(self, parent: TomlTable, name: str) -> TomlTable:
        """Return a table inside ``parent``; ``parent`` itself if ``name`` is empty."""
        if not name:
            return parent
        inner: object = parent.get(name, {})
        if not isinstance(inner, Mapping):
            raise self.invalid(name, inner, "a table")
        if name in _KNOWN_NAMES:
            self.reject_unknown(inner, name)
        return inner

    def value(self, setting: Setting, table: TomlTable) -> Any:  # noqa: ANN401 - each setting has its own type
        """Return the value of a setting, or its default if the table does not contain it."""
        if setting.name not in table:
            return setting.default
        value = setting.kind.read(table[setting.name])
        if value is None:
            raise self.invalid(setting.name, table[setting.name], setting.kind.expected)
        return value

    def string(self, table: TomlTable, name: str) -> str:
        value = table[name]
        if not isinstance(value, str):
            raise self.invalid(name, value, "a string")
        return value

    def engine_options(self, table: TomlTable, name: str) -> TomlTable:
        options = self.table(table, name)
        for setting in ENGINE_SETTINGS:
            self.value(setting, options)
        extra_headers = self.table(options, "headers")
        if problem := headers.first_problem(extra_headers, are_from_one_file=self._reads_one_file):
            raise ConfigError(
                f"[engines.{name}] headers in {self.file_label}: {problem}.",
                hint='For example, headers = {"x-team" = "$TEAM"}.',
            )
        # Settings are committed to git, unlike the key file.
        if "api_key" in options:
            raise ConfigError(
                f"[engines.{name}] in {self.file_label} must not contain an api_key; delete that"
                " line, revoke the key and create a new one.",
                hint=Hint("set_key", engine=name),
            )
        return options

    def mcp_server(self, table: TomlTable, name: str) -> MCPSettings:
        if not SERVER_NAME.fullmatch(name):
            raise ConfigError(
                f"the name of [mcp.{short_repr(name)}] in {self.file_label} must consist of"
                " at most 24 characters (a-z, 0-9, '_', '-') and begin with a letter.",
                hint="For example, [mcp.time].",
            )
        server = self.table(table, name)
        known_names = [setting.name for setting in MCP_SETTINGS]
        if unknown_names := [key for key in server if key not in known_names]:
            raise ConfigError(
                f"unknown setting '[mcp.{name}] {unknown_names[0]}' in {self.file_label}."
                f"{did_you_mean(unknown_names[0], known_names)}",
                hint=f"Valid settings: {', '.join(known_names)}.",
                topic="unknown-setting",
            )
        values = {setting.name: self.value(setting, server) for setting in MCP_SETTINGS}
        args = values.pop("args")
        needs_command = "args" in server or "env" in server
        if bool(values["command"]) == bool(values["url"]) or (values["url"] and needs_command):
            raise ConfigError(
                f"[mcp.{name}] in {self.file_label} must have either a url, or a command with"
                " optional args and env.",
                hint='For example, command = "uvx mcp-server-time".',
            )
        words = (*values["command"], *args)
        if any(map(contains_key, words)):
            raise ConfigError(
                f"[mcp.{name}] in {self.file_label} must not contain a key.",
                hint="Delete the key, revoke it at its provider, and pass a new one in an"
                ' environment variable, for example: env = ["GITHUB_TOKEN"].',
            )
        return MCPSettings(**{**values, "command": words})

    def invalid(self, name: str, value: object, expected: str) -> ConfigError:
        # The value may be NAME=KEY, and a key must not be shown.
        got_text = "" if name == "env" else f", got {short_repr(value)}"
        return ConfigError(
            f"the setting {name!r} in {self.file_label} must be {expected}{got_text}.",
            hint="Fix that line in the file.",
        )
