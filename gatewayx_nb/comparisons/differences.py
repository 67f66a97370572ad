"""Finds word-by-word differences between several texts."""

from __future__ import annotations

import difflib
import operator
import re
from collections import Counter
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORD_PATTERN = re.compile(r"\s+|\w+|[^\w\s]")
_LINE_PATTERN = re.compile(r"[^\n]*\n|[^\n]+\Z")

_MAX_PAIRS = 500_000
"""Maximum number of matching pairs of pieces; comparing this many takes at most two seconds.

The time is proportional to the number of pairs, which grows quadratically when pieces repeat.
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of text.

    Attributes:
        text: The span's text.
        is_shared: Whether the other texts also contain it.
    """

    text: str
    is_shared: bool


def differences(texts: Sequence[str]) -> list[list[Span]]:
    """Split each text into spans that the other texts also contain, and spans that they do not.

    The first text is compared with each of the other texts. Its pieces are shared if all other
    texts contain them. A piece of another text is shared if the first text contains it. Pieces are
    words, or lines if the texts are too long to compare by word, or whole texts if lines repeat
    thousands of times.

    >>> one, other = differences(["The sky is blue.", "The sky was blue."])
    >>> [(span.text, span.is_shared) for span in other]
    [('The sky ', True), ('was', False), (' blue.', True)]
    """
    if not texts:
        return []
    pieces = _split(texts)
    first_shared = [True] * len(pieces[0])
    shared_flags = [first_shared]
    for other in pieces[1:]:
        first_matches, other_matches = _matches(pieces[0], other)
        # The list is changed in place, because `shared_flags` contains it.
        first_shared[:] = map(operator.and_, first_shared, first_matches)
        shared_flags.append(other_matches)
    return [
        _join_pieces(text_pieces, flags)
        for text_pieces, flags in zip(pieces, shared_flags, strict=True)
    ]


def _split(texts: Sequence[str]) -> list[list[str]]:
    """Split each text into words, or larger pieces if comparing words would take too long."""
    # Smaller pieces result in more matching pairs, and each pair takes time.
    for pattern in (_WORD_PATTERN, _LINE_PATTERN):
        pieces = [pattern.findall(text) for text in texts]
        if _count_pairs(pieces) <= _MAX_PAIRS:
            return pieces
    return [[text] if text else [] for text in texts]


def _count_pairs(pieces: list[list[str]]) -> int:
    """Return the number of pairs of equal pieces in the first text and the other texts."""
    first_counts, other_counts = Counter(pieces[0]), Counter(chain.from_iterable(pieces[1:]))
    return sum(count * other_counts[piece] for piece, count in first_counts.items())


def _matches(first: list[str], other: list[str]) -> tuple[list[bool], list[bool]]:
    """Return, for each piece of both texts, whether it matches a piece of the other text."""
    first_matches, other_matches = [False] * len(first), [False] * len(other)
    # `autojunk` would ignore words that are frequent in text of 200 words or more.
    for block in difflib.SequenceMatcher(None, first, other, autojunk=False).get_matching_blocks():
        first_matches[block.a : block.a + block.size] = [True] * block.size
        other_matches[block.b : block.b + block.size] = [True] * block.size
    return first_matches, other_matches


def _join_pieces(pieces: list[str], flags: list[bool]) -> list[Span]:
    runs = groupby(zip(pieces, flags, strict=True), key=lambda pair: pair[1])
    return [Span("".join(piece for piece, _ in run), is_shared) for is_shared, run in runs]
