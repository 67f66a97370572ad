"""Cells and lines with ``--map``: which names are columns, what is bound, what is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

import ipykernel
import matplotlib.figure
import pandas as pd
import pytest

import gatewayx_nb
from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from tests.kernels import Kernel
from tests.magics.test_kernel import BUTTON_CELL


@pytest.fixture
def notebook(shell):
    """Return a shell with rows."""
    shell.user_ns.update(
        df=pd.DataFrame({"text": ["good", "bad"], "Sub ject": ["x", "y"]}, index=[7, 9]),
        texts=["a", "b"],
        dicts=[{"word": "a"}, {"word": "b", "more": 1}],
        data={"train": pd.DataFrame({"text": ["t"]})},
        topic="{{text}}",
    )
    return shell


def test_columns_are_filled_for_each_row_and_other_names_once(notebook):
    value = notebook.ask(
        '%%gatewayx mock --map df -o result\n{{topic}}, {{text}}, {{row["Sub ject"]}}'
    )

    assert value is None
    result = notebook.user_ns["result"]
    assert list(result.answer) == ["[mock] {{text}}, good, x", "[mock] {{text}}, bad, y"]
    assert list(result.index) == [7, 9]
    assert "_reply" not in notebook.user_ns


def weather(city: str) -> str:
    """Return the weather."""
    return f"sunny in {city}"


def test_the_model_calls_functions_for_each_row(notebook):
    notebook.user_ns.update(weather=weather, cities=["Rome", "Oslo"])

    notebook.ask(
        "%%gatewayx mock --map cities -o result --tools weather -p max_turns=2\n"
        'call weather {"city": "{{input}}"}'
    )

    result = notebook.user_ns["result"]
    assert [reply.text for reply in result] == ["[mock] sunny in Rome", "[mock] sunny in Oslo"]
    assert [step.sent for step in result[1].steps] == ["sunny in Oslo"]


def test_a_dry_run_says_that_rows_may_need_more_requests(notebook, capsys):
    notebook.user_ns.update(weather=weather, cities=["Rome", "Oslo"])

    shown = notebook.ask(
        '%%gatewayx mock --map cities --tools weather --dry-run\ncall weather {"city": "{{input}}"}'
    )

    assert "up to 7 more requests" in f"{shown!r}{capsys.readouterr().out}"


def test_without_a_name_the_frame_is_the_value_of_the_cell(notebook):
    value = notebook.ask("%%gatewayx mock --map df\n{{text}}")

    assert list(value.answer) == ["[mock] good", "[mock] bad"]


def test_a_dask_frame_becomes_one(notebook):
    dask = pytest.importorskip("dask.dataframe")  # the oldest versions are tested without it
    frame = dask.from_pandas(notebook.user_ns["df"], npartitions=2)
    notebook.user_ns["lazy"] = frame

    value = notebook.ask("%%gatewayx mock --map lazy\n{{topic}} {{text}}")

    assert isinstance(value, dask.DataFrame)
    assert list(value.compute().answer) == ["[mock] {{text}} good", "[mock] {{text}} bad"]


def test_a_cell_asks_nothing_that_python_has_asked(notebook, capsys):
    gatewayx_nb.map(notebook.user_ns["df"].head(1), "{{text}}", "mock")
    notebook.ask("%%gatewayx mock --map df -o result\n{{text}}")

    assert "(1 today, 1 asked)" in capsys.readouterr().err.replace("from ", "")


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("--map texts -o r Say {{input}}", ["[mock] Say a", "[mock] Say b"]),
        ("--map dicts -o r Say {{word}}", ["[mock] Say a", "[mock] Say b"]),
        ("--map {{data['train']}} -o r Say {{text}}", ["[mock] Say t"]),
        ("--map {{df}} -o r Say {{text}}", ["[mock] Say good", "[mock] Say bad"]),
        (
            "--map=df.text -o r Say {{text}} {{input}}",
            ["[mock] Say good good", "[mock] Say bad bad"],
        ),
    ],
)
def test_lines_take_rows_of_each_kind(notebook, line, answers):
    assert notebook.ask(f"%gatewayx mock {line}") is None

    result = notebook.user_ns["r"]
    texts = list(result.answer) if hasattr(result, "answer") else list(map(str, result))
    assert texts == answers


def test_the_value_of_a_line_can_be_assigned(notebook):
    polars = pytest.importorskip("polars")  # not among the oldest versions
    notebook.user_ns["df"] = polars.DataFrame({"text": ["a"]})

    notebook.ask("x = %gatewayx mock -q --map df {{text}}")

    assert notebook.user_ns["x"]["answer"].to_list() == ["[mock] a"]


def test_the_system_prompt_is_filled_for_each_row(notebook, project):
    echo = "return kwargs.get('system') + ': ' + prompt"
    project.engine(
        "echo", body=f"    async def generate(self, prompt, **kwargs):\n        {echo}\n"
    )

    notebook.ask('%%gatewayx echo --map df -o r -s "{{topic}} {{text}}"\nSay {{text}}')
    assert list(notebook.user_ns["r"].answer) == [
        "{{text}} good: Say good",
        "{{text}} bad: Say bad",
    ]
    notebook.ask("%%gatewayx echo --map df -o r -s Short\nSay {{text}}")
    assert notebook.user_ns["r"].answer[7] == "Short: Say good"


def test_a_changed_variable_asks_again(notebook):
    notebook.user_ns["topic"] = "tone"
    notebook.ask("%%gatewayx mock --map df -o r\n{{topic}} {{text}}")
    notebook.user_ns["topic"] = "length"
    notebook.ask("%%gatewayx mock --map df -o r\n{{topic}} {{text}}")

    assert list(notebook.user_ns["r"].answer) == ["[mock] length good", "[mock] length bad"]
    assert len(gatewayx_nb.jobs()) == 2


BREAK = "raise ConnectionError('down')"


def test_the_options_of_a_cell_apply(notebook, project):
    notebook.user_ns["City"] = {"type": "object", "properties": {"name": {"type": "string"}}}
    notebook.user_ns["fig"] = matplotlib.figure.Figure()

    with pytest.raises(UnsupportedFeatureError, match="images"):
        notebook.ask("%%gatewayx local --map df --image fig\n{{text}}")
    project.engine("broken", body=f"    async def generate(self, prompt):\n        {BREAK}\n")
    notebook.ask("%%gatewayx broken --map df -o r --fallback mock\n{{text}}")
    assert list(notebook.user_ns["r"].answer) == ["[mock] good", "[mock] bad"]
    notebook.ask(
        "%%gatewayx mock --map df -o r --schema City --fresh --max-cost 1 --allow-unpriced"
        " --timeout 9\n{{text}}"
    )
    assert "name" in notebook.user_ns["r"].columns


def test_fresh_bypasses_the_open_cassette_and_says_so(notebook, capsys):
    notebook.ask("%gatewayx cassette tape.jsonl")
    notebook.ask("%%gatewayx mock --map df -o r\n{{text}}")
    assert "bypassed" not in capsys.readouterr().out
    notebook.ask("%%gatewayx mock --map df -o r --fresh\n{{text}}")

    assert "`--fresh` bypassed the cassette" in capsys.readouterr().out


def test_a_dry_run_shows_what_the_map_would_ask(notebook):
    preview = notebook.ask("%%gatewayx mock --map df --dry-run\n{{text}}")

    assert (preview.rows, preview.to_ask) == (2, 2)
    assert not gatewayx_nb.jobs()


def test_a_variable_named_row_or_like_a_builtin_is_no_clash(notebook):
    notebook.user_ns["row"] = {"text": "of the notebook"}
    notebook.ask('%%gatewayx mock --map df -o r\n{{row["text"]}}')
    notebook.ask("%%gatewayx mock --map texts -o s\n{{input}}")

    assert notebook.user_ns["r"].answer[7] == "[mock] good"
    assert str(notebook.user_ns["s"][0]) == "[mock] a"


def test_a_series_under_its_own_name_is_no_clash(notebook):
    notebook.user_ns["text"] = notebook.user_ns["df"].text

    notebook.ask("%%gatewayx mock --map text -o r\n{{text}}")

    assert notebook.user_ns["r"].answer[7] == "[mock] good"


@dataclass(frozen=True)
class Refused:
    """A refused cell.

    Attributes:
        line: Its line, after the engine.
        prompt: Its prompt.
        message: The message.
        hint: The hint.
    """

    line: str
    prompt: str
    message: str
    hint: str


REFUSED = [
    Refused(
        "mock --map df",
        "{{text}}",
        "'text' is a column of `df` and also a variable of this notebook.",
        'Write `{{row["text"]}}` for the column, or rename one of them.',
    ),
    Refused(
        'mock --map df -s "{{text}}"',
        "{{topic}}",
        "'text' is a column of `df` and also a variable of this notebook.",
        'Write `{{row["text"]}}` for the column, or rename one of them.',
    ),
    Refused(
        "mock --map df",
        "{{txt}}",
        "the prompt refers to 'txt', which is neither a column of `df` nor defined in this"
        " notebook. Did you mean 'text'?",
        "The columns are 'text', 'Sub ject'.",
    ),
    Refused(
        "mock --map df",
        "{{topic}}",
        "the prompt has no placeholder, so every row would get the same prompt.",
        "Write {{column}} where the row's value belongs, or {{input}} if the rows are strings.",
    ),
    Refused(
        "mock --map dff",
        "{{text}}",
        "`--map` refers to 'dff', which is not defined in this notebook. Did you mean 'df'?",
        "Load the rows first, for example `df = pd.read_csv(…)`.",
    ),
    Refused(
        "mock --map df.head(2)",
        "{{text}}",
        "`--map` must be a variable, an attribute or an item, got 'df.head(2)'.",
        "Assign it first, as in `rows = df.head()`, and write `--map rows`.",
    ),
    Refused(
        "mock --map topic",
        "{{text}}",
        "`--map topic`: rows must be a DataFrame, a Series, or an iterable of strings or dicts,"
        " got '{{text}}'.",
        "For one prompt, call `ask`; for one row, pass a list.",
    ),
    Refused(
        "mock --map lines",
        "{{input}}",
        "`--map lines` is an iterator, whose length is unknown.",
        "Make it a list: `lines = list(lines)`; `gx.imap` takes an iterator.",
    ),
    Refused(
        "mock local --map df",
        "x",
        "`--map` needs exactly one model, got 'mock', 'local'.",
        "Name one of them; the prompt is on the lines below.",
    ),
    Refused(
        "mock --map df -c story --bg --as json",
        "x",
        "`-c`, `--bg` and `--as` cannot be used with `--map`.",
        "Omit them, or omit `--map`.",
    ),
    *(
        Refused(
            f"mock --map df {flag}",
            "x",
            f"`{flag}` cannot be used with `--map`.",
            "Omit it, or omit `--map`.",
        )
        for flag in ("--insert", "--no-stream", "--renew", "--no-vars")
    ),
    Refused(
        "mock --map df --dry-run --fresh --max-cost 1",
        "x",
        "`--fresh` and `--max-cost` have no effect with `--map` and `--dry-run`.",
        "Omit one of them.",
    ),
    Refused(
        "mock --map df --quiet",
        "x",
        "`--quiet` would hide the result of `--map`.",
        "Bind it with `-o NAME`.",
    ),
    Refused(
        "mock --map df -o r.text",
        "x",
        "`-o r.text` needs a single reply, which several models, a job or a map do not have.",
        "Use `-o r`, which binds them all.",
    ),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: f"{refused.line} {refused.prompt}")
def test_mistakes_are_refused_before_anything_is_sent(notebook, refused):
    notebook.user_ns.update(text="mine", lines=iter(["a"]))

    with pytest.raises(UsageError, match=re.escape(refused.message)) as caught:
        notebook.ask(f"%%gatewayx {refused.line}\n{refused.prompt}")

    assert (caught.value.message, str(caught.value.hint)) == (refused.message, refused.hint)
    assert not gatewayx_nb.jobs()


def test_the_help_lists_the_option(notebook):
    assert "--map FRAME" in repr(notebook.ask("%%gatewayx -h"))


STOPPED_CELL = """\
%%gatewayx mock --map slow -o result -p rate=3
{{input}}"""


@pytest.mark.kernel
def test_stop_binds_what_is_done_and_widgets_stay_alive(project, tmp_path):
    """A cell with a map is awaited: widgets are handled while it runs, and Stop keeps its rows."""
    (home := tmp_path / "home").mkdir()
    with Kernel(project.root, home) as kernel:
        kernel.run("%load_ext gatewayx_nb\nslow = ['one', 'word ' * 2000]")
        button = kernel.run(BUTTON_CELL).text.strip()
        cell = kernel.start(STOPPED_CELL)
        kernel.read_until(lambda outcome: "1 of 2" in str(outcome.displays), cell)
        if ipykernel.version_info >= (7,):
            seen = len(kernel.messages)
            kernel.click(button)
            kernel.wait(lambda: "click " in str(kernel.messages[seen:]))
        kernel.interrupt()
        outcome = kernel.finish(cell)

        assert outcome.error == ""
        assert "Stopped" in outcome.last_display["text/plain"]
        assert len({display["transient"]["display_id"] for display in outcome.displays}) == 1
        assert (
            kernel.run("print([str(reply) for reply in result])").text == "['[mock] one', 'None']\n"
        )
