"""Extraction of code and JSON from a reply: from fenced blocks, from prose, or the whole reply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

# A CommonMark fence; an unclosed one extends to the end of the text.
_FENCE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^\n`]*\n"
    r"(?P<source>.*?)"
    r"(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"[\[{]")
_MAX_TRIES = 200
"""Maximum number of brackets to try, because each may be parsed up to the end of the text."""

_SCANNER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of code.

    Attributes:
        source: The content of the fence.
        language: The word after the opening fence; empty if there is none.
    """

    source: str
    language: str = ""


def code_blocks(text: str) -> list[CodeBlock]:
    """Return a reply's fenced blocks, in order."""
    return [CodeBlock(match["source"], match["language"]) for match in _FENCE.finditer(text)]


def extract_code(text: str) -> CodeBlock:
    r"""Return a reply's longest fenced block, or the whole reply if there is none.

    >>> extract_code("Here:\n```python\nx = 1\n```\nThat is all.")
    CodeBlock(source='x = 1', language='python')
    """
    blocks = code_blocks(text) or [CodeBlock(text.strip())]
    block = max(blocks, key=lambda block: len(block.source))
    # Spaces at the start are the indentation of the first line.
    return CodeBlock(block.source.strip("\n").rstrip(), block.language)


def extract_json(text: str) -> Any:  # noqa: ANN401 - JSON
    r"""Parse a reply's JSON, fenced or embedded in prose; if there are several, the longest.

    Raises:
        ValueError: If the text contains no JSON.

    >>> extract_json('It is {"a": [1]}, I think.')
    {'a': [1]}
    """
    sources = sorted((block.source for block in code_blocks(text)), key=len, reverse=True)
    # The whole text first: a string in JSON may contain a code fence.
    for candidate in (text, *sources):
        try:
            # Thousands of nested brackets are valid JSON, but exceed the parser's recursion limit.
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return _embedded_json(text)


def _embedded_json(text: str) -> Any:  # noqa: ANN401 - JSON
    """Parse the longest object or list in a text, trying at most `_MAX_TRIES` brackets."""
    candidates: list[tuple[int, Any]] = []  # length and value
    end = tries = 0
    for opening in _OPENING.finditer(text):
        # A bracket inside a value that was found already.
        if opening.start() < end:
            continue
        tries += 1
        if tries > _MAX_TRIES:
            break
        try:
            value, end = _SCANNER.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            continue
        candidates.append((end - opening.start(), value))
    if not candidates:
        raise ValueError("it contains no JSON")
    return max(candidates, key=lambda candidate: candidate[0])[1]
