"""Extracts code and JSON from a reply: from fenced blocks, from prose, or the whole reply."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb import bounded_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it import MarkdownIt

_MARKDOWN = frozenset({"markdown", "md"})
"""Languages of blocks that may wrap the whole answer, with the code in nested blocks."""

_PYTHON = frozenset({"python", "py", "python3", "ipython"})
_OPENING_BRACKET = re.compile(r"[\[{]")
_MAX_TRIES = 200
"""Maximum number of brackets or fences to try; each attempt may parse to the end of the text."""

_MAX_CODE_CHARS = 200_000
"""Maximum number of characters of Python to parse in an answer; takes 0.6 s and 130 MB."""

_MAX_INVALID_JSON = 2_000_000
"""Maximum number of characters of invalid JSON to parse in an answer."""

_DECODER = json.JSONDecoder()


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
    """Return a reply's fenced blocks, in order, without their indentation.

    A block that is not closed extends to the end of the text. A block of Python extends to the
    first closing fence at which it is complete, because its strings may contain fences.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as the parser counts lines
    lines = text.split("\n")
    blocks: list[CodeBlock] = []
    python_check = _PythonCheck()
    end = 0
    for token in _block_parser().parse(text):
        # A fence inside an extended block is part of the block.
        if token.type != "fence" or not token.map or token.map[0] < end:
            continue
        language = (token.info.split() or [""])[0].strip("{.}")
        source, end = token.content, token.map[1]
        if language.lower() in _PYTHON and python_check.is_complete(source) is False:
            source, end = _extend_to_complete(
                source, lines, token.map[1], token.markup, python_check
            )
        blocks.append(CodeBlock(source, language))
    return blocks


@functools.cache
def _block_parser() -> MarkdownIt:
    # Import on first use, because the import is slow. Indented code is disabled, so that fences may
    # be indented.
    from markdown_it import MarkdownIt

    return MarkdownIt("zero").enable(["fence", "list", "blockquote"])


def _extend_to_complete(
    source: str, lines: list[str], end: int, fence: str, python_check: _PythonCheck
) -> tuple[str, int]:
    """Return the code up to the fence that completes it, and the number of the line after it."""
    fence_numbers = (number for number in range(end, len(lines)) if lines[number].strip() == fence)
    for number in itertools.islice(fence_numbers, _MAX_TRIES):
        longer_text = "\n".join([source.rstrip("\n"), fence, *lines[end:number]]) + "\n"
        is_complete = python_check.is_complete(longer_text)
        if is_complete is None:
            break
        if is_complete:
            return longer_text, number + 1
    return source, end


class _PythonCheck:
    """Checks whether an answer's code is complete; limits the amount of code that is parsed."""

    def __init__(self) -> None:
        self._remaining_chars = _MAX_CODE_CHARS

    def is_complete(self, source: str) -> bool | None:
        """Return whether code is complete; ``None`` if the limit on parsed code is reached."""
        self._remaining_chars -= len(source)
        if self._remaining_chars < 0:
            return None
        try:
            with warnings.catch_warnings(action="ignore"):  # an invalid escape such as "\d"
                ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True


def extract_code(text: str) -> CodeBlock:
    r"""Return a reply's longest fenced block, or the whole reply if there is none.

    >>> extract_code("Here:\n```python\nx = 1\n```\nThat is all.")
    CodeBlock(source='x = 1', language='python')
    """
    blocks = [inner for block in code_blocks(text) for inner in _inner_blocks(block)]
    block = max(blocks or [CodeBlock(text.strip())], key=lambda block: len(block.source))
    # Spaces at the start are the indentation of the first line.
    return CodeBlock(block.source.strip("\n").rstrip(), block.language)


def _inner_blocks(block: CodeBlock) -> list[CodeBlock]:
    """Return the code in a block of Markdown, or the block itself."""
    inner = code_blocks(block.source) if block.language.lower() in _MARKDOWN else []
    return [code for code in inner if code.language] or [block]


def extract_json(text: str) -> Any:  # noqa: ANN401 - JSON
    r"""Parse a reply's JSON: the whole reply, a fenced block, or one value within prose.

    JSON Lines, with one object per line, become a list.

    Raises:
        ValueError: If the text contains no JSON, several values that differ, or too many values.

    >>> extract_json('It is {"a": [1]}, I think.')
    {'a': [1]}
    >>> extract_json('{"a": 1}\n{"a": 2}')
    [{'a': 1}, {'a': 2}]
    """
    bounded_json.check_values(text)
    # Try the whole text first, because a JSON string may contain a code fence.
    for sources in ((text,), [block.source for block in code_blocks(text)]):
        values = [value for value in map(_parse, sources) if value is not _NO_JSON]
        if values:
            return _only_value(values)
    return _only_value(_embedded_values(text))


def ends_within_json(text: str) -> bool:
    """Return whether a string ends inside a JSON object or list.

    >>> ends_within_json('[{"a": 1}, {"a"'), ends_within_json('[see] {"a": 1} as')
    (True, False)
    """
    # The decoder reports a truncated literal, such as `false`, at its first character.
    literal_start = len(text.rstrip()) - len("false")
    errors = (
        result for result in _values_and_errors(text) if isinstance(result, json.JSONDecodeError)
    )
    return any(
        error.pos > literal_start or error.msg.startswith("Unterminated string") for error in errors
    )


_NO_JSON = object()


def _parse(source: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value of JSON or JSON Lines, or `_NO_JSON`."""
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


def _only_value(values: list[Any]) -> Any:  # noqa: ANN401 - JSON
    """Return the only distinct value."""
    if not values:
        raise ValueError("it contains no JSON")
    if any(value != values[0] for value in values):
        raise ValueError(f"it contains {len(values)} different JSON values")
    return values[0]


def _embedded_values(text: str) -> list[Any]:
    """Return the objects and lists within text; see `_values_and_errors`."""
    values = [result for result in _values_and_errors(text) if not isinstance(result, Exception)]
    # "[1]" in prose is a citation.
    return [value for value in values if not _is_citation(value)] or values


def _values_and_errors(text: str) -> Iterator[Any]:
    """Yield the object or list at each opening bracket, or the error if it cannot be parsed.

    At most `_MAX_TRIES` brackets are tried, and parsing stops after `_MAX_INVALID_JSON` characters
    of invalid JSON.
    """
    end = attempt_count = invalid_length = 0
    for opening in _OPENING_BRACKET.finditer(text):
        # Skip a bracket inside a value that has already been found.
        if opening.start() < end:
            continue
        attempt_count += 1
        if attempt_count > _MAX_TRIES or invalid_length > _MAX_INVALID_JSON:
            break
        try:
            value, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError) as error:
            invalid_length += getattr(error, "pos", opening.start()) - opening.start()
            yield error
        else:
            yield value


def _is_citation(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) for item in value)
