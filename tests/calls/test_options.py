from typing import get_type_hints

import pytest

from gatewayx_nb.calls import OPTIONS, CallOptions, check_options
from gatewayx_nb.errors import UsageError

HUGE = 10**5_000  # more digits than Python converts to a str
CYCLIC: dict = {}
CYCLIC["a"] = CYCLIC


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "'temprature' is not an option of a call.*Did you mean 'temperature'"),
        ({"temperature": "hot"}, "temperature must be a number >= 0, got 'hot'.*`temperature=0.2`"),
        ({"temperature": -1}, "temperature must be a number >= 0, got -1"),
        ({"temperature": float("nan")}, "temperature must be a number >= 0, got nan"),
        ({"max_tokens": 0}, "max_tokens must be an int >= 1, got 0"),
        ({"max_tokens": True}, "max_tokens must be an int >= 1, got True"),
        ({"max_tokens": 1.5}, "max_tokens must be an int >= 1, got 1.5"),
        ({"system": 1}, "system must be a str, got 1"),
        ({"stop": [1]}, "stop must be a str that is not empty, or several of them, got"),
        ({"stop": ""}, "stop must be .*, got ''"),
        ({"stop": 3}, "stop must be .*, got 3"),
        ({"fresh": "yes"}, "fresh must be a bool, got 'yes'"),
        ({"allow_unpriced": 1}, "allow_unpriced must be a bool, got 1"),
        ({"params": {"drop_unsupported": "maybe"}}, "drop_unsupported must be a bool, got 'maybe'"),
        ({"model": ""}, 'model must be a reference, "engine" or "engine:model", got \'\''),
        ({"model": "mock:"}, "model must be a reference, .*, got 'mock:'"),
        ({"schema": {"a": 1}}, "must be a JSON Schema, got a dict without JSON Schema keywords"),
        ({"schema": {"type": "objekt"}}, "got 'objekt'. Did you mean 'object'"),
        ({"schema": {"anyOf": [{"type": ["null", "str"]}]}}, "got 'str'. Did you mean 'string'"),
        ({"model": 3}, 'model must be a reference, "engine" or "engine:model", got 3'),
        ({"model": ["a", "b"]}, "model must be one reference .`compare` calls several., got"),
        ({"schema": [1]}, r"schema must be .* got \[1\]"),
        ({"top_p": 2}, "top_p must be a number from 0 to 1, got 2"),
        ({"images": [3]}, "or a PIL image, got int"),
        ({"params": "x"}, "params must be a dict whose keys are str, got 'x'"),
        ({"params": {"temperature": "hot"}}, "temperature must be a number >= 0, got 'hot'"),
        ({"params": {"top_p": 2}}, "top_p must be a number from 0 to 1, got 2"),
        ({"params": {"messages": []}}, "params must not contain 'messages', which the call sets"),
        ({"params": {"model": "other"}}, "params must not contain 'model', which the call sets"),
        ({"params": {"openaii": {"n": 1}}}, "no such engine. Did you mean 'openai'"),
        ({"params": {1: 2}}, "params must be a dict whose keys are str, got {1: 2}"),
        ({"params": CYCLIC}, r"params must be a dict that JSON can represent \(Circular"),
        ({"params": {"x": HUGE}}, r"params must be a dict that JSON can represent \(Exceeds"),
        ({"schema": CYCLIC}, "schema must be .* cannot be written as JSON: Circular"),
        ({"seed": HUGE}, "seed must be a signed 64-bit integer, got an object of type int"),
        ({"seed": 2**63}, "seed must be a signed 64-bit integer, got 9223372036854775808"),
        ({"max_tokens": HUGE}, "max_tokens must be a signed 64-bit integer"),
        ({"temperature": HUGE}, "temperature must be a number >= 0, got an object of type int"),
        ({"timeout": HUGE}, "timeout must be a number of seconds"),
        ({"max_cost": HUGE}, "max_cost must be an amount of US dollars"),
        ({"timeout": 0}, "timeout must be a number of seconds > 0 and at most 604,800, got 0"),
        ({"timeout": "1"}, "timeout must be .*, got '1'"),
    ],
)
def test_an_invalid_option_raises_an_error_with_its_name(project, options, message):
    """An invalid option raises an error with its name and the expected value."""
    with pytest.raises(UsageError, match=message):
        project.pool().ask("x", **{"model": "mock", **options})


@pytest.mark.parametrize("prompt", ["", "  \n", None, 3, b"bytes"])
def test_an_invalid_prompt_raises_an_error(project, prompt):
    """A prompt that is empty or not a str raises an error before the call."""
    with pytest.raises(UsageError, match="prompt"):
        project.pool().ask(prompt, model="mock")


def test_every_option_has_a_row_in_the_table():
    """Every option of a call has a row in `OPTIONS`, with a help text."""
    assert set(OPTIONS) == set(get_type_hints(CallOptions))
    assert [name for name, option in OPTIONS.items() if not option.help] == []


def test_the_examples_of_the_table_are_valid():
    """The examples of options, which hints show, are valid values."""
    for name, option in OPTIONS.items():
        if option.example is not None and name != "images":
            assert check_options({name: option.example})


def test_checking_options_twice_does_not_change_them():
    """Checking options turns iterators into tuples; checking the result again changes nothing."""
    checked = check_options({"stop": iter(["a", "b"]), "fallback": "mock", "seed": None})

    assert checked == {"stop": ("a", "b"), "fallback": ("mock",)}
    assert check_options(checked) == checked


def test_numpy_integers_are_integers():
    """A NumPy integer is converted to an int, in an option and in `params`."""
    numpy = pytest.importorskip("numpy")
    options = {"max_tokens": numpy.int64(5), "seed": numpy.int32(2)}

    checked = check_options({**options, "params": {"max_tokens": numpy.int64(5)}})

    assert checked == {"max_tokens": 5, "seed": 2, "params": {"max_tokens": 5}}
    assert type(checked["max_tokens"]) is type(checked["params"]["max_tokens"]) is int
    with pytest.raises(UsageError, match="max_tokens must be an int"):
        check_options({"max_tokens": numpy.bool_(1)})
