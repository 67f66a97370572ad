r"""Searches text for an untrusted regular expression, in a bounded number of steps.

Python's `re` backtracks: on 40 characters, ``(a+)+$`` takes hours, during which no other thread
runs. Therefore, `re` is used only if its search is certain to be quick. Any other search tracks the
set of positions that the parts of the expression can reach, as Thompson's algorithm does, which
never backtracks.

Reference: https://swtch.com/~rsc/regexp/regexp1.html
"""

from __future__ import annotations

import functools
import math
import re

# Private, but every Python version since 1.6 has this parser. Its public name, `sre_parse`, is
# deprecated.
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as sre_parser  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Node: TypeAlias = Any
"""A part of an expression, as the parser of `re` returns it: a pair of its kind and a value."""

_MAX_RE_STEPS = 100_000
"""Maximum number of steps in a search with `re`, which then takes about 1 ms."""

_IS_IN_CATEGORY: dict[Node, Callable[[str], bool]] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_WORD: lambda character: character.isalnum() or character == "_",
    sre.CATEGORY_NOT_DIGIT: lambda character: not character.isdecimal(),
    sre.CATEGORY_NOT_SPACE: lambda character: not character.isspace(),
    sre.CATEGORY_NOT_WORD: lambda character: not (character.isalnum() or character == "_"),
}

_CHARACTER_KINDS = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN)
_REPEAT_KINDS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_ASSERTION_KINDS = (sre.ASSERT, sre.ASSERT_NOT)


class UnsupportedPatternError(ValueError):
    """A pattern is not a regular expression, or cannot be searched for in bounded time."""


