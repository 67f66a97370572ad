"""Learns a provider's unstated rate limits from the calls that it refuses."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Self

from gatewayx_nb.engine_pool.flow_limits import LearnedLimit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from gatewayx_nb.replies import Usage

    Release = Callable[["Permit", BaseException | None], object]

_NO_CHARGES: dict[str, tuple[float, float]] = {}
"""The charges of a request while no limit is known."""

_HISTORY_SIZE = 2048
"""Maximum number of admissions from which the accepted rate is computed."""

_MIN_EVIDENCE = 5
"""Minimum number of accepted calls for learning a rate."""

_SHORTEST_MEASUREMENT = 0.25
"""Minimum number of seconds over which a rate is measured."""

_SMALLEST_FACTOR, _SMALLEST_FACTOR_IF_STATED = 0.5, 0.9
"""Smallest factor by which a refusal multiplies the rate, without and with a stated limit."""

_SHORTEST_CYCLE, _LONGEST_CYCLE = 10.0, 120.0
"""Minimum and maximum seconds of a cycle of admission and closure for measuring the rate.

A shorter cycle is not significant. A longer cycle would spread calls over a day whose quota is used
up.
"""

_MAX_RARE_REFUSALS, _ACCEPTED_PER_REFUSAL = 3.0, 100
"""Number of recent refusals up to which a stated limit is still believed.

Accepted requests reduce this number; the second value is how many of them offset one refusal.
"""

_SHORT_CLOSURE, _CLOSURE_FACTOR = 0.02, 5.0
"""Seconds to pause after a rare refusal, and the factor for each earlier recent refusal."""

_START_REQUESTS = 20
"""Number of accepted requests after which a first refusal is significant.

