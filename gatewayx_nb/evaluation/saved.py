"""Loads an evaluation from the file that `Evaluation.save` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb.bounded_json import check_values
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.evaluation.evaluation import Evaluation
from gatewayx_nb.evaluation.grid_cell import (
    SCORE_LIMIT,
    EvaluatedRows,
    GridCell,
    Score,
    Variant,
)
from gatewayx_nb.evaluation.model_scorer import JudgeUsage  # noqa: TC001 - msgspec evaluates annotations
from gatewayx_nb.evaluation.records import FORMAT_VERSION, FORMATS, is_file_of
from gatewayx_nb.files import checked_path, read_limited
from gatewayx_nb.text import one_line, short_repr

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

_MAX_BYTES = 512 * 1024**2
_MAX_JSON_VALUES = 20_000_000
"""Maximum number of JSON values, enough for a million answers."""

_MAX_SCORES = 1_000
"""Maximum number of different scores, limited because each needs a pass over all cells."""


@dataclass(slots=True)
class _Format:
    format: int


@dataclass(slots=True)
class _SavedCell:
    """A cell in a file, with the positions of its row and its variant; see `GridCell`."""

    variant: int
    position: int
    sample: int
    prompt: str
    answer: str
    error: str
    finish_reason: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    seconds: float | None
    parsed: Any
    scores: dict[str, Score]


@dataclass(slots=True)
class _SavedEvaluation:
    """The content of a file; see `Evaluation`."""

    name: str
    lower_is_better: list[str]
    preferences: list[str]
    is_stopped: bool
    judges: list[JudgeUsage]
    notes: list[str]
    variants: list[Variant]
    rows: list[dict[str, Any]]
    ids: list[str | int]
    expected: list[Any] | None
    clusters: list[Any] | None
    cells: list[_SavedCell]


def load_evaluation(path: str | Path) -> Evaluation:
    """Return an evaluation that `Evaluation.save` wrote to a ``.json`` file; nothing is sent.

    Args:
        path: The file.

    Raises:
        UsageError: If it is a ``.csv`` or ``.md`` file.
        ConfigError: If the file cannot be read or is not an evaluation.
    """
    file = checked_path(path)
    if file.suffix.lower() in FORMATS[1:]:
        raise UsageError(
            f"a {file.suffix} file cannot be loaded, got {file.name!r}.",
            hint="Load the .json file that `result.save` wrote.",
        )
    content = b""
    try:
        content = read_limited(file, _MAX_BYTES)
        return _decode_evaluation(content)
    except FileNotFoundError:
        raise ConfigError(f"{str(file)!r} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        if is_file_of("baseline", content):
            raise ConfigError(
                f"{str(file)!r} is a baseline, not a saved evaluation.",
                hint="Pass it to `result.check(no_worse_than=path)`.",
            ) from None
        raise ConfigError(
            f"{str(file)!r} is not a saved evaluation: {error}.",
            hint="Save it again with `result.save(path)`.",
        ) from None


def _decode_evaluation(content: bytes) -> Evaluation:
    check_values(content, _MAX_JSON_VALUES)
    if msgspec.json.decode(content, type=_Format).format != FORMAT_VERSION:
        raise ValueError(f"its format is not {FORMAT_VERSION}")
    saved = msgspec.json.decode(content, type=_SavedEvaluation)
    rows = EvaluatedRows(
        tuple(saved.rows),
        tuple(saved.ids),
        None if saved.expected is None else tuple(saved.expected),
        None if saved.clusters is None else tuple(map(_decode_cluster, saved.clusters)),
    )
    columns = (rows.inputs, rows.expected, rows.clusters)
    if any(column is not None and len(column) != len(rows.ids) for column in columns):
        raise ValueError("the rows and their IDs differ in number")
    score_count = len(set().union(*(cell.scores for cell in saved.cells)))
    if score_count > _MAX_SCORES:
        raise ValueError(
            f"it has {score_count:,} different scores, but at most {_MAX_SCORES:,} are supported"
        )
    _clean_variants(saved)
    return Evaluation(
        [_decode_cell(cell, saved) for cell in saved.cells],
        rows,
        saved.variants,
        name=one_line(saved.name),
        lower_is_better=map(one_line, saved.lower_is_better),
        judges=saved.judges,
        notes=saved.notes,
        preferences=map(one_line, saved.preferences),
        is_stopped=saved.is_stopped,
    )


def _clean_variants(saved: _SavedEvaluation) -> None:
    """Remove control characters from the names of variants, and check that they differ.

    Raises:
        ValueError: If two names are the same.
    """
    saved.variants = [
        Variant(*(one_line(getattr(variant, name)) for name in Variant.__slots__))
        for variant in saved.variants
    ]
    if len({variant.name for variant in saved.variants}) < len(saved.variants):
        raise ValueError("two variants have the same name")


def _decode_cell(saved: _SavedCell, evaluation: _SavedEvaluation) -> GridCell:
    if min(saved.position, saved.variant, saved.sample) < 0:
        raise ValueError("a position is negative")
    for score in saved.scores.values():
        if isinstance(score.value, int | float) and abs(score.value) >= SCORE_LIMIT:
            raise ValueError(f"a score is {score.value:g}, which is too large")
    fields = {name: getattr(saved, name) for name in _SavedCell.__slots__}
    fields["scores"] = {one_line(name): score for name, score in saved.scores.items()}
    fields["id"] = evaluation.ids[saved.position]
    fields["variant"] = evaluation.variants[saved.variant]
    return GridCell(**fields)


def _decode_cluster(value: Any) -> Hashable:  # noqa: ANN401 - a JSON value
    """Return a cluster; a list becomes a tuple, which is what was encoded as JSON."""
    if isinstance(value, dict):
        raise TypeError(f"a cluster cannot be {short_repr(value)}")
    return tuple(map(_decode_cluster, value)) if isinstance(value, list) else value
