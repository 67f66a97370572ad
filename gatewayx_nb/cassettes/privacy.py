"""Finds private text in cassettes: tables, e-mail addresses and apparent keys."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.cassettes import cassette_lines, guard
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import stat_stamp
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from gatewayx_nb.cassettes.cassette_lines import CassetteLine
    from gatewayx_nb.cassettes.entry import CassetteEntry
    from gatewayx_nb.files import StatStamp

Kind = Literal["a table", "what looks like a key", "an e-mail address"]

REMEDY = (
    '`[cassettes] redact = "module:function"` removes private text, and `prompts = "digest"` keeps'
    " requests as digests."
)
"""Advice on recording without private text."""

_MARKDOWN_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*\n[ \t]*\|(?=[ \t:|]*-)[ \t:|-]*+$", re.MULTILINE)
"""A Markdown table, the form in which a DataFrame is inserted into a prompt."""

# Addresses of the domains that RFC 2606 reserves for examples, and `git@HOST:`, are not private.
_EMAIL_ADDRESS = re.compile(
    r"""(?<![\w.%+-]) (?!git@) [\w.%+-]{1,64}+ @
        (?! (?:[\w-]+\.)* (?: example\.(?:com|net|org) | test | example | invalid | localhost )
            (?![\w-]|\.\w) )
        (?:[\w-]+\.)+ [A-Za-z]{2,}""",
    re.VERBOSE | re.IGNORECASE,
)

_MAX_SHOWN_FINDINGS = 5
"""Maximum number of findings to list."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Private text in a line of a cassette.

    Attributes:
        line: Number of the line, from 1.
        kind: What the private text is, as a noun phrase.
        place: The part of the entry that contains the text.
    """

    line: int
    kind: Kind
    place: Literal["request", "answer"]


def search(lines: Iterable[CassetteLine], *, search_encoded: bool = True) -> Iterator[Finding]:
    """Yield the private text in lines, each kind at most once per request and once per answer.

    Tables are searched for only in requests, because answers often contain tables.

    Args:
        lines: The lines of a cassette.
        search_encoded: Whether to also search for encoded keys. A few thousand entries then take a
            second.
    """
    for line in lines:
        findings = dict.fromkeys(_findings(line.number, line.entry, search_encoded=search_encoded))
        yield from sorted(findings, key=lambda finding: finding.place, reverse=True)


def _findings(number: int, entry: CassetteEntry, *, search_encoded: bool) -> Iterator[Finding]:
    has_key = _has_key if search_encoded else guard.contains_unencoded_key
    texts = list(guard.texts(entry))
    # Searching all strings at once is fast; most entries contain no key.
    any_has_key = has_key("\0".join(text for _, text in texts))
    for location, text in texts:
        is_request = location.removeprefix("a name in ").startswith("request")
        place: Literal["request", "answer"] = "request" if is_request else "answer"
        if is_request and "|" in text and _MARKDOWN_TABLE.search(text):
            yield Finding(number, "a table", place)
        if "@" in text and _EMAIL_ADDRESS.search(text):
            yield Finding(number, "an e-mail address", place)
        if any_has_key and has_key(text):
            yield Finding(number, "what looks like a key", place)


def _has_key(text: str) -> bool:
    return guard.find_key(text, {}) is not None


def describe(findings: Sequence[Finding]) -> str:
    """Describe findings in one line, without the private text.

    >>> describe([Finding(2, "a table", "request"), Finding(3, "an e-mail address", "answer")])
    'line 2 has a table in its request; line 3 has an e-mail address in its answer'
    """
    parts = []
    for number, group in itertools.groupby(
        findings[:_MAX_SHOWN_FINDINGS], key=lambda finding: finding.line
    ):
        phrases = " and ".join(f"{finding.kind} in its {finding.place}" for finding in group)
        parts.append(f"line {number} has {phrases}")
    if len(findings) > _MAX_SHOWN_FINDINGS:
        parts.append(f"{len(findings) - _MAX_SHOWN_FINDINGS:,} more")
    return "; ".join(parts)


def tracked_warning(path: Path) -> str:
    """Return a warning for a cassette that git tracks; empty if it contains no private text."""
    findings = _search_file(path, stat_stamp(path))
    if not findings:
        return ""
    return (
        f"{plain(path.name)} is tracked by git: {describe(findings)}. Check that this may be"
        f" published; {REMEDY}"
    )


@functools.lru_cache(maxsize=8)
def _search_file(path: Path, _: StatStamp | None) -> tuple[Finding, ...]:
    """Return the findings in a file; the stamp is only part of the cache key.

    Encoded keys are not searched for, because they are refused when a call is recorded.
    """
    try:
        return tuple(search(cassette_lines.read(path).lines, search_encoded=False))
    except ConfigError:
        return ()  # the cassette reports the problem itself
