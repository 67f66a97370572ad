"""Plans the calls of a map, and reports their usage and the engine's pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import batch
from gatewayx_nb.calls import run_blocking
from gatewayx_nb.engine_pool.job_usage import JobUsage
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.model_registry import LOCAL_ENGINE
from gatewayx_nb.secure_config import Rates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from gatewayx_nb.batch import Flow, MapFigures, RowRequest
    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.engine_pool.live_planner import LivePlanner
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.replies import Reply

_RECENT_CALLS = 200
"""Number of ledger entries used to estimate the duration of a call."""

_MAX_LOCAL_CALLS = 8
"""Maximum number of calls in flight to the model in this process, which answers four at a time.

In a longer queue, the last call could exceed its timeout while waiting.
"""


class MapCalls:
    """Plans the calls of one map; implements `batch.MapEngines`.

    Args:
        router: Plans the pool's calls, live or replayed.
        planner: Plans only live calls.
        max_cost: Maximum cost of the job in US dollars, over all its runs.
        earlier_cost: Cost of the earlier runs in US dollars.
        target: The engine; ``None`` while a cassette is being replayed.

    Attributes:
        usage: The usage of the map's calls.
        most_in_flight: Maximum number of calls in flight to an engine.
    """

    def __init__(
        self,
        router: CallRouter,
        planner: LivePlanner,
        max_cost: Decimal | None,
        earlier_cost: Decimal,
        target: Target | None,
    ) -> None:
        limits = planner.config.settings.limits
        governor = planner.runtime.host(target).governor if target else None
        self.usage = JobUsage(planner.usage, max_cost, earlier_cost, limits.max_cost)
        self._governor, self._target = governor, target
        self._identity_by_reference: dict[str, str] = {}
        is_local = target is not None and target.name == LOCAL_ENGINE
        self.most_in_flight = limits.concurrency
        if is_local:
            self.most_in_flight = min(limits.concurrency, _MAX_LOCAL_CALLS)
        self._earlier_refusals = governor.pace.refusals if governor else 0
        self._router = router.for_rows(self.usage, self.usage.limits(limits))

    @property
    def cassette_mode(self) -> str | None:
        """The mode of the open cassette; ``None`` if none is open."""
        return self._router.active_mode

    def plan(
        self, prompt: Prompt, options: CallOptions, known_reply: Reply | None = None
    ) -> PlannedCall:
        """Return the call for a row; see `batch.MapEngines.plan`."""
        return self._router.plan(prompt, options, streamed=False, known_reply=known_reply)

    def note_pace(self, figures: MapFigures) -> None:
        """Set the number of refusals and the current bottleneck in ``figures``."""
        if self._governor is None:
            return
        pace = self._governor.pace
        figures.rate_limited = pace.refusals - self._earlier_refusals
        figures.bound_by = pace.bound_by

    def identity(self, reference: str) -> str:
        """Return the engine and model of a reference; see `batch.MapEngines.identity`."""
        if reference not in self._identity_by_reference:
            try:
                is_live = self._target is not None
                engine_and_model = " ".join(self._router.job_identity(reference)) if is_live else ""
            except GatewayError:  # raised again when the call is planned
                engine_and_model = ""
            self._identity_by_reference[reference] = engine_and_model or reference
        return self._identity_by_reference[reference]

    def estimates(self, requests: Sequence[RowRequest]) -> list[CallPreview]:
        """Return the estimated usage of each request; see `batch.MapEngines.estimates`."""
        calls = [self._router.plan_live(request.prompt, request.options) for request in requests]
        return [run_blocking(call, call.preview()) for call in calls]

    def flow(self, concurrency: int) -> Flow:
        """Return the limits on the speed; see `batch.MapEngines.flow`."""
        rates = self._target.rates if self._target else Rates()
        rates_per_second = [rates.requests / 60] if rates.requests else []
        if self._governor and (rate := self._governor.pace.rate) is not None:
            rates_per_second.append(rate)
        tokens_per_second = rates.tokens / 60 if rates.tokens else None
        return batch.Flow(
            min(rates_per_second, default=None),
            tokens_per_second,
            self._recent_latency(),
            concurrency,
        )

    def _recent_latency(self) -> float | None:
        """Return the mean duration of the engine's recent calls, in seconds."""
        if self._target is None:
            return None
        name, model = self._target.name, self._target.model
        entries = [
            entry
            for entry in self.usage.history(_RECENT_CALLS)
            if entry.engine == name and entry.outcome == "ok" and model in (None, entry.model)
        ]
        row_count = sum(entry.rows for entry in entries)
        return sum(entry.latency for entry in entries) / row_count if row_count else None
