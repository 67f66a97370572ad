import io

import pytest
from IPython.display import DisplayHandle

from gatewayx_nb import display
from gatewayx_nb.calls.partial_reply import PartialReply, PendingRetry
from gatewayx_nb.errors import RateLimitError
from gatewayx_nb.html.markdown import parser
from gatewayx_nb.replies import Chunk, Reply, Usage


class Clock:
    """A clock set by the test."""

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
    partial = PartialReply("mock", "m")
    for word in words:
        partial.add(Chunk(text=word))
    return partial


def test_an_answer_is_one_display(sent):
    """An answer is displayed once, then updated in place at most ten times a second."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally("a")
    for number in range(100):
        clock.now = 100 + number / 100
        partial.add(Chunk(text="x"))
        view.update(partial)
    view.finish(partial.reply())

    ways = [way for way, _, _ in sent]
    assert ways[0] == "display"
    assert set(ways[1:]) == {"update"}
    assert len(ways) <= 12
    assert sent[-1][1]["text/plain"] == "a" + "x" * 100


def test_partial_reasoning_is_folded(sent):
    """Reasoning is collapsed before and after the answer begins."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally()
    partial.add(Chunk(reasoning="because"))
    view.update(partial)
    view.finish(Reply("a", "mock", "m", reasoning="because"))

    pages = [data["text/html"] for _, data, _ in sent]
    assert all("<summary>Reasoning</summary>" in page and "because" in page for page in pages)


def test_an_output_format_is_rendered_at_the_end(sent):
    """An answer in JSON format is shown as text while it grows, and indented at its end."""
    view = display.NotebookView(Clock(), output_format="json")
    view.update(_tally('{"a"'))
    view.finish(Reply('{"a": 1}', "mock", "m", parsed={"a": 1}))

    (_, growing, _), (_, finished, _) = sent
    assert '<pre style="white-space:pre-wrap">{&quot;a&quot;</pre>' in growing["text/html"]
    assert "<details open" in finished["text/html"]
    assert finished["text/plain"] == '{\n  "a": 1\n}'


def test_a_long_answer_costs_little_to_show(sent, monkeypatch):
    """The amount of parsed text is linear for 20,000 characters in chunks of 4.

    They arrive at 100 chunks a second.
    """
    markdown, parsed = parser(), []
    parse = markdown.parse
    monkeypatch.setattr(
        markdown, "parse", lambda text, env: parsed.append(len(text)) or parse(text, env)
    )
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally()
    text = ("## Part\n\nSome **bold** words, `code` and\n\n- an item\n- another\n\n" * 400)[:20_000]
    for at in range(0, 20_000, 4):
        clock.now += 0.01
        partial.add(Chunk(text=text[at : at + 4]))
        view.update(partial)
    view.finish(partial.reply())

    assert 200 < len(sent) < 350
    assert sum(parsed) < 8 * len(text)


def test_an_unchanged_answer_is_not_shown_again(sent):
    """A status line counts whole seconds, and no update is sent in between."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally()
    for number in range(20):
        clock.now = 100 + number / 2
        view.update(partial)

    assert len(sent) == 1


def test_a_slow_rendering_slows_the_updates(sent, monkeypatch):
    """Rendering takes at most a tenth of the time, however long the answer is."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally("a")

    def slow(*_args, **_keywords):
        clock.now += 0.5
        return ""

    monkeypatch.setattr(display.answer, "reply_html", slow)
    view.update(partial)
    partial.add(Chunk(text="b"))
    clock.now += 4.9
    view.update(partial)
    assert len(sent) == 1
    clock.now += 0.2
    view.update(partial)
    assert len(sent) == 2


def test_a_retry_is_shown_with_its_countdown(sent):
    """The wait before a retry is shown as a countdown."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _tally()
    partial.pending_retry = PendingRetry(RateLimitError("slow down."), until=1e12)
    view.update(partial)

    assert "slow down. Trying again in" in sent[0][1]["text/html"]


@pytest.mark.parametrize(
    ("reply", "summary"),
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
def test_the_summary_of_a_reply(reply, summary):
    """Unknown figures are shown as `?` and `unpriced`, never as 0."""
    from dataclasses import replace
    from decimal import Decimal

    priced = replace(reply, cost=Decimal(0)) if reply.cost == 0 else reply
    assert display.reply_summary(priced) == summary
    assert display.reply_summary(priced, "interrupted") == f"{summary} · interrupted"


def test_a_terminal_gets_no_control_characters(monkeypatch):
    """Text from a model cannot move the cursor or set the terminal's title."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    view = display.TerminalView()
    view.update(_tally("\x1b]0;title\x07a\x1b[2Jb\n"))

    assert out.getvalue() == "ab\n"


def test_an_immediate_replay_is_shown_once(sent):
    """A replayed answer is displayed once without updates, which a notebook test would miss."""
    view, partial = display.NotebookView(Clock()), PartialReply("mock", "m", instant=True)
    for _ in range(3):
        partial.add(Chunk(text="x"))
        view.update(partial)
    view.finish(Reply("xxx", "mock", "m", replayed=True))

    ((way, data, _),) = sent
    assert way == "display"
    assert data["text/plain"] == "xxx"
    assert "replayed" in data["text/html"]
