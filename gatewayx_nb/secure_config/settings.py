"""Parses and validates ``config/gatewayx.toml``."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
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
from gatewayx_nb.secure_config import headers
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TomlTable = Mapping[str, Any]
T = TypeVar("T")

SHIPPED_ALIASES: Mapping[str, str] = MappingProxyType(
    {"claude": "anthropic", "gemini": "google", "gpt": "openai", "xai": "grok"}
)

_KNOWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "": (
        "default_model",
        "aliases",
        "limits",
        "network",
        "keys",
        "cassettes",
        "storage",
        "engines",
    ),
    "limits": ("timeout", "concurrency", "retries", "max_cost", "max_cost_per_day", "table_rows"),
    "network": ("proxy", "ca_bundle", "plain_http"),
    "keys": ("vendor_variables",),
    "cassettes": ("redact", "prompts", "strict_model"),
    "storage": ("folder", "keep_days"),
}

_TYPE_NAMES = {
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    list: "an array",
    dict: "a table",
}

_MAX_TIMEOUT = 604_800.0
"""A week in seconds; a longer timeout was probably written in milliseconds."""

_MAX_DAYS = 36_500.0
"""A century in days."""

_MAX_TABLE_ROWS = 10_000
"""Maximum of ``table_rows``: a cloned project must not freeze a notebook with a large table."""

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
    """Limits of a call.

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

    # The timeout and the retries are the defaults of OpenAI's SDK:
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
        limits: Limits of a call.
        network: Network settings for connections.
        vendor_variables: Whether vendor variables such as ``XAI_API_KEY`` are read.
        redact: ``module:function`` that is applied to all text before it is written to a cassette.
        prompts: Whether a cassette stores requests as text or only as digests.
        strict_model: Whether a recording counts as missing if the reference now resolves to another
            model.
        storage_folder: The folder of the results, as written in the file; see
            `Config.storage_folder`.
        keep_days: The number of days after which the results of an unused job are deleted; ``None``
            to keep them.
        engines: Options of each engine, by engine name.
    """

    default_model: str | None = None
    aliases: Mapping[str, str] = field(default_factory=lambda: SHIPPED_ALIASES)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    vendor_variables: bool = True
    redact: str | None = None
    prompts: Literal["text", "digest"] = "text"
    strict_model: bool = False
    storage_folder: str | None = None
    keep_days: float | None = None
    engines: Mapping[str, TomlTable] = field(default_factory=dict)


def load(paths: Iterable[Path]) -> Settings:
    """Read the settings files; earlier files take precedence, and missing files are skipped.

    The lowest value of each limit applies, so that a project cannot raise the user's limits.

    Raises:
        ConfigError: If a file is not valid TOML, or contains an unknown key or an invalid value.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        if os.path.isfile(path):
            table = _read(path)
            # Each file is also validated alone, so that an error names the file.
            _settings(table, path)
            merged = _merge(table, _with_lower_limits(merged, table))
    return _settings(merged, None)


def _with_lower_limits(table: TomlTable, other: TomlTable) -> TomlTable:
    """Return ``table`` with each limit lowered to that of ``other``, if that is lower."""
    limits, others = table.get("limits", {}), other.get("limits", {})
    lowest = {name: min(limits[name], others[name]) for name in limits if name in others}
    return _merge(table, {"limits": lowest}) if lowest else table


