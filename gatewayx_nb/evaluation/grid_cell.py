"""Defines the cells of an evaluation: the answer of a variant to a row, with its scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.batch import Row
from gatewayx_nb.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.replies import Reply

ScoreValue = bool | int | float | str | None
"""A score: a bool, a number, a label, or ``None`` if the score does not apply."""


SCORE_LIMIT = 1e99
"""Absolute values of scores must be below this, so that the cubes of differences are finite."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A combination of a prompt, a model and its options, which is evaluated.

    Attributes:
        name: The parts that differ between variants, such as ``"short, grok"``.
        prompt: Name of the prompt.
        model: Reference of the model.
        options: Name of the options; empty if there is only one set.
    """

    name: str
    prompt: str
    model: str
    options: str = ""

    @override
    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a cell.

    Attributes:
        value: The score; ``None`` if it does not apply to the cell, or could not be determined.
        reason: The scorer's reason; empty if there is none.
        error: Why the score could not be determined; empty if it could.
    """

    value: ScoreValue = None
    reason: str = ""
    error: str = ""


@dataclass(slots=True)
class GridCell:
    """The answer of a variant to a row, with its scores.

    Attributes:
        position: Position of the row.
        id: The ID of the row.
        variant: The variant.
        sample: Number of the sample, from 0.
        prompt: The text of the prompt.
        answer: The text of the answer, or the parsed value if it is a str, a number or a bool.
        parsed: The answer as data, if a schema was requested.
        error: Why the call failed; empty if it did not.
        finish_reason: Why the model stopped.
        model: Name of the model, as the provider reported it.
        input_tokens: Number of input tokens; ``None`` if unknown.
        output_tokens: Number of output tokens; ``None`` if unknown.
        cost: US dollars; ``None`` if the price is unknown.
        seconds: Seconds from the call to the end of the answer.
        scores: The scores by name.
        reply: The reply; ``None`` if the call failed, or the evaluation was loaded from a file.
    """

    position: int
    id: str | int
    variant: Variant
    sample: int = 0
    prompt: str = ""
    answer: str = ""
    parsed: Any = None
    error: str = ""
    finish_reason: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    reply: Reply[Any] | None = None

    @property
    def has_answer(self) -> bool:
        """Whether there is an answer."""
        return bool(self.model or self.reply is not None) and not self.error

    @property
    def was_asked(self) -> bool:
        """Whether there is an answer or an error; neither exists if the call was stopped."""
        return self.has_answer or bool(self.error)

    def set_outcome(self, outcome: Reply[Any] | GatewayError | None) -> None:
        """Set the answer or the error; ``None`` means that the model was not asked."""
        if isinstance(outcome, GatewayError):
            self.error = f"{type(outcome).__name__}: {outcome.message}"
        elif outcome is not None:
            self.reply, self.parsed = outcome, outcome.parsed
            is_value = isinstance(self.parsed, str | bool | int | float)
            self.answer = str(self.parsed) if is_value else outcome.text
            self.finish_reason = outcome.finish_reason
            self.model = outcome.model or outcome.engine
            self.input_tokens = outcome.usage.input_tokens
            self.output_tokens = outcome.usage.output_tokens
            self.cost = None if outcome.cost is None else float(outcome.cost)
            self.seconds = outcome.latency


@dataclass(frozen=True, slots=True)
class EvaluatedRows:
    """The rows of an evaluation.

    Attributes:
        inputs: The rows; a row that is a string has the column ``input``.
        ids: The unique ID of each row: its value in the ID column, or else its position.
        expected: The expected answer of each row; ``None`` if no column has them.
        clusters: The cluster of each row; ``None`` if rows have no clusters.
    """

    inputs: tuple[Mapping[Any, Any], ...]
    ids: tuple[str | int, ...]
    expected: tuple[Any, ...] | None = None
    clusters: tuple[Any, ...] | None = None

    def row(self, position: int) -> Row:
        """Return a copy of a row, whose columns are also attributes."""
        return Row(self.inputs[position])

    def expected_at(self, position: int) -> object:
        """Return the expected answer of a row; ``None`` if there is none."""
        return None if self.expected is None else self.expected[position]
