"""The values of one score, by variant and row, as statistics need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.grid_cell import GridCell

Kind = Literal["bool", "number", "label"]


@dataclass(slots=True)
class VariantValues:
    """The values of one score for one variant.

    Attributes:
        units: The mean of each unit's values: of the samples of a row, or of the rows of a cluster.
        labels: The number of cells with each label, if the score is a label.
        errors: Number of cells that could not be scored, or have no answer because of an error.
        cells: Number of cells with a value; if the score is a bool, errors count as False.
    """

    units: dict[Hashable, float] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    cells: int = 0


@dataclass(frozen=True, slots=True)
class ScoreValues:
    """The values of one score.

    Attributes:
        name: Name of the score.
        kind: The kind of its values.
        is_simple: Whether a unit is a single bool, so that the tests for shares apply.
        variants: The values by name of the variant.
        lower_is_better: Whether a lower score is better.
    """

    name: str
    kind: Kind
    is_simple: bool
    variants: Mapping[str, VariantValues]
    lower_is_better: bool = False


def score_names(cells: Iterable[GridCell]) -> list[str]:
    """Return the names of the scores, in the order in which they first occur."""
    names: dict[str, None] = {}
    for cell in cells:
        if cell.scores.keys() - names.keys():
            names.update(dict.fromkeys(cell.scores))
    return list(names)


def score_kind(name: str, cells: Iterable[GridCell]) -> Kind:
    """Return the kind of a score: ``"number"`` if it has bools and numbers."""
    kind: Kind = "bool"
    for cell in cells:
        value = cell.scores[name].value if name in cell.scores else None
        if isinstance(value, str):
            return "label"
        if value is not None and not isinstance(value, bool):
            kind = "number"
    return kind


def score_values(
    name: str,
    cells: Sequence[GridCell],
    variants: Sequence[str],
    clusters: Sequence[Any] | None = None,
    *,
    lower_is_better: bool = False,
) -> ScoreValues:
    """Return the values of a score.

    An error counts as False if the score is a bool; otherwise it is left out. A cell that was not
    asked, or to which the score does not apply, is left out.

    Args:
        name: Name of the score.
        cells: All cells.
        variants: The names of the variants.
        clusters: The cluster of each row; ``None`` if each row is a unit of its own.
        lower_is_better: Whether a lower score is better.
    """
    kind = score_kind(name, cells)
    found = {variant: VariantValues() for variant in variants}
    by_row: dict[str, dict[int, list[float]]] = {variant: {} for variant in variants}
    is_single = True
    for cell in cells:
        values, value = found[cell.variant.name], _value(cell, name)
        if value is _ERROR:
            values.errors += 1
            value = False if kind == "bool" else None
        if value is None:
            continue
        values.cells += 1
        if kind == "label":
            values.labels[value] = values.labels.get(value, 0) + 1
            continue
        row = by_row[cell.variant.name].setdefault(cell.position, [])
        row.append(float(value))
        is_single = is_single and len(row) == 1
    for variant, rows in by_row.items():
        means = {position: sum(row) / len(row) for position, row in rows.items()}
        found[variant].units = _by_cluster(means, clusters)
    is_simple = kind == "bool" and is_single and clusters is None
    return ScoreValues(name, kind, is_simple, found, lower_is_better)


_ERROR: Any = object()


def _value(cell: GridCell, name: str) -> Any:  # noqa: ANN401 - a score, or the mark of an error
    if cell.error:
        return _ERROR
    score = cell.scores.get(name)
    if score is None:
        return None
    return _ERROR if score.error else score.value


def _by_cluster(rows: Mapping[int, float], clusters: Sequence[Any] | None) -> dict[Hashable, float]:
    if clusters is None:
        return {position: value for position, value in rows.items()}  # noqa: C416
    grouped: dict[Hashable, list[float]] = {}
    for position, value in rows.items():
        grouped.setdefault(clusters[position], []).append(value)
    return {cluster: sum(values) / len(values) for cluster, values in grouped.items()}
