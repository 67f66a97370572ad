"""Asking several models side by side, again and again, and judging them; no widgets here."""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import prompts
from gatewayx_nb.comparisons import Journal, Record, Round, Verdict
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.comparisons import Race, Vote
    from gatewayx_nb.engine_pool import CallOptions, EnginePool
    from gatewayx_nb.messages import Image

MOST = 60
"""Most answers of one run; more are rows of a table, not columns to be read."""

_INPUT = re.compile(r"{{\s*input\s*}}")


@dataclass(frozen=True, slots=True)
class Question:
    """What a run asks.

    Attributes:
        prompt: The prompt, with ``{{name}}`` and ``{{input}}`` as they were typed.
        references: Who is asked.
        options: The keywords of the calls; what is not set is left out.
        images: Pictures that were added, by name.
        inputs: What ``{{input}}`` stands for, a row of answers each.
        samples: How often each model is asked.
        hidden: Whether names and figures are hidden until there is a verdict.
    """

    prompt: str
    references: tuple[str, ...]
    options: CallOptions = field(default_factory=dict)  # type: ignore[assignment]
    images: Mapping[str, Image] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    samples: int = 1
    hidden: bool = False

    def check(self) -> None:
        """Look whether it can be asked.

        Raises:
            UsageError: It has no prompt, nobody to ask, or asks for too much.
        """
        if not self.prompt.strip():
            raise UsageError("there is no prompt.", mend="Write one.")
        if not self.references:
            raise UsageError("no model is chosen.", mend="Tick one or more under Models.")
        if self.inputs and not _INPUT.search(self.prompt):
            raise UsageError(
                "there are inputs, and the prompt has no {{input}} to put them in.",
                mend="Write {{input}} where each of them belongs.",
            )
        count = len(self.references) * self.samples * max(1, len(self.inputs))
        if count > MOST:
            raise UsageError(
                f"this would ask {count} times; at most {MOST} answers stand side by side.",
                mend="Take fewer inputs, samples or models.",
            )


class Contest:
    """The runs of one place: what is asked now, and a journal of all that was.

    Args:
        pool: Gives the pool.
        names: Gives the notebook's names, for ``{{name}}``.
        rng: Mixes the columns where names are hidden.

    Attributes:
        journal: All answers and votes.
        rounds: The questions of the last run, one for each input.
        number: How many runs there were.
        question: What the last run asked.
    """

    def __init__(
        self,
        pool: Callable[[], EnginePool],
        names: Callable[[], Mapping[str, object]] = dict,
        rng: random.Random | None = None,
    ) -> None:
        self._pool, self._names = pool, names
        self._rng = rng or random.Random()  # noqa: S311 - an order, no secret
        self.journal = Journal()
        self.rounds: list[Round] = []
        self.number = 0
        self.question: Question | None = None
        self._options: CallOptions = {}

    @property
    def running(self) -> bool:
        """Whether a model answers still."""
        return not all(one.ended for one in self.rounds)

    def run(self, question: Question) -> None:
        """Ask; what the last run had is in the journal.

        Raises:
            UsageError: It cannot be asked, or the last run has not ended; nothing was sent.
        """
        if self.running:
            raise UsageError("the last run has not ended.", mend="Wait, or press Stop.")
        self.settle()
        question.check()
        references = list(question.references) * question.samples
        if question.hidden:
            self._rng.shuffle(references)
        options: CallOptions = {**question.options}
        rounds = [
            self._round(question, references, options, one) for one in question.inputs or [""]
        ]
        self.question, self.rounds, self._options = question, rounds, options
        self.number += 1
        for one in rounds:
            one.start()

    def stop(self) -> None:
        """Stop all that run, and keep what had come."""
        for one in self.rounds:
            one.stop()

    def retry(self, row: int, place: int) -> None:
        """Ask one model again."""
        asked = self.rounds[row]
        options: CallOptions = {**asked.options}  # type: ignore[typeddict-item]
        asked.retry(place, lambda reference: self._race(asked.prompt, [reference], options))

    def join(self, seconds: float) -> bool:
        """Wait so long at most; tell whether all have ended."""
        running = next((one for one in self.rounds if not one.ended), None)
        if running is not None:
            running.join(seconds)
        return not self.running

    def settle(self) -> None:
        """Keep what has ended in the journal."""
        if self.question is None:
            return
        for row, one in enumerate(self.rounds):
            if one.ended:
                told = dict(self._options) | {"images": _pictures(self.question, one.drawn)}
                self.journal.keep(Record(self.number, one.comparison, told, one.input, row))

    def record(self, row: int) -> Record | None:
        """Give what the journal holds of a row of the last run."""
        return self.journal.known(self.number, row)

    def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
        """Say how the answers of a row compare; said again, it is taken back.

        Raises:
            UsageError: Some of the row have not ended.
        """
        self.settle()  # other rows may run still
        record = self.record(row)
        if record is None:
            raise UsageError("the answers have not ended.", mend="Wait, or press Stop.")
        before = record.verdict
        note = before.note if before else ""
        verdict: Verdict | None = Verdict(vote, place, note)
        if verdict == before and not self._hides:
            verdict = None
        self.journal.judge(self.number, row, verdict)

    def remark(self, row: int, note: str) -> None:
        """Note why; without a vote there is nothing to note it of."""
        record = self.record(row)
        if record and record.verdict:
            self.journal.judge(self.number, row, replace(record.verdict, note=note))

    def is_hidden(self, row: int) -> bool:
        """Tell whether the names of a row's columns are hidden."""
        record = self.record(row)
        return self._hides and (record is None or record.verdict is None)

    def label(self, row: int, place: int) -> str:
        """Give the name of a column: ``Model A`` while it is hidden."""
        if self.is_hidden(row):
            return f"Model {string.ascii_uppercase[place % 26]}{place // 26 or ''}"
        return self.rounds[row].columns[place].label

    @property
    def _hides(self) -> bool:
        return self.question is not None and self.question.hidden

    def _round(
        self, question: Question, references: list[str], options: CallOptions, given: str
    ) -> Round:
        """Fill in a prompt and line the models up; nothing is sent."""
        limits = self._pool().config.settings.limits
        names = {**self._names(), **({"input": given} if question.inputs else {})}
        filled = prompts.compose(question.prompt, names, (Secret,), rows=limits.table_rows)
        others = options.get("images", ())
        pictures = (*filled.images, *others, *question.images.values())  # [image 1] is the first
        if pictures:
            options = {**options, "images": pictures}
        race = self._race(filled.text, references, options)
        return Round(race, options, given, filled.names)

    def _race(self, prompt: str, references: list[str], options: CallOptions) -> Race:
        return self._pool().race(prompt, models=references, **options)


def _pictures(question: Question, drawn: tuple[str, ...]) -> str | None:
    """Tell which pictures went along: values of the notebook, files, uploads."""
    given = question.options.get("images", ())
    files = (str(one) if isinstance(one, str | Path) else type(one).__name__ for one in given)
    return ", ".join([*drawn, *files, *question.images]) or None
