"""The plan of a map, and the interface through which a map uses the engines of the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.batch.identity import row_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayx_nb.batch.figures import MapFigures, MapUsage
    from gatewayx_nb.batch.map_preview import Flow, RowEstimate
    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobResults

    Outcome = Reply | GatewayError
    Outcomes = list[tuple[int, Outcome]]
    """Positions of rows and their outcomes."""


class MapEngines(Protocol):
    """The interface through which a map uses the engines of the pool."""

    @property
    def usage(self) -> MapUsage:
        """The usage of the map's calls in this run."""

    @property
    def most_in_flight(self) -> int:
        """Maximum number of calls in flight to an engine."""

    def identity(self, reference: str) -> str:
        """Return the engine, the model and the base URL that a reference currently names."""

    @property
    def cassette_mode(self) -> str | None:
        """The mode of the open cassette; ``None`` if none is open."""

    def plan(
        self, prompt: Prompt, options: CallOptions, known_reply: Reply | None = None
    ) -> PlannedCall:
        """Return the call for a row.

        Args:
            prompt: The prompt.
            options: The options of the call.
            known_reply: The reply from an earlier run; the open cassette records it without a call.
        """

    def estimates(self, requests: Sequence[RowRequest]) -> Sequence[RowEstimate]:
        """Return the estimated tokens and cost of each request; nothing is sent."""

    def flow(self, concurrency: int) -> Flow:
        """Return the known limits on the speed of the map."""

    def note_pace(self, figures: MapFigures) -> object:
        """Set the number of 429 responses in the figures, and what limits the speed."""


@dataclass(frozen=True, slots=True)
class MapPlan:
    """Everything that a map needs besides its rows and its prompt.

    Attributes:
        engines: Plans the calls.
        options: The options of all rows.
        schema: Parses the answers, if a schema was requested.
        concurrency: Maximum number of calls in flight to each engine.
        results: Stores the outcomes; ``None`` if nothing is stored.
        keeps_prompts: Whether the prompts are stored with the answers.
        raises: Whether the first failed row ends the map.
        max_ahead: Maximum number of rows between the first row without an outcome and the last row
            that was sent, for a caller that needs the outcomes in order; ``None`` for no maximum.
        redact: Masks keys in a prompt before it is stored.
    """

    engines: MapEngines
    options: CallOptions
    schema: ResponseSchema | None
    concurrency: int
    results: JobResults | None = None
    keeps_prompts: bool = True
    raises: bool = False
    max_ahead: int | None = None
    redact: Callable[[str], str] = str

    def key(self, request: RowRequest) -> int:
        """Return the key of a row; it depends on what the row's own model currently names."""
        model = request.options.get("model")
        return row_key(request, self.engines.identity(model) if model else "")
