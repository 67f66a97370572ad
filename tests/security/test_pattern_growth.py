"""Every regular expression of the package searches hostile text in linear time."""

import re

import pytest

from tests.security import growth, patterns

ATTACKS = 60 if growth.IS_SOAK else 12
LENGTHS = (1_024, 16_384)

TRUSTED = {
    "commands.guides:_LINK": "the guides of the package",
    "commands.guides:_CODE_BLOCK": "the guides of the package",
    "commands.guides:_TROUBLE_ENTRY": "the guides of the package",
    "commands.line_parser:' \\\\[[^]]*\\\\]'": "the usage of a command of the package",
}
"""Patterns whose text is never from outside, and what it is."""

LONGEST = {"html.incremental:_END_TAGS": 1_000}
"""The number of characters that a pattern searches, if the caller limits it."""


def search(compiled, method):
    """Return the function that applies a method of a pattern to the whole text."""
    empty = compiled.pattern[:0]
    if method in ("sub", "subn"):
        return lambda text: compiled.sub(empty, text)
    if method == "finditer":
        return lambda text: sum(1 for _ in compiled.finditer(text))
    return getattr(compiled, method)


def slow_search(compiled, method, lengths):
    """Describe a text that the pattern does not search in linear time; "" if none is found."""
    is_bytes = isinstance(compiled.pattern, bytes)
    nul, line_break = (b"\0", b"\n") if is_bytes else ("\0", "\n")
    texts = growth.attacks(
        [*patterns.fragments(compiled), line_break], [nul, nul[:0], line_break], ATTACKS
    )
    return growth.worst(search(compiled, method), texts, lengths)


PATTERNS = list(patterns.all_patterns())
MODULES = sorted({pattern.module for pattern in PATTERNS})


@pytest.mark.parametrize("module", MODULES)
def test_the_patterns_of_a_module_search_in_linear_time(module):
    """The texts are made from the parts of a pattern, so that a new pattern needs no new test."""
    for pattern in PATTERNS:
        if pattern.module == module and pattern.place not in TRUSTED:
            longest = LONGEST.get(pattern.place)
            lengths = (longest,) if longest else LENGTHS
            for method in pattern.methods:
                slow = slow_search(pattern.compiled, method, lengths)
                assert not slow, f"{pattern.place}, {method}: {slow}"


def test_the_exceptions_exist():
    places = {pattern.place for pattern in PATTERNS}
    assert places.issuperset([*TRUSTED, *LONGEST])


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s+$", "search"),
        (r"(a+)+b", "match"),
        (rb"^\s*x", "search"),
        (r"\d++(?:ms|s)", "findall"),
        (r"[ab]*[bc]*d", "match"),
    ],
)
def test_a_slow_pattern_is_found(pattern, method, monkeypatch):
    """Time that grows quadratically or exponentially is found by the sample, too."""
    monkeypatch.setattr(growth, "LIMIT", 1.0)
    flags = re.MULTILINE if isinstance(pattern, bytes) else 0
    # So long that the work of other threads, which also counts, does not matter.
    assert slow_search(re.compile(pattern, flags), method, (1_024, 32_768))


@pytest.mark.parametrize("pattern", [r"(?<!\s)\s++$", r"a{1,9}b", r"<[^<>]*>", r"\d{1,19}s"])
def test_a_fast_pattern_is_accepted(pattern):
    assert not slow_search(re.compile(pattern), "search", LENGTHS)
