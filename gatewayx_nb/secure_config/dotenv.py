"""Line-by-line parsing and editing of a key file: python-dotenv reads each line separately.

No key contains a line break, so lines are independent: an unclosed quote invalidates only its own
line, and setting a value leaves all other lines unchanged.
"""

from __future__ import annotations

import io
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dotenv.parser import parse_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SHOWN = 5
"""Maximum line numbers shown."""

_LONGEST = 4096
"""Maximum length of a line whose comment is kept: the search is quadratic in its blanks."""

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_PLAIN_VALUE = re.compile(r"[\w./:+=@-]+", re.ASCII)
_UNREADABLE = re.compile("[\0\ud800-\udfff]")
_BINDING = re.compile(
    r"""(?P<head>\ufeff?\s*(?:export\s+)?[^=\s]+[^\S\r\n]*=[^\S\r\n]*)
        (?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\r\n]*?)
        (?P<tail>(?:[^\S\r\n]+\#[^\r\n]*)?)[^\S\r\n]*[\r\n]*""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a key file.

    Attributes:
        text: The unchanged line, with its line ending.
        name: The name that it sets, if it sets one.
        value: The value that it sets, unchanged: ``${…}`` is not expanded.
        broken: Whether it sets nothing and is neither empty nor a comment.
    """

    text: str
    name: str | None = None
    value: str | None = None
    broken: bool = False


def lines(text: str) -> list[Line]:
    """Parse a text line by line; non-UTF-8 bytes appear as surrogates."""
    return list(map(_line, io.StringIO(text, newline="")))


def values(read: Iterable[Line]) -> dict[str, str]:
    """Return the values by name; for a duplicate name the last one counts."""
    return {line.name: line.value for line in read if line.name and line.value is not None}


def faults(read: Iterable[Line]) -> Iterator[str]:
    """Yield problems with their line numbers, without the content of the lines."""
    broken: list[int] = []
    places: defaultdict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(read, start=1):
        if line.broken:
            broken.append(number)
        elif line.name and _NAME.fullmatch(line.name):
            places[line.name].append(number)
    if broken:
        yield f"has no NAME=VALUE in {_numbers(broken)}; the rest is read. Mend that in an editor."
    twice = {name: numbers for name, numbers in places.items() if len(numbers) > 1}
    if twice:
        told = "; ".join(f"{name} in {_numbers(numbers)}" for name, numbers in twice.items())
        yield f"sets a name more than once, and the last one counts: {told}. Delete the others."


def with_values(text: str, wanted: Mapping[str, str]) -> str:
    """Return the text with names set in their own line or at the end; keep the rest."""
    end = "\r\n" if "\r\n" in text else "\n"
    pending, kept = dict(wanted), []
    for line in lines(text):
        if line.name not in wanted:
            kept.append(line.text)
        elif line.name in pending:
            kept.append(_set(line, pending.pop(line.name), end))
    if kept and not kept[-1].endswith(("\n", "\r")):
        kept.append(end)
    return "".join([*kept, *(f"{name}={_quoted(value)}{end}" for name, value in pending.items())])


def without(text: str, name: str) -> str:
    """Return the text without the lines that set a name."""
    return "".join(line.text for line in lines(text) if line.name != name)


def _line(text: str) -> Line:
    binding = next(parse_stream(io.StringIO(text, newline="")), None)
    if binding is None:  # only a byte order mark
        return Line(text)
    if binding.error or (binding.key and (binding.value is None or _UNREADABLE.search(text))):
        return Line(text, broken=True)
    return Line(text, binding.key, binding.value)


def _numbers(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    listed = ", ".join(map(str, numbers[:_SHOWN]))
    return f"line{'s' if len(numbers) > 1 else ''} {listed}{more}"


def _set(line: Line, value: str, end: str) -> str:
    """Return a line with another value, keeping ``export`` and a trailing comment."""
    found = _BINDING.fullmatch(line.text) if len(line.text) < _LONGEST else None
    head, tail = (found["head"], found["tail"]) if found else (f"{line.name}=", "")
    return f"{head}{_quoted(value)}{tail}{end}"


def _quoted(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
