"""Defines the settings: their valid values, defaults and help texts.

The settings files are read with this table, and the command `settings` and the reference show it.
"""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.mcp_server import VARIABLE, url_problem

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_TIMEOUT = 604_800.0
"""A week in seconds; a longer timeout was probably written in milliseconds."""

_MAX_DAYS = 36_500.0
"""A century in days."""

_MAX_TABLE_ROWS = 10_000
"""Maximum of ``table_rows``: a cloned project must not freeze a notebook with a large table."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """The valid values of a setting.

    Attributes:
        expected: The valid values, as in "must be a string".
        read: Converts a value from a file; returns ``None`` if the value is invalid.
    """

    expected: str
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of ``config/gatewayx.toml``.

    Attributes:
        table: Name of the setting's table; empty for a setting above the first table.
        name: Name of the setting in its table.
        kind: The valid values.
        default: The value if no file contains the setting.
        help: What the setting controls, in one sentence.
    """

    table: str
    name: str
    kind: ValueType
    default: Any
    help: str

    @property
    def path(self) -> str:
        """The name of the setting with its table, such as ``limits.timeout``."""
        return f"{self.table}.{self.name}".lstrip(".")


def _number(maximum: float = math.inf) -> ValueType:
    def read(value: Any) -> float | None:  # noqa: ANN401 - a value from TOML
        # A bool is an int in Python, and `inf` is a valid float in TOML.
        is_number = type(value) in (int, float)
        is_valid = is_number and 0 < value <= min(maximum, sys.float_info.max)
        return float(value) if is_valid else None

    maximum_text = "" if maximum == math.inf else f" and at most {maximum:,.0f}"
    return ValueType(f"a number > 0{maximum_text}", read)


def _integer(minimum: int, maximum: int) -> ValueType:
    def read(value: Any) -> int | None:  # noqa: ANN401
        return value if type(value) is int and minimum <= value <= maximum else None

    return ValueType(f"an integer from {minimum} to {maximum:,}", read)


def _choice(*choices: str) -> ValueType:
    *other_choices, last_choice = (f'"{choice}"' for choice in choices)
    expected_text = f"{', '.join(other_choices)} or {last_choice}"
    return ValueType(expected_text, lambda value: value if value in choices else None)


def _read_dollars(value: Any) -> Decimal | None:  # noqa: ANN401
    is_valid = type(value) in (int, float) and 0 <= value < math.inf
    return Decimal(str(value)) if is_valid else None


