"""Code and data in a model's answer: in a fence, between words, or the whole of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

# A fence of CommonMark; one that never ends runs to the end of the text.
_FENCE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^\n`]*\n"
    r"(?P<source>.*?)"
    r"(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"[\[{]")
_MOST_TRIES = 200
_SCANNER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    Attributes:
        source: What stands in the fence.
        language: The word behind the fence; empty where there is none.
    """

    source: str
    language: str = ""


def blocks(text: str) -> list[Block]:
    """Give the fenced blocks of an answer, in order."""
    return [Block(found["source"], found["language"]) for found in _FENCE.finditer(text)]


def code(text: str) -> Block:
    r"""Give the longest fenced block of an answer, or all of it where there is none.

    >>> code("Here:\n```python\nx = 1\n```\nThat is all.")
    Block(source='x = 1', language='python')
    """
    block = max(blocks(text), key=lambda one: len(one.source), default=Block(text.strip()))
    return Block(block.source.strip("\n").rstrip(), block.language)


def data(text: str) -> Any:  # noqa: ANN401 - JSON
    r"""Read JSON that may stand in a fence, or between words; of several the longest.

    Raises:
        ValueError: There is none.

    >>> data('It is {"a": [1]}, I think.')
    {'a': [1]}
    """
    sources = sorted((block.source for block in blocks(text)), key=len, reverse=True)
    for candidate in (text, *sources):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return _between_words(text)


def _between_words(text: str) -> Any:  # noqa: ANN401 - JSON
    """Read the longest object or list that stands in a text; each bracket is one try, of 200."""
    found: list[tuple[int, Any]] = []
    end = tries = 0
    for opening in _OPENING.finditer(text):
        if opening.start() < end:
            continue
        tries += 1
        if tries > _MOST_TRIES:
            break
        try:
            value, end = _SCANNER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            continue
        found.append((end - opening.start(), value))
    if not found:
        raise ValueError("it holds no JSON")
    return max(found, key=lambda one: one[0])[1]
