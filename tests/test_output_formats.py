"""Parsing and rendering of an answer in each format."""

import json
from dataclasses import replace

import pytest

from gatewayx_nb import output_formats
from gatewayx_nb.errors import UsageError
from gatewayx_nb.replies import Reply
from tests.html_pages.test_markdown import parse_page, shown_text

PYTHON = "Here:\n\n```python\nx = '<b>'\n```\nThat is all."
RECORDS = [{"city": "Rome", "people": 2}, {"city": "<i>Milan</i>", "people": 1}]


def shown(form, text):
    """Return a finished answer rendered in its format, parsed as in the pool."""
    schema = output_formats.schema_for(form)
    reply = Reply(text, "e", "m", parsed=schema.parse(text) if schema else None)
    return output_formats.render(form, reply)


def test_code_is_shown_and_parsed_without_its_fence():
    """Code is highlighted without its fence; in a terminal it is plain."""
    code = shown("code", PYTHON)

    assert code.text == "x = '<b>'"
    assert shown_text(code.html).strip() == "x = '<b>'"
    assert "--jp-mirror-editor-string-color" in code.html
    assert output_formats.schema_for("code").parse(PYTHON) == "x = '<b>'"
    assert output_formats.schema_for("code").schema is None


def test_code_shows_no_control_characters():
    """Bidirectional control characters are removed from code before it can get into a cell."""
    assert output_formats.schema_for("code").parse("```\na\u202eb\u200b = 1\n```") == "ab = 1"


@pytest.mark.parametrize("text", ['Sure:\n```json\n{"a": [1, "<b>"]}\n```', '{"a": [1, "<b>"]}'])
def test_json_is_indented_and_folded(text):
    """JSON is indented and collapsible, and expanded if it is short."""
    answer = shown("json", text)

    assert answer.text == '{\n  "a": [\n    1,\n    "<b>"\n  ]\n}'
    details = parse_page(answer.html)[0]
    assert (details.tag, details.get("open")) == ("details", "")
    assert details[0].text == "JSON, 1 key"
    assert "".join(details[1].itertext()).strip() == answer.text
    assert parse_page(shown("json", str([1] * 100)).html)[0].get("open") is None


@pytest.mark.parametrize(
    ("text", "columns", "rows"),
    [
        ('[{"a": 1, "b": 2}, {"a": 3}]', ["a", "b"], 2),
        ('{"a": [1, 2], "b": [3, 4]}', ["a", "b"], 2),
        ('{"rows": [{"a": 1}, {"a": 2}, {"a": 3}]}', ["a"], 3),
        ('{"a": 1, "b": "x"}', ["a", "b"], 1),
        ("[1, 2, 3]", ["value"], 3),
        ('Here:\n```json\n[{"a": 1}]\n```\nDone.', ["a"], 1),
        ("[]", [], 0),
    ],
)
def test_a_frame_is_made_of_records_or_columns(text, columns, rows):
    """A frame is made of records or columns, as models write either."""
    frame = output_formats.schema_for("frame").parse(text)

    assert (list(frame.columns), len(frame)) == (columns, rows)


@pytest.mark.parametrize(
    "text", ["prose", "5", '"x"', '{"a": [1], "b": [1, 2]}', '[1, {"a": 2}]', "{}"]
)
def test_json_that_is_not_a_table_is_an_error(text):
    """JSON that is not a table raises an error, so that it is requested once more."""
    with pytest.raises(ValueError, match=r"no JSON|not a list of records"):
        output_formats.schema_for("frame").parse(text)


def test_a_frame_is_a_table_of_text():
    """A frame is rendered as an escaped table of its first rows."""
    answer = shown("frame", json.dumps(RECORDS * 40))

    assert [cell.text for cell in parse_page(answer.html).iter("th")] == ["city", "people"]
    cells = [cell.text for cell in parse_page(answer.html).iter("td")]
    assert cells[:4] == ["Rome", "2", "<i>Milan</i>", "1"]
    assert len(cells) == 100
    assert "80 rows by 2 columns, the first 50" in shown_text(answer.html)
    assert answer.text.startswith("city")


def test_a_frame_without_pandas_says_what_to_install(monkeypatch):
    """Without pandas the error is raised before anything is sent."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs pandas") as caught:
        output_formats.schema_for("frame")
    assert str(caught.value.hint) == '`pip install "gatewayx-nb[data]"`'


def test_text_is_not_rendered_as_markdown():
    """Plain text is shown unchanged, including whitespace."""
    answer = shown("text", "# a\n*b*   c")

    assert (shown_text(answer.html), answer.text) == ("# a\n*b*   c", "# a\n*b*   c")
    assert "<h1>" not in answer.html


def test_a_page_is_framed_and_its_source_is_the_text():
    """An HTML page is shown in a frame; its plain text is the source without its fence."""
    answer = shown("html", "Here:\n```html\n<h1>A</h1>\n```")

    assert answer.text == "<h1>A</h1>"
    assert answer.html.startswith('<iframe sandbox=""')


@pytest.mark.parametrize("form", output_formats.OUTPUT_FORMATS)
def test_an_unparsed_answer_shows_its_text(form):
    """An answer that was stopped or does not match its format is shown as text."""
    half = Reply('```json\n{"a": ', "e", "m", interrupted=True)

    answer = output_formats.render(form, half)
    assert '{"a": ' in shown_text(answer.html)
    assert output_formats.render(form, replace(half, text="")).html == ""
    assert '{"a": ' in shown_text(output_formats.incremental_renderer(form)(half.text))
