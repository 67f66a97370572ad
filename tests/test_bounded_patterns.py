"""Regular expressions from outside: the same matches as `re`, in a bounded number of steps."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gatewayx_nb import bounded_patterns
from gatewayx_nb.bounded_patterns import BoundedPattern, UnsupportedPatternError

ATOMS = ["a", "b", "-", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", "^", "$", r"\b", r"\B", r"[\d-]"]


def extended(parts):
    """Return a strategy for expressions that are made of others."""
    return st.one_of(
        st.tuples(parts, parts).map("".join),
        st.tuples(parts, parts).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(parts, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,2}", "{2,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
        st.tuples(st.sampled_from(["?=", "?!"]), parts).map(lambda pair: f"({pair[0]}{pair[1]})"),
        st.sampled_from(["(?<=a)", "(?<!b)", "(?<=ab)"]),
    )


def no_limit(_):
    """Spend any number of steps."""


@given(
    st.recursive(st.sampled_from(ATOMS), extended, max_leaves=6),
    st.text(alphabet="ab1- \n\u0663", max_size=7),
)
def test_the_search_finds_what_python_finds(source, text):
    """Whether a text matches does not depend on the way in which it is searched."""
    assume(text or r"\B" not in source)  # Python 3.14 has changed this case
    pattern = BoundedPattern(source)
    slow = bounded_patterns._Search(text, no_limit)

    expected = re.search(source, text) is not None
    assert pattern.search(text, no_limit) == expected
    assert bool(slow.end_positions(pattern._tree, frozenset(range(len(text) + 1)))) == expected


class TooManyError(Exception):
    """The steps do not suffice."""


def limit(count):
    """Return a function that spends at most a number of steps."""

    def spend(steps):
        nonlocal count
        count -= steps
        if count < 0:
            raise TooManyError

    return spend


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"^(a+)+$", "a" * 2_000 + "b"),
        (r"(x+x+)+y", "x" * 2_000),
        (r"^(a|a)*$", "a" * 2_000 + "b"),
        ("a?" * 40 + "a" * 40, "a" * 39),
        (r"((((a*)*)*)*)*b", "a" * 2_000),
        (r"\s+$", " " * 20_000 + "x"),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 2_000),
        (r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", "0" * 2_000 + "x"),
    ],
)
def test_a_pattern_that_would_backtrack_takes_few_steps(source, text):
    """`re` would need years for most of these."""
    assert not BoundedPattern(source).search(text, limit(100_000))


def test_a_search_ends_when_its_steps_are_spent():
    with pytest.raises(TooManyError):
        BoundedPattern("(?:(?:a{1000}){1000}){1000}").search("a" * 20_000, limit(10_000))


@pytest.mark.parametrize(
    "source",
    ["(a", r"\p{L}", r"(a)\1", "(?i)a", "(?i:a)", "a{99999999999}", "(?>a)", "a++", "(" * 5_000],
)
def test_an_unsupported_pattern_is_refused(source):
    with pytest.raises(UnsupportedPatternError):
        BoundedPattern(source)
