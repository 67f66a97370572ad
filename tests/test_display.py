import io

import pytest
from IPython.display import DisplayHandle

from gatewayx_nb import display
from gatewayx_nb.engine_pool.tally import Tally, Waiting
from gatewayx_nb.errors import RateLimitError
from gatewayx_nb.messages import Chunk, Reply, Usage


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def sent(monkeypatch):
    """Collect what is published to the front end."""
    sent = []
    for way in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle, way, lambda _self, data, way=way, **kw: sent.append((way, data, kw))
        )
    return sent


def _tally(*words):
    tally = Tally("mock", "m")
    for word in words:
        tally.add(Chunk(text=word))
    return tally


def test_an_answer_is_one_display(sent):
    """Shown once, then updated in place; no more often than ten times a second."""
    clock = Clock()
    view, tally = display.NotebookView(clock), _tally("a")
    for number in range(100):
        clock.now = 100 + number / 100
        tally.add(Chunk(text="x"))
        view.update(tally)
    view.finish(tally.reply())

    ways = [way for way, _, _ in sent]
    assert ways[0] == "display"
    assert set(ways[1:]) == {"update"}
    assert len(ways) <= 12
    assert sent[-1][1]["text/plain"] == "a" + "x" * 100


def test_no_news_is_not_shown_again(sent):
    """A status line counts whole seconds; in between nothing is sent."""
    clock = Clock()
    view, tally = display.NotebookView(clock), _tally()
    for number in range(20):
        clock.now = 100 + number / 2
        view.update(tally)

    assert len(sent) == 1


def test_a_slow_rendering_slows_the_updates(sent, monkeypatch):
    """It gets a tenth of the time, however long the answer."""
    clock = Clock()
    view, tally = display.NotebookView(clock), _tally("a")

    def slow(*_args, **_keywords):
        clock.now += 0.5
        return ""

    monkeypatch.setattr(display.answer, "reply_html", slow)
    view.update(tally)
    tally.add(Chunk(text="b"))
    clock.now += 4.9
    view.update(tally)
    assert len(sent) == 1
    clock.now += 0.2
    view.update(tally)
    assert len(sent) == 2


def test_a_retry_is_told_with_its_countdown(sent):
    """A wait is never silent."""
    clock = Clock()
    view, tally = display.NotebookView(clock), _tally()
    tally.waiting = Waiting(RateLimitError("slow down."), until=1e12)
    view.update(tally)

    assert "slow down. Trying again in" in sent[0][1]["text/html"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("x", "mock", "m"), "mock:m · 0.0 s · ? in, ? out · unpriced"),
        (
            Reply("x", "mock", "m", usage=Usage(1, 2), latency=1.26, time_to_first=0.5, attempts=2),
            "mock:m · 1.3 s, first after 0.5 s · 1 in, 2 out · unpriced · 2 attempts",
        ),
        (
            Reply("x", "mock", "m", finish_reason="length", cost=0),
            "mock:m · 0.0 s · ? in, ? out · $0 · cut at max tokens",
        ),
    ],
)
def test_the_line_under_an_answer(reply, said):
    """Unknown is `?` and `unpriced`, never 0."""
    from dataclasses import replace
    from decimal import Decimal

    priced = replace(reply, cost=Decimal(0)) if reply.cost == 0 else reply
    assert display.figures(priced) == said
    assert display.figures(priced, "interrupted") == f"{said} · interrupted"


def test_a_terminal_gets_no_control_characters(monkeypatch):
    """What a model writes cannot move the cursor or set the title."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    view = display.TerminalView()
    view.update(_tally("\x1b]0;title\x07a\x1b[2Jb\n"))

    assert out.getvalue() == "ab\n"