def save_default(path: Path, reference: str) -> None:
    """Set ``default_model`` in a settings file; the rest of it is unchanged.

    Raises:
        ConfigError: If the file cannot be written, or the line of its default model cannot be
            found.
    """
    hint = as_hint(f"`chmod u+w {quoted_path(path.parent)}` if it is yours.")
    with write_errors_as_config_error(path, hint | Hint("omit_option", option="save")):
        data = path.read_bytes() if os.path.isfile(path) else b""
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        changed = _with_default(text, reference)
        if not _differs_only_in_default(text, changed, reference):
            raise ConfigError(
                f"the default model in {str(path)!r} cannot be replaced.",
                hint="Write this line above its first table:"
                f" default_model = {json.dumps(reference)}",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        new = changed.replace("\n", "\r\n") if b"\r\n" in data else changed
        atomic_write(path, new.encode(), keep_mode=True)


def _with_default(text: str, reference: str) -> str:
    """Return the text with ``default_model`` set above the first table, outside any table."""
    line = f"default_model = {json.dumps(reference)}\n"
    table = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    start = table.start() if table else len(text)
    assignment = re.compile(r"""^[ \t]*(["']?)default_model\1[ \t]*=.*\n?""", re.MULTILINE)
    # The replacement is a function, because `subn` would interpret a backslash in a string.
    head, count = assignment.subn(lambda _: line, text[:start], count=1)
    return (head if count else line + head) + text[start:]


def _differs_only_in_default(text: str, changed: str, reference: str) -> bool:
    """Return whether a changed text sets the default model and keeps all other values."""
    try:
        return parse_toml(changed) == {**parse_toml(text), "default_model": reference}
    except ValueError:
        return False


def _read(path: Path) -> TomlTable:
    try:
        return read_toml(path)
    except (OSError, ValueError) as error:  # such as an integer of 5,000 digits
        quoted = quoted_path(path)
        raise ConfigError(
            f"the settings {str(path)!r} cannot be read: {error}.",
            hint=f"Fix that line, or move the file away: `mv {quoted} {quoted}.off`.",
        ) from None


def _merge(base: TomlTable, overrides: TomlTable) -> dict[str, Any]:
    """Return ``base`` updated with ``overrides``; nested tables are merged recursively."""
    tables = {
        key: _merge(base[key], value)
        for key, value in overrides.items()
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
    }
    return {**base, **overrides, **tables}


def _settings(table: TomlTable, path: Path | None) -> Settings:
    """Validate a table and return the settings; error messages name ``path``."""
    reader = _Reader(path)
    reader.reject_unknown(table, "")
    limits, network = reader.table(table, "limits"), reader.table(table, "network")
    keys, aliases = reader.table(table, "keys"), reader.table(table, "aliases")
    cassettes, storage = reader.table(table, "cassettes"), reader.table(table, "storage")
    engines, defaults = reader.table(table, "engines"), Limits()
    user_aliases = {name: reader.value(aliases, name, str, "") for name in aliases}
    return Settings(
        default_model=reader.value(table, "default_model", str, None),
        aliases={**SHIPPED_ALIASES, **user_aliases},
        limits=Limits(
            timeout=float(reader.positive(limits, "timeout", defaults.timeout, _MAX_TIMEOUT)),
            concurrency=reader.integer(limits, "concurrency", defaults.concurrency, 1, 10_000),
            retries=reader.integer(limits, "retries", defaults.retries, 0, 100),
            max_cost=reader.dollars(limits, "max_cost"),
            max_cost_per_day=reader.dollars(limits, "max_cost_per_day"),
            table_rows=reader.integer(
                limits, "table_rows", defaults.table_rows, 1, _MAX_TABLE_ROWS
            ),
        ),
        network=Network(
            proxy=reader.value(network, "proxy", str, None),
            ca_bundle=reader.value(network, "ca_bundle", str, None),
            plain_http=reader.strings(network, "plain_http"),
        ),
        vendor_variables=reader.value(keys, "vendor_variables", bool, default=True),
        redact=reader.value(cassettes, "redact", str, None),
        prompts=reader.choice(cassettes, "prompts", ("text", "digest")),
        strict_model=reader.value(cassettes, "strict_model", bool, default=False),
        storage_folder=reader.folder(storage, "folder"),
        keep_days=reader.days(storage, "keep_days"),
        engines={name: reader.engine_options(engines, name) for name in engines},
    )


class _Reader:
    """Reads typed values from a parsed file; raises an error if a type does not match."""

    def __init__(self, path: Path | None) -> None:
        self.origin, self._is_file = str(path or "config/gatewayx.toml"), path is not None

    def reject_unknown(self, table: TomlTable, name: str) -> None:
        known = _KNOWN_KEYS[name]
        for key in table:
            if key not in known:
                where = f"[{name}] {key}" if name else key
                raise ConfigError(
                    f"unknown setting {where!r} in {self.origin}.{did_you_mean(key, known)}",
                    hint=f"Valid settings: {', '.join(known)}.",
                )

    def table(self, table: TomlTable, name: str) -> TomlTable:
        inner: TomlTable = self.value(table, name, dict, {})
        if name in _KNOWN_KEYS:
            self.reject_unknown(inner, name)
        return inner

    def engine_options(self, table: TomlTable, name: str) -> TomlTable:
        options = self.table(table, name)
        for option in ("base_url", "model"):
            self.value(options, option, str, "")
        for option in RATE_OPTIONS:
            if option in options:
                self.positive(options, option, math.nan)
        extra: TomlTable = self.value(options, "headers", dict, {})
        if problem := headers.problem_of_all(extra, is_file=self._is_file):
            raise ConfigError(
                f"[engines.{name}] headers in {self.origin}: {problem}.",
                hint='For example, headers = {"x-team" = "$TEAM"}.',
            )
        # Settings are committed to git, unlike the key file.
        if "api_key" in options:
            raise ConfigError(
                f"[engines.{name}] in {self.origin} must not contain an api_key; delete that line"
                " and renew the key.",
                hint=Hint("set_key", engine=name),
            )
        return options

    def positive(
        self, table: TomlTable, name: str, default: float, maximum: float = math.inf
    ) -> float:
        value: float = table.get(name, default)
        # A bool is an int in Python, and `inf` is a valid float in TOML.
        if type(value) not in (int, float) or not 0 < value <= min(maximum, sys.float_info.max):
            upper = "" if maximum == math.inf else f" and at most {maximum:,.0f}"
            raise self.invalid(name, value, f"a number > 0{upper}")
        return value

    def days(self, table: TomlTable, name: str) -> float | None:
        return float(self.positive(table, name, math.nan, _MAX_DAYS)) if name in table else None

    def folder(self, table: TomlTable, name: str) -> str | None:
        value: str | None = self.value(table, name, str, None)
        if value is not None and (not value.strip() or "\0" in value):
            raise self.invalid(name, value, "a path")
        return value

    def dollars(self, table: TomlTable, name: str) -> Decimal | None:
        value: float | None = table.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise self.invalid(name, value, "an amount of US dollars >= 0")
        return Decimal(str(value))

    def integer(self, table: TomlTable, name: str, default: int, minimum: int, maximum: int) -> int:
        value: int = self.value(table, name, int, default)
        if not minimum <= value <= maximum:
            raise self.invalid(name, value, f"an integer from {minimum} to {maximum:,}")
        return value

    def strings(self, table: TomlTable, name: str) -> tuple[str, ...]:
        values = self.value(table, name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.invalid(name, values, "a list of strings")
        return tuple(values)

    def value(self, table: TomlTable, name: str, expected_type: type[T], default: Any) -> Any:  # noqa: ANN401
        value = table.get(name, default)
        is_bool_for_int = expected_type is int and isinstance(value, bool)
        if value is not default and (is_bool_for_int or not isinstance(value, expected_type)):
            raise self.invalid(name, value, _TYPE_NAMES[expected_type])
        return value

    def choice(self, table: TomlTable, name: str, choices: tuple[str, ...]) -> Any:  # noqa: ANN401
        """Return one of the choices; the first is the default."""
        value = table.get(name, choices[0])
        if value not in choices:
            raise self.invalid(name, value, " or ".join(f'"{choice}"' for choice in choices))
        return value

    def invalid(self, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(
            f"the setting {name!r} in {self.origin} must be {expected}, got {short_repr(value)}.",
            hint="Fix that line of the file.",
        )