An earlier refusal may be due to calls that were sent before a limit was known.
"""

_BURST_SIZE = 10
"""Number of requests in a second that may exceed a limit that is not known yet."""

_SETTLING_TIME = 1.0
"""Seconds within which a second refusal shows that the first reduction was not enough."""

_FIRST_CLOSURE, _LONGEST_CLOSURE = 0.5, 8.0
"""Initial and maximum pause in seconds after a repeated refusal; refused probes double it."""

_PROBE_PATIENCE = 2.0
"""Seconds after which a probe counts as accepted; refusals are quick, but answers may be slow."""

_LONGEST_GAP = 60.0
"""Seconds without calls after which a refusal is not related to earlier refusals."""


class Permit:
    """The admission of one request; a context manager around sending the request.

    The exception that leaves the block is the outcome: a `RateLimitError` is a refusal.

    Attributes:
        number: The number of the request, from 1.
        admitted_at: Time of the admission.
        in_flight: Requests in flight, including this one.
        charges: The amount taken from each bucket, and the bucket's total afterwards.
        is_refused: Whether the provider refused the request.
        usage: The tokens that the request used, if known.
    """

    __slots__ = ("_release", "admitted_at", "charges", "in_flight", "is_refused", "number", "usage")

    def __init__(self, release: Release, number: int, admitted_at: float, in_flight: int) -> None:
        self._release = release
        self.number, self.admitted_at, self.in_flight = number, admitted_at, in_flight
        self.charges = _NO_CHARGES
        self.is_refused = False
        self.usage: Usage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release(self, error)


class Congestion:
    """The requests in flight, and the limits learned from refusals.

    After a refusal, nine tenths of the accepted rate, or of the accepted requests in flight, are
    allowed, and then gradually more. Refusals of requests that were in flight at the first refusal
    belong to the same congestion. If another refusal follows immediately, nothing is admitted for
    half a second, and then one request at a time as a probe, until a probe is accepted.

    Attributes:
        in_flight: Requests in flight.
        refusals: Requests refused so far.
        rare_refusals: Refusals from which nothing was learned, because a limit is stated.
        has_been_refused: Whether any request was refused; until then, nothing is limited.
        rate: The learned limit on requests per second, if any.
        window: The learned limit on requests in flight, if any.
        closed_until: Time until which nothing is admitted, if any.
        is_pause: Whether all requests may start after ``closed_until``, rather than one request as
            a probe.
        stated_rate: The requests per second that the stated limits allow, if any.
    """

    def __init__(self) -> None:
        self.in_flight = self.refusals = self.rare_refusals = self._admitted_count = 0
        self._history: deque[Permit] = deque(maxlen=_HISTORY_SIZE)
        self.forget()

    def forget(self) -> None:
        """Forget the learned limits."""
        self.has_been_refused = False
        self.rate: LearnedLimit | None = None
        self.window: LearnedLimit | None = None
        self.closed_until: float | None = None
        self.is_pause = False
        self.stated_rate: float | None = None
        self._closed_at, self._next_closure = -math.inf, _FIRST_CLOSURE
        self._opened_at = -math.inf
        self._probe: Permit | None = None
        self._refused_since: float | None = None
        self._refused_until = self._last_refused_at = 0.0
        # An event is a refusal that does not belong to the same congestion as earlier refusals.
        self._admitted_at_event, self._event_at, self._accepted_at_event = 0, -math.inf, 0
        self._recent_refusals = 0.0  # reduced by accepted requests
        # The maximum number of accepted requests in flight since the last refusal, and before it.
        self._peak = self._accepted_peak = 0
        self._is_crowded = False  # whether the requests in flight are the likely cause of refusals
        # The beginning of the rate measurement, now and after the next refusal: a time, and the
        # number of requests accepted before it.
        self._cycle = self._next_cycle = (-math.inf, 0)

    def begin_cycle(self, now: float) -> None:
        """Restart the rate measurement, because no request has had to wait until now."""
        self._cycle = self._next_cycle = (now, self._accepted_count)

    def admit(self, now: float, release: Release) -> Permit:
        """Count a request that starts now."""
        if not (self.in_flight or self.has_been_refused):
            self.begin_cycle(now)
        self.in_flight += 1
        self._admitted_count += 1
        permit = Permit(release, self._admitted_count, now, self.in_flight)
        self._history.append(permit)
        if self.has_been_refused:
            if self.rate:
                self.rate.count_call(now)
            if self.closed_until is not None:
                self._probe = permit
        return permit

    def end_of_burst(self, now: float) -> float:
        """Return the time one second after the last request of a burst; ``now`` without a burst."""
        if len(self._history) < _BURST_SIZE or self._history[-_BURST_SIZE].admitted_at < now - 1:
            return now
        return self._history[-1].admitted_at + 1

    def opens_at(self, now: float) -> float:
        """Return the time at which the next request may start, unless another limit is stricter."""
        if self.closed_until is not None:
            if now < self.closed_until:
                return self.closed_until
            if not self.is_pause:
                if self._probe is None:
                    return now
                if now < self._probe.admitted_at + _PROBE_PATIENCE:
                    return self._probe.admitted_at + _PROBE_PATIENCE
            self._open(now)
        return now if self.rate is None else max(now, self.rate.due)

    def window_at(self, now: float, limit: int) -> int:
        """Return the maximum number of requests in flight, at most ``limit``."""
        if self.window is None:
            return limit
        return max(1, int(min(limit, self.window.value(now))))

    def refused_seconds(self, now: float) -> float:
        """Return for how many seconds all requests have been refused, including a current pause."""
        if self._refused_since is None:
            return 0.0
        until = self.closed_until if self.is_pause and self.closed_until else now
        return max(until, now) - self._refused_since

    def note_answer(self, permit: Permit, now: float) -> None:
        """Count an accepted request that has ended."""
        self._peak = max(self._peak, self.in_flight)
        self.in_flight -= 1
        if self.has_been_refused:
            self._refused_since = None
            if permit is self._probe:
                self._open(now)

    def note_failure(self, permit: Permit) -> None:
        """Count a request that was neither accepted nor refused."""
        self.in_flight -= 1
        permit.is_refused = True  # the request says nothing about the rate
        if permit is self._probe:
            self._probe = None

    def note_refusal(self, permit: Permit, pause: float, now: float) -> None:
        """Count a refused request.

        Args:
            permit: The request.
            pause: Seconds that the provider asks to wait; 0 if unknown.
            now: The time.
        """
        self.in_flight -= 1
        self.refusals += 1
        permit.is_refused, self.has_been_refused = True, True
        if self._refused_since is None or now - self._refused_until > _LONGEST_GAP:
            self._refused_since = now
        self._last_refused_at = max(self._last_refused_at, permit.admitted_at)
        is_probe = permit is self._probe
        if permit.number > self._admitted_at_event or is_probe:
            is_repeated = now - self._event_at < _SETTLING_TIME
            # Rare refusals despite a stated limit say nothing about the limit: they occur at the
            # start, if the server is busy, or if requests arrive late and in a burst.
            accepted_since = self._accepted_count - self._accepted_at_event
            is_at_start = not self._admitted_at_event and accepted_since < _START_REQUESTS
            recent_refusals = max(
                0.0, self._recent_refusals - accepted_since / _ACCEPTED_PER_REFUSAL
            )
            # A learned rate shows that the stated limit was too high before, so it is not trusted.
            is_rare = self.stated_rate is not None and (
                is_at_start or recent_refusals < (_MAX_RARE_REFUSALS if self.rate is None else 1)
            )
            self._accepted_at_event, self._recent_refusals = (
                self._accepted_count,
                recent_refusals + 1,
            )
            self.rare_refusals += is_rare
            self._admitted_at_event, self._event_at = self._admitted_count, now
            if self.closed_until is None and not is_rare:
                self._reduce(permit, now, is_repeated=is_repeated, has_pause=pause > 0)
            if is_rare and not (is_at_start or is_probe):
                self._close(now, _SHORT_CLOSURE * _CLOSURE_FACTOR**recent_refusals, is_pause=True)
            elif is_repeated or is_probe or is_rare:
                self._close(now, self._next_closure, is_pause=False)
                self._next_closure = min(2 * self._next_closure, _LONGEST_CLOSURE)
        elif self.window is not None:
            self._narrow(now)
        if pause:
            self._close(now, pause, is_pause=True)
        self._refused_until = max(now, self.closed_until or now)

    @property
    def _accepted_count(self) -> int:
        return self._admitted_count - self.refusals

    @property
    def _smallest_factor(self) -> float:
        # A stated limit is more reliable than a few refusals.
        return _SMALLEST_FACTOR if self.stated_rate is None else _SMALLEST_FACTOR_IF_STATED

    def _close(self, now: float, seconds: float, *, is_pause: bool) -> None:
        """Admit nothing for some seconds, then one request as a probe or, after a pause, all."""
        if self.closed_until is None:
            self._closed_at, self.closed_until = now, now
        if now + seconds >= self.closed_until:
            self.closed_until, self.is_pause = now + seconds, is_pause
        self._probe = None

    def _open(self, now: float) -> None:
        """Admit requests again, at the accepted rate; the measured time includes the closure."""
        (began_at, accepted_before), closed_at, was_pause = (
            self._cycle,
            self._closed_at,
            self.is_pause,
        )
        self.closed_until, self.is_pause, self._probe = None, False, None
        self._next_closure = _FIRST_CLOSURE
        self._opened_at = now
        if now - closed_at < _FIRST_CLOSURE:
            return  # a short pause does not indicate a longer quota period
        self.begin_cycle(now)
        if self.rate is None:
            return
        # If the quota of a longer period was used up, the period includes the closure and ended
        # between the last refusal and the first acceptance.
        open_seconds = max(closed_at - began_at, _SHORTEST_MEASUREMENT)
        longest_period = max(now - began_at, open_seconds)
        shortest_period = (
            longest_period if was_pause else max(self._last_refused_at - began_at, open_seconds)
        )
        previous_rate = max(
            self.rate.target, (self._accepted_count - accepted_before) / open_seconds
        )
        may_be_long_period = _SHORTEST_CYCLE <= longest_period <= _LONGEST_CYCLE and not was_pause
        lowest_rate = 0.0 if may_be_long_period else self._smallest_factor * previous_rate
        target_rate = max(lowest_rate, previous_rate * open_seconds / shortest_period)
        start_rate = max(0.9 * lowest_rate, 0.9 * previous_rate * open_seconds / longest_period)
        self.rate = LearnedLimit(target_rate, now, min(start_rate, self.rate.value(now)))

    def _reduce(self, permit: Permit, now: float, *, is_repeated: bool, has_pause: bool) -> None:
        """Allow nine tenths of the accepted calls in flight, of the accepted rate, or of both.

        If the number of calls in flight was near its maximum, this number is the likely cause.
        """
        if not is_repeated:
            self._cycle, self._next_cycle = self._next_cycle, (now, self._accepted_count)
        in_flight = self.in_flight + 1
        # A limit on calls in flight is not the cause if fewer calls were in flight than the limit
        # allows.
        was_below_window = self.window is not None and in_flight < 0.95 * self.window.target
        if was_below_window:
            self.window = None
        is_crowded = not was_below_window and in_flight >= 0.9 * self._peak
        if is_repeated:
            is_crowded = not (was_below_window or self._is_crowded)
        else:
            self._accepted_peak, self._peak = self._peak, 0
        is_paced = is_repeated or has_pause or not is_crowded
        if is_paced and (rate := self._rate_before(permit)) is not None:
            self.rate = LearnedLimit(self._clamp(rate, now), now)
        self._is_crowded = is_crowded
        self._narrow(now)

    def _narrow(self, now: float) -> None:
        """Allow nine tenths of the calls in flight that were not refused.

        If calls were sent together, each refusal lowers this number.
        """
        peak = max(self._accepted_peak, self._peak, self.in_flight)
        if self._is_crowded and peak > 1:
            self.window = LearnedLimit(peak, now)

    def _clamp(self, rate: float, now: float) -> float:
        """Return a measured rate, but at most the rate in force, and not far below it.

        A short measurement is not reliable. A few refusals correct a limit that is too high, but
        only minutes of growth correct a limit that is too low.
        """
        rate_in_force = self.stated_rate if self.rate is None else self.rate.value(now)
        if rate_in_force is None:
            return rate
        return min(rate_in_force, max(rate, self._smallest_factor * rate_in_force))

    def _rate_before(self, refused: Permit) -> float | None:
        """Return the rate of accepted calls before a refused one; ``None`` if they were too few."""
        began_at, _ = self._cycle
        for seconds in (1.0, 10.0, 60.0):
            # In the last second, calls that did not have to wait also count.
            since = max(
                refused.admitted_at - seconds, self._opened_at if seconds == 1.0 else began_at
            )
            count = 0
            for permit in reversed(self._history):
                if permit.admitted_at < since:
                    break
                count += permit.number < refused.number and not permit.is_refused
            if count >= _MIN_EVIDENCE:
                return count / max(_SHORTEST_MEASUREMENT, refused.admitted_at - since)
        return None