class BoundedPattern:
    """A regular expression in the syntax of `re`, without back references, flags and rare features.

    Args:
        source: The expression.

    Raises:
        UnsupportedPatternError: If it is invalid or not supported.
    """

    def __init__(self, source: str) -> None:
        try:
            self._compiled = re.compile(source)
            self._tree = sre_parser.parse(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise UnsupportedPatternError(str(error)) from None
        if self._compiled.flags != re.UNICODE:
            raise UnsupportedPatternError("flags are not supported")
        _check_supported(self._tree)
        # The keys are the bit lengths of the lengths of strings.
        self._is_quick_by_length_bits: dict[int, bool] = {}

    def search(self, text: str, spend: Callable[[int], None]) -> bool:
        """Return whether some part of a string matches.

        Args:
            text: The string to search.
            spend: Called repeatedly with a number of steps, each of less than 1 µs; may raise an
                exception to end the search.
        """
        spend(1 + len(text) // 100)
        length_bits = len(text).bit_length()
        if length_bits not in self._is_quick_by_length_bits:
            max_length = 1 << length_bits
            self._is_quick_by_length_bits[length_bits] = (
                max_length * _count_steps(self._tree, max_length) <= _MAX_RE_STEPS
            )
        if self._is_quick_by_length_bits[length_bits]:
            return self._compiled.search(text) is not None
        starts = frozenset(range(len(text) + 1))
        return bool(_Search(text, spend).end_positions(self._tree, starts))


compile_pattern = functools.lru_cache(maxsize=256)(BoundedPattern)
"""`BoundedPattern`, cached for the most recently used patterns."""


def _check_supported(tree: Iterable[Node]) -> None:
    for kind, value in tree:
        if kind in _REPEAT_KINDS:
            _check_supported(value[2])
        elif kind in _ASSERTION_KINDS:
            _check_supported(value[1])
        elif kind is sre.BRANCH:
            for branch in value[1]:
                _check_supported(branch)
        elif kind is sre.SUBPATTERN and not (value[1] or value[2]):
            _check_supported(value[3])
        elif kind not in (*_CHARACTER_KINDS, sre.AT):
            raise UnsupportedPatternError(f"{str(kind).lower()} is not supported")


def _count_steps(tree: Iterable[Node], length: int) -> float:
    """Return an upper bound on the number of steps that `re` takes to match at one position."""
    count = 1.0
    for kind, value in tree:
        if kind in _REPEAT_KINDS:
            max_count, inner = min(int(value[1]), length), _count_steps(value[2], length)
            is_small = max_count * math.log(inner) < math.log(_MAX_RE_STEPS)
            count *= (max_count + 1) * inner**max_count if is_small else math.inf
        elif kind is sre.BRANCH:
            count *= sum(_count_steps(branch, length) for branch in value[1])
        elif kind in _ASSERTION_KINDS:
            count *= _count_steps(value[1], length)
        elif kind is sre.SUBPATTERN:
            count *= _count_steps(value[3], length)
    return count


class _Search:
    """A search for a pattern in one string."""

    def __init__(self, text: str, spend: Callable[[int], None]) -> None:
        self._text, self._spend = text, spend

    def end_positions(self, tree: Iterable[Node], starts: frozenset[int]) -> frozenset[int]:
        """Return the positions at which a match that begins at one of ``starts`` may end."""
        for kind, value in tree:
            if not starts:
                break
            self._spend(1 + len(starts) // 4)
            starts = self._match_node(kind, value, starts)
        return starts

    def _match_node(self, kind: Node, value: Node, starts: frozenset[int]) -> frozenset[int]:
        text = self._text
        if kind in _CHARACTER_KINDS:
            inside = (start for start in starts if start < len(text))
            return frozenset(start + 1 for start in inside if _matches(kind, value, text[start]))
        if kind in _REPEAT_KINDS:
            return self._match_repetition(value, starts)
        if kind is sre.BRANCH:
            return frozenset().union(*(self.end_positions(branch, starts) for branch in value[1]))
        if kind is sre.SUBPATTERN:
            return self.end_positions(value[3], starts)
        if kind is sre.AT:
            return frozenset(start for start in starts if _is_at(value, text, start))
        is_positive = kind is sre.ASSERT
        return frozenset(
            start for start in starts if self._matches_assertion(value, start) is is_positive
        )

    def _match_repetition(self, value: Node, starts: frozenset[int]) -> frozenset[int]:
        min_count, max_count, body = value
        for _ in range(min_count):
            previous_starts, starts = starts, self.end_positions(body, starts)
            if not starts or starts == previous_starts:
                break
        # Continue from each position only once, after the fewest repetitions that reach it.
        reached_positions, new_positions = set(starts), starts
        count = min_count
        while new_positions and count < max_count:
            new_positions = self.end_positions(body, new_positions).difference(reached_positions)
            reached_positions |= new_positions
            count += 1
        return frozenset(reached_positions)

    def _matches_assertion(self, value: Node, start: int) -> bool:
        direction, body = value
        if direction > 0:
            return bool(self.end_positions(body, frozenset([start])))
        width = body.getwidth()[0]  # `re` requires that all matches have the same width
        return start >= width and start in self.end_positions(body, frozenset([start - width]))


def _matches(kind: Node, value: Node, character: str) -> bool:
    if kind is sre.ANY:
        return character != "\n"
    if kind is sre.IN:
        is_negated = value[0][0] is sre.NEGATE
        return any(_is_in(item, character) for item in value[is_negated:]) is not is_negated
    return bool((ord(character) == value) == (kind is sre.LITERAL))


def _is_in(node: Node, character: str) -> bool:
    kind, value = node
    if kind is sre.LITERAL:
        return bool(ord(character) == value)
    if kind is sre.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    return bool(_IS_IN_CATEGORY[value](character))


def _is_at(kind: Node, text: str, position: int) -> bool:
    if kind in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
        return position == 0
    if kind is sre.AT_END_STRING:
        return position == len(text)
    if kind is sre.AT_END:
        remaining_length = len(text) - position
        return remaining_length == 0 or (remaining_length == 1 and text[position] == "\n")
    is_word_character = [
        _IS_IN_CATEGORY[sre.CATEGORY_WORD](neighbor)
        for neighbor in (
            text[position - 1 : position] if position else "",
            text[position : position + 1],
        )
    ]
    return (is_word_character[0] != is_word_character[1]) is (kind is sre.AT_BOUNDARY)
