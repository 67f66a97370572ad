"""A comparison in which each model can be stopped and retried separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.comparisons.comparison import Comparison, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.comparisons.run import ComparisonRun


class LiveComparison:
    """A run whose columns can be retried.

    Args:
        run: The run; nothing is sent before `start`.
        options: The keyword arguments of the calls.
        input: The value of ``{{input}}``.
        image_names: Names of the prompt's images in the notebook.

    Attributes:
        prompt: The prompt.
        columns: The running or latest column in each position.
    """

    def __init__(
        self,
        run: ComparisonRun,
        options: Mapping[str, Any],
        input: str = "",  # noqa: A002 - the field's name
        image_names: tuple[str, ...] = (),
    ) -> None:
        self.prompt, self.options, self.input = run.prompt, options, input
        self.image_names = image_names
        self.columns = list(run.columns)
        self._runs = [run]

    @property
    def ended(self) -> bool:
        """Whether every position has an outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes of the columns that have finished."""
        outcomes: list[tuple[str, Outcome]] = [
            (column.reference, column.outcome)
            for column in self.columns
            if column.outcome is not None
        ]
        references, answers = zip(*outcomes, strict=True) if outcomes else ((), ())
        return Comparison(self.prompt, references, answers)

    def start(self) -> None:
        """Start all columns; further calls have no effect."""
        for run in self._runs:
            run.start()

    def retry(self, index: int, plan: Callable[[str], ComparisonRun]) -> None:
        """Call the model of one position again, discarding its earlier answer.

        Args:
            index: The position, from 0.
            plan: Returns the run of one model.
        """
        old = self.columns[index]
        # The earlier call may still be running.
        old.stop()
        run = plan(old.reference)
        # A run of a single model cannot number repeated references, so keep the old label.
        run.columns[0].label = old.label
        self.columns[index] = run.columns[0]
        self._runs.append(run)
        run.start()

    def stop(self) -> None:
        """Stop the running columns and keep their partial answers."""
        for run in self._runs:
            run.stop()

    def join(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for one of the runs; return whether all positions have ended."""
        for column in self.columns:
            column.run_pending()
            column.settle_if_overdue()
        running = next((run for run in self._runs if not run.ended), None)
        if running is not None:
            running.join(seconds)
        return self.ended
