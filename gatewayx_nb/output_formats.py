"""Forms in which a reply is parsed and shown: Markdown, text, code, JSON, HTML, a table."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from typing_extensions import override

from gatewayx_nb import extraction
from gatewayx_nb.errors import UsageError
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
from gatewayx_nb.text import plain, shorten, table_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas import DataFrame

    from gatewayx_nb.replies import Reply

OutputFormat = Literal["markdown", "text", "code", "json", "html", "frame"]

OUTPUT_FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)

_ROWS = 50
_OPEN_LINES = 40
_WIDEST_CELL = 200


class CodeSchema(ResponseSchema):
    """Parses a reply as code: the longest fenced block, or the whole reply."""

    def __init__(self) -> None:
        self.schema = None

    @override
    def parse(self, text: str) -> str:
        return plain(extraction.extract_code(text).source)


class JSONSchema(ResponseSchema):
    """Asks in the prompt for JSON of any kind."""

    def __init__(self) -> None:
        super().__init__({})
        self.is_loose = True


class FrameSchema(ResponseSchema):
    """Asks in the prompt for records, and parses them as a pandas DataFrame.

    Raises:
        UsageError: If pandas is not installed.
    """

    def __init__(self) -> None:
        super().__init__({"type": "array", "items": {"type": "object"}})
        self.is_loose = True
        if importlib.util.find_spec("pandas") is None:
            raise UsageError(
                "`--as frame` needs pandas, which is not installed.", hint="%pip install pandas"
            )
        import pandas as pd  # here, because replies are parsed on the engine's loop

        self._frame = pd.DataFrame

    @property
    @override
    def instructions(self) -> str:
        return "a JSON array of flat objects that have the same keys, without a word around it."

    @override
    def parse(self, text: str) -> DataFrame:
        """Return the records as a DataFrame.

        Raises:
            ValueError: If the text contains no JSON, or JSON that is not a table.
        """
        return self._frame(_columns(extraction.extract_json(text)))


def schema_for(form: OutputFormat) -> ResponseSchema | None:
    """Return how a reply is parsed for a form, or ``None`` if its text is used as is.

    Raises:
        UsageError: If the form requires a package that is not installed.
    """
    shapes: dict[OutputFormat, Callable[[], ResponseSchema]] = {
        "code": CodeSchema,
        "html": CodeSchema,
        "json": JSONSchema,
        "frame": FrameSchema,
    }
    return shapes[form]() if form in shapes else None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A reply rendered in a form.

    Attributes:
        text: For front ends that show plain text.
        page: Safe HTML.
    """

    text: str
    page: str


def render(form: OutputFormat, reply: Reply) -> Rendered:
    """Render a finished reply; one that was not parsed is rendered as text."""
    if reply.parsed is None or form in ("markdown", "text"):
        return _text(form, reply)
    if form == "frame":
        return _frame(reply.parsed)
    if form == "json":
        return _json(reply)
    block = extraction.extract_code(reply.text)
    page = sandbox_html(block.source) if form == "html" else highlight(block.source, block.language)
    return Rendered(plain(block.source), page)


def incremental_renderer(form: OutputFormat) -> Callable[[str], str]:
    """Return the function that renders a partial answer in a form as safe HTML."""
    return IncrementalRenderer() if form == "markdown" else preformatted_html


def _text(form: OutputFormat, reply: Reply) -> Rendered:
    show_as = to_html if form == "markdown" else preformatted_html
    return Rendered(reply.text, show_as(reply.text) if reply.text else "")


def _json(reply: Reply) -> Rendered:
    """Render JSON indented and collapsible, expanded if it is short."""
    try:
        value = extraction.extract_json(reply.text)
    except ValueError:
        return _text("text", reply)
    text = plain(json.dumps(value, indent=2, ensure_ascii=False))
    lines = text.count("\n") + 1
    summary = f"JSON, {_size(value)}"
    return Rendered(text, details(summary, highlight(text, "json"), is_open=lines <= _OPEN_LINES))


def _size(value: object) -> str:
    if isinstance(value, dict):
        return _counted(len(value), "key")
    if isinstance(value, list):
        return _counted(len(value), "item")
    return "one value"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _frame(frame: DataFrame) -> Rendered:
    """Render the first rows of a DataFrame."""
    rows, columns = frame.shape
    names = [str(name) for name in frame.columns]
    cells = [
        [shorten(str(cell), _WIDEST_CELL) for cell in row]
        for row in frame.head(_ROWS).itertuples(index=False, name=None)
    ]
    size = f"{_counted(rows, 'row')} by {_counted(columns, 'column')}"
    size += f", the first {_ROWS}" if rows > _ROWS else ""
    table = scroll_horizontally(table_html(names, cells))
    text = table_text(names, cells) if names else ""
    return Rendered(f"{text}\n[{size}]".strip(), f"{table}<div>{size}</div>")


def _columns(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return data for a DataFrame: records, or columns of equal length."""
    if isinstance(value, Mapping) and len(value) == 1:
        (inner,) = value.values()
        value = inner if _is_records(inner) else value
    if _is_records(value):
        return value
    if isinstance(value, Mapping) and value:
        lists = [isinstance(column, list) for column in value.values()]
        if not any(lists):
            return [value]
        if all(lists) and len({len(column) for column in value.values()}) == 1:
            return value
    if (
        isinstance(value, list)
        and value
        and not any(isinstance(one, (list, dict)) for one in value)
    ):
        return {"value": value}
    raise ValueError("it is no list of records")


def _is_records(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(one, Mapping) for one in value)
    )
