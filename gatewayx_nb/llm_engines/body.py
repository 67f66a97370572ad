"""JSON bodies from outside: read without trust, narrowed at once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.rendering import shorten

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
if TYPE_CHECKING:
    from collections.abc import Mapping

_ABSURD = 2**63
"""More tokens than a database can count."""

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


def is_whole(text: str) -> bool:
    """Tell whether this is JSON to its end."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


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
    return int(value) if 0 <= value < _ABSURD else None


def merged(ours: dict[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Give an object with another one over it; objects within both are merged likewise.

    >>> merged({"text": {"format": "json"}, "n": 1}, {"text": {"verbosity": "low"}, "n": 2})
    {'text': {'format': 'json', 'verbosity': 'low'}, 'n': 2}
    """
    both = {
        name: merged(ours[name], value)
        for name, value in theirs.items()
        if isinstance(value, dict) and isinstance(ours.get(name), dict)
    }
    return ours | dict(theirs) | both


def fault(data: bytes) -> tuple[str | None, str]:
    """Read an error body: the provider's code, and its message; see `fault_of`.

    A body that is no JSON object has no code. Gemini wraps an error in a list of one.
    """
    try:
        return fault_of(_error_body(data))
    except ProviderError:
        return None, "a page that is no JSON"


def fault_of(answer: Mapping[str, Any]) -> tuple[str | None, str]:
    """Read an error: the provider's code, and its message.

    Knows ``{"error": {"message", "code", "type"}}`` of the OpenAI family; Anthropic's, whose code
    is ``error.details.error_code`` or ``error.type``; Gemini's, whose code is the reason in
    ``error.details`` or ``error.status``; ``{"error": "text"}``, and ``{"message": "text"}`` of
    Cohere and others.
    """
    inner = table(answer.get("error")) or answer
    details = inner.get("details")
    reasons = [table(detail).get("reason") for detail in rows(details)]
    codes = (
        *reasons,
        table(details).get("error_code"),
        inner.get("code"),
        inner.get("status"),
        inner.get("type"),
    )
    code = next((code for code in codes if isinstance(code, str) and code), None)
    words = (inner.get(name) for name in ("message", "error", "detail"))
    message = next((word for word in words if isinstance(word, str)), "")
    return code, message


def rejection(data: bytes) -> tuple[str, str]:
    """Read from an error body which parameter it is about, if it says so, and its message."""
    try:
        answer = _error_body(data)
    except ProviderError:
        return "", ""
    inner = table(answer.get("error")) or answer
    return text(inner.get("param")), fault_of(answer)[1]


def delay(data: bytes) -> float | None:
    """Read from a Gemini error body how many seconds to wait.

    ``details`` holds a ``google.rpc.RetryInfo`` with a ``retryDelay`` such as ``"27s"``
    (https://cloud.google.com/apis/design/errors).
    """
    try:
        details = table(_error_body(data).get("error")).get("details")
    except ProviderError:
        return None
    delays = (text(table(detail).get("retryDelay")) for detail in rows(details))
    found = next((_DELAY.fullmatch(delay) for delay in delays if delay), None)
    return float(found.group(1)) if found else None


def _error_body(data: bytes) -> dict[str, Any]:
    stripped = data.strip()
    listed = stripped.startswith(b"[") and stripped.endswith(b"]")
    return parse(stripped[1:-1] if listed else stripped)
