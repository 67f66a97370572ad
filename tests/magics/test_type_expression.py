"""Types in `--schema`."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal, Optional

import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics.type_expression import evaluate
from gatewayx_nb.secure_config import Secret


@dataclass
class City:
    """A class in the notebook."""

    name: str


def fail():
    """Raise an error; no evaluation may call this."""
    raise AssertionError


NAMESPACE = {
    "City": City,
    "Optional": Optional,
    "types": SimpleNamespace(City=City),
    "schemas": {"city": City},
    "fail": fail,
    "key": Secret("xai-secret-key-12345"),
}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("City", City),
        ("list[City]", list[City]),
        ("City | None", City | None),
        ("types.City", City),
        ("list[types.City] | None", list[City] | None),
        ('schemas["city"]', City),
        ("Optional[City]", City | None),
        ("Literal['a', 'b', -1]", Literal["a", "b", -1]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("tuple[int, ...]", tuple[int, ...]),
        (" int ", int),
    ],
)
def test_a_type_is_evaluated(expression, value):
    """Names, attributes, subscripts, `|` and literals form a type."""
    assert evaluate(expression, NAMESPACE) == value


@pytest.mark.parametrize(
    "expression",
    [
        *("fail()", "list[fail()]", "[x for x in City]", "City if 1 else 2", "lambda: 1", "City +"),
        *("", "f'{fail()}'", "City.__class__", "City._x", "__builtins__", "nothing", "City[int]"),
        *("key", "list[key]", "1 + 1", "(" * 5000, "City; fail()", "x := City", "not City"),
    ],
)
def test_anything_else_is_refused(expression):
    """Nothing is called, and private names and keys are refused."""
    with pytest.raises(UsageError) as caught:
        evaluate(expression, NAMESPACE, (Secret,))
    assert caught.value.hint
    assert "xai-secret" not in str(caught.value)
