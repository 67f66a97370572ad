"""Compares answers with expected values: strings, numbers and data."""

from __future__ import annotations

import re
import unicodedata
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from numbers import Real
from typing import Any

from gatewayx_nb.prompts import is_missing
from gatewayx_nb.text import short_repr

_NUMBER = re.compile(
    r"""(?<![\w.]) [-+\u2212]?                                   # not the minus of "3-5"
        (?: \d{1,3} (?: [,\u00a0\u2009\u202f] \d{3} )+ (?!\d)    # 1,234, or with a narrow space
          | \d+
        )?
        (?: (?<=\d) (?: \.\d+ )? | \.\d+ )
        (?: [eE] [-+\u2212]? \d{1,4} (?!\w) )?
    """,
    re.VERBOSE | re.ASCII,
)
_NUMBER_CHARACTERS = str.maketrans({"\u2212": "-", **dict.fromkeys(",\u00a0\u2009\u202f", "")})
"""Replaces the Unicode minus sign, and removes the characters that group digits."""

_EXACT_CONTEXT = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Computes the difference of two numbers without rounding or overflow."""

_MAX_SHOWN_VALUES = 3
"""Maximum number of acceptable values in a reason."""


def acceptable_values(expected: object) -> list[Any]:
    """Return the acceptable values of an answer; an empty list if there are none.

    The items of a list, tuple, set, array or Series are the acceptable values, unless they are
    missing; any other value is the only acceptable one.
    """
    for name in ("tolist", "to_list"):  # NumPy and pandas; polars
        if hasattr(expected, name):
            expected = getattr(expected, name)()
    if isinstance(expected, list | tuple | set | frozenset):
        return [value for value in expected if not is_missing(value)]
    return [] if is_missing(expected) else [expected]


def as_data(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a value as JSON data: an enum as its value, and an object with fields as a dict."""
    import msgspec  # imported on first use, because most scorers compare strings

    return msgspec.to_builtins(value, enc_hook=_encode_other, str_keys=True)


def _encode_other(value: Any) -> object:  # noqa: ANN401 - any object
    if callable(dump := getattr(value, "model_dump", None)):  # of a pydantic model
        return dump(mode="json")
    return value.tolist() if hasattr(value, "tolist") else str(value)


def is_same(answer: object, expected: object, *, ignore_case: bool) -> bool:
    """Return whether two values, as returned by `as_data`, are equal.

    Strings are compared without the white space around them. A string equals the number or the bool
    that it represents.
    """
    if isinstance(expected, str) and not isinstance(answer, str):
        answer, expected = expected, answer
    if not isinstance(answer, str) or isinstance(expected, str):
        return bool(_normalize(answer, ignore_case) == _normalize(expected, ignore_case))
    if isinstance(expected, bool):
        return answer.strip().casefold() == str(expected).casefold()
    if isinstance(expected, int | float):
        match = _NUMBER.fullmatch(answer.strip())
        return match is not None and _decimal(match[0]) == to_decimal(expected)
    return False


def normalize_text(text: str, *, ignore_case: bool) -> str:
    """Return a string in Unicode's normal form C, so that equal characters have equal code points.

    Args:
        text: The string.
        ignore_case: Whether to fold its case.
    """
    text = unicodedata.normalize("NFC", text)
    return text.casefold() if ignore_case else text


def _normalize(value: object, ignore_case: bool) -> object:  # noqa: FBT001 - recursive
    if isinstance(value, str):
        return normalize_text(value, ignore_case=ignore_case).strip()
    if isinstance(value, dict):
        return {name: _normalize(item, ignore_case) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalize(item, ignore_case) for item in value]
    return value


def last_number(text: str) -> Decimal | None:
    """Return the last number in a string; ``None`` if there is none.

    >>> last_number("It costs 1,234.50 dollars."), last_number("none")
    (Decimal('1234.50'), None)
    """
    number = None
    for number in _NUMBER.finditer(text):  # noqa: B007 - the last one is used
        pass
    return None if number is None else _decimal(number[0])


def to_decimal(value: object) -> Decimal | None:
    """Return a value as an exact number; for a string, the last number in it.

    A float becomes the shortest decimal number that represents it: 0.1 is one tenth. Return
    ``None`` for a bool and for any value that is not a finite number.
    """
    if isinstance(value, str):
        return last_number(value)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    number = Decimal(value) if isinstance(value, int | Decimal) else Decimal(str(float(value)))
    return number if number.is_finite() else None


def is_near(number: Decimal, other: Decimal, tolerance: Decimal) -> bool:
    """Return whether two numbers differ by at most an absolute tolerance."""
    return _EXACT_CONTEXT.subtract(number, other).copy_abs() <= tolerance


def describe_values(values: list[Any]) -> str:
    """Return values as short text for the reason of a score.

    >>> describe_values(["yes", "no"])
    "'yes' or 'no'"
    """
    reprs = [short_repr(value, 60) for value in values[:_MAX_SHOWN_VALUES]]
    return " or ".join([*reprs, "…"] if len(values) > _MAX_SHOWN_VALUES else reprs)


def _decimal(text: str) -> Decimal:
    return Decimal(text.translate(_NUMBER_CHARACTERS))
