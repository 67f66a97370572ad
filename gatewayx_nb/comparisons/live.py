"""A comparison in which each model can be stopped and retried separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.comparisons.comparison import Comparison, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.comparisons.run import ComparisonRun


class LiveComparison:
    """A race whose columns can be retried.

    Args:
        race: The race; nothing is sent before `start`.
        options: The keywords of the calls.
        input: The value of ``{{input}}``.
        drawn: Names of the prompt's images in the notebook.

    Attributes:
        prompt: The prompt.
        columns: The running or latest column in each position.
    """

    def __init__(
        self,
        race: ComparisonRun,
        options: Mapping[str, Any],
        input: str = "",  # noqa: A002 - the field's name
        drawn: tuple[str, ...] = (),
    ) -> None:
        self.prompt, self.options, self.input = race.prompt, options, input
        self.drawn = drawn
        self.columns = list(race.columns)
        self._races = [race]

    @property
    def ended(self) -> bool:
        """Whether every position has an outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes, without the positions that are still running."""
        ended: list[tuple[str, Outcome]] = [
            (column.reference, column.outcome)
            for column in self.columns
            if column.outcome is not None
        ]
        references, outcomes = zip(*ended, strict=True) if ended else ((), ())
        return Comparison(self.prompt, references, outcomes)

    def start(self) -> None:
        """Start all columns, once."""
        for race in self._races:
            race.start()

    def retry(self, place: int, plan: Callable[[str], ComparisonRun]) -> None:
        """Call the model of one position again, discarding its earlier answer.

        Args:
            place: The position, from 0.
            plan: Returns the race of one model.
        """
        old = self.columns[place]
        old.stop()
        race = plan(old.reference)
        race.columns[0].label = old.label
        self.columns[place] = race.columns[0]
        self._races.append(race)
        race.start()

    def stop(self) -> None:
        """Stop the running columns and keep their partial answers."""
        for race in self._races:
            race.stop()

    def join(self, seconds: float) -> bool:
        """Wait for at most ``seconds`` per race; return whether all positions have ended."""
        for column in self.columns:
            column.check()
        running = next((race for race in self._races if not race.ended), None)
        if running is not None:
            running.join(seconds)
        return self.ended
