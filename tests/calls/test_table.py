from gatewayx_nb.calls import Note, Table, text_columns

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


def test_without_rows_only_the_notes_are_shown():
    """A table without rows is displayed as its notes only."""
    empty_table, note = Table((), text_columns("job"), ("No jobs.",)), Note("No jobs.")

    assert repr(empty_table) == repr(note) == "No jobs."
    assert empty_table._repr_html_() == note._repr_html_() == "<div>No jobs.</div>"
