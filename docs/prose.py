"""Reports words and phrases that the project does not use, in Markdown, notebooks and Python files.

python docs/prose.py            # all files
python docs/prose.py FILE …     # these

In Markdown, everything but code is checked; in Python files, docstrings and comments are.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

RETIRED: dict[str, str] = {
    r"mend(s|ed|ing)?": "correct, or fix",
    r"anew": "again",
    r"(tell|tells|telling|told) of": "describe",
    r"of (ours|yours|theirs|hers)": "our, your, their",
    r"of the (user|project|provider|caller|reader)'s(?=[.,;:)])": "the user's …",
    r"where (it|they|this|that) (is|are) left out": "if omitted",
    r"so (long|many) at most": "at most 5 s",
    r"(?<!there\s)is no (?!longer|more|less)\w+": "is not a …, or is an invalid …",
    r"(is|are) not to be had": "is unavailable",
    r"the (told|asked|given|said)(?= (is|are|of|by)\b|[.,;:])": "a noun",
    r"as (it|they) stands?": "unchanged",
    r"broken off": "incomplete, or failed",
    r"for ever": "forever",
    r"whence|thereof|wherein|whereof|lest": "a plain word",
    r"(?-i:(?P<word>[a-z]{2,}) (?P=word))": "the word once",
}
"""The words and phrases as regular expressions, and what to write instead.

Only what is wrong in every sentence is listed: "behind" is wrong for "after", but right of a proxy.
"""

_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*)"
"""The space within a phrase, or one end of a line; a paragraph ends a phrase."""

_PATTERNS = [
    (re.compile(rf"\b(?:{pattern.replace(' ', _GAP)})(?!\w)", re.IGNORECASE), instead)
    for pattern, instead in RETIRED.items()
]
_BEGINNING = re.compile(r"(?:Gives?|Tells? (?:whether|which|what|how))\b")
_CODE = re.compile(
    r"^( *)(`{3,}).*?^ *\2|``.+?``|`[^`]+`|\]\([^)\s]*\)|https?://\S+", re.MULTILINE | re.DOTALL
)
"""Code in Markdown, in a block or in a line, and the addresses of links."""

_SOURCES = ("gatewayx_nb", "engines", "tests", "docs", "notebooks", "benchmarks", "requirements")
_COPIED = ("changelog.md", "security.md", "contributing.md")
"""Pages that `make docs` copies into `docs`."""


class Prose(NamedTuple):
    """A text with its place.

    Attributes:
        place: The file, and the cell of a notebook.
        line: The number of its first line.
        text: The text.
        is_docstring: Whether it is a docstring.
    """

    place: str
    line: int
    text: str
    is_docstring: bool = False


def findings(prose: Prose) -> Iterator[str]:
    """Yield a message for each retired word or phrase."""
    text = _CODE.sub(lambda code: re.sub(r"[^\n]", "_", code[0]), prose.text)
    if prose.is_docstring and (beginning := _BEGINNING.match(text)):
        yield f"{prose.place}:{prose.line}: {beginning[0]!r} begins a docstring: write 'Return …'"
    for pattern, instead in _PATTERNS:
        for found in pattern.finditer(text):
            line = prose.line + text.count("\n", 0, found.start())
            yield f"{prose.place}:{line}: {' '.join(found[0].split())!r}: write {instead}"


def prose_of(path: Path) -> Iterator[Prose]:
    """Yield the prose of a file."""
    place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _python(place, text)
    elif path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(text)["cells"]):
            if cell["cell_type"] == "markdown":
                yield Prose(f"{place}: cell {number}", 1, "".join(cell["source"]))
    else:
        yield Prose(place, 1, text)


def _python(place: str, text: str) -> Iterator[Prose]:
    """Yield the comments and docstrings of Python source, also those of attributes."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Prose(place, token.start[0], token.string)
    for node in ast.walk(ast.parse(text)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield Prose(place, value.lineno, value.value, is_docstring=True)


def all_files() -> Iterator[Path]:
    """Yield the files that are written by people."""
    yield from ROOT.glob("*.md")
    yield from (path for path in (ROOT / "docs").rglob("*.md") if path.name not in _COPIED)
    yield from (ROOT / "tests").rglob("README.md")
    yield from (ROOT / "notebooks").glob("[0-9]*.ipynb")
    for folder in _SOURCES:
        yield from (ROOT / folder).rglob("*.py")


def main(arguments: list[str]) -> int:
    """Print the findings; return 1 if there are any."""
    files = set(all_files())
    paths = sorted(files & {Path(name).resolve() for name in arguments} if arguments else files)
    messages = [
        message
        for path in paths
        if path != Path(__file__).resolve()
        for prose in prose_of(path)
        for message in findings(prose)
    ]
    print(*messages, sep="\n", end="\n" if messages else "")  # noqa: T201 - output of the script
    return bool(messages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
