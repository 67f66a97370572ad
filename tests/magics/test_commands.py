"""`%gatewayx chat`, `jobs`, `cancel`, `explain` and `nest`."""

import json

import pytest

from gatewayx_nb.errors import UsageError
from tests.kernels import Kernel


@pytest.fixture
def chatted(shell):
    """Return a shell with a conversation of two turns."""
    shell.ask("%%gatewayx mock -q --chat story\nOnce upon a time")
    shell.ask("%%gatewayx mock -q -c story\nAnd then?")
    return shell


def test_without_a_conversation_the_command_says_how_to_start_one(shell):
    """If there is nothing to list, one sentence is shown instead of an empty table."""
    assert "--chat NAME` starts one" in repr(shell.ask("%gatewayx chat list"))
    with pytest.raises(UsageError, match="there are no conversations"):
        shell.ask("%gatewayx chat export")


def test_conversations_and_their_turns_are_listed(chatted):
    """Conversations are listed with their last prompts; a named one is listed turn by turn."""
    assert chatted.ask("%gatewayx chat list").rows == (("story", "mock:mock", "2", "And then?"),)
    turns = chatted.ask("%gatewayx chat list story")
    assert turns.rows[0] == ("1", "Once upon a time", "[mock] Once upon a time")


def test_an_export_is_markdown_or_a_notebook_and_overwrites_nothing(chatted, project):
    """A conversation is exported as Markdown or a notebook, and no file is overwritten.

    The name may be omitted if there is only one.
    """
    assert "story.md" in repr(chatted.ask("%gatewayx chat export"))
    assert "And then?" in (project.root / "story.md").read_text()
    chatted.ask("%gatewayx chat export story copy.ipynb")
    assert len(json.loads((project.root / "copy.ipynb").read_text())["cells"]) == 4
    with pytest.raises(UsageError, match="File exists"):
        chatted.ask("%gatewayx chat export")


def test_a_conversation_is_truncated_or_deleted(chatted):
    """A conversation can be deleted or, with `--keep`, truncated to its first turns."""
    assert "now has only its first turn." in repr(
        chatted.ask("%gatewayx chat reset story --keep 1")
    )
    assert len(chatted.ask("%gatewayx chat list story").rows) == 1
    chatted.ask("%gatewayx chat reset")
    assert chatted.ask("%gatewayx chat list").rows == ()
    with pytest.raises(UsageError, match="no chat 'storyy'"):
        chatted.ask("%gatewayx chat reset storyy")


@pytest.mark.parametrize("line", ["chat", "chat lisst", "chat list a b c", "jobs x", "nest maybe"])
def test_invalid_arguments_are_errors(shell, line):
    """Invalid arguments raise a one-line error with the usage."""
    with pytest.raises(UsageError, match="Usage: `%gatewayx"):
        shell.ask(f"%gatewayx {line}")


def test_explain_sends_the_cell_and_the_error_and_shows_what(shell, capsys):
    """`explain` shows and sends the cell and the error, without variable values and keys."""
    shell.user_ns["secret"] = "do not send"
    shell.run_cell("rows = 0\nmean = len(secret) / rows", store_history=True)
    capsys.readouterr()

    reply = shell.ask("%gatewayx explain mock")

    shown = capsys.readouterr().out
    assert "Sending this prompt, without the values of variables:" in shown
    for text in (shown, reply.text):
        assert "mean = len(secret) / rows" in text
        assert "ZeroDivisionError: division by zero" in text
        assert "do not send" not in text


def test_the_prompt_of_explain_finds_existing_recordings(shell, capsys):
    """The prompt is that of release 0.1, because cassettes find a call by its prompt."""
    shell.run_cell("1/0", store_history=True)
    capsys.readouterr()

    assert shell.ask("%gatewayx explain mock").text == (
        "[mock] A cell of a Python notebook raised an error. Say in a few sentences why, and how"
        " to mend it.\n\nThe cell:\n1/0\n\nLine 1 raised: 1/0\n\nThe error:\n"
        "ZeroDivisionError: division by zero"
    )


def test_explain_works_for_a_syntax_error(shell, capsys):
    """`explain` works for a syntax error, whose traceback has no frame in the cell."""
    shell.run_cell("for x in\n", store_history=True)
    capsys.readouterr()

    assert "SyntaxError" in shell.ask("%gatewayx explain mock").text


def test_explain_masks_a_key(shell, project, capsys):
    """`explain` masks a key that is quoted in an error."""
    key = "xai-hidden-0123456789abcdef"
    project.set_keys(f"GATEWAYX_GROK_API_KEY={key}")
    shell.run_cell(f"raise ValueError('{key}')", store_history=True)
    capsys.readouterr()

    assert key not in shell.ask("%gatewayx explain mock").text
    assert key not in capsys.readouterr().out


def test_explain_without_an_error_says_so(shell, monkeypatch):
    """The call is refused, and nothing is sent."""
    monkeypatch.delattr("sys.last_value", raising=False)
    with pytest.raises(UsageError, match="no cell has raised an exception"):
        shell.ask("%gatewayx explain mock")


def test_jobs_are_listed_and_stopped(shell):
    """Jobs are listed and cancelled by their names."""
    assert "No jobs yet" in repr(shell.ask("%gatewayx jobs"))
    shell.ask("%%gatewayx mock -p latency=60 --bg -q -o slow\nhi")
    shell.ask("%%gatewayx mock --bg -q -o quick\nhi")

    assert shell.user_ns["quick"].result().text == "[mock] hi"
    assert [row[:3] for row in shell.ask("%gatewayx jobs").rows] == [
        ("slow", "mock", "running"),
        ("quick", "mock", "done"),
    ]
    with pytest.raises(UsageError, match="'slow' is still running"):
        shell.ask("%%gatewayx mock --bg -q -o slow\nhi")
    assert "is stopped" in repr(shell.ask("%gatewayx cancel slow"))
    assert "has already ended: cancelled" in repr(shell.ask("%gatewayx cancel slow"))


@pytest.mark.kernel
def test_nest_lets_a_script_run_its_own_loop(project, tmp_path):
    """`nest` allows `asyncio.run` in a kernel; this package's calls do not need it."""
    (home := tmp_path / "home").mkdir()
    ask = "import gatewayx_nb as gx\nasyncio.run(gx.aask('hi', model='mock')).text"
    with Kernel(project.root, home) as kernel:
        kernel.run("%load_ext gatewayx_nb\nimport asyncio")
        assert kernel.run(ask).error == "RuntimeError"
        assert "event loops are off" in kernel.run("%gatewayx nest").result
        assert "event loops are on" in kernel.run("%gatewayx nest on").result
        assert kernel.run(ask).result == "'[mock] hi'"
        assert kernel.run("gx.ask('hi', model='mock').text").result == "'[mock] hi'"
        assert "Only a restart" in kernel.run("%gatewayx nest off").result


def test_compare_returns_a_view_with_the_models_selected(shell):
    """The models on the line are selected in the view."""
    view = shell.ask("%gatewayx compare mock mock:other")
    assert view.picker.value == ("mock", "mock:other")
    view.close()


def test_a_view_fills_in_the_notebooks_names(shell):
    """A view fills in notebook variables, as a cell does."""
    shell.ask("city = 'Rome'\nimport gatewayx_nb as gx")
    view = shell.ask("view = gx.compare_view('In {{city}}?', ['mock'])\nview.run()\nview")
    assert list(view.results["text"]) == ["[mock] In Rome?"]
    view.close()
