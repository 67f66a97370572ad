"""All that was asked side by side in one place: answers, figures and votes, as rows and as text."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from gatewayx_nb import rendering
from gatewayx_nb.comparisons.comparison import fault, said
from gatewayx_nb.comparisons.frames import frame
from gatewayx_nb.comparisons.verdicts import Standing, Verdict, standings
from gatewayx_nb.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from gatewayx_nb.comparisons.comparison import Comparison, Outcome

OPTIONS = ("system", "temperature", "top_p", "max_tokens", "stop", "seed", "images")
"""What may be set of a run; a column each in what is exported."""


@dataclass(frozen=True, slots=True)
class Record:
    """One question that was put to several models, and what became of it.

    Attributes:
        run: The run it belongs to, from 1.
        comparison: The answers.
        options: What was set, of `OPTIONS`; images by name.
        input: What ``{{input}}`` stood for.
        row: Its place among the inputs of the run, from 0.
        verdict: How it was judged.
    """

    run: int
    comparison: Comparison
    options: Mapping[str, object] = field(default_factory=dict)
    input: str = ""
    row: int = 0
    verdict: Verdict | None = None

    def rows(self) -> list[dict[str, object]]:
        """Give a dict for each column: question, options, answer, figures, vote."""
        asked = {"run": self.run, "prompt": self.comparison.prompt, "input": self.input or None}
        options = {name: self.options.get(name) for name in OPTIONS}
        note = self.verdict.note if self.verdict else None
        return [
            asked
            | options
            | answer
            | {"vote": self.verdict.of(at) if self.verdict else None, "note": note or None}
            for at, answer in enumerate(self.comparison.rows())
        ]


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the answers of one model to one question lie apart.

    Attributes:
        reference: The model.
        answers: How many came to their end.
        different: How many of these differ from one another.
        latency: Seconds: least, median, most.
        output_tokens: Tokens written, likewise; ``None`` where one is unknown.
    """

    reference: str
    answers: int
    different: int
    latency: tuple[float, float, float] | None
    output_tokens: tuple[float, float, float] | None


class Journal:
    """The questions of one place, the oldest first, with their answers and votes."""

    def __init__(self) -> None:
        self._records: dict[tuple[int, int], Record] = {}

    @property
    def records(self) -> list[Record]:
        """What was asked."""
        return list(self._records.values())

    def known(self, run: int, row: int) -> Record | None:
        """Give a question; ``None`` where none was kept."""
        return self._records.get((run, row))

    def keep(self, record: Record) -> None:
        """Add a question; one of the same run and row is replaced, and keeps its verdict."""
        known = self.known(record.run, record.row)
        if known is not None and record.verdict is None:
            record = replace(record, verdict=known.verdict)
        self._records[record.run, record.row] = record

    def judge(self, run: int, row: int, verdict: Verdict | None) -> None:
        """Set, change or take back a verdict."""
        self._records[run, row] = replace(self._records[run, row], verdict=verdict)

    def standings(self) -> list[Standing]:
        """Give how the models stand after all votes, the best first."""
        return standings(
            (record.comparison.references, record.verdict)
            for record in self.records
            if record.verdict is not None
        )

    def rows(self) -> list[dict[str, object]]:
        """Give a dict for each answer."""
        return [row for record in self.records for row in record.rows()]

    def to_frame(self) -> pd.DataFrame:
        """Give a row for each answer; see `Record.rows`.

        Raises:
            ConfigError: pandas is not installed.
        """
        return frame(self.rows())

    def to_csv(self) -> str:
        """Give a line for each answer, below a line of names (RFC 4180)."""
        rows, text = self.rows(), io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(text, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return text.getvalue()

    def to_jsonl(self) -> str:
        """Give a JSON object for each answer, one a line."""
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows())

    def to_markdown(self) -> str:
        """Give all of it to read: questions, answers below their models' names, votes."""
        return "\n".join(map(_told, self.records))


def spread(comparison: Comparison) -> list[Spread]:
    """Give for each model that was asked several times how far its answers lie apart."""
    answers: dict[str, list[Outcome]] = {}
    for reference, outcome in zip(comparison.references, comparison, strict=True):
        answers.setdefault(reference, []).append(outcome)
    return [_spread(reference, given) for reference, given in answers.items() if len(given) > 1]


def _spread(reference: str, given: Sequence[Outcome]) -> Spread:
    replies = [one for one in given if isinstance(one, Reply) and not one.interrupted]
    return Spread(
        reference,
        answers=len(replies),
        different=len({reply.text for reply in replies}),
        latency=_range(replies, lambda reply: reply.latency),
        output_tokens=_range(replies, lambda reply: reply.usage.output_tokens),
    )


def _range(
    replies: Iterable[Reply], figure: Callable[[Reply], float | None]
) -> tuple[float, float, float] | None:
    values = list(map(figure, replies))
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return min(known), median(known), max(known)


def _told(record: Record) -> str:
    compared = record.comparison
    options = [f"{name}: {value}" for name, value in record.options.items()]
    asked = [*(f"- {rendering.plain(line)}\n" for line in options), _quoted(compared.prompt)]
    answers = [
        f"### {rendering.plain(label)}{_vote(record, at)}\n\n{_answer(outcome)}\n"
        for at, (label, outcome) in enumerate(zip(compared.labels, compared, strict=True))
    ]
    note = f"> {record.verdict.note}\n" if record.verdict and record.verdict.note else ""
    place = f"{record.run}.{record.row + 1}" if record.input else str(record.run)
    return "\n".join(filter(None, [f"## {place}\n", *asked, *answers, note]))


def _vote(record: Record, column: int) -> str:
    return f" ({record.verdict.of(column)})" if record.verdict else ""


def _quoted(prompt: str) -> str:
    return "".join(f"> {line}\n" for line in rendering.plain(prompt).splitlines())


def _answer(outcome: Outcome) -> str:
    return "\n\n".join(filter(None, [rendering.plain(said(outcome)), fault(outcome)]))
