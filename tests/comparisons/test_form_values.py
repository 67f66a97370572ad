"""Parsing of text fields into the options of a call."""

import pytest

from gatewayx_nb.comparisons import FIELD_LABELS, parse_fields, parse_inputs
from gatewayx_nb.errors import UsageError

ALL_FIELDS = frozenset({"system", *FIELD_LABELS})


def test_fields_are_parsed_and_empty_fields_are_omitted():
    """Fields are parsed as numbers or text, including 0, and empty fields are omitted."""
    fields = {"temperature": " 0 ", "top_p": "", "max_tokens": "20", "stop": "END", "seed": "7"}
    assert parse_fields({"timeout": 9}, "Be brief.", fields, ALL_FIELDS) == {
        "timeout": 9,
        "system": "Be brief.",
        "temperature": 0.0,
        "max_tokens": 20,
        "stop": "END",
        "seed": 7,
    }
    assert parse_fields({}, "  ", dict.fromkeys(FIELD_LABELS, ""), ALL_FIELDS) == {}


def test_unsupported_parameters_are_omitted():
    """A field for an unsupported parameter is ignored."""
    assert parse_fields({}, "Be brief.", {"seed": "x", "stop": "END"}, frozenset({"stop"})) == {
        "stop": "END"
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "warm", "Temperature must be a number such as 0.7, got 'warm'"),
        ("top_p", "nan", "Top-p must be a number such as 0.7, got 'nan'"),
        ("max_tokens", "1.5", "Max tokens must be an integer such as 200, got '1.5'"),
        ("seed", "one", "Seed must be an integer such as 200, got 'one'"),
    ],
)
def test_an_invalid_field_raises_an_error_with_its_label(name, text, message):
    """The error for an invalid field has its label, an example and the text."""
    with pytest.raises(UsageError, match=message):
        parse_fields({}, "", {name: text}, ALL_FIELDS)


def test_inputs_are_lines():
    """Each line is an input; lines are stripped, and empty lines are ignored."""
    assert parse_inputs(" a b \n\n c\n") == ("a b", "c")
