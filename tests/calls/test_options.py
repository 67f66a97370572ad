import pytest

from gatewayx_nb.errors import (
    UsageError,
)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 1}, "takes no 'temprature'.*Did you mean 'temperature'"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number of at least 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"max_tokens": 0}, "max_tokens is 0; expected a whole number above 0"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5; expected int"),
        ({"system": 1}, "system is 1; expected str"),
        ({"stop": [1]}, "stop is"),
        ({"stop": ""}, "stop is ''"),
        ({"stop": 3}, "stop is 3"),
        ({"model": 3}, "model is 3; expected a text"),
        ({"schema": [1]}, r"\[1\] is no schema"),
        ({"top_p": 2}, "top_p is 2; expected a number from 0 to 1"),
        ({"images": [3]}, "int is no image"),
        ({"params": "x"}, "params is 'x'; expected a dict"),
        ({"timeout": 0}, "timeout is 0; expected seconds above 0"),
        ({"timeout": "1"}, "timeout is '1'"),
    ],
)
def test_a_keyword_that_does_not_fit_is_named(project, options, said):
    """An invalid option raises an error with its name and the expected value; nothing is sent."""
    with pytest.raises(UsageError, match=said):
        project.pool().ask("x", **{"model": "mock", **options})


@pytest.mark.parametrize("prompt", ["", "  \n", None, 3, b"bytes"])
def test_a_prompt_is_a_text(project, prompt):
    """A prompt that is empty or not a text raises an error before the call."""
    with pytest.raises(UsageError, match="prompt"):
        project.pool().ask(prompt, model="mock")
