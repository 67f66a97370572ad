"""Defines `Option`, which describes an option of a call, and the checks that options share."""

from __future__ import annotations

import operator
from collections.abc import Callable  # noqa: TC003 - dataclasses evaluate annotations
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeGuard

_INT_BITS = 64
"""Size in bits of the largest integer that all providers and cassettes can read from JSON."""


class InvalidValueError(ValueError):
    """An invalid value; the message describes a valid value, such as "an int >= 1"."""


def is_int(value: object) -> TypeGuard[int]:
    """Return whether a value is an int or another integer, but not a bool.

    Raises:
        InvalidValueError: If the absolute value is 2 ** 63 or more.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):  # `seed=True` is a mistake
        return False
    if operator.index(value).bit_length() >= _INT_BITS:
        raise InvalidValueError(f"a signed {_INT_BITS}-bit integer")
    return True


def checker(
    expected: str,
    is_valid: Callable[[Any], bool],
    convert: Callable[[Any], Any] = lambda value: value,
) -> Callable[[Any], Any]:
    """Return a function that converts a valid value, and raises an error for an invalid value."""

    def check(value: object) -> object:
        if not is_valid(value):
            raise InvalidValueError(expected)
        return convert(value)

    return check


positive_int = checker("an int >= 1", lambda value: is_int(value) and value >= 1, operator.index)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a call.

    Attributes:
        check: Returns the normalized value, or raises an error that describes the expected value.
        help: Meaning, unit and default, in one line.
        flag: The command-line flag and the placeholder for its value, such as
            ``"-t/--temperature X"``; a switch has no placeholder. Empty if there is no flag.
        example: A valid value, for hints.
        feature: The feature that an engine needs to support the option.
        to_recorded: Converts the value to the form that is recorded in a cassette; ``None`` if
            recorded requests have no field of this name.
        parse_flag: Converts the argument of the flag, a str, to the value.
        repeatable: Whether the flag may be repeated.
        default: The default in the signature of the calls.
        group: The heading for the flag in the cell magic's help.
    """

    check: Callable[[Any], Any]
    help: str
    flag: str = ""
    example: object = None
    feature: str = ""
    to_recorded: Callable[[Any], Any] | None = None
    parse_flag: Callable[[str], Any] = str
    repeatable: bool = False
    default: object = None
    group: str = ""
