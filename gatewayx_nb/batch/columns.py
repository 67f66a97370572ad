"""Builds the columns that a map adds to its rows, and the frames that contain them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Reply
from gatewayx_nb.tabulation import check_pandas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayx_nb.batch.map_options import Output
    from gatewayx_nb.batch.rows import Rows
    from gatewayx_nb.schema import ResponseSchema

ANSWER = "answer"
"""Name of the answer column if the schema has no fields."""

_FIGURE_COLUMNS: Mapping[str, str] = {
    "gx_error": "string",
    "gx_finish_reason": "string",
    "gx_input_tokens": "Int64",
    "gx_output_tokens": "Int64",
    "gx_cost": "Float64",
    "gx_seconds": "Float64",
    "gx_model": "string",
}
"""The columns that follow the answer columns, and their pandas types."""

_DTYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "Int64",
    "number": "Float64",
    "boolean": "boolean",
}
"""pandas' nullable types by JSON type; values of any other type are stored as objects."""

_POLARS_TYPES: Mapping[str, str] = {
    "string": "String",
    "Int64": "Int64",
    "Float64": "Float64",
    "boolean": "Boolean",
}

_COLUMNS_ATTRIBUTE = "gatewayx_columns"
"""Key in a pandas DataFrame's ``attrs`` under which an earlier run's columns are listed."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The new columns of a map.

    Attributes:
        answers: The columns of the answer and their types: ``answer``, or the schema's fields.
        is_object: Whether the answer is an object with a column for each of its fields.
    """

    answers: Mapping[str, str]
    is_object: bool

    @property
    def types(self) -> dict[str, str]:
        """All columns in order, with their pandas types."""
        return {**self.answers, **_FIGURE_COLUMNS}

    def values(self, outcome: Reply | GatewayError | None) -> list[Any]:
        """Return the values of one row, in the order of the columns."""
        width = len(self.answers)
        if not isinstance(outcome, Reply):
            return [None] * width + [_error_text(outcome)] + [None] * (len(_FIGURE_COLUMNS) - 1)
        usage = outcome.usage
        return [
            *self._answer_values(outcome),
            None,
            outcome.finish_reason,
            usage.input_tokens,
            usage.output_tokens,
            None if outcome.cost is None else float(outcome.cost),
            outcome.latency,
            outcome.model or None,
        ]

    def _answer_values(self, reply: Reply) -> list[Any]:
        if not self.is_object:
            value = reply.text if reply.parsed is None else _plain_value(reply.parsed)
            # The value may be None with a schema such as `City | None`.
            is_null_answer = reply.parsed is None and ANSWER in self.answers and self._has_schema
            return [None if is_null_answer else value]
        fields = _field_values(reply.parsed)
        return [_plain_value(fields.get(name)) for name in self.answers]

    @property
    def _has_schema(self) -> bool:
        return self.answers.get(ANSWER) != "string"


def columns_of(schema: ResponseSchema | None) -> Columns:
    """Return the columns for answers that match a schema."""
    if schema is None or not schema.schema:
        return Columns({ANSWER: "string"}, is_object=False)
    root = _resolve_schema(schema.schema, schema.schema)
    properties = root.get("properties")
    if root.get("type") == "object" and properties:
        type_by_name = {
            name: _pandas_dtype(value, schema.schema) for name, value in properties.items()
        }
        return Columns(type_by_name, is_object=True)
    return Columns({ANSWER: _pandas_dtype(root, schema.schema)}, is_object=False)


def check_clash(
    rows: Rows, columns: Columns, prompt_columns: Iterable[Any] | None
) -> tuple[Any, ...]:
    """Return the columns of an earlier run, which this run replaces.

    Args:
        rows: The rows.
        columns: The new columns.
        prompt_columns: The columns that the prompt uses; ``None`` if it may use any column.

    Raises:
        UsageError: If a new column has the name of a column that is not from an earlier run, or if
            the prompt uses a column that would be replaced.
    """
    if rows.kind != "frame":
        return ()
    existing_columns = rows.columns or ()
    is_rerun = all(name in existing_columns for name in _FIGURE_COLUMNS)
    earlier_columns = (
        getattr(rows.source, "attrs", {}).get(_COLUMNS_ATTRIBUTE, ()) if is_rerun else ()
    )
    replaceable_columns = (
        {*earlier_columns, *_FIGURE_COLUMNS, *columns.answers} if is_rerun else set()
    )
    for name in columns.types:
        if name in existing_columns and name not in replaceable_columns:
            raise UsageError(
                f"the rows have a column {name!r}, which the answers would replace.",
                hint=Hint("rename_column", name=name, new=f"input_{name}")
                | Hint("set_option", option="output", value="columns"),
                topic="column-clash",
            )
    for name in prompt_columns or ():
        if name in replaceable_columns and name in columns.types:
            raise UsageError(
                f"the prompt refers to the column {name!r} of an earlier run, which this run would"
                " replace.",
                hint=Hint("rename_column", name=name, new=f"first_{name}"),
            )
    return tuple(name for name in existing_columns if name in replaceable_columns)