def _read_strings(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    is_valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_valid else None


def _read_variables(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    names = _read_strings(value)
    return names if names is not None and all(map(VARIABLE.fullmatch, names)) else None


def _read_path(value: Any) -> str | None:  # noqa: ANN401
    is_valid = isinstance(value, str) and value.strip() and "\0" not in value
    return value if is_valid else None


def _read_command(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:  # an unclosed quote
            return None
    words = _read_strings(value)
    return words if words and words[0] and not any("\0" in word for word in words) else None


def _read_url(value: Any) -> str | None:  # noqa: ANN401
    return value if isinstance(value, str) and not url_problem(value) else None


_STRING = ValueType("a string", lambda value: value if isinstance(value, str) else None)
_BOOL = ValueType("a boolean", lambda value: value if isinstance(value, bool) else None)
_DOLLARS = ValueType("an amount of US dollars >= 0", _read_dollars)
_STRINGS = ValueType("a list of strings", _read_strings)
_VARIABLES = ValueType("a list of names of environment variables", _read_variables)
_TOOLS = ValueType("a list of at least one string", lambda value: _read_strings(value) or None)
_PATH = ValueType("a path", _read_path)
_COMMAND = ValueType("a command, as a string or a list of strings", _read_command)
_URL = ValueType("an http or https URL without a user name or a query", _read_url)

SETTINGS = (
    Setting("", "default_model", _STRING, None, "The model to call if none is named."),
    Setting("limits", "timeout", _number(_MAX_TIMEOUT), 600.0, "Seconds for a whole call."),
    Setting(
        *("limits", "concurrency", _integer(1, 10_000), 512),
        "Maximum number of concurrent calls to one engine.",
    ),
    Setting(
        "limits", "retries", _integer(0, 100), 2, "Maximum number of retries of a failed request."
    ),
    Setting(
        *("limits", "max_cost", _DOLLARS, None),
        "Maximum cost of a kernel's calls, in US dollars.",
    ),
    Setting(
        *("limits", "max_cost_per_day", _DOLLARS, None),
        "Maximum cost of a day's calls, in US dollars: the project's, or all your calls.",
    ),
    Setting(
        *("limits", "table_rows", _integer(1, _MAX_TABLE_ROWS), 20),
        "Maximum number of rows of a table in a prompt.",
    ),
    Setting("network", "proxy", _STRING, None, "URL of a proxy, instead of the environment's."),
    Setting(
        *("network", "ca_bundle", _STRING, None),
        "PEM file with additional certificate authorities.",
    ),
    Setting(
        *("network", "plain_http", _STRINGS, ()),
        "Hosts to which a key may be sent without TLS.",
    ),
    Setting(
        *("tools", "approve", _choice("ask", "never", "always"), "ask"),
        '"ask" asks you about tool calls that need permission, "never" refuses them and "always",'
        " only in your own settings, permits them.",
    ),
    Setting(
        *("tools", "timeout", _number(_MAX_TIMEOUT), 60.0),
        "Maximum seconds for an asynchronous function, a function of a map or an MCP tool.",
    ),
    Setting(
        *("keys", "vendor_variables", _BOOL, True),
        "Whether the vendors' variables, such as XAI_API_KEY, are read.",
    ),
    Setting(
        *("cassettes", "redact", _STRING, None),
        "`module:function` that is applied to text before it is recorded.",
    ),
    Setting(
        *("cassettes", "prompts", _choice("text", "digest"), "text"),
        "Whether requests are recorded as text or as digests.",
    ),
    Setting(
        *("cassettes", "strict_model", _BOOL, False),
        "Whether a recording of another model than the one now named counts as missing.",
    ),
    Setting(
        "storage", "folder", _PATH, None, "The folder in which the answers of maps are stored."
    ),
    Setting(
        *("storage", "keep_days", _number(_MAX_DAYS), None),
        "Days after which the answers of an unused map are forgotten.",
    ),
)
"""The settings whose full names are fixed."""

ENGINE_SETTINGS = (
    Setting("engines.NAME", "base_url", _STRING, None, "Address of the engine's provider."),
    Setting("engines.NAME", "model", _STRING, None, "Default model of the engine."),
    Setting(
        *("engines.NAME", "requests_per_minute", _number(), None),
        "Requests that the provider allows in a minute.",
    ),
    Setting(
        *("engines.NAME", "tokens_per_minute", _number(), None),
        "Tokens that the provider allows in a minute.",
    ),
)
"""The settings of each engine; an engine may take other settings, which it gets as arguments."""

MCP_SETTINGS = (
    Setting("mcp.NAME", "command", _COMMAND, (), "The command that starts the MCP server."),
    Setting("mcp.NAME", "args", _STRINGS, (), "Arguments to add to the command."),
    Setting(
        *("mcp.NAME", "env", _VARIABLES, ()),
        "Names of the environment variables that the server receives, such as a token.",
    ),
    Setting("mcp.NAME", "url", _URL, "", "URL of the MCP server, instead of a command."),
    Setting("mcp.NAME", "only", _TOOLS, (), "Names of the tools to use; all if omitted."),
    Setting(
        *("mcp.NAME", "timeout", _number(_MAX_TIMEOUT), 60.0),
        "Maximum seconds for the server to start.",
    ),
)
"""The settings of each MCP server."""
