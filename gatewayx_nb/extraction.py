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
    r"""Parse a reply's JSON: the whole reply, a fenced block, or one value within prose.

    JSON lines, one object on each, become a list.

    Raises:
        ValueError: If the text contains no JSON, or several values that differ.

    >>> extract_json('It is {"a": [1]}, I think.')
    {'a': [1]}
    >>> extract_json('{"a": 1}\n{"a": 2}')
    [{'a': 1}, {'a': 2}]
    """
    # The whole text first: a string in JSON may contain a code fence.
    for sources in ((text,), [block.source for block in code_blocks(text)]):
        values = [value for value in map(_parse, sources) if value is not _NO_JSON]
        if values:
            return _only(values)
    return _only(_embedded_values(text))


_NO_JSON = object()


def _parse(source: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value of JSON or JSON lines, or `_NO_JSON`."""
    try:
        # Thousands of nested brackets are valid JSON, but exceed the parser's recursion limit.
        return json.loads(source)
    except (ValueError, RecursionError):
        pass
    lines = [line for line in source.splitlines() if line.strip()]
    try:
        rows = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return _NO_JSON
    return rows if rows and all(isinstance(row, dict) for row in rows) else _NO_JSON


def _only(values: list[Any]) -> Any:  # noqa: ANN401 - JSON
    """Return the value that all of the values are equal to."""
    if not values:
        raise ValueError("it contains no JSON")
    if any(value != values[0] for value in values):
        raise ValueError(f"it contains {len(values)} different JSON values")
    return values[0]


def _embedded_values(text: str) -> list[Any]:
    """Return the objects and lists within a text, trying at most `_MAX_TRIES` brackets."""
    values: list[Any] = []
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
        values.append(value)
    # "[1]" in prose is a citation.
    return [value for value in values if not _is_citation(value)] or values


def _is_citation(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)
