"""Parsing of typed fields into the keywords of a call."""

import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.widgets import form

ALL = frozenset({"system", *form.LABELS})


def test_what_is_typed_is_read_and_an_empty_field_is_left_out():
    """Numbers, including 0, are parsed, and empty fields are omitted."""
    fields = {"temperature": " 0 ", "top_p": "", "max_tokens": "20", "stop": "END", "seed": "7"}
    assert form.options({"timeout": 9}, "Be brief.", fields, ALL) == {
        "timeout": 9,
        "system": "Be brief.",
        "temperature": 0.0,
        "max_tokens": 20,
        "stop": "END",
        "seed": 7,
    }
    assert form.options({}, "  ", dict.fromkeys(form.LABELS, ""), ALL) == {}


def test_what_a_model_does_not_take_is_left_out():
    """A field for an unsupported parameter is ignored."""
    assert form.options({}, "Be brief.", {"seed": "x", "stop": "END"}, frozenset({"stop"})) == {
        "stop": "END"
    }


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("temperature", "warm", "Temperature is 'warm'; expected a number"),
        ("top_p", "nan", "Top-p is 'nan'"),
        ("max_tokens", "1.5", "Max tokens is '1.5'; expected a whole number"),
        ("seed", "one", "Seed is 'one'"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(name, text, says):
    """An invalid field raises an error with its label."""
    with pytest.raises(UsageError, match=says):
        form.options({}, "", {name: text}, ALL)


def test_inputs_are_lines():
    """Inputs are lines, stripped and without empty ones."""
    assert form.inputs(" a b \n\n c\n") == ("a b", "c")
