"""Previews maps: estimates the requests and the cost before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gatewayx_nb.batch.figures import duration
from gatewayx_nb.batch.row_prompt import RowRequest, with_row_options
from gatewayx_nb.calls import DEFAULT_MAX_TURNS, Table, text_columns
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.text import counted, dollars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.batch.map_plan import MapPlan
    from gatewayx_nb.batch.row_prompt import RequestSource
    from gatewayx_nb.batch.rows import Rows
    from gatewayx_nb.storage import JobResults

_MAX_SAMPLED_ROWS = 200
"""Maximum number of rows whose tokens are estimated; for other rows, the average is assumed."""

_KEYS_PER_LOOKUP = 500
"""Number of keys that are looked up in the store at a time."""


class RowEstimate(Protocol):
    """The tokens and the cost of one row; see `engine_pool.CallPreview`."""

    @property
    def tokens(self) -> tuple[int, int]:
        """The lowest and the highest number of input tokens."""

    @property
    def costs(self) -> tuple[Decimal | None, Decimal | None]:
        """The lowest and the highest cost; ``None`` if unknown."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The known limits on the speed of a map that has not started.

    Attributes:
        requests: Maximum number of requests per second; ``None`` if no limit is known.
        tokens: Maximum number of tokens per second; ``None`` if no limit is known.
        latency: Mean duration in seconds of recent calls to the model; ``None`` if no call is
            recorded.
        concurrency: Maximum number of calls in flight.
    """

    requests: float | None
    tokens: float | None
    latency: float | None
    concurrency: int

    def seconds(self, rows: int, tokens: float) -> tuple[float | None, str]:
        """Return the estimated number of seconds for the rows, and what limits the speed."""
        times: list[tuple[float, str]] = []
        if self.requests:
            times.append((rows / self.requests, "requests per minute"))
        if self.tokens:
            times.append((tokens / self.tokens, "tokens per minute"))
        if self.latency is not None:
            in_flight = min(self.concurrency, max(rows, 1))
            times.append((rows * self.latency / in_flight, f"{in_flight} calls in flight"))
        return max(times, default=(None, ""), key=lambda item: item[0] or 0.0)


@dataclass(frozen=True, slots=True, repr=False)
class MapPreview:
    """The requests and the cost of a map that was not run.

    Attributes:
        rows: Number of rows.
        invalid: Number of rows that would fail before they are sent, for example because of a
            missing value.
        distinct: Number of different requests among the valid rows.
        done: Number of different requests that an earlier run has answered.
        to_ask: Number of requests that would be sent.
        input_tokens: The lowest and the highest number of input tokens of the requests to send.
        lowest_cost: US dollars for the fewest input tokens and no answer; ``None`` if the price is
            unknown.
        highest_cost: US dollars for the most input tokens and the longest answers; ``None`` if the
            price is unknown, or an answer has no maximum.
        seconds: Estimated duration; ``None`` if neither a limit nor a recent call is known.
        bound_by: What limits the speed.
        first_problem: The first invalid row's error.
        max_turns: Maximum number of requests per row if the model may call functions, otherwise 1.
            Tokens, cost and time cover only the first request of each row.
        unit: The noun for a row, such as ``"cell"`` in an evaluation.
        excluded: What the figures do not include, such as questions to a judge.
    """

    rows: int
    invalid: int
    distinct: int
    done: int
    to_ask: int
    input_tokens: tuple[int, int]
    lowest_cost: Decimal | None
    highest_cost: Decimal | None
    seconds: float | None
    bound_by: str
    first_problem: str = ""
    max_turns: int = 1
    unit: str = "row"
    excluded: str = ""

    @override
    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        low, high = self.input_tokens
        rows = [
            (f"{self.unit}s", f"{self.rows:,}"),
            *([("invalid", f"{self.invalid:,}: {self.first_problem}")] if self.invalid else []),
            ("distinct", f"{self.distinct:,}"),
            ("answered before", f"{self.done:,}"),
            ("to ask", f"{self.to_ask:,}"),
            ("input tokens", f"{low:,}" if low == high else f"{low:,} to {high:,}"),
            ("cost", self._cost_text()),
            ("time", self._time_text()),
        ]
        if self.max_turns > 1:
            more_requests = counted(self.max_turns - 1, "more request")
            text = f"a {self.unit} may need up to {more_requests}, which are not included above"
            rows.append(("tools", text))
        rows += [("not included", self.excluded)] if self.excluded else []
        return Table(rows, text_columns("map preview", "nothing sent"))

    def _cost_text(self) -> str:
        if self.lowest_cost is None:
            return "unpriced" if self.to_ask else dollars(Decimal(0))
        if self.highest_cost is None:
            return f"{dollars(self.lowest_cost)} plus the answers, which have no max_tokens"
        if self.lowest_cost == self.highest_cost:
            return dollars(self.lowest_cost)
        return f"{dollars(self.lowest_cost)} to {dollars(self.highest_cost)}"

    def _time_text(self) -> str:
        if self.seconds is None:
            return "unknown: no call to this model is recorded, and no limit is known"
        limit_text = f", bound by {self.bound_by}" if self.bound_by else ""
        return f"about {duration(self.seconds)}{limit_text}"


def preview_map(rows: Rows, prompt: RequestSource, plan: MapPlan) -> MapPreview:
    """Return a preview of a map's requests and cost, without sending anything.

    Raises:
        UsageError: If the rows are an iterator, which the preview would use up.
        GatewayError: If the map cannot make its calls.
    """
    if rows.count is None:
        raise UsageError(
            "an iterator of rows would be used up by a preview.", hint="Pass a list of its rows."
        )
    request_by_key, invalid_count, problem = _distinct_requests(rows, prompt, plan)
    answered_keys = _answered_keys(plan.results, list(request_by_key))
    to_ask = [
        RowRequest(request.prompt, with_row_options(plan.options, request))
        for key, request in request_by_key.items()
        if key not in answered_keys
    ]
    estimates = plan.engines.estimates(_sample_evenly(to_ask))
    scale = Decimal(len(to_ask)) / max(1, len(estimates))
    low = int(scale * sum(estimate.tokens[0] for estimate in estimates))
    high = int(scale * sum(estimate.tokens[1] for estimate in estimates))
    seconds, bound_by = plan.engines.flow(plan.concurrency).seconds(len(to_ask), (low + high) / 2)
    return MapPreview(
        rows=rows.count,
        invalid=invalid_count,
        distinct=len(request_by_key),
        done=len(answered_keys),
        to_ask=len(to_ask),
        input_tokens=(low, high),
        lowest_cost=_scaled_total((estimate.costs[0] for estimate in estimates), scale),
        highest_cost=_scaled_total((estimate.costs[1] for estimate in estimates), scale),
        seconds=seconds if to_ask else 0.0,
        bound_by=bound_by if to_ask else "",
        first_problem=problem,
        max_turns=plan.options.get("max_turns") or DEFAULT_MAX_TURNS
        if plan.options.get("tools")
        else 1,
    )


def _distinct_requests(
    rows: Rows, prompt: RequestSource, plan: MapPlan
) -> tuple[dict[int, RowRequest], int, str]:
    """Return the different requests by key, the number of invalid rows, and their first error."""
    request_by_key: dict[int, RowRequest] = {}
    invalid_count, problem = 0, ""
    for row in rows.read(prompt.columns):
        try:
            request = prompt.request(row)
        except GatewayError as error:
            invalid_count += 1
            problem = problem or error.message
            continue
        request_by_key.setdefault(plan.key(request), request)
    return request_by_key, invalid_count, problem


def _answered_keys(results: JobResults | None, keys: list[int]) -> set[int]:
    """Return the keys that an earlier run has answered."""
    answered_keys: set[int] = set()
    if results is None:
        return answered_keys
    results.load()
    for start in range(0, len(keys), _KEYS_PER_LOOKUP):
        stored_rows = results.get_many(keys[start : start + _KEYS_PER_LOOKUP])
        answered_keys.update(key for key, row in stored_rows.items() if not row.retry)
    return answered_keys


def _sample_evenly(requests: list[RowRequest]) -> list[RowRequest]:
    """Return evenly spaced requests; if there are few, all of them."""
    step = max(1, -(-len(requests) // _MAX_SAMPLED_ROWS))
    return requests[::step]


def _scaled_total(costs: Iterable[Decimal | None], scale: Decimal) -> Decimal | None:
    """Return the total cost of all rows, scaled up from a sample; ``None`` if a cost is unknown."""
    total = Decimal(0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total * scale
