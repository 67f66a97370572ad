"""Lines that call a model: options, placeholders, the prompt as typed, and the output."""

import pytest
from IPython.utils.capture import capture_output

from gatewayx_nb.errors import EngineNotFoundError, UsageError
from gatewayx_nb.magics import cell
from tests.kernels import Kernel


@pytest.mark.parametrize(
    ("line", "prompt", "options"),
    [
        ("mock hi", "hi", {}),
        ("mock -t 0 hi", "hi", {"temperature": 0.0}),
        ("-t 0 mock hi", "hi", {"temperature": 0.0}),
        ("mock --temperature=0.5 -n5 hi", "hi", {"temperature": 0.5, "max_tokens": 5}),
        ("mock -s 'Be brief.' it's", "it's", {"system": "Be brief."}),
        ("mock hi -t 0", "hi -t 0", {}),
        ("mock -- -t 0 hi", "-t 0 hi", {}),
        ("mock -t 0 -- --help", "--help", {"temperature": 0.0}),
        ("mock - one\t two", "- one\t two", {}),
        ("mock say \"it's\"  'twice", "say \"it's\"  'twice", {}),
        ("mock {{x}} of {x} $x \\n", "<{{y}}> of {x} $x \\n", {}),
        ("mock -n {{n}} -t {{n}} hi", "hi", {"max_tokens": 3, "temperature": 3}),
        ("mock -s {{x}} hi", "hi", {"system": "<{{y}}>"}),
        ("mock -s \"as {{d['k']}}\" hi", "hi", {"system": "as <k>"}),
        ('mock -p tools={{d["tools"]}} hi', "hi", {"params": {"tools": [{"a": 1}]}}),
        ("mock -p a={{n}}5 -p b=[1] hi", "hi", {"params": {"a": 35, "b": [1]}}),
        ("mock --fallback {{d['k']}} hi", "hi", {"fallback": ["<k>"]}),
        ("mock --no-vars -s {{x}} {{x}}", "{{x}}", {"system": "{{x}}"}),
    ],
)
def test_a_line_takes_options_and_the_prompt_as_typed(line, prompt, options):
    """Options before the prompt are parsed; in the prompt, only placeholders are replaced.

    A placeholder that is the whole value of an option passes the object itself.
    """
    names = {"x": "<{{y}}>", "n": 3, "d": {"k": "<k>", "tools": [{"a": 1}]}}

    parsed = cell.read_line(line, names)

    assert (parsed.prompt, parsed.options) == (prompt, {"model": "mock", **options})


def test_a_reference_may_be_a_placeholder():
    """The model of a line may come from a variable."""
    assert cell.read_line("{{model}} hi", {"model": "mock:a"}).options == {"model": "mock:a"}


def test_a_cell_keeps_the_quotes_of_a_placeholder():
    """Quotes within a placeholder on a cell's line are not treated as shell quotes."""
    parsed = cell.read("mock -s {{d[\"k\"]}} -n {{d['n']}}", "hi", {"d": {"k": "short", "n": 5}})

    assert parsed.options == {"model": "mock", "system": "short", "max_tokens": 5}


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("mock hi --temperature 0", "`--temperature` is part of the prompt: options come before"),
        ("mock hi --temperature=0", "`--temperature` is part of the prompt"),
        ("mock hi -t 0 -n 5", "`-t` and `-n` are part of the prompt"),
        ("mock hi --effort low --fresh -t 0", "`--effort` and 2 more are part of the prompt"),
        ("mock hi -t", None),
        ("mock ls -n files", None),
        ("mock ls --all", None),
        ("mock what is x--seed", None),
        ("mock -- -t 0 hi", None),
        ("mock -t 0 hi", None),
    ],
)
def test_an_option_within_the_prompt_is_noted(line, note):
    """A word in the prompt that looks like an option is sent as part of it, with a note."""
    parsed = cell.read_line(line, {})

    assert parsed.prompt in line
    assert note is None or parsed.prompt == line.partition("mock ")[2]
    assert [text[: len(note or "")] for text in parsed.notes] == ([note] if note else [])


