"""The progress of a map in a notebook: one display of a constant height, and its summary."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell

from gatewayx_nb.batch import MapFigures
from gatewayx_nb.display import NotebookMapView
from gatewayx_nb.errors import ContentFilterError

HOSTILE = "<script>alert(1)</script>\n\x1b[31m$x^2$ `a`"


@pytest.fixture
def published(monkeypatch):
    """Return the list of messages that a notebook receives."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    messages = []
    publish = lambda data, metadata=None, **others: messages.append((data, others))  # noqa: E731
    monkeypatch.setattr(shell.display_pub, "publish", publish)
    yield messages
    InteractiveShell.clear_instance()


@pytest.fixture
def view():
    """Return a view for which each update is due."""
    numbers = itertools.count()
    return NotebookMapView(lambda: 100.0 ** next(numbers))


def figures(total=200, **values):
    used = SimpleNamespace(cost=Decimal("0.5"), unpriced=0)
    return MapFigures("tickets", total, usage=used, **values)


def test_one_display_is_updated_and_becomes_the_summary(published, view):
    made = figures(2)
    view.show(made)
    made.add_answer(0, "yes")
    view.show(made)
    made.add_error(1, ContentFilterError("no"))
    made.state = "done"
    view.close(made)

    assert len(published) == 3
    assert len({others["transient"]["display_id"] for _, others in published}) == 1
    assert [others.get("update", False) for _, others in published] == [False, True, True]
    texts = [data["text/plain"] for data, _ in published]
    assert texts[1].startswith("tickets: 1 of 2 rows")
    assert texts[2].splitlines()[1:] == ["Row 1: ContentFilterError: no"]


def test_the_height_does_not_depend_on_the_values(published, view):
    made = figures()
    view.show(made)
    made.answered, made.failed, made.in_flight, made.rate_limited = 9_000, 1_000, 2_000, 300
    made.bound_by, made.problem = "requests per minute", "Reading 20,000 earlier answers."
    for position in range(5):
        made.add_answer(position, "long " * 200)
    view.show(made)

    shapes = [re.sub(r">[^<]*<|width:[\d.]+%", "", data["text/html"]) for data, _ in published]
    assert shapes[0] == shapes[1]
    assert "Reading 20,000 earlier answers." in published[1][0]["text/html"]
    assert "row 4: long" in published[1][0]["text/html"]


def test_details_replace_the_note_while_the_map_runs(published, view):
    made = figures()
    made.note = "So far, ok: 50.0 %"
    view.show(made)
    made.detail_html = lambda: "<table id=scores></table>"
    view.show(made)
    made.state = "done"
    view.close(made)

    first, second, last = (data["text/html"] for data, _ in published)
    assert "So far" in first
    assert second.endswith("<table id=scores></table>")
    assert "So far" not in second
    assert "<table" not in last


def test_model_output_and_errors_are_escaped(published, view):
    made = figures()
    made.name = HOSTILE
    made.add_answer(0, HOSTILE)
    made.add_error(1, ContentFilterError(HOSTILE))
    view.show(made)
    view.close(made)

    for data, _ in published:
        assert "<script" not in data["text/html"]
        assert "\x1b" not in data["text/html"] + data["text/plain"]
        assert "mathjax_ignore" in data["text/html"]


@pytest.mark.parametrize(
    ("counts", "widths"),
    [
        ((200, 100, 20), ["50.00", "10.00"]),
        ((None, 100, 20), ["0.00", "0.00"]),
        ((0, 0, 0), ["0.00", "0.00"]),
        ((10, 20, 0), ["100.00", "0.00"]),
    ],
)
def test_the_bar_shows_answers_and_errors(published, view, counts, widths):
    total, answered, failed = counts
    view.show(figures(total, answered=answered, failed=failed))

    assert re.findall(r"width:([\d.]+)%", published[0][0]["text/html"]) == widths


def test_a_map_that_ends_at_once_shows_its_summary_alone(published, view):
    made = figures(1, answered=1)
    made.state = "done"
    view.close(made)

    ((data, _),) = published
    assert "1 row answered" in data["text/plain"]
    assert "1 of 1 row" in data["text/html"]
