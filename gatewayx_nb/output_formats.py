"""Parses and renders replies in an output format: Markdown, text, code, JSON, HTML or a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from gatewayx_nb.extraction import extract_code, extract_json
from gatewayx_nb.html import (
    IncrementalRenderer,
    details,
    highlight,
    preformatted_html,
    sandbox_html,
    scroll_horizontally,
    table_html,
    to_html,
)
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.tabulation import check_pandas
from gatewayx_nb.text import plain, shorten, table_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas import DataFrame

    from gatewayx_nb.replies import Reply

OutputFormat = Literal["markdown", "text", "code", "json", "html", "frame"]

OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)

_MAX_ROWS = 50
"""Maximum number of table rows to show; ``reply.parsed`` contains all rows."""

_MAX_EXPANDED_LINES = 40
"""Maximum number of lines of JSON to show expanded."""

_MAX_CELL_LENGTH = 200


def schema_for(output_format: OutputFormat) -> ResponseSchema | None:
    """Return the schema that parses a reply for a format; ``None`` if the text is not parsed.

    Raises:
        UsageError: If the format requires a package that is not installed.
    """
    if output_format in ("code", "html"):
        return ResponseSchema(None, extract=lambda text: plain(extract_code(text).source))
    if output_format == "json":
        return ResponseSchema({}, is_loose=True)
    if output_format == "frame":
        return ResponseSchema(
            {"type": "array", "items": {"type": "object"}},
            extract=_frame_extractor(),
            is_loose=True,
            instructions="a JSON array of flat objects that have the same keys,"
            " without a word around it.",
        )
    return None


def _frame_extractor() -> Callable[[str], DataFrame]:
    """Return the function that parses a reply as a pandas DataFrame.

    Raises:
        UsageError: If pandas is not installed.
    """
    check_pandas()
    import pandas as pd  # import now, because replies are parsed on the engine's loop

    return lambda text: pd.DataFrame(_frame_content(extract_json(text)))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A reply rendered in an output format.

    Attributes:
        text: Plain text, for front ends that do not show HTML.
        html: Safe HTML.
    """

    text: str
    html: str


def render(
    output_format: OutputFormat, reply: Reply, schema: ResponseSchema | None = None
) -> Rendered:
    """Render a finished reply; an unparsed reply is rendered as text.

    Args:
        output_format: The output format.
        reply: The finished reply.
        schema: The schema that parsed the reply, if any. If a provider wrapped a non-object value
            in an object, the JSON is rendered without the wrapper.
    """
    if output_format in ("markdown", "text"):
        return _render_text(output_format, reply)
    if output_format == "json" and (reply.parsed is not None or _is_null(reply, schema)):
        return _render_json(reply, schema)
    if reply.parsed is None:
        return _render_text(output_format, reply)
    if output_format == "frame":
        return _render_frame(reply.parsed)
    # Extract the block again, because `parsed` is only its source, without the language.
    block = extract_code(reply.text)
    if output_format == "html":
        return Rendered(plain(block.source), sandbox_html(block.source))
    return Rendered(plain(block.source), highlight(block.source, block.language))


def incremental_renderer(output_format: OutputFormat) -> Callable[[str], str]:
    """Return the function that renders a partial reply in a format as safe HTML."""
    return IncrementalRenderer() if output_format == "markdown" else preformatted_html


def _render_text(output_format: OutputFormat, reply: Reply) -> Rendered:
    convert = to_html if output_format == "markdown" else preformatted_html
    return Rendered(reply.text, convert(reply.text) if reply.text else "")


def _is_null(reply: Reply, schema: ResponseSchema | None) -> bool:
    """Return whether ``parsed`` is ``None`` because the answer was the JSON value ``null``."""
    try:
        return schema is not None and bool(schema.schema) and schema.parse(reply.text) is None
    except ValueError:
        return False


def _render_json(reply: Reply, schema: ResponseSchema | None) -> Rendered:
    """Render JSON indented and collapsible, expanded if it is short."""
    try:
        value = extract_json(reply.text)
    except ValueError:
        return _render_text("text", reply)
    if schema is not None:
        value = schema.unwrapped(value)
    text = plain(json.dumps(value, indent=2, ensure_ascii=False))
    is_short = text.count("\n") < _MAX_EXPANDED_LINES
    fragment = details(f"JSON, {_size_text(value)}", highlight(text, "json"), is_open=is_short)
    return Rendered(text, fragment)


def _size_text(value: object) -> str:
    if isinstance(value, dict):
        return _count_text(len(value), "key")
    if isinstance(value, list):
        return _count_text(len(value), "item")
    return "one value"


def _count_text(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _render_frame(frame: DataFrame) -> Rendered:
    """Render the first rows of a DataFrame."""
    rows, columns = frame.shape
    names = [str(name) for name in frame.columns]
    cells = [
        [shorten(str(cell), _MAX_CELL_LENGTH) for cell in row]
        for row in frame.head(_MAX_ROWS).itertuples(index=False, name=None)
    ]
    size = f"{_count_text(rows, 'row')} by {_count_text(columns, 'column')}"
    size += f", first {_MAX_ROWS} rows shown" if rows > _MAX_ROWS else ""
    table = scroll_horizontally(table_html(names, cells))
    text = table_text(names, cells) if names else ""
    return Rendered(f"{text}\n[{size}]".strip(), f"{table}<div>{size}</div>")


def _frame_content(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what the DataFrame constructor accepts: records, or columns of equal length.

    Raises:
        ValueError: If the JSON has a different form.
    """
    if isinstance(value, Mapping) and len(value) == 1:  # such as {"rows": […]}
        (inner,) = value.values()
        value = inner if _is_records(inner) else value
    if _is_records(value):
        return value
    if isinstance(value, Mapping) and value:
        lists = [isinstance(column, list) for column in value.values()]
        if not any(lists):
            # This is one record; for a dict of scalars, pandas would need an index.
            return [value]
        if all(lists) and len({len(column) for column in value.values()}) == 1:
            return value
    is_flat = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
    if is_flat and value:
        return {"value": value}
    raise ValueError("it is not a list of records")  # becomes part of the call's error


def _is_records(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
