"""Messages about the limits of an old IPython."""

import doctest

import IPython
import pytest

from gatewayx_nb.magics import notebook_session
from gatewayx_nb.magics.notebook_session import limitations

COLAB = (
    "Limited on IPython 7.34.0 and ipykernel 6.17.1: Tab does not complete gatewayx lines; "
    "`%%time` continues after a failed or stopped cell within it; "
    "clicks on widgets wait while a cell streams."
)


@pytest.mark.parametrize(
    ("ipython", "ipykernel", "message"),
    [
        ("9.18.1", "7.4.0", ""),
        ("9.0.0b1", "7.0.0a1", ""),
        ("10.1", None, ""),
        ("8.6.0", "7.0.0", ""),
        ("8.5.0", None, "Limited on IPython 8.5.0: Tab does not complete gatewayx lines."),
        ("7.34.0", "6.17.1", COLAB),
    ],
)
def test_limitations_are_described_in_one_line(ipython, ipykernel, message):
    """The limitations of old versions are described in one line; current versions have none."""
    assert limitations(ipython, ipykernel) == message


def test_the_status_shows_the_limitations(shell):
    """The status shows the limitation once, and only if it applies."""
    output = repr(shell.ask("%gatewayx status"))
    assert ("Limited on IPython" in output) == (IPython.version_info < (8, 6))


def test_the_examples_in_docstrings_are_correct():
    assert doctest.testmod(notebook_session).failed == 0
