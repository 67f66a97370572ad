"""`%gatewayx chat`, `jobs`, `cancel`, `explain` and `nest`."""

import json

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from tests.html_pages.test_markdown import shown_text
from tests.kernels import Kernel


@pytest.fixture
def shell_with_chat(shell):
    """Return a shell with a conversation of two turns."""
    shell.ask("%%gatewayx mock -q --chat story\nOnce upon a time")
    shell.ask("%%gatewayx mock -q -c story\nAnd then?")
    return shell


def test_an_empty_list_of_conversations_explains_how_to_start_one(shell):
    """Without conversations, `chat list` shows how to start one, and `chat export` raises."""
    assert "--chat NAME` starts one" in repr(shell.ask("%gatewayx chat list"))
    with pytest.raises(UsageError, match="there are no conversations"):
        shell.ask("%gatewayx chat export")


def test_conversations_and_their_turns_are_listed(shell_with_chat):
    """`chat list` shows conversations with their last prompts; `chat list NAME` shows its turns."""
    assert shell_with_chat.ask("%gatewayx chat list") == [
        ("story", "mock:mock", "2", "And then?"),
    ]
    turns = shell_with_chat.ask("%gatewayx chat list story")
    assert turns[0] == ("1", "Once upon a time", "[mock] Once upon a time")


def test_a_conversation_is_exported_without_overwriting_files(shell_with_chat, project):
    """A conversation is exported as Markdown or a notebook, and no file is overwritten.

    The name may be omitted if there is only one.
    """
    assert "story.md" in repr(shell_with_chat.ask("%gatewayx chat export"))
    assert "And then?" in (project.root / "story.md").read_text()
    shell_with_chat.ask("%gatewayx chat export story copy.ipynb")
    assert len(json.loads((project.root / "copy.ipynb").read_text())["cells"]) == 4
    with pytest.raises(UsageError, match="File exists"):
        shell_with_chat.ask("%gatewayx chat export")


def test_a_conversation_is_truncated_or_deleted(shell_with_chat):
    """A conversation can be deleted or, with `--keep`, truncated to its first turns."""
    assert "now has only its first turn." in repr(
        shell_with_chat.ask("%gatewayx chat reset story --keep 1")
    )
    assert len(shell_with_chat.ask("%gatewayx chat list story")) == 1
    shell_with_chat.ask("%gatewayx chat reset")
    assert shell_with_chat.ask("%gatewayx chat list") == []
    with pytest.raises(UsageError, match="no chat 'storyy'"):
        shell_with_chat.ask("%gatewayx chat reset storyy")


@pytest.mark.parametrize(
    "line", ["chat", "chat lisst", "chat list a b c", "jobs a b c d", "nest maybe"]
)
def test_the_error_for_invalid_arguments_names_the_help(shell, line):
    """Invalid arguments raise a one-line error that names the command for help."""
    with pytest.raises(UsageError, match=r"Run `%gatewayx help (chat|jobs|nest)` for help"):
        shell.ask(f"%gatewayx {line}")


def test_explain_shows_and_sends_the_cell_and_the_error(shell, capsys):
    """`explain` shows and sends the cell and the error, without the values of variables."""
    shell.user_ns["secret"] = "do not send"
    shell.run_cell("rows = 0\nmean = len(secret) / rows", store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")

    output = capsys.readouterr().out
    assert "Asking mock, without the values of variables:" in output
    assert "[mock:mock · " in output, "the answer has the line of its metrics"
    for text in (output, shell.user_ns["_reply"].text):
        assert "mean = len(secret) / rows" in text
        assert "ZeroDivisionError: division by zero" in text
        assert "do not send" not in text


def test_the_prompt_of_explain_matches_existing_recordings(shell, capsys):
    """The prompt of `explain` is that of release 0.1, because cassettes match calls by prompt."""
    shell.run_cell("1/0", store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")
    assert shell.user_ns["_reply"].text == (
        "[mock] A cell of a Python notebook raised an error. Say in a few sentences why, and how"
        " to mend it.\n\nThe cell:\n1/0\n\nLine 1 raised: 1/0\n\nThe error:\n"
        "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("%%timeit -n 1\n  1/0", "%%timeit -n 1"),
        ("x = 1\n%run nothing.txt here\nx", "%run nothing.txt here"),
    ],
)
def test_explain_sends_magics_as_they_were_typed(shell, capsys, cell, line):
    """`explain` sends the cell as it was typed, not the code into which IPython converts it."""
    shell.run_cell(cell, store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")
    prompt = shell.user_ns["_reply"].text
    assert f"The cell:\n{cell}\n" in prompt
    assert f"raised: {line}\n" in prompt
    assert "get_ipython" not in prompt


def test_the_prompt_of_explain_is_shown_as_code(shell, monkeypatch):
    """In a notebook, the cell and the error are shown as code, with their indentation."""
    shown = []
    shell.run_cell("if True:\n    1/0", store_history=True)
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, **_: shown.append(data))

    shell.ask("%gatewayx explain mock")
    page = shown[0]["text/html"]
    assert shown_text(page).count("if True:\n    1/0") == 1
    assert page.count("<pre") == 2


@pytest.mark.parametrize("line", ["explain", "explain mock"])
@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        (
            "%%gatewayx mock -n 0\nWhy?",
            ["UsageError: `-n` must be an int >= 1, got 0.", "For example, `-n 500`."],
        ),
        (
            "%gx grok why",
            [
                "MissingKeyError: engine 'grok' needs a key, but GATEWAYX_GROK_API_KEY is not set.",
                "Run `%gatewayx key set grok`. Or run `%gatewayx pull smollm2`.",
            ],
        ),
    ],
)
def test_an_error_that_says_what_to_do_is_repeated(shell, capsys, cell, lines, line):
    """After an error of this package, `explain` repeats it and calls no model."""
    shell.run_cell(cell, store_history=True)
    capsys.readouterr()

    note = shell.ask(f"%gatewayx {line}")
    assert repr(note).splitlines() == [
        *lines,
        "The error already says what to do, so no model was asked.",
    ]
    assert "_reply" not in shell.user_ns
    assert not shell.ask("%gatewayx usage")


