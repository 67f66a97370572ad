"""Messages about an old IPython."""

import doctest

import IPython
import pytest

from gatewayx_nb.magics import versions

COLAB = (
    "Less works on IPython 7.34.0 and ipykernel 6.17.1: Tab offers nothing of gatewayx; "
    "`%%time` goes on after a failed or stopped cell within it; "
    "clicks on widgets wait while a cell streams."
)


@pytest.mark.parametrize(
    ("ipython", "ipykernel", "said"),
    [
        ("9.18.1", "7.4.0", ""),
        ("9.0.0b1", "7.0.0a1", ""),
        ("10.1", None, ""),
        ("8.6.0", "7.0.0", ""),
        ("8.5.0", None, "Less works on IPython 8.5.0: Tab offers nothing of gatewayx."),
        ("7.34.0", "6.17.1", COLAB),
    ],
)
def test_what_works_less_is_said_in_one_line(ipython, ipykernel, said):
    """Old versions yield one line about what is limited, current versions none."""
    assert versions.lacking(ipython, ipykernel) == said


def test_the_status_says_it(shell):
    """The status shows the limitation once, and only if it applies."""
    shown = repr(shell.ask("%gatewayx status"))
    assert ("Less works on IPython" in shown) == (IPython.version_info < (8, 6))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(versions).failed == 0
