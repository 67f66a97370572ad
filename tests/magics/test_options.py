"""The options of a cell, in an in-process shell."""

import pytest
from IPython.utils.capture import capture_output

from gatewayx_nb.errors import BudgetError, DeadlineError, GatewayError, UsageError

SLOW_CELL = "%%gatewayx mock -p latency=60"


def test_a_chat_continues_across_cells(shell):
    """Cells with `--chat` add turns to the conversation; a cell without it adds none."""
    shell.ask("%%gatewayx mock -q --chat story\nOnce")
    shell.ask("%%gatewayx mock -q\nalone")
    shell.ask("%%gatewayx mock -q -c story\nAnd then?")

    (chat,) = shell.ask("import gatewayx_nb as gx\ngx.pool().chats")
    assert [turn.prompt.content for turn in chat.turns] == ["Once", "And then?"]


def test_a_call_that_exceeds_its_timeout_is_ended(shell):
    """A call that takes longer than `--timeout` seconds raises `DeadlineError`."""
    with pytest.raises(DeadlineError, match=r"longer than 0\.05 s"):
        shell.ask(f"{SLOW_CELL} --timeout 0.05\nhi")


def test_a_cost_limit_refuses_a_call_with_an_unknown_price(shell, project):
    """With `--max-cost`, a call with an unknown price needs `--allow-unpriced`."""
    project.engine("free", "hello")
    with pytest.raises(BudgetError, match="is unknown"):
        shell.ask("%%gatewayx free --max-cost 0.01\nhi")
    shell.ask("%%gatewayx free --max-cost 0.01 --allow-unpriced -q\nhi")

    assert shell.user_ns["_reply"].text == "hello"


def test_a_dry_run_shows_the_request_and_sends_nothing(shell, project):
    """A dry run shows the provider's JSON, the tokens and the URL, without the key."""
    key = "xai-hidden-0123456789abcdef"
    project.set_keys(
        f"GATEWAYX_GROK_API_KEY={key}\nGATEWAYX_GROK_BASE_URL=https://nowhere.invalid/v1"
    )
    preview = shell.ask("%%gatewayx grok:m -s Briefly. -n 7 --dry-run\nWhy?")

    assert preview.table.cells()[0][:2] == ["grok:m", "nowhere.invalid"]
    assert preview.bodies.startswith("POST https://nowhere.invalid/v1/chat/completions\n{")
    assert preview.table.cells()[0][3] == "at most 7"
    for fragment in ('"content": "Briefly."', '"content": "Why?"', '"model": "m"'):
        assert fragment in repr(preview)
        assert fragment.replace('"', "&quot;") in preview._repr_html_()
    assert "hidden" not in repr(preview)
    assert "_reply" not in shell.user_ns


def test_a_dot_in_a_parameter_leads_into_an_object(shell, capsys):
    """`-p acme.top_k=3` is for one engine, and `-p reasoning.effort=low` for an object's field."""
    shell.ask("%%gatewayx mock --dry-run -p mock.rate=9 -p grok.a.b=1 -p grok.a.c=2\nhi")
    shown = capsys.readouterr().out
    assert '"rate": 9' in shown
    assert "grok" not in shown
    with pytest.raises(UsageError, match="`-p a` has a value, so it cannot also have"):
        shell.ask("%%gatewayx mock -p a=1 -p a.b=2\nhi")


def test_a_dry_run_of_several_models_shows_each_request(shell):
    """A dry run of several models shows each request, because they may differ."""
    preview = shell.ask("%%gatewayx mock mock:other --dry-run\nWhy?")

    assert [row[0] for row in preview.table.cells()] == ["mock:mock", "mock:other"]
    assert preview.prompt == "Why?"
    assert preview.bodies.startswith('mock:mock\n{\n "prompt": "Why?"')


def test_a_dry_run_shows_the_prompt_as_text_and_its_range_of_tokens(shell):
    """The prompt keeps its line breaks; tokens and cost are ranges."""
    preview = shell.ask("%%gatewayx mock -s Briefly. -n 7 --dry-run\nFirst line.\nSecond line.")

    assert preview.prompt == "system:\nBriefly.\n\nuser:\nFirst line.\nSecond line."
    assert preview.table.cells() == [["mock:mock", "this process", "8 to 64", "at most 7", "$0"]]
    assert "First line.\nSecond line." in repr(preview)


@pytest.mark.parametrize(("engine", "maximum"), [("local", "1,024"), ("anthropic", "8,192")])
def test_a_dry_run_shows_the_default_maximum_of_the_engine(shell, project, engine, maximum):
    """An engine that limits each answer sends its maximum even if the cell sets none."""
    project.set_keys("GATEWAYX_ANTHROPIC_API_KEY=sk-ant-0123456789abcdef\n")
    preview = shell.ask(f"%%gatewayx {engine} --dry-run\nWhy?")

    assert preview.table.cells()[0][3] == f"at most {maximum}"


def test_without_streaming_the_answer_is_shown_once(shell):
    """With `--no-stream`, each answer is shown once, when it is complete."""
    for references in ("mock", "mock mock:other"):
        with capture_output() as captured:
            shell.ask(f"%%gatewayx {references} --no-stream\none two")
        assert "[mock] one two\n[mock:mock · " in captured.stdout.replace("mock:other", "mock:mock")


def test_a_job_in_a_terminal_explains_how_to_get_its_answer(shell, capsys):
    """In a terminal, which cannot update a job's output, a job prints how to get its answer."""
    shell.ask("%%gatewayx mock --bg\nhi")

    assert "`job1.result()` waits" in capsys.readouterr().out
    assert shell.user_ns["job1"].result().text == "[mock] hi"


