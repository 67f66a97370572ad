"""Functions as tools: the declaration that a model sees, and the check of a call's arguments."""

import datetime as dt
import functools
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pydantic
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.function_tools import Tool, read_tools


@dataclass
class Place:
    """A place."""

    city: str
    country: str = "IT"


class Address(pydantic.BaseModel):
    """A pydantic model."""

    street: str = pydantic.Field(max_length=5)


def forecast(city: str, days: int = 3, *, unit: Literal["C", "F"] = "C") -> str:
    """Return the forecast.

    It covers a week at most.

    Args:
        city: Name of the city,
            in English.
        days (int): Number of days.
        unit: The unit.

    Returns:
        text: The forecast.
    """
    return f"{city} {days} {unit}"


def numpy_style(first, second=1.5):
    """Add.

    Parameters
    ----------
    first : float
        The first number.
    second : float
        The second.
    """
    return first + second


def sphinx_style(query: str, limit: int = 5):
    """Search.

    :param query: What to
        look for.
    :param int limit: How many.
    :returns: rows
    """


def typed(at: dt.date, place: Place, address: Address, tags: list[str]):
    """Take values of several types."""
    return at, place, address, tags


def test_the_declaration_has_the_docstring_and_the_types():
    """The model sees the text before the sections, and the type and meaning of each parameter."""
    definition = Tool.of(forecast).definition

    assert definition.name == "forecast"
    assert definition.description == "Return the forecast.\n\nIt covers a week at most."
    assert definition.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city, in English."},
            "days": {"type": "integer", "description": "Number of days."},
            "unit": {"enum": ["C", "F"], "description": "The unit."},
        },
        "required": ["city"],
        "additionalProperties": False,
    }
    json.dumps(definition.parameters)


@pytest.mark.parametrize(
    ("function", "meanings"),
    [
        (numpy_style, {"first": "The first number.", "second": "The second."}),
        (sphinx_style, {"query": "What to look for.", "limit": "How many."}),
    ],
)
def test_parameters_may_be_described_in_other_styles(function, meanings):
    """The styles of NumPy and Sphinx are read too."""
    properties = Tool.of(function).definition.parameters["properties"]

    assert {name: row["description"] for name, row in properties.items()} == meanings


def test_a_function_without_docstring_and_annotations_is_declared():
    """Without annotations, the model sees only names, and any JSON value is accepted."""

    def look(where, much=None):
        return where

    tool = Tool.of(look)

    assert tool.definition.description == ""
    assert tool.definition.parameters["properties"].keys() == {"where", "much"}
    assert tool.bind('{"where": [1]}').arguments == {"where": [1]}


def test_a_parameter_without_annotation_has_the_type_of_its_default():
    """Without either, any value is accepted."""
    properties = Tool.of(numpy_style).definition.parameters["properties"]

    assert "type" not in properties["first"]
    assert properties["second"]["type"] == "number"


def test_arguments_are_converted_to_the_types_of_the_parameters():
    """The function receives dates, dataclasses and pydantic models, not dicts and strings."""
    arguments = {
        "at": "2026-02-03",
        "place": {"city": "Rome"},
        "address": {"street": "Via"},
        "tags": ["a"],
    }
    bound = Tool.of(typed).bind(json.dumps(arguments))

    at, place, address, tags = typed(*bound.args, **bound.kwargs)
    assert at == dt.date(2026, 2, 3)
    assert place == Place("Rome", "IT")
    assert address == Address(street="Via")
    assert tags == ["a"]


def test_defaults_stay_those_of_the_function():
    """An argument that the model omits is not passed."""
    assert Tool.of(forecast).bind('{"city": "Rome"}').arguments == {"city": "Rome"}
    assert Tool.of(lambda_free).bind("").arguments == {}


