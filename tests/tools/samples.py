"""Functions, turns and parameters for the tests of the wire."""

import pytest

import gatewayx_nb as gx
from gatewayx_nb.images import Image
from tests.tools.providers import PROVIDERS, VARIANTS
from tests.tools.strict_server import Turn

PNG = Image("image/png", b"\x89PNG\r\n\x1a\n")

ROME, OSLO = {"city": "Rome"}, {"city": "Zürich"}
LOOK = Turn("I look.", "Hm é.", (("weather", ROME),))
DONE = Turn("It is sunny.", "So.")


def weather(city: str, days: int = 1) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def now() -> str:
    """Return the time."""
    return "noon"


def broken() -> str:
    """Fail."""
    raise ValueError("no such city")


@gx.tool(ask=True)
def delete(path: str) -> str:
    """Delete a file."""
    raise AssertionError


def chart() -> list:
    """Return a chart."""
    return ["Here:", PNG]


TOOLS = [weather, now, broken, delete]


def _named(kind):
    return kind.__name__


ALL = pytest.mark.parametrize("kind", VARIANTS, ids=_named)
EACH = pytest.mark.parametrize("kind", PROVIDERS, ids=_named)
STREAMED = pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
