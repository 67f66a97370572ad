"""Each shipped scorer: what it accepts, what it refuses with which reason, where it is silent."""

from __future__ import annotations

import doctest
import enum
import inspect
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import hypothesis
import numpy as np
import pandas as pd
import polars as pl
import pydantic
import pytest
from hypothesis import strategies as st

from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation import answer_values, scorers
from gatewayx_nb.replies import Reply


def score(scorer, text="", parsed=None, expected=None, reply=None):
    """Call a scorer with the values that its parameters name."""
    values = {"text": text, "parsed": parsed, "expected": expected, "reply": reply}
    return scorer(**{name: values[name] for name in inspect.signature(scorer).parameters})


class Color(enum.Enum):
    """An answer that is one of several values."""

    RED = "red"
    BLUE = "blue"


@dataclass
class City:
    """An answer that msgspec converts."""

    name: str
    people: int


class Town(pydantic.BaseModel):
    """An answer that pydantic converts."""

    name: str
    people: int


@dataclass(frozen=True)
class Case:
    """A scorer and what it scores.

    Attributes:
        id: What the case shows.
        scorer: The scorer.
        text: The text of the answer.
        result: True, None, or the reason for False.
        expected: The row's expected answer.
        parsed: The answer as data.
    """

    id: str
    scorer: Any
    text: str
    result: bool | str | None
    expected: Any = None
    parsed: Any = None


