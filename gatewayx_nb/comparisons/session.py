"""Repeated comparisons of several models and their votes, without widgets."""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb import prompts
from gatewayx_nb.comparisons.history import ComparisonHistory, ComparisonRecord
from gatewayx_nb.comparisons.live import LiveComparison
from gatewayx_nb.comparisons.verdicts import Verdict
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.comparisons.run import ComparisonRun
    from gatewayx_nb.comparisons.verdicts import Vote
    from gatewayx_nb.messages import Image
    from gatewayx_nb.secure_config import Config

MOST = 60
"""Maximum replies per run; more would be table rows rather than readable columns."""

_INPUT = re.compile(r"{{\s*input\s*}}")


@dataclass(frozen=True, slots=True)
class ComparisonInput:
    """The input of a run.

    Attributes:
        prompt: The prompt, with ``{{name}}`` and ``{{input}}`` as typed.
        references: The models to call.
        options: The keywords of the calls, without those not set.
        images: Added images, by name.
        inputs: Values of ``{{input}}``, one row of replies each.
        samples: Number of calls to each model.
        hidden: Whether names and metrics are hidden until there is a vote.
    """

    prompt: str
    references: tuple[str, ...]
    options: CallOptions = field(default_factory=dict)  # type: ignore[assignment]
    images: Mapping[str, Image] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    samples: int = 1
    hidden: bool = False

    def check(self) -> None:
        """Check that the question can be run.

        Raises:
            UsageError: If it has no prompt, no models, or too many replies.
        """
        if not self.prompt.strip():
            raise UsageError("there is no prompt.", hint="Write one.")
        if not self.references:
            raise UsageError("no model is chosen.", hint="Tick one or more under Models.")
        if self.inputs and not _INPUT.search(self.prompt):
            raise UsageError(
                "there are inputs, and the prompt has no {{input}} to put them in.",
                hint="Write {{input}} where each of them belongs.",
            )
        count = len(self.references) * self.samples * max(1, len(self.inputs))
        if count > MOST:
            raise UsageError(
                f"this would ask {count} times; at most {MOST} answers stand side by side.",
                hint="Take fewer inputs, samples or models.",
            )


class ComparisonPlanner(Protocol):
    """Plans comparisons; a pool is one."""

    @property
    def config(self) -> Config:
        """The settings, for the number of table rows in a prompt."""
        ...

    @property
    def plan_comparison(self) -> Callable[..., ComparisonRun]:
        """Plan calls to several models; nothing is sent."""
        ...


