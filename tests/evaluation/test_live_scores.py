from gatewayx_nb.batch import MapFigures
from gatewayx_nb.evaluation import evaluate
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


def test_a_note_is_shown_beside_the_progress(pool, sums, monkeypatch):
    """The display of the map receives the scores so far."""
    from gatewayx_nb.batch import progress_views

    notes = []

    class View:
        def show(self, figures):
            notes.append(figures.note)

        def close(self, figures):
            notes.append(figures.note)

    monkeypatch.setattr(progress_views.views, "create", View)
    evaluate(sums, "{{sum}}", "solver", {"ok": lambda text: True}, pool=pool)
    assert notes[-1] == "So far, ok: solver 100.0 %"
