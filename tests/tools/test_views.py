"""How tool calls are shown: in a notebook, in a terminal and in columns."""

import html5lib
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.display import (
    NotebookView,
    TerminalColumns,
    TerminalView,
    show_comparison,
    show_stream,
)
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Reply
from gatewayx_nb.tool_steps import Step, calls_html, calls_text

PROMPT = 'What?\ncall weather {"city": "Rome"}\ncall weather {"town": 1}'


def weather(city: str) -> str:
    """Return the weather."""
    return f"sunny\x1b[2J in {city}"


@pytest.fixture
def pool():
    """Yield a pool with the mock engine."""
    with EnginePool(env={}) as pool:
        yield pool


def test_a_terminal_shows_the_calls_between_the_texts(pool, capsys):
    """Each text is written once, and each call on its line, without escape sequences."""
    show_stream(pool.stream(PROMPT, "mock", tools=weather), TerminalView())

    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        *("[mock] What?", 'call weather {"city": "Rome"}', 'call weather {"town": 1}'),
        "weather(city='Rome') → sunny in Rome",
        "weather(town=1) ✗ there is no parameter 'town'",
        "[mock] sunny in Rome",
    ]
    assert "2 requests" in lines[-1]


def test_a_terminal_shows_the_calls_of_each_column(pool, capsys):
    """The columns are written one after another."""
    run = pool.plan_comparison(PROMPT, models=["mock", "mock"], tools=weather)
    show_comparison(run, TerminalColumns())

    assert capsys.readouterr().out.count("weather(city='Rome') → sunny in Rome") == 2


def test_a_terminal_formats_json_after_the_calls(pool, capsys):
    """A format that needs the whole answer shows the calls too."""
    show_stream(pool.stream(PROMPT, "mock", tools=weather), TerminalView("text"))

    assert "weather(city='Rome') → sunny in Rome\n" in capsys.readouterr().out


def test_a_notebook_shows_the_calls_above_the_answer(pool, monkeypatch):
    """They are part of the text and of the page."""
    shown = []
    view = NotebookView()
    monkeypatch.setattr(view._display, "show", lambda *content: shown.append(content))
    show_stream(pool.stream(PROMPT, "mock", tools=weather), view)

    text, page, _ = shown[-1]
    assert text.index("weather(city='Rome') → sunny") < text.index("[mock] sunny")
    assert page.index("<details>") < page.index("[mock] sunny")


def _step(sent, **fields):
    return Step(ToolCall("1", "f", "{}"), {"x": sent}, sent=sent, seconds=0.1, **fields)


def test_what_a_model_or_a_tool_writes_is_never_active():
    """Arguments, results, errors and the text before a call are escaped."""
    attack = "</pre></details><img src=x onerror=alert(1)><script>alert(1)</script>"
    steps = [_step(attack, text=attack), _step(attack, error=attack)]

    page = html5lib.parse(calls_html(steps), namespaceHTMLElements=False)
    assert not [element.tag for element in page.iter() if element.tag in ("img", "script")]
    assert "<script>" in calls_text(steps)  # text is text


def test_many_and_long_calls_are_bounded():
    """A page stays small whatever the model does."""
    steps = [_step("x" * 100_000)] * 1_000

    assert len(calls_html(steps)) < 1_000_000
    assert "… and 900 more calls" in calls_html(steps)
    assert len(calls_text(steps)) < 50_000


def test_markdown_has_the_calls_before_the_answer():
    """The Markdown of a reply has the tool calls as text before the answer."""
    reply = Reply("Done.", "mock", "m", steps=(_step("*<b>sunny</b>*"), _step("rain")))

    markdown = reply._repr_mimebundle_()["text/markdown"]
    first, second, answer = markdown.split("\n\n")
    assert "<b>" not in first
    assert "sunny" in first
    assert "rain" in second
    assert answer == "Done."


def test_a_running_call_and_an_image_have_a_line():
    """The line of a running call has no result yet."""
    call = ToolCall("1", "plot", "{}")

    assert calls_text([Step(call)]) == "plot() …"
    assert calls_text([Step(call, seconds=1.0, allowed_by="tools")]) == "plot() → [image]"
