"""Conversion of the field values of a run to a question."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.calls import CallOptions

LABELS = {
    "temperature": "Temperature",
    "top_p": "Top-p",
    "max_tokens": "Max tokens",
    "stop": "Stop text",
    "seed": "Seed",
}
"""The labels of the parameter fields; empty fields are not sent."""


def can_be_typed(value: object) -> bool:
    """Return whether a field can hold a value: a number, or a text without outer spaces."""
    return isinstance(value, int | float) or value is None or str(value).strip() == value


def options(
    others: Mapping[str, Any], system: str, fields: Mapping[str, str], takes: frozenset[str]
) -> CallOptions:
    """Return the keywords of a call.

    Args:
        others: Keywords without a field.
        system: The system prompt.
        fields: The typed texts, by parameter.
        takes: Parameters that all selected models support; others are omitted.

    Raises:
        UsageError: If the value of a field is invalid.
    """
    typed = {name: text.strip() for name, text in fields.items() if name in takes}
    read: dict[str, Any] = dict(others)
    if system.strip() and "system" in takes:
        read["system"] = system
    read |= {name: _READ[name](LABELS[name], text) for name, text in typed.items() if text}
    return read  # type: ignore[return-value]


def inputs(text: str) -> tuple[str, ...]:
    """Return the inputs, one per line."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _number(label: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(label, text, "a number such as 0.7")
    return number


def _whole(label: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _wrong(label, text, "a whole number such as 200") from None


def _text(_: str, text: str) -> str:
    return text


_READ: dict[str, Callable[[str, str], object]] = {
    "temperature": _number,
    "top_p": _number,
    "max_tokens": _whole,
    "stop": _text,
    "seed": _whole,
}


def _wrong(label: str, text: str, expected: str) -> UsageError:
    return UsageError(
        f"{label} is {text!r}; expected {expected}.", hint="Mend the field, or empty it."
    )
