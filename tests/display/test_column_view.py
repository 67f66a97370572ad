import threading
from types import SimpleNamespace

import html5lib
import pytest
from IPython.display import DisplayHandle

from gatewayx_nb import display
from gatewayx_nb.errors import GatewayError, RateLimitError
from gatewayx_nb.llm_engines import Chunk, LLMEngine, Usage


class Clock:
    """A clock set by the test."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Held(LLMEngine):
    """Engine that yields one word, waits until it is released, and yields another."""

    requires_key = False

    def __init__(self, name, *, fails=False):
        super().__init__()
        self.name, self.model_name, self._fails = name, "m", fails
        self.go, self.begun = threading.Event(), threading.Event()

    async def stream(self, request):
        import asyncio

        yield Chunk(text=f"**{self.name}**")
        self.begun.set()
        while not self.go.is_set():
            await asyncio.sleep(0.005)
        if self._fails:
            raise RateLimitError("$5 <b>slow</b> down.", hint="Wait.")
        yield Chunk(text=" end", finish_reason="stop", usage=Usage(1, 2))

    def get_cost_per_token(self):
        return 0.5 if self.name == "dear" else 0.25


@pytest.fixture
def sent(monkeypatch):
    """Collect what is published to the front end."""
    sent = []
    for way in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle, way, lambda _self, data, way=way, **kw: sent.append((way, data))
        )
    return sent


@pytest.fixture
def run(project, monkeypatch):
    """Yield a run of two engines that have yielded one word, and one that cannot be called.

    The status lines count no seconds, because one may pass on a busy machine.
    """
    monkeypatch.setattr(display.answer, "time", SimpleNamespace(monotonic=lambda: 0.0))
    engines = Held("dear"), Held("cheap")
    with project.pool(engines=engines) as pool:
        run = pool.plan_comparison("hi", models=["dear", "cheap", "nope"])
        run.start()
        for engine in engines:
            assert engine.begun.wait(10)
        run.engines = engines
        yield run


def _end(run, *engines):
    for engine in engines:
        engine.go.set()
        column = next(one for one in run.columns if one.label == engine.name)
        while column.outcome is None:
            run.join(0.01)


def _columns(html):
    """Return the text of each column by its label."""
    tree = html5lib.parseFragment(html, namespaceHTMLElements=False)
    groups = [part for part in tree.iter("div") if part.get("role") == "group"]
    return {group.get("aria-label"): "".join(group.itertext()) for group in groups}


def test_columns_update_one_display(sent, run):
    """Columns grow independently in one display, with at most ten updates a second.

    Without changes there is no update.
    """
    clock = Clock()
    view = display.NotebookColumns(clock)
    view.update(run)
    view.update(run)
    assert len(sent) == 1
    clock.now += 0.05
    _end(run, run.engines[0])
    view.update(run)
    assert len(sent) == 1
    clock.now += 0.06
    view.update(run)
    clock.now += 0.2
    view.update(run)
    assert len(sent) == 2
    _end(run, run.engines[1])
    view.finish(run)

    assert [way for way, _ in sent] == ["display", "update", "update"]
    first, second, last = (_columns(data["text/html"]) for _, data in sent)
    assert first["dear"].startswith("deardear")
    assert "dear:m · " in first["dear"]
    assert "no engine 'nope'" in first["nope"]
    assert "dear end" in second["dear"]
    assert "1 in, 2 out · $1.5" in second["dear"]
    assert "end" not in second["cheap"]
    assert last["cheap"].startswith("cheap")
    assert "cheapest" in last["cheap"].split("end")[0]
    assert "cheapest" not in last["dear"]


def test_the_last_update_contains_plain_text(sent, run):
    """The last update has a plain-text form for front ends without HTML.

    Earlier updates have only the models' names.
    """
    view = display.NotebookColumns()
    view.update(run)
    _end(run, *run.engines)
    view.finish(run)

    assert sent[0][1]["text/plain"] == "dear, cheap, nope …"
    text = sent[-1][1]["text/plain"]
    assert text.index("**dear** end") < text.index("cheap · ") < text.index("EngineNotFoundError")


def test_rendering_takes_at_most_a_fifth_of_the_time(sent, run, monkeypatch):
    """Rendering takes at most a fifth of the time, and finished columns are not rendered again."""
    clock, rendered = Clock(), []

    def slow(text, **_):
        rendered.append(text)
        clock.now += 0.5
        return ""

    monkeypatch.setattr(display.column_view, "reply_html", slow)
    view = display.NotebookColumns(clock)
    view.update(run)
    assert rendered == ["**dear**", "**cheap**", ""]
    _end(run, run.engines[0])
    clock.now += 7.4
    view.update(run)
    assert len(sent) == 1
    clock.now += 0.2
    view.update(run)
    assert rendered[3:] == ["**dear** end"]


def test_a_failed_column_shows_the_partial_answer_and_the_error(sent, project):
    """A failed column shows its partial answer and the provider's message, escaped."""
    engine = Held("half", fails=True)
    engine.go.set()
    with project.pool(engines=[engine]) as pool:
        run = pool.plan_comparison("hi", models=["half", "mock"])
        display.show_comparison(run, display.NotebookColumns())

    shown = _columns(sent[-1][1]["text/html"])
    assert "RateLimitError: $5 <b>slow</b> down. Wait." in shown["half"]
    assert shown["half"].startswith("halfhalf")


def test_a_terminal_shows_each_answer_when_it_is_complete(run, capsys):
    """A terminal prints each answer below its name once it is complete, and the best at the end."""
    view = display.TerminalColumns()
    view.update(run)
    assert capsys.readouterr().out.startswith("nope\n----\nEngineNotFoundError: no engine 'nope'.")
    _end(run, run.engines[1])
    view.update(run)
    out = capsys.readouterr().out
    assert out.startswith("cheap\n-----\n**cheap** end\n[cheap:m · ")
    _end(run, run.engines[0])
    view.finish(run)
    out = capsys.readouterr().out
    assert out.startswith("dear\n----\n**dear** end\n")
    assert "cheap: " in out.splitlines()[-1]
    assert "cheapest" in out.splitlines()[-1]


def test_a_view_that_fails_leaves_nothing_running(run):
    """If rendering raises any error, the run is stopped."""

    class Broken(display.QuietColumns):
        def update(self, run):
            raise GatewayError("no page.")

    with pytest.raises(GatewayError, match="no page"):
        display.show_comparison(run, Broken())
    assert [column.outcome.interrupted for column in run.columns[:2]] == [True, True]


def test_reasoning_is_folded_in_its_column(sent, run):
    """Reasoning is collapsed above the finished answer."""
    for column in run.columns[:2]:
        column.partial.reasoning.append("because")
    for engine in run.engines:
        engine.go.set()
    assert run.join(10)
    display.NotebookColumns(Clock()).finish(run)

    assert sent[-1][1]["text/html"].count("<summary>Reasoning</summary>") == 2


def test_partial_reasoning_is_folded_in_its_column(sent, run):
    """IncrementalRenderer reasoning is collapsed, and is shown before the answer begins."""
    clock = Clock()
    view = display.NotebookColumns(clock)
    view.update(run)
    run.columns[0].partial.reasoning.append("because")
    clock.now += 1
    view.update(run)

    assert len(sent) == 2
    assert sent[-1][1]["text/html"].count("<summary>Reasoning</summary>") == 1
    assert _columns(sent[-1][1]["text/html"])["dear"].startswith("dearReasoningbecause")
