"""Parses and edits a key file line by line; each line is parsed with python-dotenv.

No key contains a line break, so lines are independent: an unclosed quote invalidates only its own
line, and setting a value leaves all other lines unchanged.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

from gatewayx_nb.secrets import NotPicklable, key_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MAX_LINE_NUMBERS = 5
"""Maximum number of line numbers shown."""

_MAX_COMMENT_LINE = 4096
"""Maximum length of a line whose comment is kept; the search takes quadratic time."""

_LONG_BLANK = re.compile(r"[^\S\r\n]{100}")
"""A run of spaces, in which the parser would search for a comment in quadratic time."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN_VALUE = re.compile(r"[\w./:+=@-]+", re.ASCII)
_UNREADABLE_CHARACTER = re.compile("[\0\ud800-\udfff]")
# The parts of an assignment: `head`, up to the value, and `tail`, a comment after it.
_BINDING = re.compile(
    r"""(?P<head>\ufeff?\s*(?:export\s+)?[^=\s]+[^\S\r\n]*=[^\S\r\n]*)
        (?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\r\n]*?)
        (?P<tail>(?:[^\S\r\n]+\#[^\r\n]*)?)[^\S\r\n]*[\r\n]*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class DotenvLine(NotPicklable):
    """One line of a key file.

    Attributes:
        text: The unchanged line, with its line ending.
        name: The name that it sets, if any.
        value: The unchanged value that it sets; ``${…}`` is not expanded.
        is_broken: Whether it is neither an assignment, nor empty, nor a comment.
    """

    text: str = field(repr=False)
    name: str | None = None
    value: str | None = field(default=None, repr=False)
    is_broken: bool = False


def parse_lines(text: str) -> list[DotenvLine]:
    """Parse the content of a file line by line; surrogates represent non-UTF-8 bytes."""
    return list(map(_parse_line, io.StringIO(text, newline="")))


def values(lines: Iterable[DotenvLine]) -> dict[str, str]:
    """Return the values by name; if a name is repeated, its last value counts."""
    return {line.name: line.value for line in lines if line.name and line.value is not None}


def line_problems(lines: Iterable[DotenvLine]) -> Iterator[str]:
    """Yield problems with their line numbers but without the content of the lines."""
    broken_lines: list[int] = []
    numbers_by_name: defaultdict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines, start=1):
        if line.is_broken:
            broken_lines.append(number)
        elif line.name and _NAME.fullmatch(line.name):  # any other name may be part of a key
            numbers_by_name[line.name].append(number)
    if broken_lines:
        line_numbers = _format_line_numbers(broken_lines)
        yield (
            f"has no NAME=VALUE pair on {line_numbers}; all other lines were read."
            f" Fix {'those lines' if len(broken_lines) > 1 else 'that line'} in an editor."
        )
    for number, line in enumerate(lines, start=1):
        name = line.name or ""
        if not name.isascii() and _NAME.fullmatch(re.sub(r"[^\x00-\x7f]", "", name)):
            yield f"has a name on line {number} that {key_fault(name)}. Type it again."
    repeated_names = [
        f"{name} on {_format_line_numbers(numbers)}"
        for name, numbers in numbers_by_name.items()
        if len(numbers) > 1
    ]
    if repeated_names:
        details = "; ".join(repeated_names)
        yield f"sets a name more than once, and the last one counts: {details}. Delete the others."


def with_values(text: str, new_values: Mapping[str, str]) -> str:
    """Return the text with new values, in the lines of existing names or at the end."""
    line_ending = "\r\n" if "\r\n" in text else "\n"
    pending_values, result = dict(new_values), []
    for line in parse_lines(text):
        if line.name not in new_values:
            result.append(line.text)
        elif line.name in pending_values:
            result.append(_replace_value(line, pending_values.pop(line.name), line_ending))
    if result and not result[-1].endswith(("\n", "\r")):
        result.append(line_ending)
    result += [f"{name}={_quote(value)}{line_ending}" for name, value in pending_values.items()]
    return "".join(result)


def without_name(text: str, name: str) -> str:
    """Return the text without the lines that set a name."""
    return "".join(line.text for line in parse_lines(text) if line.name != name)


def _parse_line(text: str) -> DotenvLine:
    if _LONG_BLANK.search(text):
        return DotenvLine(text, is_broken=True)
    binding = next(parse_stream(io.StringIO(text, newline="")), None)
    if binding is None:  # only a byte order mark
        return DotenvLine(text)
    if binding.error or (
        binding.key and (binding.value is None or _UNREADABLE_CHARACTER.search(text))
    ):
        return DotenvLine(text, is_broken=True)
    return DotenvLine(text, binding.key, binding.value)


def _format_line_numbers(numbers: list[int]) -> str:
    shown_numbers = ", ".join(map(str, numbers[:_MAX_LINE_NUMBERS]))
    hidden_count = len(numbers) - _MAX_LINE_NUMBERS
    omitted_note = f" and {hidden_count} more" if hidden_count > 0 else ""
    return f"line{'s' * (len(numbers) > 1)} {shown_numbers}{omitted_note}"


def _replace_value(line: DotenvLine, value: str, line_ending: str) -> str:
    """Return a line with another value, keeping ``export`` and a trailing comment."""
    match = _BINDING.fullmatch(line.text) if len(line.text) < _MAX_COMMENT_LINE else None
    head, tail = (match["head"], match["tail"]) if match else (f"{line.name}=", "")
    return f"{head}{_quote(value)}{tail}{line_ending}"


def _quote(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