def test_an_error_of_this_package_without_advice_is_explained(shell, capsys):
    """An error that does not say what to do is sent to the model."""
    shell.run_cell("import gatewayx_nb as gx\nraise gx.ProviderError('broken')", store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")
    assert "broken" in shell.user_ns["_reply"].text


@pytest.mark.parametrize(
    ("model", "is_noted"), [("local", True), ("local:tiny", True), ("small", True), ("mock", False)]
)
def test_an_explanation_by_a_small_model_has_a_note(shell, project, capsys, model, is_noted):
    """Below an explanation by the local model, a line says that it may be wrong."""
    project.engine("local", "Divide by something else.")
    project.settings('[aliases]\nsmall = "local"\n')
    gx.pool().trust(gx.pool().untrusted_engines())
    shell.run_cell("1/0", store_history=True)
    capsys.readouterr()

    shell.ask(f"%gatewayx explain {model}")
    assert ("A small model may be wrong." in capsys.readouterr().out) == is_noted


def test_explain_works_for_a_syntax_error(shell, capsys):
    """`explain` works for a syntax error, whose traceback has no frame in the cell."""
    shell.run_cell("for x in\n", store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")
    assert "SyntaxError" in shell.user_ns["_reply"].text


def test_explain_masks_a_key(shell, project, capsys):
    """`explain` masks a key that is quoted in an error."""
    key = "xai-hidden-0123456789abcdef"
    project.set_keys(f"GATEWAYX_GROK_API_KEY={key}")
    shell.run_cell(f"raise ValueError('{key}')", store_history=True)
    capsys.readouterr()

    shell.ask("%gatewayx explain mock")
    assert key not in shell.user_ns["_reply"].text
    assert key not in capsys.readouterr().out


def test_explain_without_an_error_raises(shell, monkeypatch):
    """`explain` raises an error if no cell has failed."""
    monkeypatch.delattr("sys.last_value", raising=False)
    with pytest.raises(UsageError, match="no cell has raised an exception"):
        shell.ask("%gatewayx explain mock")


def test_jobs_are_listed_and_cancelled(shell):
    """Jobs are listed and cancelled by their names."""
    assert "No jobs yet" in repr(shell.ask("%gatewayx jobs"))
    shell.ask("%%gatewayx mock -p latency=60 --bg -q -o slow\nhi")
    shell.ask("%%gatewayx mock --bg -q -o quick\nhi")

    assert shell.user_ns["quick"].result().text == "[mock] hi"
    assert [row[:3] for row in shell.ask("%gatewayx jobs").cells()] == [
        ["slow", "mock", "running"],
        ["quick", "mock", "done"],
    ]
    with pytest.raises(UsageError, match="'slow' is still running"):
        shell.ask("%%gatewayx mock --bg -q -o slow\nhi")
    assert "is stopped" in repr(shell.ask("%gatewayx cancel slow"))
    assert "has already ended: cancelled" in repr(shell.ask("%gatewayx cancel slow"))


@pytest.mark.kernel
def test_nest_allows_asyncio_run_in_a_cell(project, tmp_path):
    """`nest` allows `asyncio.run` in a kernel; this package's calls do not need it."""
    (home := tmp_path / "home").mkdir()
    call = "import gatewayx_nb as gx\nasyncio.run(gx.aask('hi', model='mock')).text"
    with Kernel(project.root, home) as kernel:
        kernel.run("%load_ext gatewayx_nb\nimport asyncio")
        assert kernel.run(call).error == "RuntimeError"
        assert "event loops are off" in kernel.run("%gatewayx nest").result
        assert "event loops are on" in kernel.run("%gatewayx nest on").result
        assert kernel.run(call).result == "'[mock] hi'"
        assert kernel.run("gx.ask('hi', model='mock').text").result == "'[mock] hi'"
        assert "Only restarting" in kernel.run("%gatewayx nest off").result


def test_compare_selects_the_models_on_the_line(shell):
    """`compare` returns a view in which the models on its line are selected."""
    view = shell.ask("%gatewayx compare mock mock:other")
    assert view.picker.value == ("mock", "mock:other")
    view.close()


def test_a_view_fills_in_notebook_variables(shell):
    """A comparison view fills in notebook variables, as a cell does."""
    shell.ask("city = 'Rome'\nimport gatewayx_nb as gx")
    view = shell.ask("view = gx.compare_view('In {{city}}?', ['mock'])\nview.run()\nview")
    assert list(view.results["text"]) == ["[mock] In Rome?"]
    view.close()