def lambda_free():
    """Take no parameters."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"city": 1}', "Expected `str`, got `int`"),
        ('{"city": "Rome", "days": "2"}', "Expected `int`, got `str`"),
        ('{"town": "Rome"}', "there is no parameter 'town'"),
        ("{}", "missing required field `city`"),
        ('{"city": "Rome", "unit": "K"}', "Invalid enum value"),
        ("[1]", "must be a JSON object"),
        ('{"city": ', "must be a JSON object"),
        ("[" * 10_000, "must be a JSON object|nested too deeply"),
        ('{"city": "Rome", "days": NaN}', "must be a JSON object|Expected `int`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    """The message is one line, from which the model can correct its call."""
    with pytest.raises(ValueError, match=message) as error:
        Tool.of(forecast).bind(arguments)

    assert "\n" not in str(error.value)


def _many(*rows):
    pass


def _keywords(**options):
    pass


def _undefined(value: "Missing"):  # noqa: F821 - the mistake that is tested
    pass


def _without_schema(value: complex):
    pass


_long = functools.wraps(forecast)(lambda: None)
_long.__name__ = "n" * 65


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "the name of a tool must consist of"),
        (_long, "the name of a tool must consist of"),
        (int, "tools must be functions"),
        ("forecast", "tools must be functions or MCP servers, got 'forecast'"),
        (None, "tools must be functions"),
        (print, r"the parameter `\*args`"),
        (_many, r"the parameter `\*rows`"),
        (_keywords, r"the parameter `\*\*options`"),
        (_undefined, "an annotation of the tool '_undefined' cannot be read"),
        (_without_schema, "the parameters of the tool '_without_schema' have no JSON Schema"),
    ],
)
def test_a_function_that_no_model_can_call_is_refused(function, message):
    """The error names the function and says what to do."""
    with pytest.raises(UsageError, match=message) as error:
        Tool.of(function)

    assert error.value.hint


def test_one_function_or_several_are_taken_but_no_name_twice():
    """Two tools of one name could not be told apart."""
    assert [tool.name for tool in read_tools(forecast)] == ["forecast"]
    assert [tool.name for tool in read_tools([forecast, numpy_style])] == [
        "forecast",
        "numpy_style",
    ]
    with pytest.raises(UsageError, match="two tools have the name 'forecast'"):
        read_tools([forecast, forecast])


def test_the_decorator_adds_marks_and_returns_the_function():
    """The function can still be called, and a method keeps its marks."""

    @gx.tool
    def plain() -> int:
        """Return a number."""
        return 1

    class Shop:
        @gx.tool(name="stock-of", read_only=True, ask=True, outside=True)
        def stock(self, item: Annotated[str, "an item"]) -> int:
            """Return the stock."""
            return len(item)

    tool = Tool.of(Shop().stock)
    assert plain() == 1
    assert Tool.of(plain).name == "plain"
    assert (tool.name, tool.read_only, tool.ask, tool.outside) == ("stock-of", True, True, True)
    assert list(tool.definition.parameters["properties"]) == ["item"]
    with pytest.raises(UsageError, match="read_only must be a bool, got 'yes'"):
        gx.tool(read_only="yes")
    with pytest.raises(UsageError, match="Did you mean 'ask'"):
        gx.tool(askk=True)
    with pytest.raises(UsageError, match="tool must decorate a function"):
        gx.tool(3)


def test_marks_of_static_and_class_methods_are_kept():
    """A decorator may be above `staticmethod` and `classmethod`, too."""

    class Shop:
        @gx.tool(ask=True)
        @staticmethod
        def close() -> None:
            """Close."""

        @gx.tool(outside=True)
        @classmethod
        def visit(cls) -> None:
            """Visit."""

    assert Tool.of(Shop.close).ask
    assert Tool.of(Shop().visit).outside


@pytest.mark.parametrize("thing", [3, len, Place, Place("Rome").__eq__])
def test_only_functions_can_be_marked(thing):
    """The error is one line, and not an AttributeError."""
    with pytest.raises(UsageError, match="tool must decorate a function"):
        gx.tool(ask=True)(thing)


class _Everything:
    """An object that has every attribute, like a remote procedure."""

    def __init__(self, name):
        self.__name__ = name

    def __getattr__(self, name):
        if name in ("__wrapped__", "__signature__", "__text_signature__"):
            raise AttributeError
        return _Everything(name)

    def __call__(self):
        """Do anything."""


def test_an_object_with_every_attribute_has_no_marks():
    """Its attributes are no marks, so that it is not `read_only`."""
    tool = Tool.of(_Everything("anything"))

    assert (tool.name, tool.read_only) == ("anything", False)
    with pytest.raises(UsageError, match="the name of a tool must consist of"):
        Tool.of(_Everything(5))


def _without_attribute(x: "dt.nothing") -> None:
    """Have an annotation that fails."""


def test_an_annotation_that_fails_is_refused():
    """An annotation in quotes may raise any exception."""
    with pytest.raises(UsageError, match="the signature of the tool '_without_attribute'"):
        Tool.of(_without_attribute)


def test_a_parameter_may_have_any_name_that_python_allows():
    """The name may also have letters outside ASCII."""

    def measure(größe: int, self: int = 0, class_: str = "a") -> None:  # noqa: PLC2401 - see above
        """Measure."""

    bound = Tool.of(measure).bind('{"größe": 5, "self": 1}')

    assert bound.arguments == {"größe": 5, "self": 1}
