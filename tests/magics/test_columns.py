"""A cell with several references, in an in-process shell and as awaited by a kernel."""

import asyncio
import signal
import threading
import time

import pytest

import gatewayx_nb
from gatewayx_nb import display
from gatewayx_nb.comparisons import Comparison
from gatewayx_nb.errors import EngineNotFoundError, MissingKeyError, UsageError
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import ColumnsRun


def test_each_answer_is_shown_below_its_reference(shell, capsys):
    """A terminal shows each answer or error below its reference.

    `_reply` and the variable named by `-o` are the comparison.
    """
    assert shell.ask("%%gatewayx mock mock:b grok -o comparison\nSay this.") is None

    output = "\n" + capsys.readouterr().out  # in the order in which they end
    assert "\ngrok\n----\nMissingKeyError: engine 'grok' needs a key" in output
    assert "\nmock\n----\n[mock] Say this.\n[mock:mock · " in output
    assert "\nmock:b\n------\n[mock] Say this.\n[mock:b · " in output
    comparison = shell.user_ns["comparison"]
    assert comparison is shell.user_ns["_reply"]
    assert isinstance(comparison, Comparison)
    assert comparison.references == ("mock", "mock:b", "grok")


ECHO_BODY = """\
    features = frozenset({"system", "history", "schema"})

    async def generate(self, prompt, **kwargs):
        return prompt
"""


def test_a_list_is_shown_without_the_object_around_it(shell, project, capsys):
    """With a schema, the columns are JSON, without the object in which providers wrap a list."""
    project.engine("echo", body=ECHO_BODY)

    shell.ask("%%gx echo echo --schema 'list[int]'\n{\"answer\": [1, 2]}")

    assert capsys.readouterr().out.startswith("echo\n----\n[\n  1,\n  2\n]\n[echo:echo")
    assert [reply.parsed for reply in shell.user_ns["_reply"]] == [[1, 2], [1, 2]]


def test_options_reach_every_model(shell, capsys):
    """Options reach every model, and `-q` shows nothing."""
    shell.ask("%%gx mock mock -s 'a b' -n 3 -q\none two")

    assert capsys.readouterr().out == ""
    comparison = shell.user_ns["_reply"]
    assert [reply.text for reply in comparison] == ["[mock (system: a"] * 2
    assert comparison.labels == ("mock", "mock (2)")


def test_several_models_answer_within_other_magics(shell, capsys):
    """Within another magic, which cannot await a cell, the cell blocks until all models answer."""
    shell.ask("%%time\n%%gatewayx mock mock:b\nhi")

    assert "mock:b\n------\n[mock] hi" in capsys.readouterr().out


def test_a_cell_whose_models_all_fail_raises(shell, capsys):
    """If all models fail, the comparison is shown and bound, and the cell raises.

    The exception ends the front end's Run All.
    """
    with pytest.raises(MissingKeyError, match="grok"):
        shell.ask("%%gatewayx grok anthropic\nhi")

    assert "anthropic\n---------\nMissingKeyError" in capsys.readouterr().out
    assert len(shell.user_ns["_reply"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "mock what is",
            r"there are no engines for 'what', 'is'. Write `%%gatewayx mock`, and the prompt on",
        ),
        ("tell me", r"there are no engines for 'tell', 'me'. Write `%%gatewayx mock`"),
        ("mock mock --fallback grok", "does not take `fallback`"),
        ("mock grok -t -1", r"`-t` must be a number >= 0, got -1\.0"),
    ],
)
def test_an_invalid_line_sends_nothing(shell, capsys, line, message):
    """A line that is invalid for all models raises an error, and nothing is sent.

    Several unknown words are treated as a misplaced prompt, not as names of engines.
    """
    with pytest.raises(UsageError, match=message):
        shell.ask(f"%%gatewayx {line}\nhi")

    assert "[mock]" not in capsys.readouterr().out
    assert "_reply" not in shell.user_ns


@pytest.mark.parametrize("options", ["", " --bg", " --dry-run"])
def test_a_misspelt_name_is_an_error_and_no_column_is_asked(shell, capsys, options):
    """A misspelt name is an error that suggests the nearest one; the other models are not asked."""
    with pytest.raises(EngineNotFoundError, match=r"no engine 'gork'\. Did you mean 'grok'\?"):
        shell.ask(f"%%gatewayx mock gork{options}\nhi")

    assert "[mock]" not in capsys.readouterr().out
    assert "_reply" not in shell.user_ns
    assert list(gatewayx_nb.usage()) == []


def test_a_model_without_its_key_is_a_column(shell, capsys):
    """A model that exists but cannot be called is a column with its error."""
    shell.ask("%%gatewayx mock grok\nhi")

    assert "grok\n----\nMissingKeyError: engine 'grok' needs a key" in capsys.readouterr().out
    assert isinstance(shell.user_ns["_reply"][1], MissingKeyError)


def test_ctrl_c_shows_and_binds_partial_answers(shell, capsys):
    """Ctrl-C raises a one-line error, and the partial replies are shown and bound."""

    def send_ctrl_c():
        time.sleep(2)  # of the ten seconds that the answers take
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=send_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt) as error:
        shell.ask("%%gatewayx mock grok mock -p rate=20\n" + "word " * 200)

    assert error.value._render_traceback_() == ["KeyboardInterrupt: stopped"]
    first_reply, _, last_reply = shell.user_ns["_reply"]
    assert [first_reply.interrupted, last_reply.interrupted] == [True, True]
    assert first_reply.text.startswith("[mock] word")
    assert capsys.readouterr().out.count("· interrupted]") == 2


@pytest.fixture
def run_cell(project):
    """Yield a function that runs a cell as a kernel does, and the list of values it binds."""
    bound_values = []
    with project.pool() as pool:

        async def run_in_kernel(line, body):
            parsed_cell = cell.read(line, body, {})
            await ColumnsRun(pool, parsed_cell, display.QuietColumns(), bound_values.append).arun()

        yield run_in_kernel, bound_values


def test_an_awaited_cell_binds_the_comparison(run_cell):
    """A cell that is awaited, as in a kernel, binds its comparison."""
    run_in_kernel, bound_values = run_cell
    asyncio.run(run_in_kernel("mock mock:b", "hi"))
    assert [str(reply) for reply in bound_values[0]] == ["[mock] hi"] * 2


def test_an_awaited_cell_raises_if_all_models_fail(run_cell):
    """An awaited cell whose models all fail binds the comparison, then raises."""
    run_in_kernel, bound_values = run_cell
    with pytest.raises(MissingKeyError):
        asyncio.run(run_in_kernel("grok anthropic", "hi"))
    assert len(bound_values[0]) == 2


def test_an_awaited_cell_keeps_partial_answers_when_stopped(run_cell):
    """A cell that the kernel cancels raises KeyboardInterrupt, which ends the front end's Run All.

    The partial answers are kept.
    """
    run_in_kernel, bound_values = run_cell

    async def traceback_of(cell_run):
        try:
            await cell_run
        except KeyboardInterrupt as error:
            return error._render_traceback_()
        return None

    async def cancel_cell():
        task = asyncio.ensure_future(
            traceback_of(run_in_kernel("mock mock:b -p rate=20", "word " * 100))
        )
        await asyncio.sleep(0.3)
        task.cancel()
        return await task

    assert asyncio.run(cancel_cell()) == ["KeyboardInterrupt: stopped"]
    assert [reply.interrupted for reply in bound_values[0]] == [True, True]
