"""`Evaluation`, the result of `evaluate`: answers, scores, conclusions, and checks for CI."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from gatewayx_nb.calls import Table
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.evaluation.baseline import (
    Baseline,
    make_baseline,
    read_baseline,
    row_digests,
    write_baseline,
)
from gatewayx_nb.evaluation.check_message import failure_text
from gatewayx_nb.evaluation.checks import Failure, check_bounds
from gatewayx_nb.evaluation.differing_cells import (
    CHANGE_COLUMNS,
    FAILURE_COLUMNS,
    ChangedScore,
    FailedAnswer,
    changed_cells,
    failed_cells,
)
from gatewayx_nb.evaluation.evaluation_report import (
    conclusions,
    report_html,
    report_markdown,
    report_text,
)
from gatewayx_nb.evaluation.grid import describe_size
from gatewayx_nb.evaluation.grid_cell import Score
from gatewayx_nb.evaluation.label_agreement import Agreement, agreement_of
from gatewayx_nb.evaluation.records import (
    FORMATS,
    cell_records,
    encode_evaluation,
    records_csv,
    records_frame,
)
from gatewayx_nb.evaluation.regressions import check_no_worse
from gatewayx_nb.evaluation.score_summary import (
    SUMMARY_COLUMNS,
    AnswerStatistics,
    VariantScore,
    answer_statistics,
    summarize,
)
from gatewayx_nb.evaluation.score_values import VOTE, ScoreValues, score_names, score_values
from gatewayx_nb.evaluation.versus import (
    DIFFERENCE_COLUMNS,
    VariantDifference,
    compare_with_baseline,
)
from gatewayx_nb.evaluation.vote_file import VoteFile
from gatewayx_nb.files import (
    atomic_write,
    checked_path,
    path_to_write,
    write_errors_as_config_error,
)
from gatewayx_nb.tabulation import check_pandas
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Variant
    from gatewayx_nb.evaluation.model_scorer import JudgeUsage

_FOLDER_HINT = "Use a folder that exists and may be written to."


class Evaluation:
    """The answers of each variant to each row, with their scores.

    Its display is the summary, with sentences that state what the data support. It holds no key:
    keys in rows, answers and reasons are masked after the scorers have run.

    Args:
        cells: The answers with their scores.
        rows: The rows.
        variants: The variants; the first is the baseline of `versus`.
        name: Name of the evaluation; empty if it has none.
        lower_is_better: The names of the scores for which lower is better.
        judges: The usage of each judge.
        notes: Caveats, such as a judge from the model family that it judges.
        preferences: The names of the scores that compare each variant with the first.
        is_stopped: Whether it was stopped before every cell was answered and scored.
    """

    def __init__(  # noqa: PLR0913 - what an evaluation consists of
        self,
        cells: Sequence[GridCell],
        rows: EvaluatedRows,
        variants: Sequence[Variant],
        *,
        name: str = "",
        lower_is_better: Iterable[str] = (),
        judges: Iterable[JudgeUsage] = (),
        notes: Iterable[str] = (),
        preferences: Iterable[str] = (),
        is_stopped: bool = False,
    ) -> None:
        self.cells, self.rows, self.variants = list(cells), rows, list(variants)
        self.name, self.judges, self.notes = name, tuple(judges), tuple(notes)
        self.lower_is_better = frozenset(lower_is_better)
        self.preferences, self._was_stopped = frozenset(preferences), is_stopped
        self._vote_file: VoteFile | None = None

    @property
    def variant_names(self) -> list[str]:
        """The names of the variants."""
        return [variant.name for variant in self.variants]

    @property
    def scores(self) -> list[str]:
        """The names of the scores."""
        return score_names(self.cells)

    @property
    def samples(self) -> int:
        """Number of answers of each variant to each row."""
        return max((cell.sample for cell in self.cells), default=0) + 1

    @property
    def cost(self) -> float | None:
        """Cost of all answers in US dollars, without judges; ``None`` if no price is known."""
        costs = [cell.cost for cell in self.cells if cell.cost is not None]
        return math.fsum(costs) if costs else None

    @property
    def judge_cost(self) -> float | None:
        """Cost of the answers of all judges in US dollars; ``None`` if no price is known."""
        costs = [judge.cost for judge in self.judges if judge.cost is not None]
        return math.fsum(costs) if costs else None

    @property
    def missing(self) -> int:
        """Number of cells that were not asked, because the evaluation was stopped."""
        return sum(not cell.was_asked for cell in self.cells)

    @property
    def is_stopped(self) -> bool:
        """Whether the evaluation was stopped, so that answers or scores are missing."""
        return self._was_stopped or bool(self.missing)

    @property
    def size_text(self) -> str:
        """The number of rows, variants and samples."""
        return describe_size(len(self.rows.ids), len(self.variants), self.samples)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each row, variant and sample.

        Its columns are ``id``, the columns of the rows, ``variant``, ``prompt``, ``model``,
        ``options``, ``sample``, ``answer``, each score with its ``_reason`` and ``_error`` if there
        is one, ``error``, ``finish_reason``, ``input_tokens``, ``output_tokens``, ``cost`` in US
        dollars and ``seconds``.

        Raises:
            UsageError: If pandas is not installed.
        """
        check_pandas()
        return cast("pd.DataFrame", records_frame(*cell_records(self.cells, self.rows)))

    def summary(self) -> Table[VariantScore]:
        """Return each score of each variant: n, errors, mean, 95 % interval, cost and latency.

        The interval of a share is Wilson's; that of a mean is Student's t, or a bootstrap if there
        are fewer than 30 rows or the values are skewed. With fewer than 10 rows, there is no
        interval. The samples of a row are averaged first, because rows are the units, and so are
        the rows of a cluster.
        """
        return Table(summarize(self._score_values, self._answer_statistics), SUMMARY_COLUMNS)

    def versus(
        self, baseline: str | None = None, score: str | None = None
    ) -> Table[VariantDifference]:
        """Return the difference of each variant from a baseline, on the rows that both have.

        Bools are compared by the exact test of McNemar and Newcombe's paired interval; numbers,
        several samples and clusters by a paired t-test, or a bootstrap if there are fewer than 30
        rows or the differences are skewed. The p-values are adjusted by Holm's method for all
        comparisons in the table. With fewer than 10 rows, there are only counts.

        Args:
            baseline: Name of the variant with which the others are compared; the first if omitted.
            score: Name of the only score to compare; all scores except labels if omitted.

        Raises:
            UsageError: If there is no such variant or score.
        """
        names = self.variant_names
        base_name = (
            names[0] if baseline is None else self._check_is_known(baseline, names, "variant")
        )
        if score is not None:
            self._check_is_known(score, self.scores, "score")
        selected = [values for values in self._score_values if score in (None, values.name)]
        rows = compare_with_baseline(selected, names, base_name)
        return Table(rows, DIFFERENCE_COLUMNS, [row.text for row in rows])

    def failures(
        self, score: str | None = None, *, limit: int | None = None
    ) -> Table[FailedAnswer]:
        """Return the cells that failed: an error, or a score that is False.

        If the score is a number, the errors and the ten worst cells are returned.

        Args:
            score: Name of the score; all scores that are bools if omitted.
            limit: Maximum number of cells; no limit if omitted.

        Raises:
            UsageError: If there is no such score.
        """
        if score is not None:
            self._check_is_known(score, self.scores, "score")
        selected = [
            values
            for values in self._score_values
            if score == values.name or (score is None and values.kind != "number")
        ]
        failures = failed_cells(self.cells, self.rows, selected)
        return Table(failures[:limit], FAILURE_COLUMNS)

    def changed(self, other: Evaluation, score: str | None = None) -> Table[ChangedScore]:
        """Return the cells whose scores differ from those of another evaluation.

        Cells are matched by ID, variant and sample.

        Args:
            other: The earlier evaluation.
            score: Name of the only score to compare; all scores if omitted.

        Raises:
            UsageError: If ``other`` is not an evaluation or has no cell in common with this one, or
                if there is no such score.
        """
        if not isinstance(other, Evaluation):
            raise UsageError(
                f"other must be an Evaluation, got {short_repr(other)}.",
                hint="Load it with `gx.load_evaluation(path)`.",
            )
        names = (
            self.scores if score is None else [self._check_is_known(score, self.scores, "score")]
        )
        return Table(changed_cells(self.cells, other.cells, names), CHANGE_COLUMNS)

    def agreement(self, first: str, second: str) -> Agreement:
        """Return how well two scores agree: the confusion table, and Cohen's kappa.

        Args:
            first: Name of a score, such as ``"judge"``, or of a column of the rows.
            second: Name of another score or column, such as a column with a person's labels, or
                ``"vote"`` for the votes of the view.

        Raises:
            UsageError: If one of them does not exist, or no cell has both.
        """
        column_names = list(dict.fromkeys(str(name) for row in self.rows.inputs for name in row))
        known_names = [*self.scores, *column_names]
        for name in (first, second):
            self._check_is_known(name, known_names, "score or column")
        return agreement_of(first, second, self._ratings(first), self._ratings(second))

    def vote(self, id: str | int, variant: str, value: bool | str | None, sample: int = 0) -> None:  # noqa: A002, FBT001 - a row's ID; a label
        """Set the score ``vote`` of a cell, which is a person's label.

        A new run of `evaluate` returns a result without votes; `use_votes` keeps them in a file.

        Args:
            id: The ID of the row.
            variant: Name of the variant.
            value: The label; ``None`` removes it.
            sample: Number of the sample, from 0.

        Raises:
            UsageError: If there is no such cell, or the label is neither a bool nor a str.
            ConfigError: If the file of `use_votes` cannot be written; the vote is still set.
        """
        self._check_is_known(variant, self.variant_names, "variant")
        if value is not None and (not isinstance(value, bool | str) or value == ""):
            raise UsageError(f"a vote must be a bool or a non-empty str, got {short_repr(value)}.")
        for cell in self.cells:
            if (cell.id, cell.variant.name, cell.sample) == (id, variant, sample):
                cell.scores.pop("vote", None)
                if value is not None:
                    cell.scores["vote"] = Score(value)
                self._clear_cache()
                if self._vote_file is not None:
                    self._vote_file.write([cell])
                return
        raise UsageError(f"there is no cell with the ID {short_repr(id)} and sample {sample}.")

    def use_votes(self, path: str | Path) -> int:
        """Set the votes that are in a file, write each later vote to it, and return their number.

        A vote applies only to the answer for which it was given. The file holds IDs of rows and
        digests of answers, but no answers.

        Args:
            path: The file, for example ``"evals/votes.json"``; created with the first vote.

        Raises:
            ConfigError: If the file cannot be read or written, or is not a file of votes.
        """
        file = VoteFile(checked_path(path))
        voted_cells = [cell for cell in self.cells if VOTE in cell.scores]
        count = file.apply(self.cells)
        if voted_cells:
            file.write(voted_cells)
        self._vote_file = file
        self._clear_cache()
        return count

    def check(
        self,
        *,
        at_least: Mapping[str, float] | None = None,
        at_most: Mapping[str, float] | None = None,
        variant: str | Sequence[str] | None = None,
        no_worse_than: str | Path | Evaluation | None = None,
        margin: float = 0.02,
    ) -> None:
        """Raise an `AssertionError` unless the scores meet the requirements, for a test in CI.

        See also: the guide ``evaluation-in-ci``.

        Args:
            at_least: The minimum mean of each score, for example ``{"accuracy": 0.9}``.
            at_most: The maximum mean of each score; also ``{"latency": 2}``, the median seconds of
                an answer, and ``{"cost": 1}``, the US dollars of a variant's answers.
            variant: The names of the variants to check; all if omitted.
            no_worse_than: A file from `save_baseline`, or another evaluation. A score fails if the
                95 % interval of its paired difference shows that it is worse by more than
                ``margin``.
            margin: The largest acceptable loss, in the unit of the score.

        Raises:
            AssertionError: If a check fails, or the evaluation was stopped; with the summary and
                the first failing rows.
            UsageError: If an argument is invalid, or the baseline has different rows.
            ConfigError: If the baseline cannot be read.
        """
        __tracebackhide__ = True  # pytest then shows only the caller's line
        if not at_least and not at_most and no_worse_than is None:
            raise UsageError(
                "check needs at_least, at_most or no_worse_than.",
                hint='For example, `result.check(at_least={"accuracy": 0.9})`.',
            )
        names = self._chosen_variants(variant)
        rows = [row for row in self.summary() if row.variant in names]
        failures = check_bounds(rows, at_least or {}, "at_least", is_minimum=True)
        failures += check_bounds(rows, at_most or {}, "at_most", is_minimum=False)
        if no_worse_than is not None:
            failures += self._regression_failures(no_worse_than, names, margin)
        if self.is_stopped:
            failures.insert(0, Failure("", "", self._stopped_text()))
        if failures:
            raise AssertionError(failure_text(self, failures))

    def save_baseline(self, path: str | Path) -> Path:
        """Write the scores for ``check(no_worse_than=path)``, and return the path.

        The file holds IDs, digests of rows, and scores: no prompts and no answers. Labels, votes,
        costs and latencies are omitted. An existing file is replaced.

        Args:
            path: The file, for example ``"evals/base.json"``.

        Raises:
            UsageError: If the evaluation was stopped, or has no score.
            ConfigError: If the file cannot be written.
        """
        file = checked_path(path)
        if self.is_stopped:
            raise UsageError(
                self._stopped_text(),
                hint="Run the evaluation again; it asks only for what is missing.",
            )
        baseline = self.baseline()
        if not baseline.scores:
            raise UsageError("there is no score to save, only labels, costs or latencies.")
        write_baseline(baseline, file)
        return file

    def save(self, path: str | Path) -> Path:
        """Write the evaluation to a file, and return the path; an existing file is replaced.

        Args:
            path: The file: ``.json`` for `load_evaluation`, ``.csv`` for a row for each answer, or
                ``.md`` for the summary in Markdown.

        Raises:
            UsageError: If the file has another extension.
            ConfigError: If the file cannot be written.
        """
        file = path_to_write(path, FORMATS, "evaluation.json")
        suffix = file.suffix.lower()
        if suffix == ".json":
            content = encode_evaluation(self)
        elif suffix == ".csv":
            records, _ = cell_records(self.cells, self.rows)
            content = records_csv(records).encode("utf-8", "replace")
        else:
            content = report_markdown(self).encode("utf-8", "replace")
        with write_errors_as_config_error(file, _FOLDER_HINT):
            atomic_write(file, content, keep_mode=True)
        return file

    @override
    def __repr__(self) -> str:
        return report_text(self)

    def _repr_html_(self) -> str:
        return report_html(self)

    def conclusions(self) -> list[str]:
        """Return sentences that state what the data support."""
        return conclusions(self)

    @cached_property
    def _score_values(self) -> list[ScoreValues]:
        return self._compute_score_values(self.rows.clusters)

    @cached_property
    def _answer_statistics(self) -> dict[str, AnswerStatistics]:
        return answer_statistics(self.cells, self.variant_names)

    def _clear_cache(self) -> None:
        """Discard the cached scores, after a vote."""
        self.__dict__.pop("_score_values", None)

    def _compute_score_values(self, clusters: Sequence[Any] | None) -> list[ScoreValues]:
        return [
            score_values(
                name,
                self.cells,
                self.variant_names,
                clusters,
                lower_is_better=name in self.lower_is_better,
                is_preference=name in self.preferences,
            )
            for name in self.scores
        ]

    def baseline(self) -> Baseline:
        """Return the baseline that `save_baseline` writes."""
        return make_baseline(self.rows, self._compute_score_values(None))

    def _ratings(self, name: str) -> list[Any]:
        if name in self.scores:
            return [cell.scores.get(name, Score()).value for cell in self.cells]
        return [self.rows.row(cell.position).get(name) for cell in self.cells]

    def _stopped_text(self) -> str:
        if self.missing:
            return f"{self.missing:,} of {len(self.cells):,} cells were not asked."
        return "the evaluation was stopped before all answers were scored."

    def _check_is_known(self, name: str, known_names: Sequence[str], noun: str) -> str:
        if name not in known_names:
            raise UsageError(
                f"there is no {noun} {short_repr(name)}.{did_you_mean(str(name), known_names)}",
                hint=f"Choose from: {', '.join(known_names)}."
                if known_names
                else "Pass `scorers=[…]`.",
            )
        return name

    def _chosen_variants(self, variant: str | Sequence[str] | None) -> list[str]:
        if variant is None:
            return self.variant_names
        names = [variant] if isinstance(variant, str) else list(variant)
        if not names:
            raise UsageError("variant must not be empty.", hint="Omit it to check all variants.")
        return [self._check_is_known(name, self.variant_names, "variant") for name in names]

    def _regression_failures(
        self, other: str | Path | Evaluation, names: Sequence[str], margin: float
    ) -> list[Failure]:
        is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not is_number or not 0 <= margin < math.inf:
            raise UsageError(f"margin must be a number >= 0, got {short_repr(margin)}.")
        baseline = (
            other.baseline()
            if isinstance(other, Evaluation)
            else read_baseline(checked_path(other))
        )
        baseline.check_rows(row_digests(self.rows))
        clusters = self.rows.clusters
        ids = map(str, self.rows.ids)
        clusters_by_id = None if clusters is None else dict(zip(ids, clusters, strict=True))
        return check_no_worse(baseline, self.baseline(), names, margin, clusters_by_id)
