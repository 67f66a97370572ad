import io
import pickle
import sys
from datetime import UTC, datetime
from operator import itemgetter

import pytest

import gatewayx_nb as gx
from gatewayx_nb.calls import Note, RowFolding, Table, TableColumn, text_columns
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.storage import LedgerEntry
from gatewayx_nb.text import display_width
from tests.html_pages.test_markdown import find_cells

MODEL_COLUMNS = (TableColumn("engine", lambda row: row.engine),)
TABLE = Table(
    [("grok", "set\x1b[31m"), ("<b>", "")],
    text_columns("engine", "key"),
    ("See `%help`.", "", "End"),
)


def test_the_text_of_a_table_is_aligned_and_has_notes():
    """The text of a table has aligned columns without escape sequences, then the notes."""
    assert repr(TABLE).splitlines() == [
        "engine  key",
        "------  ---",
        "grok    set",
        "<b>",
        "",
        "See `%help`.",
        "",
        "End",
    ]


def test_the_html_of_a_table_is_escaped_and_has_notes():
    """In HTML, cells are escaped and backticks become code; an empty note is an empty line."""
    html = TABLE._repr_html_()

    assert html.startswith('<div style="overflow-x:auto"><table')
    assert "&lt;b&gt;" in html
    assert html.endswith("</table></div><div>See <code>%help</code>.</div><br><div>End</div>")


def test_an_empty_table_is_not_an_empty_line():
    """An empty table without notes is displayed as a line that says so."""
    assert repr(Table()) == "No rows."
    assert Table()._repr_html_() == "<div>No rows.</div>"


def test_rows_are_a_list_and_a_frame():
    """Rows can be used as a list, and `to_frame` has a column for each field."""
    models = Table([ModelInfo("grok", "a"), ModelInfo("mock", "b")], MODEL_COLUMNS)

    assert [row.engine for row in models if row.default] == ["grok", "mock"]
    assert list(models.to_frame().columns) == ["engine", "model", "default", "size"]
    assert models.cells() == [["grok"], ["mock"]]


def test_the_rows_of_a_frame_have_dates():
    """The end of a call is a date in a DataFrame, not seconds since the epoch."""
    frame = Table([LedgerEntry(0.0, "mock", "mock-1", "ok")]).to_frame()

    assert frame["ended"][0] == datetime(1970, 1, 1, tzinfo=UTC)
    assert list(frame.columns)[:4] == ["ended", "engine", "model", "outcome"]


@pytest.mark.parametrize(
    "table",
    [
        gx.status,
        gx.models,
        gx.usage,
        gx.history,
        gx.jobs,
        lambda: gx.health("mock"),
    ],
    ids=["status", "models", "usage", "history", "jobs", "health"],
)
def test_a_table_can_be_pickled(project, table):
    """A table of every kind looks the same after pickling, which multiprocessing needs."""
    gx.ask("hi", "mock")
    rows = table()

    restored = pickle.loads(pickle.dumps(rows))

    assert isinstance(restored, Table)
    assert (restored, repr(restored)) == (rows, repr(rows))


def test_an_optional_column_needs_a_cell_that_is_not_empty():
    """A column such as the number of calls is omitted as long as it is empty."""
    columns = (*MODEL_COLUMNS, TableColumn("calls", lambda row: row.model, optional=True))

    assert "calls" not in repr(Table([ModelInfo("grok", "")], columns))
    assert "calls" in repr(Table([ModelInfo("grok", "2")], columns))


def test_figures_are_aligned_right():
    """The cells of a right-aligned column end at the same position, in text and in HTML."""
    columns = (TableColumn("calls", str, "right"),)
    table = Table([5, 1000], columns)

    assert repr(table).splitlines() == ["calls", "-----", "    5", " 1000"]
    assert [cell.get("style")[:16] for cell in find_cells(table._repr_html_())] == [
        "text-align:right"
    ] * 3


def test_without_rows_only_the_notes_are_shown():
    """A table without rows is displayed as its notes only."""
    empty_table, note = Table((), text_columns("job"), ("No jobs.",)), Note("No jobs.")

    assert repr(empty_table) == repr(note) == "No jobs."
    assert empty_table._repr_html_() == note._repr_html_() == "<div>No jobs.</div>"


