"""Tab completion, as requested by a terminal and by a notebook page."""

import pytest
from IPython.core import completer
from IPython.core.completer import provisionalcompleter

pytestmark = pytest.mark.skipif(
    not hasattr(completer, "context_matcher"), reason="IPython before 8.6 asks nobody else"
)


def _offered(shell, typed):
    """Return the completions at the end of a text, each as the completed text."""
    with provisionalcompleter():
        found = shell.Completer.completions(typed, len(typed))
        return [typed[: one.start] + one.text for one in found]


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("%gatewayx sec", "%gatewayx security"),
        ("%gx mo", "%gx mock"),
        ("reply = %gx mo", "reply = %gx models"),
        ("%gatewayx mock:", "%gatewayx mock:mock"),
        ("%gatewayx status mo", "%gatewayx status mock"),
        ("%gatewayx models --l", "%gatewayx models --live"),
        ("%gatewayx help hist", "%gatewayx help history"),
        ("%gatewayx key s", "%gatewayx key set"),
        ("%gatewayx chat ex", "%gatewayx chat export"),
        ("%gatewayx chat export st", "%gatewayx chat export story"),
        ("%gatewayx nest o", "%gatewayx nest on"),
        ("%%gatewayx mo", "%%gatewayx mock"),
        ("%%gatewayx mock --temp", "%%gatewayx mock --temperature"),
        ("%%gatewayx mock --fallback mo", "%%gatewayx mock --fallback mock"),
        ("%%gatewayx mock -c st", "%%gatewayx mock -c story"),
        ("%%gatewayx mock\nOf {{coun", "%%gatewayx mock\nOf {{country"),
        ("%%gatewayx mock\nOf {{ coun", "%%gatewayx mock\nOf {{ country"),
        ("x = 1\n%gatewayx sec", "x = 1\n%gatewayx security"),
    ],
)
def test_tab_completes_lines_and_cells(shell, typed, becomes):
    """Tab completes commands, engines, models, options, conversations and notebook names."""
    shell.user_ns["country"] = "France"
    shell.ask("%%gatewayx mock -q --chat story\nhi")

    offered = _offered(shell, typed)
    assert becomes in offered
    assert all(one.startswith(typed) for one in offered)


@pytest.mark.parametrize("typed", ["%gatewayx mock coun", "%%gatewayx mock -o coun"])
def test_nothing_is_offered_in_a_prompt(shell, typed):
    """Nothing is completed in a prompt, not even Python names: a prompt is not code."""
    shell.user_ns["country"] = "France"

    assert _offered(shell, typed) == []


@pytest.mark.parametrize("typed", ["coun", "print(coun", "%%timeit\ncoun"])
def test_other_text_is_left_to_python(shell, typed):
    """Other text is left to Python's completion, and no engine is looked up."""
    shell.user_ns["country"] = "France"

    assert typed + "try" in _offered(shell, typed)


def test_unloading_removes_the_completer(shell):
    """Unloading the extension removes its completer."""
    shell.run_line_magic("unload_ext", "gatewayx_nb")
    try:
        assert "%gatewayx security" not in _offered(shell, "%gatewayx sec")
    finally:
        shell.run_line_magic("load_ext", "gatewayx_nb")
