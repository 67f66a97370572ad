from gatewayx_nb.calls import Note, Table

TABLE = Table(
    ("engine", "key"), (("grok", "set\x1b[31m"), ("<b>", "")), ("See `%help`.", "", "End")
)


def test_a_table_is_aligned_text_with_its_notes_below():
    """A terminal shows aligned columns without escape sequences, then the notes."""
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


def test_a_page_shows_a_table_and_its_notes():
    """A page shows cells as text and backticks as code; an empty note leaves a gap."""
    html = TABLE._repr_html_()

    assert html.startswith("<table")
    assert "&lt;b&gt;" in html
    assert html.endswith("</table><div>See <code>%help</code>.</div><br><div>End</div>")


def test_without_rows_only_the_notes_are_shown():
    """A table without rows, such as a list of no jobs, shows its notes alone, as a note does."""
    empty, note = Table(("job",), (), ("No jobs.",)), Note("No jobs.")

    assert repr(empty) == repr(note) == "No jobs."
    assert empty._repr_html_() == note._repr_html_() == "<div>No jobs.</div>"
