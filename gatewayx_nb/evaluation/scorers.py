"""Scorers for common checks of an answer.

Each function returns a scorer for ``gx.evaluate(…, scorers=[…])``; if it needs no argument, the
function itself can be passed. A scorer is a plain function. Its parameters name what it needs:
``reply``, ``text``, ``parsed``, ``row``, ``expected``, ``prompt`` or ``variant``. It returns a
bool, a number, or a bool with the reason; it returns ``None`` if it does not apply, for example
because the row has no expected answer.

A scorer without a value compares the answer with the row's expected answer, which may be a list of
acceptable answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation.answer_values import (
    acceptable_values,
    as_data,
    describe_values,
    is_near,
    is_same,
    last_number,
    normalize_text,
    to_decimal,
)
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.text import short_repr, shorten

if TYPE_CHECKING:
    from decimal import Decimal

    from gatewayx_nb.replies import Reply

__all__ = ["contains", "cost", "equals", "fits", "latency", "matches", "number", "one_of"]

Check = Callable[..., bool | tuple[bool, str] | None]
"""A scorer that returns a bool, with a reason if it is False."""

Measure = Callable[..., float | None]
"""A scorer that returns a number."""

F = TypeVar("F", bound=Callable[..., Any])

_MAX_REASON_LENGTH = 200
"""Maximum number of characters of a reason."""


def __dir__() -> list[str]:
    """Return the public names, for completion in a notebook."""
    return sorted(__all__)


def _scorer_factory(function: F) -> F:
    """Mark a function that returns a scorer, so that it can be passed in place of the scorer."""
    factory = with_one_line_errors(function)
    factory.__dict__["is_scorer_factory"] = True
    return factory


@_scorer_factory
def equals(value: object = None, *, ignore_case: bool = False) -> Check:
    r"""Return a scorer that checks whether the answer equals a value.

    An answer to a schema is compared as data: an enum by its value, an object as a dict, and 3
    equals 3.0. Strings are compared without surrounding white space. A string equals the number or
    the bool that it represents: ``"3"`` equals 3.0, and ``"true"`` equals True.

    >>> is_rome = equals("Rome")
    >>> is_rome(text="Rome\n", parsed=None, expected=None)
    True
    >>> equals()(text="Oslo", parsed=None, expected=["Rome", "Roma"])
    (False, "got 'Oslo', expected 'Rome' or 'Roma'")

    Args:
        value: The value, or a list of acceptable values; the row's expected answer if omitted.
        ignore_case: Whether to ignore the case of strings.

    Raises:
        UsageError: If the value is missing or an empty list.
    """
    if value is not None and not acceptable_values(value):
        raise _empty_error("equals", value)

    def equals(text: str, parsed: object, expected: object) -> bool | tuple[bool, str] | None:
        target = expected if value is None else value
        return _compare(text if parsed is None else parsed, target, ignore_case=ignore_case)

    equals.__dict__["needs_expected"] = value is None
    return equals


@_scorer_factory
def one_of(*choices: object) -> Check:
    """Return a scorer that checks whether the answer is one of several values.

    Values are compared as by `equals`.

    >>> one_of("yes", "no")(text="maybe", parsed=None)
    (False, "got 'maybe', expected 'yes' or 'no'")

    Args:
        *choices: The values, or a single list of them.

    Raises:
        UsageError: If there is no choice.
    """
    values = list(choices)
    if len(choices) == 1 and isinstance(choices[0], list | tuple | set | frozenset):
        values = list(choices[0])
    if not acceptable_values(values):
        raise UsageError(
            "one_of needs at least one choice.", hint='For example, `one_of("yes", "no")`.'
        )

    def one_of(text: str, parsed: object) -> bool | tuple[bool, str] | None:
        return _compare(text if parsed is None else parsed, values, ignore_case=False)

    return one_of


@_scorer_factory
def contains(value: object = None, *, ignore_case: bool = False) -> Check:
    """Return a scorer that checks whether the answer contains a string.

    >>> contains("Rome")(text="It is Rome.", expected=None)
    True

    Args:
        value: The string or number, or a list of these, of which the answer must contain at least
            one; the row's expected answer if omitted. Empty strings are ignored, because every
            answer contains them.
        ignore_case: Whether to ignore case.

    Raises:
        UsageError: If the value is missing or empty.
    """
    if value is not None and not _strings_to_find(value):
        raise _empty_error("contains", value)

    def contains(text: str, expected: object) -> bool | tuple[bool, str] | None:
        parts = _strings_to_find(expected if value is None else value)
        if not parts:
            return None
        answer = normalize_text(text, ignore_case=ignore_case)
        if any(normalize_text(part, ignore_case=ignore_case) in answer for part in parts):
            return True
        return False, _shorten_reason(f"the answer does not contain {describe_values(parts)}")

    contains.__dict__["needs_expected"] = value is None
    return contains


@_scorer_factory
def matches(pattern: object = None) -> Check:
    r"""Return a scorer that searches the answer for a regular expression.

    >>> matches(r"^\d{4}$")(text="in 1969", expected=None)
    (False, "the answer does not match '^\\\\d{4}$'")

    Args:
        pattern: The expression, as for `re.search`, or a list of expressions, of which at least one
            must match; the row's expected answer if omitted. Empty expressions are ignored.

    Raises:
        UsageError: If the pattern is not a regular expression, or is empty.
    """
    fixed_patterns = _compile_all(pattern)
    if pattern is not None and not fixed_patterns:
        raise _empty_error("matches", pattern)

    def matches(text: str, expected: object) -> bool | tuple[bool, str] | None:
        patterns = fixed_patterns or _compile_all(expected)
        if not patterns:
            return None
        if any(compiled.search(text) for compiled in patterns):
            return True
        sources = describe_values([compiled.pattern for compiled in patterns])
        return False, _shorten_reason(f"the answer does not match {sources}")

    matches.__dict__["needs_expected"] = pattern is None
    return matches


@_scorer_factory
def number(value: object = None, *, tolerance: float = 0.0) -> Check:
    """Return a scorer that checks whether the answer is a number.

    The number is the answer to a schema such as ``float``, otherwise the last number in the text.
    It may be written as ``1,234.5``, ``1e-3`` or ``.5``. Text before or after it, such as ``$``,
    ``%`` or ``kg``, is ignored: ``50 %`` is 50. Decimal commas, fractions such as ``1/2`` and
    numbers in words are not supported. Numbers are compared exactly, in decimal: 3.2 differs from
    3.1 by 0.1.

    >>> number(3.1, tolerance=0.1)(text="About 3.2 km.", parsed=None, expected=None)
    True

    Args:
        value: The number, or a list of acceptable numbers. If omitted, the row's expected answer,
            which may be a string that contains the number.
        tolerance: Maximum absolute difference.

    Raises:
        UsageError: If the value is not a number, or the tolerance is not a number >= 0.
    """
    limit = _read_tolerance(tolerance)
    fixed_targets = _expected_numbers(value)
    if value is not None and not fixed_targets:
        raise _empty_error("number", value)

    def number(text: str, parsed: object, expected: object) -> bool | tuple[bool, str] | None:
        targets = fixed_targets or _expected_numbers(expected)
        if not targets:
            return None
        is_number = parsed is not None and not isinstance(parsed, str)
        answer = to_decimal(parsed) if is_number else None
        answer = last_number(text) if answer is None else answer
        if answer is None:
            return False, "the answer contains no number"
        if any(is_near(answer, target, limit) for target in targets):
            return True
        values = " or ".join(shorten(str(target), 40) for target in targets)
        tolerance_text = f" ± {limit}" if limit else ""
        return False, _shorten_reason(
            f"got {shorten(str(answer), 40)}, expected {values}{tolerance_text}"
        )

    number.__dict__["needs_expected"] = value is None
    return number


@_scorer_factory
def fits(schema: object) -> Check:
    """Return a scorer that checks whether the answer is JSON that fits a schema.

    A code fence or prose around the JSON is ignored, as in a call with ``schema=``.

    >>> fits(list[int])(text='[1, "two"]')
    (False, 'Expected `int`, got `str` - at `$[1]`')

    Args:
        schema: A type, such as a dataclass or ``list[int]``, or a JSON Schema as a dict.

    Raises:
        UsageError: If the schema is neither.
    """
    if schema is None:
        raise UsageError("schema must be a type or a JSON Schema, got None.")
    expected = ResponseSchema(schema)

    def fits(text: str) -> bool | tuple[bool, str] | None:
        try:
            expected.parse(text)
        except ValueError as error:
            return False, _shorten_reason(str(error))
        return True

    return fits


@_scorer_factory
def cost() -> Measure:
    """Return a scorer for the cost of the answer in US dollars; ``None`` if it is unknown.

    Lower is better.
    """

    def cost(reply: Reply[Any]) -> float | None:
        return None if reply.cost is None else float(reply.cost)

    return _mark_lower_is_better(cost)


@_scorer_factory
def latency() -> Measure:
    """Return a scorer for the seconds from the call to the end of the answer; ``None`` if unknown.

    Lower is better. An answer from a cassette has the latency of the recorded call.
    """

    def latency(reply: Reply[Any]) -> float | None:
        return reply.latency or None  # no call takes 0 s

    return _mark_lower_is_better(latency)


def _mark_lower_is_better(scorer: Measure) -> Measure:
    scorer.__dict__["lower_is_better"] = True
    return scorer


def _empty_error(name: str, value: object) -> UsageError:
    """Return the error for a value that is missing or empty."""
    return UsageError(
        f"the value of {name} must not be missing or empty, got {short_repr(value)}.",
        hint="Omit it to compare with the row's expected answer.",
    )


def _compare(
    answer: object, target: object, *, ignore_case: bool
) -> bool | tuple[bool, str] | None:
    """Return whether an answer equals a value, or one of several; ``None`` if there is no value."""
    values = acceptable_values(target)
    if not values:
        return None
    data, acceptable_data = as_data(answer), [as_data(value) for value in values]
    # An answer that is a list may equal the whole list, or one of the lists in it.
    whole_list = [acceptable_data] if isinstance(data, list | tuple) else []
    if any(is_same(data, value, ignore_case=ignore_case) for value in whole_list + acceptable_data):
        return True
    expected = describe_values(whole_list or acceptable_data)
    return False, _shorten_reason(f"got {short_repr(data, 60)}, expected {expected}")


def _strings_to_find(value: object) -> list[str]:
    """Return the strings for which to search."""
    return list(filter(None, map(_value_text, acceptable_values(value))))


def _value_text(value: object) -> str:
    """Return a value as text; an int that pandas has stored as a float is written as an int."""
    value = as_data(value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _compile_all(pattern: object) -> list[re.Pattern[str]]:
    """Compile a regular expression, or a list of them.

    Raises:
        UsageError: If one of them is invalid.
    """
    return [_compile_pattern(source) for source in acceptable_values(pattern) if source != ""]


def _compile_pattern(pattern: object) -> re.Pattern[str]:
    is_bytes = isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, bytes)
    if is_bytes or not isinstance(pattern, str | re.Pattern):
        raise UsageError(f"a pattern must be a str, got {short_repr(pattern)}.")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{short_repr(pattern)} is not a valid regular expression: {error}.",
            hint="`re.escape` escapes the special characters of a string.",
        ) from None


def _read_tolerance(tolerance: object) -> Decimal:
    limit = None if isinstance(tolerance, str) else to_decimal(tolerance)
    if limit is None or limit < 0:
        raise UsageError(f"tolerance must be a number >= 0, got {short_repr(tolerance)}.")
    return limit


def _expected_numbers(expected: object) -> list[Decimal]:
    """Return the expected numbers.

    Raises:
        UsageError: If one of them is not a number.
    """
    numbers = []
    for value in acceptable_values(expected):
        if isinstance(value, str) and not value.strip():  # an empty field of a CSV file
            continue
        if (number := to_decimal(value)) is None:
            raise UsageError(f"the expected answer must be a number, got {short_repr(value)}.")
        numbers.append(number)
    return numbers


def _shorten_reason(reason: str) -> str:
    return shorten(reason, _MAX_REASON_LENGTH)