def test_backticks_mark_code_in_cells():
    """In HTML, code in a cell is marked and does not break; in text, backticks are omitted."""
    table = Table([("chat", "`-h` lists more")], text_columns("command", "meaning", code_columns=1))

    assert repr(table).splitlines()[-1] == "chat     -h lists more"
    for code in ("chat", "-h"):
        assert f'<code style="white-space:nowrap">{code}</code>' in table._repr_html_()
    assert "`" not in table._repr_html_()


@pytest.mark.parametrize(
    ("cell", "page"),
    [
        ("gpt-6.1-sol", '<span style="white-space:nowrap">gpt-6.1-sol</span>'),
        ("a <b-c>", 'a <span style="white-space:nowrap">&lt;b-c&gt;</span>'),
        ("grok:grok-4-1-fast-reasoning", 'grok:<wbr><span style="white-space:nowrap">grok-4-1'),
        ("mock:mock", ">mock:mock<"),
        ("config/secrets/.env.local", "config/<wbr>secrets/<wbr>.env.local"),
        ("https://api.x.ai/v1", "https://api.x.ai/<wbr>v1"),
        (
            "hf:Org/Model-135M-Instruct",
            'hf:<wbr>Org/<wbr><span style="white-space:nowrap">Model-135M-Instruct</span>',
        ),
        ("http://my-host:8000/v1", '<span style="white-space:nowrap">http://my-host:8000/</span>'),
    ],
)
def test_a_line_is_broken_between_words(cell, page):
    """A name with hyphens is not broken; a path and a long reference may be, after `/` and `:`."""
    assert page in Table([(cell,)], text_columns("a"))._repr_html_()


@pytest.mark.parametrize(
    ("cell", "is_unbroken"), [("12.3 s", True), ("$0.00001 to $0.006072", False)]
)
def test_a_figure_keeps_its_unit(cell, is_unbroken):
    """A figure and its unit stay on one line; a range may be broken between its figures."""
    (figure,) = find_cells(Table([cell], [TableColumn("took", str, "right")])._repr_html_())[1:]

    assert ("white-space:nowrap" in figure.get("style")) == is_unbroken


def test_folded_rows_are_data_and_shown_as_lines():
    """Folded rows stay in the list and are shown as lines above the notes; the lead is on top."""
    fold = RowFolding(
        lambda row: row[1] == "", lambda rows: [f"empty: {len(rows)}"] if rows else []
    )
    table = Table([("a", "set"), ("b", "")], text_columns("x", "y"), ["End"], fold, ["Start"])

    assert len(table) == 2
    assert repr(table).splitlines() == [
        "Start",
        "",
        "x  y",
        "-  ---",
        "a  set",
        "",
        "empty: 1",
        "End",
    ]
    assert table.with_notes().cells() == [["a", "set"]]


def test_figures_are_aligned_at_the_decimal_point():
    """The numbers in a decimal column are aligned at their points; HTML uses wide spaces."""
    columns = [TableColumn("cost", itemgetter(0), "decimal")]
    table = Table([("$0.25",), ("$12",), ("unpriced",), ("$1.5",)], columns)

    assert repr(table).splitlines()[2:] == ["   $0.25", "  $12", "unpriced", "   $1.5"]
    assert [cell.text for cell in find_cells(table._repr_html_())][2] == "$12\u2008\u2007\u2007"


WIDE = Table(
    [("日本語のモデル", "a text of several words and one-long-word-that-is-cut", "1,234")],
    [
        TableColumn("engine", itemgetter(0)),
        TableColumn("next step", itemgetter(1)),
        TableColumn("calls", itemgetter(2), "right"),
    ],
    ("A note of more words than the window has room for.",),
)


def test_in_a_terminal_a_table_fits_the_window(monkeypatch):
    """In a terminal, cells are wrapped between words by width; longer words are truncated."""
    monkeypatch.setattr(sys, "stdout", _Terminal())
    monkeypatch.setenv("COLUMNS", "40")

    lines = repr(WIDE).splitlines()
    assert max(map(display_width, lines)) <= 40
    assert lines[:6] == [
        "engine          next step          calls",
        "--------------  -----------------  -----",
        "日本語のモデル  a text of several  1,234",
        "                words and",
        "                one-long-word-th…",
        "",
    ]


def test_elsewhere_a_table_has_its_full_width(monkeypatch):
    """Outside of a terminal, the text of a table does not depend on a window."""
    monkeypatch.setenv("COLUMNS", "40")
    assert "and one-long-word-that-is-cut" in repr(WIDE)


class _Terminal(io.StringIO):
    def isatty(self):
        return True