def test_a_hash_in_a_prompt_or_an_option_is_not_a_comment(shell):
    """A line's prompt and an option's value may begin with `#`."""
    assert shell.ask("%gx mock -q # Title").text == "[mock] # Title"
    assert shell.ask("%gx mock -q -s '# Role' hi").text == "[mock (system: # Role)] hi"


def test_a_comma_in_the_name_of_a_model_is_kept(shell):
    """A comma after a reference's colon belongs to the model's name."""
    assert shell.ask("%gx mock:a,b -q hi").model == "a,b"


def test_a_chat_in_a_variable_is_continued(shell):
    """`--chat` takes a variable that holds a conversation; one with that name comes first."""
    shell.ask("import gatewayx_nb as gx\nc = gx.pool().chat('mock')\nreply = c.ask('Once')")
    shell.ask("%%gatewayx -q -c c\nAnd then?")
    shell.ask("%gx mock -q -c {{c}} The end.")
    assert [turn.prompt.content for turn in shell.user_ns["c"].turns] == [
        "Once",
        "And then?",
        "The end.",
    ]
    assert not list(shell.ask("gx.pool().chats"))

    shell.ask("c = 1")
    shell.ask("%gx mock -q -c c Another one")
    shell.ask("d, c = gx.pool().chats.get('c'), gx.pool().chat('mock')")
    shell.ask("%gx mock -q -c c Its second")
    assert (len(shell.user_ns["d"]), len(shell.user_ns["c"])) == (2, 0)


@pytest.mark.parametrize("option", ["--chat story", "--fallback local"])
def test_a_job_with_a_chat_or_a_fallback_is_refused(shell, option):
    """A job with `--chat` or a fallback raises an error: two jobs would compete for a turn."""
    with pytest.raises(UsageError, match="cannot be combined with `--chat` or `--fallback`"):
        shell.ask(f"%%gatewayx mock --bg {option}\nhi")


@pytest.mark.parametrize("option", ["", " --dry-run"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mock mock:other --chat story", "cannot join a conversation"),
        ("mock mock:other --fallback local", "does not take `fallback`"),
        ("mock nobody", "no engine 'nobody'"),
    ],
)
def test_several_models_are_refused_before_anything_is_sent(shell, line, message, option):
    """A dry run refuses what the call refuses: several answers cannot all be the next turn."""
    with pytest.raises(GatewayError, match=message):
        shell.ask(f"%%gatewayx {line}{option}\nhi")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "mock --timeout soon",
            "`--timeout` must be .* seconds > 0 and at most 604,800, got 'soon'",
        ),
        ("mock --timeout -1", r"`--timeout` must be .*, got -1\.0"),
        ("mock --max-cost -1", r"`--max-cost` must be .*, got -1\.0"),
        ("mock --chat 'a b'", "a chat's name must consist of .*, got 'a b'"),
        ("mock --dry", "Did you mean '--dry-run'"),
    ],
)
def test_an_invalid_option_raises(shell, line, message):
    """An invalid option raises an error before anything is sent."""
    with pytest.raises(UsageError, match=message):
        shell.ask(f"%%gatewayx {line}\nhi")


@pytest.mark.parametrize("line", ["mock mock:other --as json", "mock --bg --insert"])
def test_a_format_that_cannot_be_shown_is_refused(shell, line):
    """An option that only works for one answer in the foreground raises an error in other cells."""
    with pytest.raises(UsageError, match="as Markdown"):
        shell.ask(f"%%gatewayx {line}\nhi")


@pytest.fixture
def keyed_engines(project, clean_environment):
    """Write the user's engines `one` and `two`, which need a key; set the key of `one`."""
    folder = clean_environment / "config" / "gatewayx" / "engines"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        path = project.engine(name, says=name).rename(folder / f"{name}_engine.py")
        path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    project.set_keys("GATEWAYX_ONE_API_KEY=made-up-key-123456\n")


@pytest.mark.usefixtures("keyed_engines")
def test_a_default_that_changes_with_the_keys_is_noted_once(shell, project, capsys):
    """The first answer from a default model that nobody has chosen says which one it replaces."""
    shell.ask("%%gx\nhi")
    assert "default model" not in capsys.readouterr().out

    project.set_keys("GATEWAYX_TWO_API_KEY=made-up-key-123456\n")
    shell.ask("%gx mock -q hi")
    shell.ask("%%gx mock mock:b -q\nhi")
    shell.ask("%%gx\nhi")
    output = capsys.readouterr().out
    assert "two\n[two:two" in output
    assert (
        "The default model is now `two` instead of `one`, because keys have changed;"
        " `%gatewayx use one` chooses `one` again." in " ".join(output.split())
    )
    shell.ask("%%gx\nhi")
    assert "default model" not in capsys.readouterr().out


@pytest.mark.usefixtures("keyed_engines")
@pytest.mark.parametrize("line", ["use mock", "cassette a.jsonl"])
def test_a_default_that_was_chosen_is_not_noted(shell, project, capsys, line):
    """A default model chosen by `use` is expected; with a cassette, output is the same later."""
    shell.ask("%%gx\nhi")
    project.set_keys("GATEWAYX_TWO_API_KEY=made-up-key-123456\n")

    shell.ask(f"%gatewayx {line}")
    shell.ask("%%gx\nhi")

    assert "default model is now" not in capsys.readouterr().out
