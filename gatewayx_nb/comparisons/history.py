"""Keeps the history of comparisons, and converts it to tables and reports."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gatewayx_nb.calls import to_frame
from gatewayx_nb.comparisons.comparison import answer_text, error_text
from gatewayx_nb.comparisons.verdicts import ModelScore, Verdict, rank
from gatewayx_nb.html import safe_markdown
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

from gatewayx_nb.comparisons.comparison import Comparison, Outcome

EXPORTED_OPTIONS = ("system", "temperature", "top_p", "max_tokens", "stop", "seed", "images")
"""The options of a run that are exported, each as a column."""


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """One prompt sent to several models, and the answers.

    Attributes:
        run: Number of the run, from 1.
        comparison: The answers.
        options: The `EXPORTED_OPTIONS` that were set; images are represented by their names.
        input: The value of ``{{input}}``.
        row: Index of the input in the run, from 0.
        verdict: The user's verdict on the answers; ``None`` before a vote.
    """

    run: int
    comparison: Comparison
    options: Mapping[str, object] = field(default_factory=dict)
    input: str = ""
    row: int = 0
    verdict: Verdict | None = None

    def marks(self) -> list[list[str]]:
        """Return for each column the metrics in which it is best, and ``better`` for the winner."""
        marks = self.comparison.marks()
        if self.verdict and self.verdict.winner is not None:
            marks[self.verdict.winner].append("better")
        return marks

    def rows(self) -> list[dict[str, object]]:
        """Return a dict for each column: prompt, options, answer, metrics, vote."""
        run_values = {
            "run": self.run,
            "prompt": self.comparison.prompt,
            "input": self.input or None,
        }
        options = {name: self.options.get(name) for name in EXPORTED_OPTIONS}
        rows = []
        for index, answer in enumerate(self.comparison.rows()):
            vote = self.verdict.for_column(index) if self.verdict else None
            note = (self.verdict.note or None) if self.verdict else None
            rows.append(run_values | options | answer | {"vote": vote, "note": note})
        return rows


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Variation among the answers of one model to one prompt.

    Attributes:
        reference: The reference of the model.
        answers: Number of complete answers.
        different: Number of distinct answers among them.
        latency: Minimum, median and maximum latency in seconds; ``None`` without complete answers.
        output_tokens: Minimum, median and maximum of output tokens; ``None`` if a count is unknown.
    """

    reference: str
    answers: int
    different: int
    latency: tuple[float, float, float] | None
    output_tokens: tuple[float, float, float] | None


class ComparisonHistory:
    """The comparisons of one widget or notebook, oldest first, with answers and votes."""

    def __init__(self) -> None:
        self._records: dict[tuple[int, int], ComparisonRecord] = {}

    @property
    def records(self) -> list[ComparisonRecord]:
        """The records, oldest first."""
        return list(self._records.values())

    def find(self, run: int, row: int) -> ComparisonRecord | None:
        """Return the record of a row, or ``None`` if it does not exist."""
        return self._records.get((run, row))

    def add(self, record: ComparisonRecord) -> None:
        """Add a record; it replaces a record with the same run and row, but keeps its verdict."""
        existing_record = self.find(record.run, record.row)
        # A row is added again after a retry, and after each vote while other rows are running.
        if existing_record is not None and record.verdict is None:
            record = replace(record, verdict=existing_record.verdict)
        self._records[record.run, record.row] = record

    def set_verdict(self, run: int, row: int, verdict: Verdict | None) -> None:
        """Set, change or clear the verdict of a row."""
        self._records[run, row] = replace(self._records[run, row], verdict=verdict)

    def rankings(self) -> list[ModelScore]:
        """Return the scores of the models after all votes, best first."""
        return rank(
            (record.comparison.references, record.verdict)
            for record in self.records
            if record.verdict is not None
        )

    def rows(self) -> list[dict[str, object]]:
        """Return a dict for each answer."""
        return [row for record in self.records for row in record.rows()]

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each answer; see `ComparisonRecord.rows`.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return to_frame(self.rows())

    def to_csv(self) -> str:
        """Return CSV with a header line and a line for each answer (RFC 4180)."""
        rows, text = self.rows(), io.StringIO(newline="")  # csv writes the line endings itself
        if rows:
            writer = csv.DictWriter(text, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return text.getvalue()

    def to_jsonl(self) -> str:
        """Return JSON Lines, with one object for each answer."""
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows())

    def to_markdown(self) -> str:
        """Return a readable report: prompts, answers with their models' names, votes."""
        return "\n".join(map(_record_markdown, self.records))


def dispersion(comparison: Comparison) -> list[Dispersion]:
    """Return the variation of each model that answered several times."""
    outcomes_by_reference: dict[str, list[Outcome]] = {}
    for reference, outcome in zip(comparison.references, comparison, strict=True):
        outcomes_by_reference.setdefault(reference, []).append(outcome)
    repeated_outcomes = (pair for pair in outcomes_by_reference.items() if len(pair[1]) > 1)
    return [_dispersion(reference, outcomes) for reference, outcomes in repeated_outcomes]


def _dispersion(reference: str, outcomes: Sequence[Outcome]) -> Dispersion:
    replies = [reply for reply in outcomes if isinstance(reply, Reply) and not reply.interrupted]
    return Dispersion(
        reference,
        answers=len(replies),
        different=len({reply.text for reply in replies}),
        latency=_minimum_median_maximum(replies, lambda reply: reply.latency),
        output_tokens=_minimum_median_maximum(replies, lambda reply: reply.usage.output_tokens),
    )


def _minimum_median_maximum(
    replies: Iterable[Reply], metric: Callable[[Reply], float | None]
) -> tuple[float, float, float] | None:
    values = list(map(metric, replies))
    numbers = [value for value in values if value is not None]
    # The median of only some replies would be misleading.
    if not numbers or len(numbers) < len(values):
        return None
    from statistics import median  # imported on first use, because most calls compare nothing

    return min(numbers), median(numbers), max(numbers)


def _record_markdown(record: ComparisonRecord) -> str:
    comparison, verdict = record.comparison, record.verdict
    heading = f"{record.run}.{record.row + 1}" if record.input else str(record.run)
    sections = [f"## {heading}\n"]
    sections += [f"- {plain(f'{name}: {value}')}\n" for name, value in record.options.items()]
    # The prompt is quoted, so that its Markdown does not become part of the report.
    sections += ["".join(f"> {line}\n" for line in safe_markdown(comparison.prompt).splitlines())]
    for index, (label, outcome) in enumerate(zip(comparison.labels, comparison, strict=True)):
        vote = f" ({verdict.for_column(index)})" if verdict else ""
        texts = filter(None, [safe_markdown(answer_text(outcome)), error_text(outcome)])
        sections.append("\n".join([f"### {plain(label)}{vote}\n", "\n\n".join(texts), ""]))
    sections += [f"> {verdict.note}\n"] if verdict and verdict.note else []
    return "\n".join(filter(None, sections))
