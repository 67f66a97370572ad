"""JSON bodies from outside: read without trust, narrowed at once."""

from __future__ import annotations

import json
from typing import Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.rendering import shorten

FIRST_FAULT = 400
"""Lowest HTTP status that tells of a fault (RFC 9110, section 15.5)."""

_NO_JSON = "Check the engine's base URL: `%gatewayx status`."


def parse(data: str | bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ProviderError: It is none: HTML of a captive portal, NaN, nested too deep, a list.
    """
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ProviderError(
            f"the answer is no JSON: {shorten(text, 80)!r}.", mend=_NO_JSON
        ) from None
    if not isinstance(value, dict):
        raise ProviderError(f"the answer is no JSON object: {shorten(text, 80)!r}.", mend=_NO_JSON)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def table(value: object) -> dict[str, Any]:
    """Give a value that should be an object, or an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    """Give a value that should be a list, or an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """Give a value that should be a string, or an empty one."""
    return value if isinstance(value, str) else ""


def count(value: object) -> int | None:
    """Give a value that should be a number of tokens, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value)


def fault(data: bytes) -> tuple[str | None, str]:
    """Read an error body: the provider's code, and its message.

    Knows ``{"error": {"message", "code", "type"}}`` of the OpenAI family, ``{"error": "text"}``,
    ``{"message": "text"}`` and ``{"detail": "text"}``; of any other body the code is ``None``.
    """
    try:
        outer = parse(data)
    except ProviderError:
        return None, "a page that is no JSON"
    inner = table(outer.get("error")) or outer
    code = inner.get("code") or inner.get("type")
    words = (inner.get(name) for name in ("message", "error", "detail"))
    message = next((word for word in words if isinstance(word, str)), "")
    return (code if isinstance(code, str) else None), message