PASSES = True
ROME = {"name": "Rome", "people": 3}
CASES = [
    Case("equals_value", scorers.equals("yes"), " yes\n", PASSES),
    Case("equals_other_text", scorers.equals("yes"), "Yes", "got 'Yes', expected 'yes'"),
    Case("equals_ignoring_case", scorers.equals("STRASSE", ignore_case=True), "straße", PASSES),
    Case("equals_in_another_unicode_form", scorers.equals("é"), "e\u0301", PASSES),
    Case("equals_expected", scorers.equals(), "Rome", PASSES, "Rome"),
    Case("equals_one_of_the_expected", scorers.equals(), "Roma", PASSES, ["Rome", "Roma"]),
    Case("equals_one_of_an_array", scorers.equals(), "Roma", PASSES, np.array(["Rome", "Roma"])),
    Case("equals_nothing_expected", scorers.equals(), "Rome", None),
    Case("equals_nan_expected", scorers.equals(), "Rome", None, math.nan),
    Case("equals_na_expected", scorers.equals(), "Rome", None, pd.NA),
    Case("equals_only_missing_expected", scorers.equals(), "Rome", None, [None, math.nan]),
    Case("equals_empty_text", scorers.equals(), "", PASSES, ""),
    Case("equals_falsy_value", scorers.equals(0), "1", "got '1', expected 0"),
    Case("equals_false_value", scorers.equals(value=False), "FALSE", PASSES),
    Case("equals_number_as_text", scorers.equals(), "3", PASSES, 3.0),
    Case("equals_long_number_as_text", scorers.equals(), "1,000", PASSES, 1000),
    Case("equals_no_number", scorers.equals(), "about 3", "got 'about 3', expected 3", 3),
    Case("equals_infinity", scorers.equals(), "inf", "got 'inf', expected inf", math.inf),
    Case("equals_parsed_number", scorers.equals(), "3", PASSES, 3.0, 3),
    Case("equals_parsed_number_and_text", scorers.equals(), "3", PASSES, "3.0", 3),
    Case("equals_parsed_zero", scorers.equals(), "x", PASSES, 0, 0),
    Case("equals_parsed_bool_and_text", scorers.equals(), "True", PASSES, "true", parsed=True),
    Case("equals_numpy", scorers.equals(), "3", PASSES, np.int64(3), 3),
    Case("equals_enum", scorers.equals("red"), "x", PASSES, parsed=Color.RED),
    Case("equals_two_enums", scorers.equals(Color.RED), "x", PASSES, parsed=Color.RED),
    Case("equals_dict", scorers.equals(), "x", PASSES, {"people": 3.0, "name": " Rome"}, ROME),
    Case(
        "equals_dict_with_numpy", scorers.equals(), "x", PASSES, {"n": np.int64(3)}, parsed={"n": 3}
    ),
    Case("equals_dataclass", scorers.equals(), "x", PASSES, ROME, City("Rome", 3)),
    Case("equals_pydantic", scorers.equals(), "x", PASSES, ROME, Town(name="Rome", people=3)),
    Case(
        "equals_nothing_like_a_dict", scorers.equals(), "x", "got 'x', expected {'a': 1}", {"a": 1}
    ),
    Case("equals_whole_list", scorers.equals(), "x", PASSES, [1, 2], [1, 2]),
    Case("equals_tuple", scorers.equals(), "x", PASSES, (1, 2), [1, 2]),
    Case("equals_other_list", scorers.equals(), "x", "got [1], expected [1, 2]", [1, 2], [1]),
    Case("equals_one_of_the_lists", scorers.equals(), "x", PASSES, [[1], [2]], [2]),
    Case(
        "equals_many",
        scorers.equals(list("abcdef")),
        "x",
        "got 'x', expected 'a' or 'b' or 'c' or …",
    ),
    Case("one_of", scorers.one_of("yes", "no"), "no", PASSES),
    Case("one_of_a_list", scorers.one_of(["yes", "no"]), "no", PASSES),
    Case("one_of_an_enum", scorers.one_of(*Color), "blue", PASSES),
    Case("one_of_numbers", scorers.one_of(1, 2), "2.0", PASSES),
    Case("one_of_none", scorers.one_of(1, 2), "3", "got 3, expected 1 or 2", parsed=3),
    Case("one_of_case", scorers.one_of("yes"), "YES", "got 'YES', expected 'yes'"),
    Case("contains", scorers.contains("Rome"), "It is Rome.", PASSES),
    Case("contains_not", scorers.contains("Rome"), "rome", "the answer does not contain 'Rome'"),
    Case("contains_ignoring_case", scorers.contains("Rome", ignore_case=True), "ROME", PASSES),
    Case("contains_expected", scorers.contains(), "It is Rome.", PASSES, ["Roma", "Rome"]),
    Case("contains_int_of_a_float_column", scorers.contains(), "In 1969.", PASSES, 1969.0),
    Case("contains_nothing_expected", scorers.contains(), "x", None, ""),
    Case("contains_nan", scorers.contains(), "nan", None, math.nan),
    Case("matches", scorers.matches(r"^\d+$"), "12", PASSES),
    Case("matches_not", scorers.matches(r"\d"), "x", r"the answer does not match '\\d'"),
    Case("matches_compiled", scorers.matches(re.compile("ROME", re.IGNORECASE)), "rome", PASSES),
    Case("matches_expected", scorers.matches(), "colour", PASSES, "colou?r"),
    Case("matches_one_of_several", scorers.matches(["a", "b"]), "b", PASSES),
    Case("matches_nothing_expected", scorers.matches(), "x", None, ""),
    Case("number", scorers.number(1234.5), "First 1, then 1,234.5 dollars.", PASSES),
    Case("number_other", scorers.number(6), "It is 5.", "got 5, expected 6"),
    Case("number_none", scorers.number(6), "It is six.", "the answer contains no number"),
    Case("number_expected_text", scorers.number(), "42", PASSES, "3 * 14 = 42\n#### 42"),
    Case("number_one_of_the_expected", scorers.number(), "42", PASSES, [41, 42]),
    Case("number_nothing_expected", scorers.number(), "42", None, " "),
    Case("number_nan_expected", scorers.number(), "42", None, np.float64("nan")),
    Case("number_percent", scorers.number(50), "50 %", PASSES),
    Case("number_near", scorers.number(1.0, tolerance=0.1), "1.1", PASSES),
    Case("number_far", scorers.number(1, tolerance=0.1), "1.2", "got 1.2, expected 1 ± 0.1"),
    Case("number_fraction", scorers.number(Fraction(1, 4)), "0.25", PASSES),
    Case("number_decimal", scorers.number(Decimal("0.1")), "0.10", PASSES),
    Case("number_float", scorers.number(0.1), "0.1", PASSES),
    Case("number_numpy", scorers.number(), "0.5", PASSES, np.float32(0.5)),
    Case("number_parsed", scorers.number(2), "x 3", PASSES, parsed=2.0),
    Case("number_in_parsed_object", scorers.number(7), '{"n": 7}', PASSES, parsed={"n": 7}),
    Case("number_in_parsed_text", scorers.number(7), "7 kg", PASSES, parsed="7 kg"),
    Case(
        "number_parsed_nan",
        scorers.number(7),
        "NaN",
        "the answer contains no number",
        None,
        math.nan,
    ),
    Case("fits", scorers.fits(City), "```json\n" + json.dumps(ROME) + "\n```", PASSES),
    Case("fits_bare_word", scorers.fits(Literal["yes", "no"]), "Yes.", PASSES),
    Case("fits_no_json", scorers.fits(City), "Sorry.", "it contains no JSON"),
    Case("fits_wrapped_value", scorers.fits(list[int]), '{"answer": [1]}', PASSES),
    Case(
        "fits_wrong_type",
        scorers.fits(City),
        '{"name": "Rome", "people": "many"}',
        "Expected `int`, got `str` - at `$.people`",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_scorer_returns_a_bool_with_a_reason(case):
    result = score(case.scorer, case.text, case.parsed, case.expected)

    assert result == ((False, case.result) if isinstance(case.result, str) else case.result)
    assert result is None or type(result) in (bool, tuple)


NUMBERS = {
    "3-5": 5,
    "x=-5": -5,
    "\u22125": -5,
    "+5": 5,
    "-.5": Decimal("-0.5"),
    "1e-3": Decimal("0.001"),
    "2E5 m": 200_000,
    "1,234,567.89 EUR": Decimal("1234567.89"),
    "1\u202f234": 1234,
    "[1, 2,3]": 3,
    "It is 12.": 12,
    "$5": 5,
    "5kg": 5,
    "GPT4 is v2": None,
    "- , . e5": None,
    "": None,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_the_last_number_of_a_text_is_read(text):
    assert answer_values.last_number(text) == NUMBERS[text]


@hypothesis.given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.text(" .a(\n"))
def test_any_number_is_read_after_any_text(value, before):
    """A number is found as it was written, with and without grouped digits."""
    for written in (f"{value:f}", f"{value:,f}"):
        assert answer_values.last_number(f"{before} {written}") == value


@pytest.mark.parametrize("text", ["1" * 200_000, "1,111," * 30_000, "-" * 200_000, "1e" * 100_000])
def test_a_long_answer_is_read_with_a_short_reason(text):
    """No answer makes a scorer fail, and no reason contains a whole answer."""
    for scorer in (scorers.number(2), scorers.equals("x"), scorers.equals(3), scorers.fits(City)):
        is_same, reason = score(scorer, text)
        assert not is_same
        assert len(reason) <= 200


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "tone": {"$ref": "#/$defs/tone"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"tone": {"enum": ["kind", "rude"]}},
}
FITTING = {
    '{"name": "a", "tone": "Kind", "tags": ["b"]}': True,
    '{"name": 1}': "Expected `string`, got `integer` - at `$.name`",
    '{"tone": "kind"}': "Object missing required field `name`",
    '{"name": "a", "tone": "odd"}': 'Expected one of ["kind", "rude"] - at `$.tone`',
    '{"name": "a", "more": 1}': "Object contains unknown field `more`",
    '{"name": "a", "tags": ["b", 2]}': "Expected `string`, got `integer` - at `$.tags[1]`",
    '{"name": "a", "tags": "b"}': "Expected `array`, got `string` - at `$.tags`",
    "[]": "Expected `object`, got `array`",
}


@pytest.mark.parametrize("text", FITTING)
def test_a_json_schema_is_checked(text):
    """The reason names the first place that does not fit."""
    expected = FITTING[text]

    result = score(scorers.fits(SCHEMA), text)

    assert result == (expected if expected is True else (False, expected))


def test_fits_names_the_field_that_a_pydantic_model_refuses():
    is_fit, reason = score(scorers.fits(Town), '{"name": "Rome", "people": "many"}')

    assert not is_fit
    assert "people" in reason


def test_cost_and_latency_are_those_of_the_reply():
    reply = Reply("x", engine="e", model="m", cost=Decimal("0.25"), latency=1.5)

    assert score(scorers.cost(), reply=reply) == 0.25
    assert type(score(scorers.cost(), reply=reply)) is float
    assert score(scorers.latency(), reply=reply) == 1.5


def test_an_unknown_cost_or_latency_is_none():
    """An unknown figure is not 0."""
    reply = Reply("x", engine="e", model="m")

    assert score(scorers.cost(), reply=reply) is None
    assert score(scorers.latency(), reply=reply) is None


def test_a_cost_of_zero_is_known():
    assert score(scorers.cost(), reply=Reply("x", "e", "m", cost=Decimal(0))) == 0.0


SAMPLE_ARGUMENTS = {"one_of": ("yes",), "fits": (int,)}


@pytest.mark.parametrize("name", scorers.__all__)
def test_a_scorer_has_the_name_of_its_factory(name):
    factory = getattr(scorers, name)

    scorer = factory(*SAMPLE_ARGUMENTS.get(name, ()))

    assert factory.is_scorer_factory
    assert (factory.__name__, scorer.__name__) == (name, name)
    assert not hasattr(scorer, "is_scorer_factory")
    assert getattr(scorer, "lower_is_better", False) == (name in ("cost", "latency"))


INVALID = {
    "equals(math.nan)": "the value of equals must not be missing or empty, got nan.",
    "equals([])": "the value of equals must not be missing or empty, got [].",
    "contains('')": "the value of contains must not be missing or empty, got ''.",
    "matches('')": "the value of matches must not be missing or empty, got ''.",
    "matches('(')": "'(' is not a valid regular expression: missing ), unterminated subpattern",
    "matches('a{99999999999}')": "'a{99999999999}' is not a valid regular expression",
    "matches(3)": "a pattern must be a str, got 3.",
    "matches(re.compile(b'a'))": "a pattern must be a str, got re.compile(b'a').",
    "number('many')": "the expected answer must be a number, got 'many'.",
    "number(value=True)": "the expected answer must be a number, got True.",
    "number(math.inf)": "the expected answer must be a number, got inf.",
    "number(' ')": "the value of number must not be missing or empty, got ' '.",
    "number(1, tolerance=-1)": "tolerance must be a number >= 0, got -1.",
    "number(1, tolerance='0.1')": "tolerance must be a number >= 0, got '0.1'.",
    "number(1, tolerance=math.nan)": "tolerance must be a number >= 0, got nan.",
    "number(1, tolerance=True)": "tolerance must be a number >= 0, got True.",
    "one_of()": "one_of needs at least one choice.",
    "one_of([])": "one_of needs at least one choice.",
    "fits()": "`fits` does not accept these arguments: missing a required argument: 'schema'.",
    "fits(None)": "schema must be a type or a JSON Schema, got None.",
    "fits(3)": "schema must be a JSON Schema dict, a pydantic model,",
    "equals('a', ignorecase=True)": "Did you mean 'ignore_case'?",
}


@pytest.mark.parametrize("call", INVALID)
def test_an_invalid_argument_is_an_error_at_once(call):
    with pytest.raises(UsageError, match=re.escape(INVALID[call])):
        eval(call, {**vars(scorers), "math": math, "re": re})


ROW_ERRORS = {
    scorers.matches(): ("(", "'(' is not a valid regular expression"),
    scorers.number(): ("many", "the expected answer must be a number, got 'many'."),
}


@pytest.mark.parametrize("scorer", ROW_ERRORS, ids=lambda scorer: scorer.__name__)
def test_an_invalid_expected_answer_is_an_error_of_its_cell(scorer):
    expected, message = ROW_ERRORS[scorer]

    with pytest.raises(UsageError, match=re.escape(message)):
        score(scorer, "1", expected=expected)


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_series_holds_acceptable_values(library):
    assert score(scorers.equals(), "b", expected=library.Series(["a", "b"])) is True


def test_a_notebook_completes_the_scorers_only():
    assert dir(scorers) == sorted(scorers.__all__)


@pytest.mark.parametrize("module", [scorers, answer_values])
def test_the_examples_are_correct(module):
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