@pytest.mark.parametrize("line", ["%gx mock hi {{nope}}", "%gx mock -n {{nope}} hi"])
def test_an_undefined_name_is_an_error(shell, line):
    """An undefined name in a line raises the same error as in a cell."""
    with pytest.raises(UsageError, match="'nope', which is not defined"):
        shell.ask(line)


def test_a_line_with_an_unknown_fallback_is_refused(shell):
    """A misspelled fallback raises an error in a line, as in a cell."""
    for line in ("%gx mock --fallback nobody hi", "%%gx mock --fallback nobody\nhi"):
        with pytest.raises(EngineNotFoundError, match="no engine 'nobody'"):
            shell.ask(line)


def test_each_answer_of_a_loop_is_shown(shell):
    """Each answer in a loop is shown with its figures, even if it is assigned."""
    shell.user_ns["cities"] = ["Rome", "Oslo"]
    with capture_output() as captured:
        shell.ask("for city in cities:\n    reply = %gx mock In {{city}}")

    assert captured.stdout.count("[mock:mock · ") == 2
    assert "[mock] In Rome\n" in captured.stdout
    assert str(shell.user_ns["reply"]) == "[mock] In Oslo"


def test_a_quiet_line_displays_no_stream(shell):
    """With `-q`, a line shows nothing; its value is the reply, as with any expression."""
    with capture_output() as captured:
        reply = shell.ask("%gx mock -q hi")

    assert (str(reply), captured.stdout.count("hi")) == ("[mock] hi", 1)


def test_an_answer_is_shown_once(shell, capsys):
    """A streamed reply is not shown again as its cell's value, but `Out` displays it later."""
    shell.ask("%gx mock hi\n\n# a comment\n")
    assert capsys.readouterr().out.count("[mock] hi") == 1
    shell.ask("Out[1]")
    shell.ask("x = %gx mock there\nx")

    output = capsys.readouterr().out
    assert output.count("[mock] hi") == 1
    assert output.count("[mock] there") == 2
    assert str(shell.user_ns["Out"][1]) == "[mock] hi"


def test_a_line_can_be_a_dry_run_or_a_job(shell, capsys):
    """`--dry-run`, `--bg`, `-o`, `--as` and `-h` work in a line."""
    assert "1 to 18" in repr(shell.ask("%gx mock --dry-run hi"))
    assert shell.ask("%gx mock --bg -q -o job hi").result().text == "[mock] hi"
    shell.ask("%gx mock -q --as code -o code.parsed x = 1")
    assert shell.user_ns["code"] == "[mock] x = 1"
    assert "--temperature" in repr(shell.ask("%gx mock -h"))


def test_lines_of_a_conversation_follow_each_other(shell):
    """Each line is a separate turn."""
    shell.ask("for word in ('one', 'two'):\n    %gx mock -q -c story {{word}}")

    assert [row[2:] for row in shell.ask("%gatewayx chat list")] == [("2", "two")]


@pytest.mark.kernel
def test_a_line_streams_in_a_notebook(project, tmp_path):
    """In a notebook, a line shows that it is waiting, then streams, and the cell has no result."""
    (home := tmp_path / "home").mkdir()
    with Kernel(project.root, home) as kernel:
        kernel.run("%load_ext gatewayx_nb")
        outcome = kernel.run("%gx mock -p latency=1.5 -p rate=20 one two three four five six")
        assert "waiting" in outcome.displays[0]["data"]["text/html"]
        assert len(outcome.displays) > 2
        assert outcome.last_display["text/plain"] == "[mock] one two three four five six"
        assert outcome.result == ""
        assert kernel.run("_").result == "[mock] one two three four five six"
        assert kernel.run("reply = %gx mock hi\nreply").result == "[mock] hi"
