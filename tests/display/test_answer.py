import io

import pytest
from IPython.display import DisplayHandle

from gatewayx_nb import calls, display
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
def updates(monkeypatch):
    """Return a list that collects the updates sent to the front end."""
    updates = []
    for method in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle,
            method,
            lambda _self, data, method=method, **kw: updates.append((method, data, kw)),
        )
    return updates


def _partial_reply(*words):
    partial = PartialReply("mock", "m")
    for word in words:
        partial.add(Chunk(text=word))
    return partial


def test_an_answer_is_one_display(updates):
    """An answer is displayed once, then updated in place at most ten times a second."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply("a")
    for number in range(100):
        clock.now = 100 + number / 100
        partial.add(Chunk(text="x"))
        view.update(partial)
    view.finish(partial.reply())

    methods = [method for method, _, _ in updates]
    assert methods[0] == "display"
    assert set(methods[1:]) == {"update"}
    assert len(methods) <= 12
    assert updates[-1][1]["text/plain"] == "a" + "x" * 100


def test_reasoning_is_collapsed(updates):
    """Reasoning is collapsed before and after the answer begins."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply()
    partial.add(Chunk(reasoning="because"))
    view.update(partial)
    view.finish(Reply("a", "mock", "m", reasoning="because"))

    pages = [data["text/html"] for _, data, _ in updates]
    assert all("<summary>Reasoning</summary>" in page and "because" in page for page in pages)


def test_json_is_indented_at_the_end(updates):
    """A JSON answer is shown as plain text while it streams, and indented when it is complete."""
    view = display.NotebookView(Clock(), output_format="json")
    view.update(_partial_reply('{"a"'))
    view.finish(Reply('{"a": 1}', "mock", "m", parsed={"a": 1}))

    (_, partial_bundle, _), (_, final_bundle, _) = updates
    assert '<pre style="white-space:pre-wrap">{&quot;a&quot;</pre>' in partial_bundle["text/html"]
    assert "<details open" in final_bundle["text/html"]
    assert final_bundle["text/plain"] == '{\n  "a": 1\n}'


def test_rendering_a_long_answer_takes_linear_time(updates, monkeypatch):
    """An answer of 20,000 characters in 5,000 chunks is parsed fewer than eight times in total.

    The chunks arrive at a rate of 100 per second.
    """
    markdown, parsed_lengths = parser(), []
    parse = markdown.parse
    monkeypatch.setattr(
        markdown, "parse", lambda text, *env: parsed_lengths.append(len(text)) or parse(text, *env)
    )
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply()
    text = ("## Part\n\nSome **bold** words, `code` and\n\n- an item\n- another\n\n" * 400)[:20_000]
    for offset in range(0, 20_000, 4):
        clock.now += 0.01
        partial.add(Chunk(text=text[offset : offset + 4]))
        view.update(partial)
    view.finish(partial.reply())

    assert 200 < len(updates) < 350
    assert sum(parsed_lengths) < 8 * len(text)


def test_an_unchanged_answer_is_not_shown_again(updates):
    """Without new text, no update is sent until the status line counts the next second."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply()
    for number in range(20):
        clock.now = 100 + number / 2
        view.update(partial)

    assert len(updates) == 1


def test_slow_rendering_reduces_the_update_rate(updates, monkeypatch):
    """Rendering takes at most a tenth of the time, however long the answer is."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply("a")

    def slow_reply_html(*_args, **_keywords):
        clock.now += 0.5
        return ""

    monkeypatch.setattr(display.answer, "reply_html", slow_reply_html)
    view.update(partial)
    partial.add(Chunk(text="b"))
    clock.now += 4.9
    view.update(partial)
    assert len(updates) == 1
    clock.now += 0.2
    view.update(partial)
    assert len(updates) == 2


def test_a_retry_is_shown_with_its_countdown(updates):
    """The display shows the error and a countdown until the next attempt."""
    clock = Clock()
    view, partial = display.NotebookView(clock), _partial_reply()
    partial.pending_retry = PendingRetry(RateLimitError("slow down."), until=1e12)
    view.update(partial)

    assert "slow down. Trying again in" in updates[0][1]["text/html"]


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
            "mock:m · 0.0 s · ? in, ? out · $0 · cut off at max tokens",
        ),
        (
            Reply("x", "local", "m", finish_reason="length", cost=0, context_limit=4096),
            "local:m · 0.0 s · ? in, ? out · $0 · cut off at the context limit of 4,096 tokens",
        ),
    ],
)
def test_the_summary_shows_unknown_metrics_as_unknown(reply, summary):
    """The summary of a reply shows unknown tokens as `?` and an unknown cost as `unpriced`."""
    from dataclasses import replace
    from decimal import Decimal

    priced_reply = replace(reply, cost=Decimal(0)) if reply.cost == 0 else reply
    assert calls.reply_summary(priced_reply) == summary
    assert calls.reply_summary(priced_reply, "interrupted") == f"{summary} · interrupted"


def test_control_characters_are_removed_in_a_terminal(monkeypatch):
    """Control sequences of a model's text, which could move the cursor, are not printed."""
    stdout = io.StringIO()
    monkeypatch.setattr("sys.stdout", stdout)
    view = display.TerminalView()
    view.update(_partial_reply("\x1b]0;title\x07a\x1b[2Jb\n"))

    assert stdout.getvalue() == "ab\n"


def test_an_immediate_replay_is_shown_once(updates):
    """An answer that is replayed without delays is displayed once, without updates."""
    view, partial = display.NotebookView(Clock()), PartialReply("mock", "m", instant=True)
    for _ in range(3):
        partial.add(Chunk(text="x"))
        view.update(partial)
    view.finish(Reply("xxx", "mock", "m", replayed=True))

    ((method, data, _),) = updates
    assert method == "display"
    assert data["text/plain"] == "xxx"
    assert "replayed" in data["text/html"]
