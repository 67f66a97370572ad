import asyncio
import threading

import html5lib
import pytest

from gatewayx_nb.batch import MapFigures, progress_views
from gatewayx_nb.evaluation import aevaluate, evaluate
from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Variant
from gatewayx_nb.evaluation.live_scores import LiveScores
from gatewayx_nb.evaluation.scoring import Scoring, read_scorers
from gatewayx_nb.replies import Reply

PLAIN, LONG = Variant("plain", "plain", "mock"), Variant("long", "long", "mock")


class Clock:
    """A clock that scorers advance."""

    now = 0.0

    def __call__(self):
        return self.now


def live_scores(scorers, clock, count=20):
    """Return the cells of two variants, their live scores and the figures of the map."""
    rows = EvaluatedRows(tuple({"n": number} for number in range(count)), tuple(range(count)))
    cells = [
        GridCell(position, position, variant)
        for position in range(count)
        for variant in (PLAIN, LONG)
    ]
    figures = MapFigures("evaluation")
    scoring = Scoring(read_scorers(scorers), rows)
    return cells, LiveScores(scoring, cells, figures, str, clock), figures


def answers(cells, start, end):
    return [(index, Reply(f"answer {index % 2}", "mock", "m")) for index in range(start, end)]


def test_the_means_so_far_are_noted():
    """The note follows the answers; the shares are those of each variant."""
    cells, live, figures = live_scores({"even": lambda text: text.endswith("0")}, Clock())
    live.add(answers(cells, 0, 4))
    assert figures.note == "So far, even: plain 100.0 %, long 0.0 %"
    assert cells[3].answer == "answer 1"


def test_slow_scorers_score_only_some_answers_while_others_arrive():
    """Scorers take at most a tenth of the time, and the map goes on."""
    clock, scored = Clock(), []

    def slow(text):
        scored.append(text)
        clock.now += 1.0
        return True

    cells, live, _ = live_scores(slow, clock)
    live.add(answers(cells, 0, 10))
    assert len(scored) == 1
    live.add(answers(cells, 10, 20))
    assert len(scored) == 1
    clock.now = 25.0
    live.add([])
    assert len(scored) == 3
    assert all(cell.answer for cell in cells[:20])


def test_each_answer_is_scored_once(pool, sums):
    """What was scored while answers arrived is not scored again at the end."""
    scored = []

    def count(text):
        scored.append(text)
        return True

    result = evaluate(sums, "{{sum}}", "solver", count, pool=pool)
    assert len(scored) == 12
    assert result.summary()[0].n == 12


class View:
    """Keeps what the display of a map receives, as text and as HTML."""

    def __init__(self):
        self.notes, self.pages = [], []

    def show(self, figures):
        self.notes.append(figures.note)
        self.pages.append(figures.detail_html())

    close = show


@pytest.fixture
def view(monkeypatch):
    """Return the view that each map uses."""
    used = View()
    monkeypatch.setattr(progress_views.view_factory, "create", lambda: used)
    return used


def test_the_scores_so_far_are_shown_beside_the_progress(pool, sums, view):
    """The display of the map receives a line for a terminal and a table for a notebook."""
    evaluate(sums, "{{sum}}", "solver", {"ok": lambda text: True}, pool=pool)
    assert view.notes[-1] == "So far, ok: solver 100.0 %"
    assert view.pages[0] == ""
    table = html5lib.parseFragment(view.pages[-1], namespaceHTMLElements=False)
    assert "".join(table.findall(".//tr")[-1].itertext()).startswith("solverok12100.0 %")
    assert 'aria-label="1 (0.758 to 1)"' in view.pages[-1]


def test_an_awaited_evaluation_shows_the_scores_so_far(pool, sums, view):
    """Each answer of an awaited evaluation is scored once, while others arrive."""
    scored = []
    run = aevaluate(
        sums, "{{sum}}", "solver", {"ok": lambda text: not scored.append(text)}, pool=pool
    )
    asyncio.run(run)
    assert view.notes[-1] == "So far, ok: solver 100.0 %"
    assert len(scored) == 12


def test_a_cancelled_evaluation_waits_for_the_running_scorer():
    """Two threads never score at the same time."""
    running, may_end = threading.Event(), threading.Event()

    def slow(text):
        running.set()
        may_end.wait(10)
        return True

    cells, live, _ = live_scores(slow, Clock())

    async def cancel():
        adding = asyncio.ensure_future(live.add_in_thread(answers(cells, 0, 1)))
        await asyncio.to_thread(running.wait, 10)
        adding.cancel()
        await asyncio.sleep(0)
        assert not adding.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await adding

    asyncio.run(cancel())
    assert cells[0].scores["slow"].value is True


def test_the_table_has_no_key_and_nothing_active():
    """Names and labels are masked and escaped in the table."""
    label = "<img src=x onerror=alert(1)> canary-key"
    cells, live, figures = live_scores({"label": lambda text: label}, Clock())
    live.add(answers(cells, 0, 2))
    assert "<img" not in figures.detail_html()
    hidden = LiveScores(
        live._scoring, cells, figures, lambda text: text.replace("canary-key", "***")
    )
    hidden.add(answers(cells, 0, 2))
    assert "canary-key" not in figures.detail_html() + figures.note
    assert "***" in figures.detail_html()