class ComparisonSession:
    """The runs of one view: the current one, and a journal of all.

    Args:
        pool: Returns the pool.
        names: Returns the notebook's namespace, for ``{{name}}``.
        rng: Shuffles the columns if names are hidden.

    Attributes:
        journal: All replies and votes.
        rounds: The rounds of the last run, one for each input.
        number: Number of runs so far.
        question: The question of the last run.
    """

    def __init__(
        self,
        pool: Callable[[], ComparisonPlanner],
        names: Callable[[], Mapping[str, object]] = dict,
        rng: random.Random | None = None,
    ) -> None:
        self._pool, self._names = pool, names
        self._rng = rng or random.Random()  # noqa: S311 - an order, not a secret
        self.history = ComparisonHistory()
        self.comparisons: list[LiveComparison] = []
        self.number = 0
        self.question: ComparisonInput | None = None
        self._options: CallOptions = {}

    @property
    def running(self) -> bool:
        """Whether any model is still running."""
        return not all(one.ended for one in self.comparisons)

    def run(self, question: ComparisonInput) -> None:
        """Start a run; the results of the last one are in the journal.

        Raises:
            UsageError: If the question is invalid, or the last run has not ended; nothing was sent.
        """
        if self.running:
            raise UsageError("the last run has not ended.", hint="Wait, or press Stop.")
        self.settle()
        question.check()
        references = list(question.references) * question.samples
        if question.hidden:
            self._rng.shuffle(references)
        options: CallOptions = {**question.options}
        rounds = [
            self._round(question, references, options, one) for one in question.inputs or [""]
        ]
        self.question, self.comparisons, self._options = question, rounds, options
        self.number += 1
        for one in rounds:
            one.start()

    def stop(self) -> None:
        """Stop all running calls and keep the partial replies."""
        for one in self.comparisons:
            one.stop()

    def retry(self, row: int, place: int) -> None:
        """Call one model again."""
        asked = self.comparisons[row]
        options: CallOptions = {**asked.options}  # type: ignore[typeddict-item]
        asked.retry(place, lambda reference: self._race(asked.prompt, [reference], options))

    def join(self, seconds: float) -> bool:
        """Block until all have finished or ``seconds`` have passed; return whether they have."""
        running = next((one for one in self.comparisons if not one.ended), None)
        if running is not None:
            running.join(seconds)
        return not self.running

    def settle(self) -> None:
        """Store the finished rows in the journal."""
        if self.question is None:
            return
        for row, one in enumerate(self.comparisons):
            if one.ended:
                told = dict(self._options) | {"images": _pictures(self.question, one.drawn)}
                self.history.keep(
                    ComparisonRecord(self.number, one.comparison, told, one.input, row)
                )

    def record(self, row: int) -> ComparisonRecord | None:
        """Return the journal's record of a row of the last run."""
        return self.history.find(self.number, row)

    def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
        """Vote on the replies of a row; the same vote a second time withdraws it.

        Raises:
            UsageError: If some replies of the row have not finished.
        """
        self.settle()  # other rows may still be running
        record = self.record(row)
        if record is None:
            raise UsageError("the answers have not ended.", hint="Wait, or press Stop.")
        before = record.verdict
        note = before.note if before else ""
        verdict: Verdict | None = Verdict(vote, place, note)
        if verdict == before and not self._hides:
            verdict = None
        self.history.judge(self.number, row, verdict)

    def remark(self, row: int, note: str) -> None:
        """Store the reason for a vote; without a vote nothing is stored."""
        record = self.record(row)
        if record and record.verdict:
            self.history.judge(self.number, row, replace(record.verdict, note=note))

    def is_hidden(self, row: int) -> bool:
        """Return whether the names of a row's columns are hidden."""
        record = self.record(row)
        return self._hides and (record is None or record.verdict is None)

    def label(self, row: int, place: int) -> str:
        """Return the name of a column, such as ``Model A`` while it is hidden."""
        if self.is_hidden(row):
            return f"Model {string.ascii_uppercase[place % 26]}{place // 26 or ''}"
        return self.comparisons[row].columns[place].label

    @property
    def _hides(self) -> bool:
        return self.question is not None and self.question.hidden

    def _round(
        self, question: ComparisonInput, references: list[str], options: CallOptions, given: str
    ) -> LiveComparison:
        """Fill in a prompt and plan the columns, without sending anything."""
        limits = self._pool().config.settings.limits
        names = {**self._names(), **({"input": given} if question.inputs else {})}
        filled = prompts.compose(question.prompt, names, (Secret,), rows=limits.table_rows)
        others = options.get("images", ())
        pictures = (*filled.images, *others, *question.images.values())  # [image 1] is the first
        if pictures:
            options = {**options, "images": pictures}
        race = self._race(filled.text, references, options)
        return LiveComparison(race, options, given, filled.names)

    def _race(self, prompt: str, references: list[str], options: CallOptions) -> ComparisonRun:
        return self._pool().plan_comparison(prompt, models=references, **options)


def _pictures(question: ComparisonInput, drawn: tuple[str, ...]) -> str | None:
    """Return the names of the images sent: notebook values, files, uploads."""
    given = question.options.get("images", ())
    files = (str(one) if isinstance(one, str | Path) else type(one).__name__ for one in given)
    return ", ".join([*drawn, *files, *question.images]) or None
