"""The interface of a scorer that asks a model, such as a judge."""

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
    """A question to the model of a scorer.

    Attributes:
        cell: The cell that is scored.
        request: The request, which names the model; an error if it could not be created.
        is_swapped: Whether the answers are in reverse order, if two are compared.
    """

    cell: GridCell
    request: RowRequest | GatewayError
    is_swapped: bool = False


@dataclass(frozen=True, slots=True)
class JudgeUsage:
    """The usage of a scorer that asks a model, which is not part of that of the answers.

    Attributes:
        score: Name of the score.
        model: Reference of its model.
        questions: Number of questions that have an answer.
        cost: US dollars of all answers; ``None`` if no price is known.
    """

    score: str
    model: str
    questions: int
    cost: float | None


class ModelScorer(ABC):
    """A scorer that asks a model.

    The questions of all cells are asked together, as a map: concurrently, within the rate limits,
    and only once, also in a later run.

    Attributes:
        name: Name of the score.
        model: Reference of the model that is asked; ``None`` for the default model.
        is_preference: Whether it compares each variant with the first, which has no score.
    """

    name: str
    model: str | None
    is_preference: ClassVar[bool] = False

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the model's answer."""

    def check(self, columns: Collection[object]) -> None:  # noqa: B027 - few scorers name columns
        """Check, before anything is asked, that the rows have the columns that are needed.

        Args:
            columns: The names of the columns; ``expected`` if there are expected answers.

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
        self, answered: Sequence[tuple[Question, Reply[Any] | GatewayError | None]]
    ) -> Mapping[int, Score]:
        """Return the scores by ``id(cell)``.

        Args:
            answered: The questions with their answers; ``None`` for a question that was not asked,
                because the evaluation was stopped. A cell without an answer to one of its questions
                gets no score.
        """
