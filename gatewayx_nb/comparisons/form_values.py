"""Converts a form's text fields to the options and inputs of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.calls import CallOptions

FIELD_LABELS = {
    "temperature": "Temperature",
    "top_p": "Top-p",
    "max_tokens": "Max tokens",
    "stop": "Stop text",
    "seed": "Seed",
}
"""The labels of the parameter fields; a parameter whose field is empty is not sent."""


def can_be_field_value(value: object) -> bool:
    """Return whether a field can show a value: ``None``, a number or a stripped string."""
    return isinstance(value, int | float) or value is None or str(value).strip() == value


def reusable_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set; convert iterators to lists, which can be used repeatedly."""
    set_options = {
        name: list(value) if isinstance(value, Iterator) else value
        for name, value in options.items()
        if value is not None
    }
    if "images" in set_options:
        set_options["images"] = images.as_list(set_options["images"])
    return set_options


def parse_fields(
    other_options: Mapping[str, Any],
    system: str,
    fields: Mapping[str, str],
    supported: frozenset[str],
) -> CallOptions:
    """Return the options of a call.

    Args:
        other_options: Options that have no field in the form.
        system: The system prompt.
        fields: The text in each field, by parameter name.
        supported: The parameters that all selected models support; other parameters are omitted.

    Raises:
        UsageError: If the value of a field is invalid.
    """
    # A hidden field keeps its text, but a model that does not support the parameter would reject
    # it.
    texts = {name: text.strip() for name, text in fields.items() if name in supported}
    options: dict[str, Any] = dict(other_options)
    if system.strip() and "system" in supported:
        options["system"] = system
    options |= {
        name: _PARSERS[name](FIELD_LABELS[name], text) for name, text in texts.items() if text
    }
    return options  # type: ignore[return-value]


def input_lines(inputs: str | Iterable[str]) -> str:
    """Return the inputs as one text for their field, one input per line.

    Raises:
        UsageError: If an input is not a string of a single line.
    """
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    for text in texts:
        if not isinstance(text, str) or len(text.splitlines()) != 1:
            raise UsageError(
                f"each input must be a single line of text, got {short_repr(text)}.",
                hint="Put longer text in a notebook variable, and `{{name}}` in the prompt.",
            )
    return "\n".join(texts)


def parse_inputs(text: str) -> tuple[str, ...]:
    """Return the non-empty lines of a field, each of which is an input."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _parse_number(label: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan  # rejected below, like the text "nan"
    if not math.isfinite(number):
        raise _invalid_field_error(label, text, "a number such as 0.7")
    return number


def _parse_integer(label: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _invalid_field_error(label, text, "an integer such as 200") from None


_PARSERS: dict[str, Callable[[str, str], object]] = {
    "temperature": _parse_number,
    "top_p": _parse_number,
    "max_tokens": _parse_integer,
    "stop": lambda _, text: text,
    "seed": _parse_integer,
}


def _invalid_field_error(label: str, text: str, expected: str) -> UsageError:
    return UsageError(
        f"{label} must be {expected}, got {text!r}.", hint="Correct the field or clear it."
    )
