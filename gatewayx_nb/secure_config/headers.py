"""Validates the additional HTTP headers in an engine's settings, and expands their variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.masking import redact
from gatewayx_nb.secrets import vendor_of_key
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

RESERVED_HEADERS = frozenset(
    {
        *("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"),
        *("cookie", "set-cookie", "host", "user-agent", "expect", "te", "trailer", "upgrade"),
        *("content-length", "content-type", "content-encoding", "transfer-encoding"),
        *("accept-encoding", "connection", "keep-alive", "proxy-connection"),
    }
)
"""The headers that the HTTP client or an engine sets, in lower case."""

_MAX_HEADERS = 20
_MAX_VALUE_LENGTH = 2_000
"""Maximum number of characters in a value; servers refuse requests with large headers."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A header's name (RFC 9110)."""

_VALUE = re.compile(r"[\x20-\x7e]*")

_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|)")
"""A variable as ``$NAME`` or ``${NAME}``, or ``$$`` for a dollar sign."""

_SECRET_VARIABLE = re.compile(
    r"GATEWAYX_.*|.*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)S?"
    r"|(?:.*_)?(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?|AUTH|PAT)(?:_.*)?",
    re.IGNORECASE,
)
"""Names of variables that may contain a key."""


def header_problem(name: str, value: object) -> str:
    """Return why a header in the settings is invalid; empty if it is valid."""
    if not _NAME.fullmatch(name):
        return "is not a valid header name"
    if name.lower() in RESERVED_HEADERS:
        return "is reserved: the engine itself sets it"
    if not isinstance(value, str) or not value.strip():
        return f"must be a non-blank string, got {short_repr(value)}"
    if not _VALUE.fullmatch(value) or len(value) > _MAX_VALUE_LENGTH:
        return (
            f"must consist of at most {_MAX_VALUE_LENGTH:,} characters of printable ASCII, without"
            " line breaks"
        )
    if not all(any(match.groups()) for match in _REFERENCE.finditer(value)):
        return "has a `$` that is not followed by a variable; write `$$` for a dollar sign"
    secret = next(filter(_SECRET_VARIABLE.fullmatch, variables([value])), "")
    return f"contains ${secret}, which may be a key" if secret else ""


def first_problem(headers: Mapping[str, object], *, are_from_one_file: bool) -> str:
    """Return why an engine's headers are invalid; empty if they are valid.

    Args:
        headers: The headers in the settings.
        are_from_one_file: Whether the headers come from one file, which must not contain the same
            name in different letter cases.
    """
    if len(headers) > _MAX_HEADERS:
        return f"must have at most {_MAX_HEADERS} entries, got {len(headers)}"
    if are_from_one_file and len({name.lower() for name in headers}) < len(headers):
        return "must not contain the same name twice"
    problems = ((name, header_problem(name, value)) for name, value in headers.items())
    return next((f"{short_repr(name)} {problem}" for name, problem in problems if problem), "")


def variables(values: Iterable[object]) -> Iterator[str]:
    """Yield the names of the variables in header values."""
    for value in values:
        for match in _REFERENCE.finditer(str(value)):
            if name := match[2] or match[3]:
                yield name


def expand(headers: Mapping[str, str], env: Mapping[str, str], engine: str) -> dict[str, str]:
    """Replace the variables in valid headers with their values.

    Raises:
        ConfigError: If a variable is not set or its value cannot be sent. The error does not
            contain the value.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[2] or match[3]
        value = "$" if match[1] else env.get(name, "").strip()
        if not value:
            raise ConfigError(
                f"the variable ${name}, used in the headers of [engines.{engine}], is not set.",
                hint=f"Set {name} in the environment, or change the headers in the settings.",
                engine=engine,
            )
        if not _VALUE.fullmatch(value) or len(value) > _MAX_VALUE_LENGTH:
            raise ConfigError(
                f"the variable ${name}, used in the headers of [engines.{engine}], must consist of"
                f" at most {_MAX_VALUE_LENGTH:,} characters of printable ASCII, without line"
                " breaks.",
                hint=f"Change {name} in the environment, or the headers in the settings.",
                engine=engine,
            )
        return value

    return {name: _REFERENCE.sub(value_of, text).strip() for name, text in headers.items()}


def check_no_key(headers: Mapping[str, str], keys: Iterable[str], engine: str) -> None:
    """Check that no value equals, contains or is part of a key, in plain or encoded form.

    Raises:
        ConfigError: If a value contains or may reveal a key. The error does not contain the value.
    """
    keys = [key for key in keys if key]
    for name, value in headers.items():
        words = re.split(r"[\s,;=:]+", value)
        if redact(value, keys) != value or any(map(vendor_of_key, words)):
            raise ConfigError(
                f"[engines.{engine}] headers: the value of {name!r} contains a key, which would go"
                " to a server that must not receive it; nothing was sent.",
                hint="Use another value; the engine already sends its own key.",
                engine=engine,
            )
