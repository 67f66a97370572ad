"""The options of a cell, in an in-process shell."""

import pytest
from IPython.utils.capture import capture_output

from gatewayx_nb.errors import BudgetError, DeadlineError, UsageError

SLOW = "%%gatewayx mock -p latency=60"


def test_a_chat_continues_from_cell_to_cell(shell):
    """With `--chat`, earlier turns are sent too; a cell without it sends none of them."""
    shell.ask("%%gatewayx mock -q --chat story\nOnce")
    shell.ask("%%gatewayx mock -q\nalone")
    shell.ask("%%gatewayx mock -q -c story\nAnd then?")

    (chat,) = shell.ask("import gatewayx_nb as gx\ngx.pool().chats")
    assert [turn.prompt.content for turn in chat.turns] == ["Once", "And then?"]


def test_a_call_that_takes_too_long_is_ended(shell):
    """A call that takes longer than `--timeout` seconds is ended."""
    with pytest.raises(DeadlineError, match=r"longer than 0\.05 s"):
        shell.ask(f"{SLOW} --timeout 0.05\nhi")


def test_a_cost_limit_stops_a_call_of_unknown_price(shell, project):
    """A cost limit stops a call of unknown price, unless allowed."""
    project.engine("free", "hello")
    with pytest.raises(BudgetError, match="is unknown"):
        shell.ask("%%gatewayx free --max-cost 0.01\nhi")
    shell.ask("%%gatewayx free --max-cost 0.01 --allow-unpriced -q\nhi")

    assert shell.user_ns["_reply"].text == "hello"


def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(shell, project):
    """A dry run shows the provider's JSON, the tokens and the URL, without the key."""
    key = "xai-hidden-0123456789abcdef"
    project.set_keys(
        f"GATEWAYX_GROK_API_KEY={key}\nGATEWAYX_GROK_BASE_URL=https://nowhere.invalid/v1"
    )
    preview = shell.ask("%%gatewayx grok:m -s Briefly. -n 7 --dry-run\nWhy?")

    assert preview.table.rows[0][:2] == ("grok:m", "https://nowhere.invalid/v1/chat/completions")
    assert preview.table.rows[0][3] == "at most 7"
    for piece in ('"content": "Briefly."', '"content": "Why?"', '"model": "m"'):
        assert piece in repr(preview)
        assert piece.replace('"', "&quot;") in preview._repr_html_()
    assert "hidden" not in repr(preview)
    assert "_reply" not in shell.user_ns


def test_a_dry_run_of_several_shows_each(shell):
    """A dry run of several models shows each request, because they may differ."""
    preview = shell.ask("%%gatewayx mock mock:other --dry-run\nWhy?")

    assert [row[0] for row in preview.table.rows] == ["mock:mock", "mock:other"]
    assert preview.text.startswith('mock:mock\n{\n "prompt": "Why?"')


def test_without_streaming_the_answer_is_shown_whole(shell, monkeypatch):
    """With `--no-stream` each answer is shown once, at its end."""
    for references in ("mock", "mock mock:other"):
        with capture_output() as shown:
            shell.ask(f"%%gatewayx {references} --no-stream\none two")
        assert "[mock] one two\n[mock:mock · " in shown.stdout.replace("mock:other", "mock:mock")


def test_a_job_in_a_terminal_says_how_to_get_its_answer(shell, capsys):
    """In a terminal, without an event loop to show it, a job says how to get its answer."""
    shell.ask("%%gatewayx mock --bg\nhi")

    assert "`job1.result()` waits" in capsys.readouterr().out
    assert shell.user_ns["job1"].result().text == "[mock] hi"


@pytest.mark.parametrize("option", ["--chat story", "--fallback local"])
def test_a_job_with_a_chat_or_a_fallback_is_refused(shell, option):
    """A job with `--chat` or a fallback raises an error: two jobs would compete for a turn."""
    with pytest.raises(UsageError, match="cannot be combined with `--chat` or `--fallback`"):
        shell.ask(f"%%gatewayx mock --bg {option}\nhi")


def test_a_conversation_of_several_models_is_refused(shell):
    """`--chat` with several models raises an error: several answers cannot all be the next turn."""
    with pytest.raises(UsageError, match="cannot join a conversation"):
        shell.ask("%%gatewayx mock mock:other --chat story\nhi")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mock --timeout soon", "invalid float value: 'soon'"),
        ("mock --timeout -1", r"timeout must be .*, got -1\.0"),
        ("mock --max-cost -1", r"max_cost must be .*, got -1\.0"),
        ("mock --chat 'a b'", "name must be .*, got 'a b'"),
        ("mock --dry", "Did you mean '--dry-run'"),
    ],
)
def test_an_invalid_option_is_an_error(shell, line, message):
    """An invalid option raises an error before anything is sent."""
    with pytest.raises(UsageError, match=message):
        shell.ask(f"%%gatewayx {line}\nhi")


@pytest.mark.parametrize("line", ["mock mock:other --as json", "mock --bg --insert"])
def test_a_format_that_cannot_be_shown_is_refused(shell, line):
    """A format is refused where it cannot be shown, so that no option is silently ignored."""
    with pytest.raises(UsageError, match="as Markdown"):
        shell.ask(f"%%gatewayx {line}\nhi")
