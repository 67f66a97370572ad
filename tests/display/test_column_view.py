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


class BlockingEngine(LLMEngine):
    """Engine that yields a word, waits until it is released, and yields another word or raises."""

    requires_key = False

    def __init__(self, name, *, raises=False):
        super().__init__()
        self.name, self.model_name, self._raises = name, "m", raises
        self.release, self.started = threading.Event(), threading.Event()

    async def stream(self, request):
        import asyncio

        yield Chunk(text=f"**{self.name}**")
        self.started.set()
        while not self.release.is_set():
            await asyncio.sleep(0.005)
        if self._raises:
            raise RateLimitError("$5 <b>slow</b> down.", hint="Wait.")
        yield Chunk(text=" end", finish_reason="stop", usage=Usage(1, 2))

    def get_cost_per_token(self):
        return 0.5 if self.name == "dear" else 0.25


@pytest.fixture
def updates(monkeypatch):
    """Return a list that collects the updates sent to the front end."""
    updates = []
    for method in ("display", "update"):
        monkeypatch.setattr(
            DisplayHandle,
            method,
            lambda _self, data, method=method, **kw: updates.append((method, data)),
        )
    return updates


@pytest.fixture
def run(project, monkeypatch):
    """Yield a run of two engines that have yielded a word and one unknown engine.

    The status lines show 0 s, because a changed status line would be an update.
    """
    monkeypatch.setattr(display.answer, "time", SimpleNamespace(monotonic=lambda: 0.0))
    engines = BlockingEngine("dear"), BlockingEngine("cheap")
    with project.pool(engines=engines) as pool:
        run = pool.plan_comparison("hi", models=["dear", "cheap", "cohere"])
        run.start()
        for engine in engines:
            assert engine.started.wait(10)
        run.engines = engines
        yield run


def _finish(run, *engines):
    for engine in engines:
        engine.release.set()
        column = next(column for column in run.columns if column.label == engine.name)
        while column.outcome is None:
            run.join(0.01)


def _column_texts(html):
    """Return the text of each column by its label."""
    tree = html5lib.parseFragment(html, namespaceHTMLElements=False)
    groups = [element for element in tree.iter("div") if element.get("role") == "group"]
    return {group.get("aria-label"): "".join(group.itertext()) for group in groups}


def test_columns_update_one_display(updates, run):
    """All columns are in one display, with at most ten updates a second.

    If no column has changed, there is no update.
    """
    clock = Clock()
    view = display.NotebookColumns(clock)
    view.update(run)
    view.update(run)
    assert len(updates) == 1
    clock.now += 0.05
    _finish(run, run.engines[0])
    view.update(run)
    assert len(updates) == 1
    clock.now += 0.06
    view.update(run)
    clock.now += 0.2
    view.update(run)
    assert len(updates) == 2
    _finish(run, run.engines[1])
    view.finish(run)

    assert [method for method, _ in updates] == ["display", "update", "update"]
    first, second, last = (_column_texts(data["text/html"]) for _, data in updates)
    assert first["dear"].startswith("deardear")
    assert "dear:m · " in first["dear"]
    assert "engine 'cohere' needs a key" in first["cohere"]
    assert "dear end" in second["dear"]
    assert "1 in, 2 out · $1.5" in second["dear"]
    assert "end" not in second["cheap"]
    assert last["cheap"].startswith("cheap")
    assert "cheapest" in last["cheap"].split("end")[0]
    assert "cheapest" not in last["dear"]


def test_the_last_update_contains_plain_text(updates, run):
    """The plain text of the last update has all answers, for front ends without HTML.

    The plain text of earlier updates has only the labels.
    """
    view = display.NotebookColumns()
    view.update(run)
    _finish(run, *run.engines)
    view.finish(run)

    assert updates[0][1]["text/plain"] == "dear, cheap, cohere …"
    text = updates[-1][1]["text/plain"]
    assert text.index("**dear** end") < text.index("cheap · ") < text.index("MissingKeyError")


def test_rendering_takes_at_most_a_fifth_of_the_time(updates, run, monkeypatch):
    """Rendering takes at most a fifth of the time, and unchanged columns are not rendered again."""
    clock, rendered_texts = Clock(), []

    def slow_reply_html(text, **_):
        rendered_texts.append(text)
        clock.now += 0.5
        return ""

    monkeypatch.setattr(display.column_view, "reply_html", slow_reply_html)
    view = display.NotebookColumns(clock)
    view.update(run)
    assert rendered_texts == ["**dear**", "**cheap**", ""]
    _finish(run, run.engines[0])
    clock.now += 7.4
    view.update(run)
    assert len(updates) == 1
    clock.now += 0.2
    view.update(run)
    assert rendered_texts[3:] == ["**dear** end"]


def test_a_failed_column_shows_the_partial_answer_and_the_error(updates, project):
    """A failed column shows its partial answer and the provider's message, escaped."""
    engine = BlockingEngine("half", raises=True)
    engine.release.set()
    with project.pool(engines=[engine]) as pool:
        run = pool.plan_comparison("hi", models=["half", "mock"])
        display.show_comparison(run, display.NotebookColumns())

    column_texts = _column_texts(updates[-1][1]["text/html"])
    assert "RateLimitError: $5 <b>slow</b> down. Wait." in column_texts["half"]
    assert column_texts["half"].startswith("halfhalf")


def test_a_terminal_shows_each_answer_when_it_is_complete(run, capsys):
    """A terminal prints each answer below its label once it is complete, then a summary."""
    view = display.TerminalColumns()
    view.update(run)
    assert capsys.readouterr().out.startswith(
        "cohere\n------\nMissingKeyError: engine 'cohere' needs"
    )
    _finish(run, run.engines[1])
    view.update(run)
    output = capsys.readouterr().out
    assert output.startswith("cheap\n-----\n**cheap** end\n[cheap:m · ")
    _finish(run, run.engines[0])
    view.finish(run)
    output = capsys.readouterr().out
    assert output.startswith("dear\n----\n**dear** end\n")
    assert "cheap: " in output.splitlines()[-1]
    assert "cheapest" in output.splitlines()[-1]


def test_a_failing_view_stops_the_run(run):
    """If a view raises an exception, the run is stopped."""

    class FailingColumns(display.QuietColumns):
        def update(self, run):
            raise GatewayError("no page.")

    with pytest.raises(GatewayError, match="no page"):
        display.show_comparison(run, FailingColumns())
    assert [column.outcome.interrupted for column in run.columns[:2]] == [True, True]


def test_reasoning_is_collapsed_in_its_column(updates, run):
    """The reasoning of a finished answer is collapsed."""
    for column in run.columns[:2]:
        column.partial.reasoning.append("because")
    for engine in run.engines:
        engine.release.set()
    assert run.join(10)
    display.NotebookColumns(Clock()).finish(run)

    assert updates[-1][1]["text/html"].count("<summary>Reasoning</summary>") == 2


def test_partial_reasoning_is_collapsed_in_its_column(updates, run):
    """The reasoning of a running answer is collapsed, and is shown before the answer begins."""
    clock = Clock()
    view = display.NotebookColumns(clock)
    view.update(run)
    run.columns[0].partial.reasoning.append("because")
    clock.now += 1
    view.update(run)

    assert len(updates) == 2
    assert updates[-1][1]["text/html"].count("<summary>Reasoning</summary>") == 1
    assert _column_texts(updates[-1][1]["text/html"])["dear"].startswith("dearReasoningbecause")
