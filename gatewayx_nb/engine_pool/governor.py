"""Controls the flow of calls to one engine: admission, pacing, and learning from refusals."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.engine_pool.congestion import Congestion
from gatewayx_nb.engine_pool.flow_limits import Bucket
from gatewayx_nb.errors import RateLimitError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.secure_config import Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.engine_pool.congestion import Permit
    from gatewayx_nb.replies import RateLimits, Usage

Bottleneck = Literal[
    "requests per minute",
    "tokens per minute",
    "concurrency",
    "pause asked by the provider",
    "the provider's refusals",
    "the provider's speed",
]
"""What limits the flow; "the provider's refusals" are 429 responses that state no limit."""

_BOTTLENECK_BY_RESOURCE: dict[str, Bottleneck] = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "input_tokens": "tokens per minute",
    "output_tokens": "tokens per minute",
}

_TOO_MANY_REQUESTS = 429

_NO_ATTRIBUTES: Mapping[str, object] = {}

_LONGEST_PAUSE = 60.0
"""Maximum pause in seconds for which a call without ``patience`` waits, as in `with_retries`."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The flow of calls to an engine at one moment.

    Attributes:
        rate: Maximum number of requests per second; ``None`` means no limit is known.
        window: Maximum number of requests in flight.
        in_flight: Requests in flight.
        waiting: Requests waiting for admission.
        refusals: Number of requests that the provider has refused because of a rate limit.
        paused_until: Time of the event loop (`time.monotonic`) until which the provider asked to
            pause; ``None`` if there is no pause.
        bound_by: What currently limits the flow.
    """

    rate: float | None
    window: int
    in_flight: int
    waiting: int
    refusals: int
    paused_until: float | None
    bound_by: Bottleneck


class _Waiter:
    """A request in the queue."""

    __slots__ = ("admission", "amounts", "patience")

    def __init__(
        self,
        admission: asyncio.Future[Permit],
        amounts: dict[str, float],
        patience: float | None,
    ) -> None:
        self.admission, self.amounts, self.patience = admission, amounts, patience


class Governor:
    """Admits the calls to one engine, first come first served.

    The governor runs on the engine's event loop, so it needs no lock. Only `pace` may be read from
    other threads. Limits come from the settings and the provider's headers. If a provider refuses
    calls without stating a limit, limits are learned from the accepted rate and number of calls in
    flight.

    aiolimiter is not used, because its bucket supports neither debt nor corrections, and does not
    preserve the order of calls.

    Args:
        loop: The engine's event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._congestion = Congestion()
        self._refusal_attributes: Mapping[str, object] = {}  # the attributes of the last refusal
        self._rates, self._concurrency = Rates(), 1
        self._share = 1.0  # share of the limits; other processes use the rest
        self._buckets: dict[str, Bucket] = {}
        self._output_per_call = 0.0
        self._tickets = itertools.count()
        self._waiters: list[tuple[int, int, _Waiter]] = []
        self._waiting_count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._bottleneck: Bottleneck = "the provider's speed"

    def forget(self) -> None:
        """Forget the learned limits, because the key or address has changed."""
        self._congestion.forget()
        self._buckets = {}
        self._configure_buckets()

    @property
    def counts_tokens(self) -> bool:
        """Whether a token limit is known, so that calls need an estimate."""
        return len(self._buckets) > ("requests" in self._buckets)

    @property
    def pace(self) -> Pace:
        """The current flow; may be read from any thread."""
        now, congestion, waiting = self._loop.time(), self._congestion, self._waiting_count
        bucket, learned = self._buckets.get("requests"), congestion.rate
        rates = [bucket.rate(now)] if bucket and bucket.is_limited else []
        rates += [learned.value(now)] if learned else []
        paused_until = congestion.closed_until if congestion.is_pause else None
        bottleneck: Bottleneck = "the provider's speed"
        if waiting or paused_until is not None:
            bottleneck = self._bottleneck
        elif congestion.in_flight >= self._concurrency:
            bottleneck = "concurrency"
        return Pace(
            rate=min(rates, default=None),
            window=congestion.window_at(now, self._concurrency),
            in_flight=congestion.in_flight,
            waiting=waiting,
            refusals=congestion.refusals,
            paused_until=paused_until,
            bound_by=bottleneck,
        )

    def ticket(self) -> int:
        """Return a place in the queue, which a call keeps when it is retried."""
        return next(self._tickets)

    def configure(self, rates: Rates, concurrency: int) -> None:
        """Apply a call's settings."""
        self._concurrency = concurrency
        if rates is not self._rates and rates != self._rates:
            self._rates = rates
            self._configure_buckets()

    def set_share(self, share: float) -> None:
        """Use only a share of each limit, because other processes call the engine as well."""
        if share == self._share:
            return
        for bucket in self._buckets.values():
            bucket.rescale(share / self._share, self._loop.time())
        self._share = share
        self._configure_buckets()
        self._admit_waiting()

    def try_admit(self, tokens: int = 0, output: int = 0) -> Permit | None:
        """Admit a request now, or return ``None`` if it must wait; see `admit`."""
        congestion = self._congestion
        if self._waiters or congestion.in_flight >= self._concurrency:
            return None
        now = self._loop.time()
        if not (congestion.has_been_refused or self._buckets):
            return congestion.admit(now, self.release)
        amounts = self._amounts(tokens, output)
        if self._ready_at(now, amounts) > now:
            return None
        if congestion.closed_until is None:
            congestion.begin_cycle(now)
        return self._grant(now, amounts)

    async def admit(
        self, ticket: int, tokens: int = 0, output: int = 0, patience: float | None = None
    ) -> Permit:
        """Wait until a request may be sent.

        Args:
            ticket: The call's place in the queue; see `ticket`.
            tokens: Estimated tokens of the prompt.
            output: Maximum number of tokens of the reply; 0 if unknown.
            patience: Seconds after which the call fails if all requests are refused; by default,
                the call fails if the provider requests a pause of more than a minute.

        Raises:
            RateLimitError: If the request is larger than the limit per minute, or if refusals or a
                requested pause last longer than ``patience``.
        """
        waiter = _Waiter(self._loop.create_future(), self._amounts(tokens, output), patience)
        now = self._loop.time()
        if self._is_hopeless(waiter, now):
            raise self._refusal_error(now)
        # The second number makes the tuples unique, because an earlier wait of the same call may
        # still be in the heap.
        heapq.heappush(self._waiters, (ticket, self.ticket(), waiter))
        self._waiting_count += 1
        self._admit_waiting()
        try:
            return await waiter.admission
        except asyncio.CancelledError:
            if not waiter.admission.cancelled() and waiter.admission.exception() is None:
                self.release(waiter.admission.result(), asyncio.CancelledError())
            self._admit_waiting()
            raise
        finally:
            self._waiting_count -= 1

    def release(self, permit: Permit, error: BaseException | None = None) -> None:
        """End a request with its outcome, and admit waiting requests."""
        now = self._loop.time()
        attributes = _attributes(error)
        if issubclass(type(error), RateLimitError):
            self._refusal_attributes = attributes
            rates = [bucket.calls_per_second(now) for bucket in self._buckets.values()]
            self._congestion.stated_rate = min(rates, default=None)
            earlier_rare_refusals = self._congestion.rare_refusals
            self._congestion.note_refusal(permit, _seconds(attributes.get("retry_after")), now)
            if self._congestion.rare_refusals > earlier_rare_refusals:
                for bucket in self._buckets.values():
                    bucket.lengthen_second()
            for _, _, waiter in self._waiters:
                if not waiter.admission.done() and self._is_hopeless(waiter, now):
                    waiter.admission.set_exception(self._refusal_error(now))
        elif error is None or attributes.get("status") is not None:
            self._congestion.note_answer(permit, now)
            if permit.usage is not None and permit.charges:
                self._settle(permit, permit.usage, now)
        else:
            self._congestion.note_failure(permit)
        if self._waiters:
            self._admit_waiting()

    def refused_for(self, seconds: float) -> bool:
        """Return whether the engine has refused all requests for this long, including a pause."""
        return 0 < seconds <= self._congestion.refused_seconds(self._loop.time())

    def note_limits(self, permit: Permit, limits: RateLimits) -> None:
        """Apply the limits that the headers of an answer report."""
        now = self._loop.time()
        splits_tokens = limits.input_tokens is not None or limits.output_tokens is not None
        for name in _BOTTLENECK_BY_RESOURCE:
            limit = getattr(limits, name)
            # Anthropic's combined limit repeats the stricter of the other two limits.
            if limit is None or (name == "tokens" and splits_tokens):
                continue
            bucket = self._buckets.get(name)
            if bucket is None:
                bucket = self._buckets[name] = Bucket()
                # Requests that were sent before the limit was known may have used up this second's
                # share.
                bucket.due = self._congestion.end_of_burst(now)
            _, total_before = permit.charges.get(name, (0.0, 0.0))
            left, reset = getattr(limits, f"{name}_left"), getattr(limits, f"{name}_reset")
            unseen, share = bucket.total - total_before, self._share
            bucket.apply_reported(limit, left, reset, unseen=unseen, now=now, share=share)
        self._admit_waiting()

    def _configure_buckets(self) -> None:
        for name, rate in (("requests", self._rates.requests), ("tokens", self._rates.tokens)):
            bucket = self._buckets.get(name)
            limit = None if rate is None else rate * self._share
            if bucket is not None:
                bucket.configure(limit, self._loop.time())
            elif limit is not None:
                self._buckets[name] = Bucket(limit)

    def _amounts(self, tokens: int, output: int) -> dict[str, float]:
        """Return the amount that a request takes from each bucket."""
        self._check_size(tokens, output)
        amounts = {
            "requests": 1.0,
            "tokens": float(tokens + output),
            "input_tokens": float(tokens),
            "output_tokens": self._output_per_call,
        }
        return {name: amounts[name] for name in self._buckets}

    def _check_size(self, tokens: int, output: int) -> None:
        for name, amount in (("tokens", tokens + output), ("input_tokens", tokens)):
            bucket = self._buckets.get(name)
            if bucket is not None and amount * self._share > bucket.limit:
                max_tokens = bucket.limit / self._share
                error = RateLimitError(
                    f"the request must have at most {max_tokens:,.0f} tokens (the limit per"
                    f" minute), got about {amount:,}.",
                    hint=as_hint("Shorten the prompt, or lower `max_tokens`.")
                    | Hint("use_other_engine"),
                    code="request_too_large",
                )
                error.should_retry = False
                raise error

    def _grant(self, now: float, amounts: dict[str, float], *, has_waited: bool = False) -> Permit:
        """Admit a request, and take its amounts from the buckets."""
        permit = self._congestion.admit(now, self.release)
        permit.charges = {}
        for name, bucket in self._buckets.items():
            amount = amounts.get(name, 0.0)
            bucket.spend(amount, now, has_waited=has_waited)
            permit.charges[name] = (amount, bucket.total)
        return permit

    def _ready_at(self, now: float, amounts: dict[str, float]) -> float:
        """Return when the next request may start; infinity if another request must end first."""
        congestion = self._congestion
        if congestion.in_flight >= self._concurrency:
            self._bottleneck = "concurrency"
            return math.inf
        ready_at, self._bottleneck = congestion.opens_at(now), "the provider's refusals"
        if congestion.is_pause:
            self._bottleneck = "pause asked by the provider"
        if congestion.closed_until is not None:
            return ready_at
        if congestion.in_flight >= congestion.window_at(now, self._concurrency):
            return math.inf
        for name, bucket in self._buckets.items():
            bucket_ready_at = bucket.ready_at(amounts.get(name, 0.0), now)
            if bucket_ready_at > ready_at:
                ready_at, self._bottleneck = bucket_ready_at, _BOTTLENECK_BY_RESOURCE[name]
        return ready_at

    def _admit_waiting(self) -> None:
        """Admit requests from the head of the queue; set a timer if the first request must wait."""
        while self._waiters:
            waiter = self._waiters[0][2]
            if not waiter.admission.done():
                now = self._loop.time()
                ready_at = self._ready_at(now, waiter.amounts)
                if ready_at > now:
                    self._set_timer(ready_at)
                    return
                waiter.admission.set_result(self._grant(now, waiter.amounts, has_waited=True))
            heapq.heappop(self._waiters)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            if self._timer.when() == at:
                return
            self._timer.cancel()
        self._timer = None if at == math.inf else self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._admit_waiting()

    def _settle(self, permit: Permit, usage: Usage, now: float) -> None:
        """Correct the estimated tokens of a finished request."""
        input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
        # Use an average, because an answer often has far fewer tokens than `max_tokens`.
        self._output_per_call += 0.1 * (output_tokens - self._output_per_call)
        used_by_resource = {
            "tokens": input_tokens + output_tokens,
            # Anthropic does not count tokens that it reads from its cache.
            "input_tokens": input_tokens - (usage.cached_tokens or 0),
            "output_tokens": output_tokens,
        }
        for name, (amount, _) in permit.charges.items():
            bucket = self._buckets.get(name)
            if bucket is None or name not in used_by_resource:
                continue
            surplus = used_by_resource[name] - amount
            # OpenAI counts `max_tokens` when it admits a request and returns nothing later.
            bucket.settle(max(0.0, surplus) if name == "tokens" else surplus, now)

    def _is_hopeless(self, waiter: _Waiter, now: float) -> bool:
        """Return whether waiting longer is useless for a request."""
        congestion = self._congestion
        if congestion.closed_until is None:
            return False
        if waiter.patience is not None:
            return self.refused_for(waiter.patience)
        return congestion.is_pause and congestion.closed_until - now > _LONGEST_PAUSE

    def _refusal_error(self, now: float) -> RateLimitError:
        """Return the error for a request that was not sent, with the last refusal's message."""
        message, hint = (
            self._refusal_attributes.get("message"),
            self._refusal_attributes.get("hint"),
        )
        until = self._congestion.closed_until if self._congestion.is_pause else None
        return RateLimitError(
            message if type(message) is str else "the provider refused the request.",
            hint=hint if isinstance(hint, Hint) else as_hint("Wait, then try again."),
            status=_TOO_MANY_REQUESTS,
            retry_after=None if until is None else until - now,
        )


def _attributes(error: BaseException | None) -> Mapping[str, object]:
    """Return the attributes of an error; empty if they cannot be read."""
    if error is None:
        return _NO_ATTRIBUTES
    try:
        return vars(error)
    except BaseException:  # noqa: BLE001 - reading an engine's exception may raise anything
        return _NO_ATTRIBUTES


def _seconds(delay: object) -> float:
    """Return the delay that an error states, in seconds; 0 if it is invalid."""
    if isinstance(delay, int | float) and 0 < delay < math.inf:
        return delay
    return 0.0
