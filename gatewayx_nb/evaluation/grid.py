"""Builds the grid of an evaluation: its rows, its variants, and the request for each cell."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.batch import Row, RowPrompt, RowRequest, read_rows
from gatewayx_nb.calls import check_options, prompt_text
from gatewayx_nb.errors import GatewayError, UsageError, did_you_mean
from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Variant
from gatewayx_nb.prompts import RowTemplate, is_missing
from gatewayx_nb.text import counted, one_line, short_repr, well_formed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.batch import Rows
    from gatewayx_nb.calls import CallOptions

_VARYING_OPTIONS = (
    "system",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "effort",
    "params",
)
"""Options that may differ between variants."""

_INPUT_COLUMN = "input"
"""Name of the column of a row that is not a dict."""

_UNNAMED_PROMPT = "prompt"
"""Name of a prompt that is passed without a name."""

Prompt = str | RowTemplate | Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class GridColumns:
    """The names of the columns that have a role in an evaluation; ``None`` for a missing column.

    Attributes:
        expected: The column of expected answers.
        id: The column of row IDs.
        cluster: The column that groups rows, for example by document.
    """

    expected: str | None = None
    id: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """The prompts, models and sets of options that are combined into variants."""

    prompts: Mapping[str, Prompt]
    models: Sequence[str]
    options: Mapping[str, CallOptions]

    def variants(self) -> list[Variant]:
        """Return every combination, named after the parts that differ between combinations.

        Raises:
            UsageError: If two combinations have the same name.
        """
        variants = [
            Variant(self._variant_name(prompt, model, options), prompt, model, options)
            for prompt in self.prompts
            for model in self.models
            for options in self.options
        ]
        names = [variant.name for variant in variants]
        if len(set(names)) < len(names):
            raise UsageError(
                "two variants have the same name.", hint="Rename a prompt or a set of options."
            )
        return variants

    def _variant_name(self, prompt: str, model: str, options: str) -> str:
        parts = [
            prompt if len(self.prompts) > 1 else "",
            model if len(self.models) > 1 else "",
            options if len(self.options) > 1 else "",
        ]
        fallback = model if prompt == _UNNAMED_PROMPT else prompt
        return one_line(", ".join(filter(None, parts)) or fallback)


class Grid:
    """The rows, the variants, and the request of each cell.

    Args:
        rows: The rows, as passed to `evaluate`.
        columns: The names of the columns that have a role.
        axes: The prompts, models and options.
        samples: Number of answers of each variant to each row.
        system: The system prompt of all variants: a string, a template or a function of the row.
        blank: Whether a missing value becomes an empty string; if not, the row's cells fail.

    Raises:
        UsageError: If the rows, a column or a prompt is invalid.
    """

    def __init__(  # noqa: PLR0913 - what a grid consists of
        self,
        rows: object,
        columns: GridColumns,
        axes: Axes,
        *,
        samples: int = 1,
        system: object = None,
        blank: bool = False,
    ) -> None:
        self._source = source = _read_in_memory(rows)
        self._source_rows = list(source.read())
        self._axes, self.samples, self._system, self._blank = axes, samples, system, blank
        self.rows = _evaluated_rows(self._source_rows, source, columns)
        self.variants = axes.variants()

    @property
    def column_names(self) -> list[str]:
        """The names of the columns of the rows."""
        names = dict.fromkeys(name for row in self.rows.inputs for name in row)
        return [str(name) for name in names]

    def cells(self) -> tuple[list[GridCell], list[RowRequest | GatewayError]]:
        """Return the cells, row by row, and for each its request or the error that prevented it."""
        prompts = {
            name: RowPrompt(prompt, self._system, self._source, blank=self._blank)
            for name, prompt in self._axes.prompts.items()
        }
        cells: list[GridCell] = []
        requests: list[RowRequest | GatewayError] = []
        for position, row in enumerate(self._source_rows):
            requests_by_prompt = {
                name: _prompt_request(prompt, row) for name, prompt in prompts.items()
            }
            for variant in self.variants:
                request = requests_by_prompt[variant.prompt]
                for sample in range(self.samples):
                    requests.append(self._cell_request(request, variant, sample))
                    text = "" if isinstance(request, GatewayError) else prompt_text(request.prompt)
                    cell = GridCell(position, self.rows.ids[position], variant, sample, text)
                    cells.append(cell)
        return cells, requests

    def _cell_request(
        self, request: RowRequest | GatewayError, variant: Variant, sample: int
    ) -> RowRequest | GatewayError:
        if isinstance(request, GatewayError):
            return request
        options = {**request.options, **self._axes.options[variant.options], "model": variant.model}
        return RowRequest(request.prompt, cast("CallOptions", options), sample)


def read_prompts(prompts: object) -> dict[str, Prompt]:
    """Return the prompts by name.

    Raises:
        UsageError: If there is no prompt, or a name is invalid.
    """
    if not isinstance(prompts, Mapping):
        if isinstance(prompts, list | tuple | set):
            raise UsageError(
                f"prompts must be a template, a function of the row, or a dict, got"
                f" {short_repr(prompts)}.",
                hint='Give each prompt a name: `{"short": "…", "long": "…"}`.',
            )
        return {_UNNAMED_PROMPT: cast("Prompt", prompts)}
    _check_names(prompts, "prompts", 'For example, `{"short": "{{text}}? One word."}`.')
    return dict(prompts)


def read_models(models: object, default: Callable[[], str]) -> list[str]:
    """Return the references of the models.

    Args:
        models: One or more references, or ``None`` for the default model.
        default: Returns the default model.

    Raises:
        UsageError: If a model is not a reference, or is listed twice.
    """
    if models is None:
        return [default()]
    hint = 'For example, `["grok", "local"]`.'
    if isinstance(models, Mapping | set | frozenset):  # the first variant is the baseline
        raise UsageError(f"models must be a list, got {short_repr(models)}.", hint=hint)
    listed_models: Iterable[Any]
    listed_models = (
        [models] if isinstance(models, str) or not isinstance(models, Iterable) else models
    )
    references: list[str] = []
    for model in listed_models:
        if not isinstance(model, str):
            raise UsageError(f"a model must be a reference, got {short_repr(model)}.", hint=hint)
        references.append(cast("str", check_options({"model": model})["model"]))
    if not references:
        raise UsageError("models must not be empty.", hint=hint)
    for reference in references:
        if references.count(reference) > 1:
            raise UsageError(
                f"the model {reference!r} is listed twice.",
                hint="For several answers of a model to each row, use `samples=2`.",
            )
    return references


def read_option_sets(options: object) -> dict[str, CallOptions]:
    """Return the sets of options by name; a single empty set if none is passed.

    Raises:
        UsageError: If a name or an option is invalid.
    """
    if options is None:
        return {"": {}}
    hint = 'For example, `options={"cold": {"temperature": 0}, "warm": {"temperature": 1}}`.'
    if not isinstance(options, Mapping):
        raise UsageError(f"options must be a dict, got {short_repr(options)}.", hint=hint)
    _check_names(options, "options", hint)
    option_sets: dict[str, CallOptions] = {}
    for name, values in options.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"options[{name!r}] must be a dict of options.", hint=hint)
        for option in values:
            if option not in _VARYING_OPTIONS:
                raise UsageError(
                    f"options[{name!r}] has the key {short_repr(option)}, which cannot differ"
                    f" between variants.{did_you_mean(str(option), _VARYING_OPTIONS)}",
                    hint=f"The keys are {', '.join(_VARYING_OPTIONS)}.",
                )
        option_sets[name] = check_options(cast("CallOptions", dict(values)))
    return option_sets


def _check_names(values: Mapping[Any, object], parameter: str, hint: str) -> None:
    if not values:
        raise UsageError(f"{parameter} must not be empty.", hint=hint)
    for name in values:
        if not isinstance(name, str) or not one_line(name):
            raise UsageError(
                f"the names in {parameter} must be non-empty strings, got {short_repr(name)}.",
                hint=hint,
            )


def _read_in_memory(rows: object) -> Rows:
    source = read_rows(rows)
    if source.library == "dask":
        raise UsageError("rows must be in memory.", hint="Pass `rows.compute()`.")
    if source.kind == "iterator":
        source = read_rows(list(source.source))
    if not source.count:
        raise UsageError("there are no rows to evaluate.")
    return source


def _evaluated_rows(
    source_rows: Sequence[Any], source: Rows, columns: GridColumns
) -> EvaluatedRows:
    name = source.columns[0] if source.kind == "series" and source.columns else None
    rows = tuple(_as_row(row, name) for row in source_rows)
    ids = (
        _row_ids(_column_values(rows, columns.id, "id")) if columns.id else tuple(range(len(rows)))
    )
    return EvaluatedRows(
        rows,
        ids=ids,
        expected=_column_values(rows, columns.expected, "expected") if columns.expected else None,
        clusters=_row_clusters(rows, columns.cluster) if columns.cluster else None,
    )


def _as_row(row: object, column: object) -> Row:
    if isinstance(row, Mapping):
        return Row(row)
    return Row(
        {_INPUT_COLUMN: row, column: row} if isinstance(column, str) else {_INPUT_COLUMN: row}
    )


def _column_values(rows: Sequence[Row], name: str, parameter: str) -> tuple[Any, ...]:
    """Return the values of a column; ``None`` for a row that does not have it.

    Raises:
        UsageError: If no row has the column.
    """
    if not isinstance(name, str):
        raise UsageError(f"{parameter} must be the name of a column, got {short_repr(name)}.")
    names = dict.fromkeys(column for row in rows for column in row)
    if name not in names:
        known_names = [str(column) for column in names]
        raise UsageError(
            f"{parameter} names the column {name!r}, which the rows do not have."
            f"{did_you_mean(name, known_names)}",
            hint=f"The columns are {', '.join(known_names[:10])}.",
        )
    return tuple(row.get(name) for row in rows)


def _row_ids(values: Sequence[Any]) -> tuple[str | int, ...]:
    position_by_id: dict[str, int] = {}  # by `str`, because files contain IDs as strings
    ids: list[str | int] = []
    for position, value in enumerate(values):
        if is_missing(value) or value == "":
            raise UsageError(
                f"row {position} has no ID.", hint="Fill the column, or omit `id` to use positions."
            )
        is_int = isinstance(value, int) and not isinstance(value, bool)
        text = well_formed(str(value))
        if text in position_by_id:
            raise UsageError(
                f"rows {position_by_id[text]} and {position} have the same ID,"
                f" {short_repr(value)}.",
                hint="IDs must be unique; for several answers to each row, use `samples=2`.",
            )
        position_by_id[text] = position
        ids.append(cast("int", value) if is_int else text)
    return tuple(ids)


def _row_clusters(rows: Sequence[Row], name: str) -> tuple[Any, ...]:
    clusters = _column_values(rows, name, "cluster")
    for position, value in enumerate(clusters):
        if is_missing(value) or not isinstance(value, Hashable):
            raise UsageError(
                f"row {position} has no cluster: {short_repr(value)} in the column {name!r}."
            )
    return clusters


def _prompt_request(prompt: RowPrompt, row: Any) -> RowRequest | GatewayError:  # noqa: ANN401
    try:
        request = prompt.request(row)
    except GatewayError as error:
        return error
    if "model" in request.options:
        raise UsageError(
            "the prompt function returned a model, but the models are part of the grid.",
            hint="Pass the models as `models=[…]`.",
        )
    return request


def describe_size(rows: int, variants: int, samples: int) -> str:
    """Return the size of a grid as text, such as ``"30 rows, 2 variants"``."""
    parts = [counted(rows, "row"), counted(variants, "variant")]
    return ", ".join([*parts, *([counted(samples, "sample") + " each"] if samples > 1 else [])])
