"""Defines the interface of scorers that ask a model, such as judges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gatewayx_nb.batch import RowRequest
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Score
    from gatewayx_nb.replies import Reply


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a scorer asks its model.

    Attributes:
        cell: The cell that is scored.
        request: The request; an error if it could not be created.
        is_swapped: Whether the answers are in reverse order, if two are compared.
    """

    cell: GridCell
    request: RowRequest | GatewayError
    is_swapped: bool = False


@dataclass(frozen=True, slots=True)
class JudgeUsage:
    """The usage of a scorer that asks a model, in addition to the usage of the answers.

    Attributes:
        score: Name of the score.
        model: Reference of the model that was asked.
        questions: Number of questions that were answered.
        cost: Cost of all answers in US dollars; ``None`` if no price is known.
    """

    score: str
    model: str
    questions: int
    cost: float | None


class ModelScorer(ABC):
    """A scorer that asks a model.

    The questions about all cells are asked in one map: concurrently and within the rate limits.
    Their answers are stored, so that a later run does not ask again.

    Attributes:
        name: Name of the score.
        model: Reference of the model that is asked; ``None`` for the default model.
        is_preference: Whether it compares each variant with the first, which then has no score.
    """

    name: str
    model: str | None
    is_preference: ClassVar[bool] = False

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the model's answer."""

    def check_columns(self, columns: Collection[object]) -> None:  # noqa: B027 - few scorers name columns
        """Check, before anything is sent, that the rows have the columns that the scorer needs.

        Args:
            columns: The names of the columns, and ``expected`` if there are expected answers.

        Raises:
            UsageError: If a column does not exist.
        """

    @abstractmethod
    def questions(
        self, cells: Sequence[GridCell], rows: EvaluatedRows, baseline: str
    ) -> list[Question]:
        """Return the questions for the cells that have an answer.

        Args:
            cells: All cells.
            rows: The rows.
            baseline: Name of the first variant.
        """

    @abstractmethod
    def scores(
        self, outcomes: Sequence[tuple[Question, Reply[Any] | GatewayError | None]]
    ) -> Mapping[int, Score]:
        """Return the scores by ``id(cell)``.

        Args:
            outcomes: The questions with their answers; ``None`` for a question that was not asked,
                because the evaluation was stopped. A cell without an answer to one of its questions
                gets no score.
        """
