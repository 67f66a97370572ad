"""Collects the values of a score by variant and row, for statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.grid_cell import GridCell

Kind = Literal["bool", "number", "label"]

VOTE = "vote"
"""Name of the score that holds a person's votes; failed answers do not count as its errors."""


@dataclass(slots=True)
class VariantValues:
    """The values of one score for one variant.

    Attributes:
        units: The mean value of each unit: of the samples of a row, or of the rows of a cluster.
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
        kind: The type of its values: ``"bool"``, ``"number"`` or ``"label"``.
        variants: The values by name of the variant.
        lower_is_better: Whether a lower score is better.
        is_preference: Whether the values are rates at which answers are preferred to those of the
            first variant, which has no values.
        unit: What a unit is: ``"row"`` or ``"cluster"``.
    """

    name: str
    kind: Kind
    variants: Mapping[str, VariantValues]
    lower_is_better: bool = False
    is_preference: bool = False
    unit: str = "row"


def score_names(cells: Iterable[GridCell]) -> list[str]:
    """Return the names of the scores, in the order in which they first occur."""
    names: dict[str, None] = {}
    for cell in cells:
        if cell.scores.keys() - names.keys():
            names.update(dict.fromkeys(cell.scores))
    return list(names)


def score_kind(name: str, cells: Iterable[GridCell]) -> Kind:
    """Return the kind of a score: ``"number"`` if it has both bools and numbers, or only errors."""
    kind: Kind | None = None
    for cell in cells:
        value = cell.scores[name].value if name in cell.scores else None
        if isinstance(value, str):
            return "label"
        if isinstance(value, bool):
            kind = kind or "bool"
        elif value is not None:
            kind = "number"
    return kind or "number"


def score_values(  # noqa: PLR0913 - what a score consists of
    name: str,
    cells: Sequence[GridCell],
    variants: Sequence[str],
    clusters: Sequence[Any] | None = None,
    *,
    lower_is_better: bool = False,
    is_preference: bool = False,
) -> ScoreValues:
    """Return the values of a score.

    An error counts as False if the score is a bool; otherwise it is left out. A cell that was not
    asked, or to which the score does not apply, is left out.

    Args:
        name: Name of the score.
        cells: All cells.
        variants: The names of the variants.
        clusters: The cluster of each row; ``None`` if rows have no clusters.
        lower_is_better: Whether a lower score is better.
        is_preference: Whether the score compares each variant with the first.
    """
    kind = score_kind(name, cells)
    values_by_variant = {variant: VariantValues() for variant in variants}
    values_by_row: dict[str, dict[int, list[float]]] = {variant: {} for variant in variants}
    for cell in cells:
        values, value = values_by_variant[cell.variant.name], _cell_value(cell, name)
        if value is _ERROR:
            values.errors += 1
            value = False if kind == "bool" else None
        if value is None:
            continue
        values.cells += 1
        if kind == "label":
            label = str(value)  # votes may be bools and strings
            values.labels[label] = values.labels.get(label, 0) + 1
            continue
        values_by_row[cell.variant.name].setdefault(cell.position, []).append(float(value))
    for variant, row_values in values_by_row.items():
        mean_by_position = {position: sum(row) / len(row) for position, row in row_values.items()}
        values_by_variant[variant].units = _unit_means(mean_by_position, clusters)
    unit = "row" if clusters is None else "cluster"
    return ScoreValues(name, kind, values_by_variant, lower_is_better, is_preference, unit)


def are_binary(kind: Kind, units: Iterable[float]) -> bool:
    """Return whether the score is a bool and every unit is 0 or 1, so that units can be counted.

    Otherwise, the units of a bool are means of samples or of the rows of a cluster.

    Args:
        kind: The type of the score's values.
        units: The values of the units.
    """
    return kind == "bool" and all(value in (0.0, 1.0) for value in units)


_ERROR: Any = object()


def _cell_value(cell: GridCell, name: str) -> Any:  # noqa: ANN401 - a score, or `_ERROR`
    score = cell.scores.get(name)
    if cell.error and name != VOTE:
        return _ERROR
    if score is None:
        return None
    return _ERROR if score.error else score.value


def _unit_means(
    row_means: Mapping[int, float], clusters: Sequence[Any] | None
) -> dict[Hashable, float]:
    if clusters is None:
        return {position: value for position, value in row_means.items()}  # noqa: C416
    values_by_cluster: dict[Hashable, list[float]] = {}
    for position, value in row_means.items():
        values_by_cluster.setdefault(clusters[position], []).append(value)
    return {cluster: sum(values) / len(values) for cluster, values in values_by_cluster.items()}
