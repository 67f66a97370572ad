"""Parsing and rendering of answers in each output format."""

import json
from dataclasses import dataclass, replace

import pytest

from gatewayx_nb import output_formats
from gatewayx_nb.errors import UsageError
from gatewayx_nb.replies import Reply
from gatewayx_nb.schema import ResponseSchema
from tests.html_pages.test_markdown import parse_page, shown_text

PYTHON_ANSWER = "Here:\n\n```python\nx = '<b>'\n```\nThat is all."
RECORDS = [{"city": "Rome", "people": 2}, {"city": "<i>Milan</i>", "people": 1}]


def render(output_format, text):
    """Return an answer that is parsed and rendered in a format."""
    schema = output_formats.schema_for(output_format)
    reply = Reply(text, "e", "m", parsed=schema.parse(text) if schema else None)
    return output_formats.render(output_format, reply)


def test_code_is_shown_and_parsed_without_its_fence():
    """Code is highlighted without its fence; in a terminal it is plain."""
    rendered = render("code", PYTHON_ANSWER)

    assert rendered.text == "x = '<b>'"
    assert shown_text(rendered.html).strip() == "x = '<b>'"
    assert "--jp-mirror-editor-string-color" in rendered.html
    assert output_formats.schema_for("code").parse(PYTHON_ANSWER) == "x = '<b>'"
    assert output_formats.schema_for("code").schema is None


def test_control_characters_are_removed_from_code():
    """Invisible and bidirectional control characters are removed from code."""
    assert output_formats.schema_for("code").parse("```\na\u202eb\u200b = 1\n```") == "ab = 1"


@pytest.mark.parametrize("text", ['Sure:\n```json\n{"a": [1, "<b>"]}\n```', '{"a": [1, "<b>"]}'])
def test_json_is_indented_and_collapsible(text):
    """JSON is indented and collapsible, and expanded if it is short."""
    rendered = render("json", text)

    assert rendered.text == '{\n  "a": [\n    1,\n    "<b>"\n  ]\n}'
    details = parse_page(rendered.html)[0]
    assert (details.tag, details.get("open")) == ("details", "")
    assert details[0].text == "JSON, 1 key"
    assert "".join(details[1].itertext()).strip() == rendered.text
    assert parse_page(render("json", str([1] * 100)).html)[0].get("open") is None


@dataclass
class City:
    """A class with a field."""

    name: str


@dataclass
class Quiz:
    """A class whose field has the name of the property that wraps a value."""

    answer: str


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (list[City], '{"answer": [{"name": "Rome"}]}', [{"name": "Rome"}]),
        (list[City], '[{"name": "Rome"}]', [{"name": "Rome"}]),
        (int, '{"answer": 4}', 4),
        (City | None, '{"answer": null}', None),
        (City | None, '{"answer": {"name": "Rome"}}', {"name": "Rome"}),
        ({"type": "array", "items": {"type": "integer"}}, '{"answer": [1]}', [1]),
        # An object with a field of that name, which no provider has added.
        (Quiz, '{"answer": "Rome"}', {"answer": "Rome"}),
        (Quiz | None, '{"answer": "Rome"}', {"answer": "Rome"}),
        (Quiz | None, '{"answer": {"answer": "Rome"}}', {"answer": "Rome"}),
    ],
)
def test_a_value_is_shown_without_the_object_around_it(kind, text, shown):
    """A value that a provider has wrapped in an object is shown alone."""
    schema = ResponseSchema(kind)
    reply = Reply(text, "e", "m", parsed=schema.parse(text))

    assert json.loads(output_formats.render("json", reply, schema).text) == shown


def test_an_answer_that_does_not_fit_is_shown_as_text():
    """An answer that could not be parsed is shown as the model wrote it."""
    reply = Reply('{"answer": 1', "e", "m")

    assert output_formats.render("json", reply, ResponseSchema(City | None)).text == reply.text


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
def test_a_dataframe_is_built_from_records_or_columns(text, columns, rows):
    """JSON records and JSON columns are parsed as a DataFrame."""
    frame = output_formats.schema_for("frame").parse(text)

    assert (list(frame.columns), len(frame)) == (columns, rows)


@pytest.mark.parametrize(
    "text", ["prose", "5", '"x"', '{"a": [1], "b": [1, 2]}', '[1, {"a": 2}]', "{}"]
)
def test_json_that_is_not_a_table_raises(text):
    """JSON that is not a table raises ValueError."""
    with pytest.raises(ValueError, match=r"no JSON|not a list of records"):
        output_formats.schema_for("frame").parse(text)


def test_a_dataframe_is_rendered_as_a_table():
    """A DataFrame is rendered as a table of its first 50 rows, with escaped values."""
    rendered = render("frame", json.dumps(RECORDS * 40))

    assert [cell.text for cell in parse_page(rendered.html).iter("th")] == ["city", "people"]
    cells = [cell.text for cell in parse_page(rendered.html).iter("td")]
    assert cells[:4] == ["Rome", "2", "<i>Milan</i>", "1"]
    assert len(cells) == 100
    assert "80 rows by 2 columns, first 50 rows shown" in shown_text(rendered.html)
    assert rendered.text.startswith("city")


def test_without_pandas_the_error_has_the_install_command(monkeypatch):
    """Without pandas, the format `frame` raises an error with the install command."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs pandas") as error:
        output_formats.schema_for("frame")
    assert str(error.value.hint) == '`pip install "gatewayx-nb[data]"`'


def test_text_is_not_rendered_as_markdown():
    """The format `text` shows an answer unchanged, including whitespace."""
    rendered = render("text", "# a\n*b*   c")

    assert (shown_text(rendered.html), rendered.text) == ("# a\n*b*   c", "# a\n*b*   c")
    assert "<h1>" not in rendered.html


def test_an_html_page_is_shown_in_a_frame():
    """An HTML page is shown in a frame; its plain text is the source without its fence."""
    rendered = render("html", "Here:\n```html\n<h1>A</h1>\n```")

    assert rendered.text == "<h1>A</h1>"
    assert rendered.html.startswith('<iframe sandbox=""')


@pytest.mark.parametrize("output_format", output_formats.OUTPUT_FORMATS)
def test_an_unparsed_answer_shows_its_text(output_format):
    """An answer that could not be parsed in its format is shown as text."""
    partial_reply = Reply('```json\n{"a": ', "e", "m", interrupted=True)

    rendered = output_formats.render(output_format, partial_reply)
    assert '{"a": ' in shown_text(rendered.html)
    assert output_formats.render(output_format, replace(partial_reply, text="")).html == ""
    assert '{"a": ' in shown_text(
        output_formats.incremental_renderer(output_format)(partial_reply.text)
    )
