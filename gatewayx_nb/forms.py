"""The forms in which an answer is read and shown: Markdown, text, code, JSON, a page, a table."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from typing_extensions import override

from gatewayx_nb import fences, rendering
from gatewayx_nb.errors import UsageError
from gatewayx_nb.growing import Growing
from gatewayx_nb.highlighting import highlighted
from gatewayx_nb.sandboxing import framed
from gatewayx_nb.schema import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas import DataFrame

    from gatewayx_nb.messages import Reply

Form = Literal["markdown", "text", "code", "json", "html", "frame"]

FORMS: tuple[Form, ...] = get_args(Form)

_ROWS = 50
_OPEN_LINES = 40
_WIDEST_CELL = 200


class CodeShape(Shape):
    """Reads an answer as the code in it: the longest fenced block, or all of it."""

    def __init__(self) -> None:
        self.schema = None

    @override
    def read(self, text: str) -> str:
        return rendering.plain(fences.code(text).source)


class DataShape(Shape):
    """Asks for JSON of whatever kind, in words."""

    def __init__(self) -> None:
        super().__init__({})
        self.is_loose = True


class FrameShape(Shape):
    """Asks for records, in words, and reads them as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed.
    """

    def __init__(self) -> None:
        super().__init__({"type": "array", "items": {"type": "object"}})
        self.is_loose = True
        if importlib.util.find_spec("pandas") is None:
            raise UsageError(
                "`--as frame` needs pandas, which is not installed.", mend="%pip install pandas"
            )
        import pandas as pd  # here, for the answer is read on the engine's loop

        self._frame = pd.DataFrame

    @property
    @override
    def asked(self) -> str:
        return "a JSON array of flat objects that have the same keys, without a word around it."

    @override
    def read(self, text: str) -> DataFrame:
        """Give the records as a frame.

        Raises:
            ValueError: It holds no JSON, or JSON that is no table.
        """
        return self._frame(_columns(fences.data(text)))


def shape(form: Form) -> Shape | None:
    """Give how an answer is read for a form; ``None`` where its text is all.

    Raises:
        UsageError: The form needs a package that is not installed.
    """
    shapes: dict[Form, Callable[[], Shape]] = {
        "code": CodeShape,
        "html": CodeShape,
        "json": DataShape,
        "frame": FrameShape,
    }
    return shapes[form]() if form in shapes else None


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer in its form.

    Attributes:
        text: For a front end that shows text.
        page: Safe HTML.
    """

    text: str
    page: str


def show(form: Form, reply: Reply) -> Shown:
    """Show a finished answer; one that was not read to its end is shown by its text."""
    if reply.parsed is None or form in ("markdown", "text"):
        return _text(form, reply)
    if form == "frame":
        return _frame(reply.parsed)
    if form == "json":
        return _json(reply)
    block = fences.code(reply.text)
    page = framed(block.source) if form == "html" else highlighted(block.source, block.language)
    return Shown(rendering.plain(block.source), page)


def growing(form: Form) -> Callable[[str], str]:
    """Give what shows an answer of a form while it grows, as safe HTML."""
    return Growing() if form == "markdown" else rendering.preformatted


def _text(form: Form, reply: Reply) -> Shown:
    show_as = rendering.to_html if form == "markdown" else rendering.preformatted
    return Shown(reply.text, show_as(reply.text) if reply.text else "")


def _json(reply: Reply) -> Shown:
    """Show JSON indented and folded, open where it is short."""
    try:
        value = fences.data(reply.text)
    except ValueError:
        return _text("text", reply)
    text = rendering.plain(json.dumps(value, indent=2, ensure_ascii=False))
    lines = text.count("\n") + 1
    summary = f"JSON, {_size(value)}"
    return Shown(
        text, rendering.folded(summary, highlighted(text, "json"), is_open=lines <= _OPEN_LINES)
    )


def _size(value: object) -> str:
    if isinstance(value, dict):
        return _counted(len(value), "key")
    if isinstance(value, list):
        return _counted(len(value), "item")
    return "one value"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _frame(frame: DataFrame) -> Shown:
    """Show the first rows of a frame."""
    rows, columns = frame.shape
    names = [str(name) for name in frame.columns]
    cells = [
        [rendering.shorten(str(cell), _WIDEST_CELL) for cell in row]
        for row in frame.head(_ROWS).itertuples(index=False, name=None)
    ]
    size = f"{_counted(rows, 'row')} by {_counted(columns, 'column')}"
    size += f", the first {_ROWS}" if rows > _ROWS else ""
    table = rendering.sideways(rendering.table_html(names, cells))
    text = rendering.table_text(names, cells) if names else ""
    return Shown(f"{text}\n[{size}]".strip(), f"{table}<div>{size}</div>")


def _columns(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Give what a frame is made of: records, or columns of one length."""
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