class FrameBuilder:
    """Collects the values of each row, and returns them as a frame.

    Args:
        rows: The rows.
        columns: The new columns.
        replaced_columns: The columns of an earlier run.
    """

    def __init__(self, rows: Rows, columns: Columns, replaced_columns: tuple[Any, ...]) -> None:
        self._rows, self._columns, self._replaced_columns = rows, columns, replaced_columns
        # A list per column takes a third of the memory of a list per row.
        count = rows.count or 0
        self._values: dict[str, list[Any]] = {name: [None] * count for name in columns.types}
        self._lists = tuple(self._values.values())
        self._is_set = bytearray(count)

    def attach(self, source: Any) -> None:  # noqa: ANN401 - a DataFrame or a Series
        """Set the source of the rows, of which only the number was known."""
        self._rows = replace(self._rows, source=source)

    def set(self, position: int, outcome: Reply | GatewayError) -> None:
        """Store the values of a row."""
        self._is_set[position] = True
        for values, value in zip(self._lists, self._columns.values(outcome), strict=True):
            values[position] = value

    def build(self, output: Output, problem: str = "") -> Any:  # noqa: ANN401 - a frame of the caller's kind
        """Return the rows with the new columns, or only the new columns.

        Args:
            output: ``"same"`` or ``"columns"``.
            problem: The text in ``gx_error`` for rows without an outcome.
        """
        errors = self._values["gx_error"]
        for position, is_set in enumerate(self._is_set):
            if not is_set:
                errors[position] = problem or None
        columns = self._values
        only_new_columns = output == "columns" or self._rows.kind == "series"
        if self._rows.library == "polars":
            return self._build_polars(columns, only_new_columns=only_new_columns)
        return self._build_pandas(columns, only_new_columns=only_new_columns)

    def _build_pandas(self, columns: Mapping[str, list[Any]], *, only_new_columns: bool) -> Any:  # noqa: ANN401
        import pandas as pd  # installed, because the caller's rows are a pandas object

        source = self._rows.source
        types = self._columns.types
        series = {
            name: pd.Series(values, index=source.index, dtype=types[name], name=name)
            for name, values in columns.items()
        }
        new_columns = pd.DataFrame(series, index=source.index)
        if only_new_columns:
            return new_columns
        kept_columns = source.drop(columns=list(self._replaced_columns))
        frame = (
            pd.concat([kept_columns, new_columns], axis=1)
            if len(kept_columns.columns)
            else new_columns
        )
        frame.attrs = {**source.attrs, _COLUMNS_ATTRIBUTE: tuple(columns)}
        return frame

    def _build_polars(self, columns: Mapping[str, list[Any]], *, only_new_columns: bool) -> Any:  # noqa: ANN401
        import polars as pl

        series = [
            pl.Series(name, values, dtype=_polars_type(pl, self._columns.types[name]), strict=False)
            for name, values in columns.items()
        ]
        if only_new_columns:
            return pl.DataFrame(series)
        return self._rows.source.drop(list(self._replaced_columns)).with_columns(series)


def replies_frame(outcomes: Sequence[Reply | GatewayError | None], columns: Columns) -> Any:  # noqa: ANN401
    """Return a pandas DataFrame with a row for each outcome.

    Raises:
        UsageError: If pandas is not installed.
    """
    check_pandas()
    import pandas as pd

    table = [columns.values(outcome) for outcome in outcomes]
    values = list(map(list, zip(*table, strict=True))) or [[] for _ in columns.types]
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=dtype)
            for (name, dtype), column in zip(columns.types.items(), values, strict=True)
        }
    )


def error_text(error: GatewayError) -> str:
    """Return the class and the message of an error, in one line."""
    return f"{type(error).__name__}: {error.message}"


def _error_text(outcome: GatewayError | None) -> str | None:
    return None if outcome is None else error_text(outcome)


def _polars_type(polars: Any, dtype: str) -> Any:  # noqa: ANN401 - polars is optional
    name = _POLARS_TYPES.get(dtype)
    return getattr(polars, name) if name else polars.Object


def _resolve_schema(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with its references resolved, and without the null of an optional type."""
    for _ in range(8):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            schema = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {})
            continue
        choices = [
            choice
            for choice in schema.get("anyOf", ())
            if isinstance(choice, dict) and choice.get("type") != "null"
        ]
        if len(choices) != 1:
            break
        (schema,) = choices
    return schema


def _pandas_dtype(schema: Any, root: Mapping[str, Any]) -> str:  # noqa: ANN401 - a JSON Schema
    if not isinstance(schema, dict):
        return "object"
    resolved_schema = _resolve_schema(schema, root)
    values = resolved_schema.get("enum") or (
        [resolved_schema["const"]] if "const" in resolved_schema else []
    )
    if values and all(isinstance(value, str | None) for value in values):
        return "string"
    json_type = resolved_schema.get("type")
    json_types = (
        [json_type]
        if isinstance(json_type, str)
        else [name for name in json_type or () if name != "null"]
    )
    if len(json_types) != 1 or "format" in resolved_schema:  # dates and times are Python objects
        return "object"
    return _DTYPES.get(json_types[0], "object")


def _field_values(value: object) -> Mapping[str, Any]:
    """Return the fields of a dict, a dataclass, a NamedTuple, a Struct or a pydantic model."""
    if isinstance(value, dict):
        return value
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(by_alias=True)  # type: ignore[no-any-return]
    value_type: Any = type(value)
    for attribute in ("__dataclass_fields__", "__struct_fields__", "_field_values"):
        if names := getattr(value_type, attribute, None):
            return {name: getattr(value, name, None) for name in names}
    return {}


def _plain_value(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else value
