"""One question to several models, each of which may be stopped and asked again by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.comparisons.comparison import Comparison, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.comparisons.race import Race


class Round:
    """A race whose columns may run anew.

    Args:
        race: Who is asked; nothing is sent before `start`.
        options: The keywords of the calls.
        input: What ``{{input}}`` stood for.
        drawn: What the pictures in the prompt are called in the notebook.

    Attributes:
        prompt: What is asked.
        columns: What runs, or ran last, in each place.
    """

    def __init__(
        self,
        race: Race,
        options: Mapping[str, Any],
        input: str = "",  # noqa: A002 - the field's word
        drawn: tuple[str, ...] = (),
    ) -> None:
        self.prompt, self.options, self.input = race.prompt, options, input
        self.drawn = drawn
        self.columns = list(race.columns)
        self._races = [race]

    @property
    def ended(self) -> bool:
        """Whether every place has its outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes; those places that still run are left out."""
        ended: list[tuple[str, Outcome]] = [
            (column.reference, column.outcome)
            for column in self.columns
            if column.outcome is not None
        ]
        references, outcomes = zip(*ended, strict=True) if ended else ((), ())
        return Comparison(self.prompt, references, outcomes)

    def start(self) -> None:
        """Send all, once."""
        for race in self._races:
            race.start()

    def retry(self, place: int, plan: Callable[[str], Race]) -> None:
        """Ask the model of one place again; what it said before is dropped.

        Args:
            place: Which, from 0.
            plan: Gives the race of one model.
        """
        old = self.columns[place]
        old.stop()
        race = plan(old.reference)
        race.columns[0].label = old.label
        self.columns[place] = race.columns[0]
        self._races.append(race)
        race.start()

    def stop(self) -> None:
        """Stop what still runs, and keep what had come."""
        for race in self._races:
            race.stop()

    def join(self, seconds: float) -> bool:
        """Wait so long at most, for one race at a time; tell whether all places have ended."""
        for column in self.columns:
            column.check()
        running = next((race for race in self._races if not race.ended), None)
        if running is not None:
            running.join(seconds)
        return self.ended
