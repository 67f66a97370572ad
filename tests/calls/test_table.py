from gatewayx_nb.calls import Note, Table, TableColumn, text_columns
from gatewayx_nb.messages import ModelInfo

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

    assert html.startswith("<table")
    assert "&lt;b&gt;" in html
    assert html.endswith("</table><div>See <code>%help</code>.</div><br><div>End</div>")


def test_an_empty_table_says_so():
    """An empty table without notes is not displayed as an empty line."""
    assert repr(Table()) == "No rows."
    assert Table()._repr_html_() == "<div>No rows.</div>"


def test_rows_are_a_list_and_a_frame():
    """Rows can be used as a list, and `to_frame` has a column for each field."""
    models = Table([ModelInfo("grok", "a"), ModelInfo("mock", "b")], MODEL_COLUMNS)

    assert [row.engine for row in models if row.default] == ["grok", "mock"]
    assert list(models.to_frame().columns) == ["engine", "model", "default"]
    assert models.cells() == [["grok"], ["mock"]]


def test_an_optional_column_needs_a_cell_that_is_not_empty():
    """A column such as the number of calls is left out before there is anything to show."""
    columns = (*MODEL_COLUMNS, TableColumn("calls", lambda row: row.model, optional=True))

    assert "calls" not in repr(Table([ModelInfo("grok", "")], columns))
    assert "calls" in repr(Table([ModelInfo("grok", "2")], columns))


def test_figures_are_aligned_right():
    """A right-aligned column ends at one place, in text and in HTML."""
    columns = (TableColumn("calls", str, "right"),)
    table = Table([5, 1000], columns)

    assert repr(table).splitlines() == ["calls", "-----", "    5", " 1000"]
    assert '<td style="text-align:right">5</td>' in table._repr_html_()


def test_without_rows_only_the_notes_are_shown():
    """A table without rows is displayed as its notes only."""
    empty_table, note = Table((), text_columns("job"), ("No jobs.",)), Note("No jobs.")

    assert repr(empty_table) == repr(note) == "No jobs."
    assert empty_table._repr_html_() == note._repr_html_() == "<div>No jobs.</div>"
