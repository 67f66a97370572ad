"""What a model receives of a function's result or exception."""

import dataclasses
import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gatewayx_nb.images import Image
from gatewayx_nb.tools.tool_result import MAX_CHARACTERS, error_text, to_parts

PNG = b"\x89PNG\r\n\x1a\n0000"


@dataclasses.dataclass
class City:
    """A city."""

    name: str
    founded: dt.date


class _Text(str):
    """A str whose methods do something else."""

    __slots__ = ()

    def __len__(self):
        raise SystemExit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        (21.5, "21.5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (City("Rome", dt.date(1, 1, 1)), '{"name":"Rome","founded":"0001-01-01"}'),
        (np.int64(3), "3"),
        (np.array([1, 2]), "[1,2]"),
        (math.nan, "null"),
        ({1: "a"}, '{"1":"a"}'),
        ((1, {2}), "[1,[2]]"),
        ("lone \ud800", "lone \ufffd"),
    ],
)
def test_a_value_is_sent_as_text_or_json(value, text):
    """A str stays as it is, anything else becomes JSON."""
    assert to_parts(value) == ((text,) if text else ("",))


def test_the_methods_of_a_kind_of_str_are_not_called():
    """They may do anything."""
    assert to_parts(_Text("abc")) == ("abc",)


def test_a_table_is_sent_as_in_a_prompt():
    """A DataFrame and a Series have their shape and their first rows."""
    frame = pd.DataFrame({"city": ["Rome", "Oslo"], "warm": [21, 9]})

    assert "| Rome | 21 |" in to_parts(frame)[0]
    assert "| 21 |" in to_parts(frame["warm"])[0]


def test_images_are_sent_as_images():
    """A figure, the bytes of an image, and a list with text and images."""
    figure = Figure()
    figure.subplots().plot([1, 2])

    (drawn,) = to_parts(figure)
    text, image = to_parts(["See", PNG])
    assert drawn.mime == "image/png"
    assert (text, image) == ("See", Image("image/png", PNG))


def test_a_long_result_is_cut_and_says_so():
    """The model knows that there is more."""
    (text,) = to_parts("x" * 100_000_000)

    assert text == "x" * MAX_CHARACTERS + "\n[Cut: the result has 100,000,000 characters.]"


def _endless():
    yield 1


async def _coroutine():
    return 1


async def _asynchronous():
    yield 1


def _itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"data", "returned bytes"),
        (_endless, "returned a generator"),
        (lambda: iter([1]), "returned a list_iterator"),
        (_itself, "contains itself"),
        (_coroutine, "returned a coroutine; write it with `async def`"),
        (_asynchronous, "returned a async_generator"),
    ],
)
def test_a_value_that_cannot_be_sent_is_an_error_for_the_model(make, message):
    """The message says what the function should return."""
    with pytest.raises(ValueError, match=message) as error:
        to_parts(make())

    assert "\n" not in str(error.value)


class _BrokenError(Exception):
    def __str__(self):
        raise RuntimeError


class _ExitingError(Exception):
    def __str__(self):
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("two\nlines"), "ValueError: two lines"),
        (ValueError(), "ValueError"),
        (_BrokenError(), "_BrokenError"),
        (_ExitingError(), "_ExitingError"),
        (OSError("in '/home/me/secret dir/a.csv'"), "OSError: in 'secret dir/a.csv'"),
        (OSError(r"C:\Users\me\a.csv is closed"), "OSError: a.csv is closed"),
        (OSError("see https://example.com/a/b"), "OSError: see https://example.com/a/b"),
        (KeyError("city"), "KeyError: 'city'"),
        (ValueError("x" * 10_000), "ValueError: " + "x" * 500),
    ],
)
def test_an_exception_is_one_line_without_folders(error, text):
    """Paths show what is on the machine, which the provider need not know."""
    assert error_text(error) == text
