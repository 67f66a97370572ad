"""Saves and loads baselines: the scores of an evaluation, without its prompts and answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping  # noqa: TC003 - msgspec evaluates annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from gatewayx_nb.bounded_json import loads
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.evaluation.grid_cell import SCORE_LIMIT
from gatewayx_nb.evaluation.records import FORMAT_VERSION, is_file_of, to_json
from gatewayx_nb.evaluation.score_values import VOTE
from gatewayx_nb.files import atomic_write, read_limited, write_errors_as_config_error
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows
    from gatewayx_nb.evaluation.score_values import ScoreValues

EXCLUDED_SCORES = ("cost", "latency", VOTE)
"""Scores that are not in a baseline: they vary between equal runs, or are a person's votes."""

_MAX_BYTES = 256 * 1024**2
_DIGEST_BYTES = 8
_MAX_SHOWN_IDS = 3
"""Maximum number of IDs in an error."""


@dataclass(frozen=True, slots=True)
class BaselineScore:
    """One score of a baseline.

    Attributes:
        kind: ``"bool"`` or ``"number"``.
        lower_is_better: Whether a lower score is better.
        values: The value of each row, by name of the variant and ID of the row.
    """

    kind: str
    lower_is_better: bool
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The scores of an earlier evaluation.

    Attributes:
        rows: A digest of each row's values, by ID.
        scores: The scores by name.
    """

    rows: Mapping[str, str]
    scores: Mapping[str, BaselineScore]

    def check_rows(self, rows: Mapping[str, str]) -> None:
        """Check that the rows of an evaluation are those of the baseline.

        Args:
            rows: A digest of each row's values, by ID.

        Raises:
            UsageError: If no IDs match, or rows have changed or are missing.
        """
        shared_ids = [row_id for row_id in rows if row_id in self.rows]
        changed_ids = [row_id for row_id in shared_ids if rows[row_id] != self.rows[row_id]]
        save_hint = Hint("save_baseline")
        if not shared_ids:
            raise UsageError("the baseline has different rows: no IDs match.", hint=save_hint)
        if changed_ids:
            raise UsageError(
                f"{counted(len(changed_ids), 'row')} changed since the baseline was saved"
                f" ({_id_list(changed_ids)}), so the scores cannot be compared.",
                hint=save_hint | Hint("name_ids"),
            )
        missing_ids = [row_id for row_id in self.rows if row_id not in rows]
        if missing_ids:  # these might be the rows that became worse
            raise UsageError(
                f"{counted(len(missing_ids), 'row')} of the baseline cannot be compared, because"
                f" the evaluation does not have them ({_id_list(missing_ids)}).",
                hint=as_hint("Evaluate all rows.") | save_hint,
            )


def _id_list(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_MAX_SHOWN_IDS]) + (", …" if len(ids) > _MAX_SHOWN_IDS else "")


def make_baseline(rows: EvaluatedRows, scores: Sequence[ScoreValues]) -> Baseline:
    """Return the baseline of an evaluation.

    Labels are left out, because they have no mean, and so are costs, latencies and votes.

    Args:
        rows: The rows.
        scores: The scores, whose units are rows.
    """
    ids = list(map(str, rows.ids))
    return Baseline(
        rows=row_digests(rows),
        scores={
            score.name: BaselineScore(
                score.kind,
                score.lower_is_better,
                {
                    variant: {ids[cast("int", unit)]: value for unit, value in values.units.items()}
                    for variant, values in score.variants.items()
                },
            )
            for score in scores
            if score.kind != "label" and score.name not in EXCLUDED_SCORES
        },
    )


def row_digests(rows: EvaluatedRows) -> dict[str, str]:
    """Return a digest of each row's values, by the row's ID as a string."""
    return {
        str(row_id): _row_digest(row) for row_id, row in zip(rows.ids, rows.inputs, strict=True)
    }


def _row_digest(row: Mapping[Any, Any]) -> str:
    content = msgspec.json.encode(to_json(dict(row)), order="sorted")
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline; an existing file is replaced.

    Raises:
        ConfigError: If the file cannot be written.
    """
    values = {"format": FORMAT_VERSION, "rows": baseline.rows, "scores": baseline.scores}
    content = msgspec.json.format(msgspec.json.encode(values, order="deterministic"), indent=1)
    with write_errors_as_config_error(path, "Use a folder that exists and may be written to."):
        atomic_write(path, content + b"\n", keep_mode=True)


def _has_valid_values(score: BaselineScore) -> bool:
    return all(
        abs(value) < SCORE_LIMIT for values in score.values.values() for value in values.values()
    )


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in a file.

    Raises:
        ConfigError: If the file cannot be read or is not a baseline.
    """
    content = b""
    try:
        content = read_limited(path, _MAX_BYTES)
        values = loads(content)
        if not isinstance(values, dict) or values.get("format") != FORMAT_VERSION:
            raise ValueError(f"its format is not {FORMAT_VERSION}")  # noqa: TRY301 - see below
        baseline: Baseline = msgspec.convert(values, Baseline)
        if not all(map(_has_valid_values, baseline.scores.values())):
            raise ValueError("a value is too large")  # noqa: TRY301 - as above
    except FileNotFoundError:
        raise ConfigError(
            f"the baseline {str(path)!r} does not exist.",
            hint=Hint("save_baseline"),
        ) from None
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        if is_file_of("evaluation", content):
            raise ConfigError(
                f"{str(path)!r} is a saved evaluation, not a baseline.",
                hint=Hint("load_evaluation") | Hint("save_baseline"),
            ) from None
        raise ConfigError(
            f"{str(path)!r} is not a baseline: {error}.",
            hint=Hint("save_baseline"),
        ) from None
    return baseline
