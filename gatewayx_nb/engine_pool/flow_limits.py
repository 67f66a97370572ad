"""The limits that a governor applies: a paced bucket, and a limit learned from refusals."""

from __future__ import annotations

import math
from collections import deque

_USED_SHARE = 0.98
"""Share of a limit to use, because the provider's clock may differ."""

_USED_SHARE_OF_SECOND = 0.99
"""Share of a second's limit to use in any second, because a provider may count each second."""

_SECOND, _LONGEST_SECOND, _SECOND_STEP = 1.01, 1.05, 0.005
"""Initial and maximum length of the window that counts as a second, and its growth per refusal.

The window is longer than a second because network delays vary: two requests that are sent a
second apart may arrive slightly closer together.
"""

_MAX_CATCH_UP, _MAX_CATCH_UP_IF_SPACED = 0.05, 0.02
"""Maximum delay in seconds for which later calls may compensate; less if calls are spaced.

On a busy machine, timers fire late. If few calls start per second, they are spaced instead of
counted. Calls after an idle time are also spaced, because idle time is not a delay.
"""

_MAX_SPACED_RATE = 50
"""Number of calls per second below which calls are spaced."""

_UNLIMITED = 1e15
"""A limit of at least this value is an engine's mistake, or means that there is no limit."""

_RECOVERY_TIME = 40.0
"""Seconds until a learned limit has grown back to the value at which calls were refused."""

_REDUCTION_FACTOR = 0.9
"""Factor that is applied to the accepted rate or number of calls after a refusal."""


class Bucket:
    """A limit per minute, spent evenly.

    A call starts if the bucket is not in debt, and may put the bucket in debt by its whole amount.
    A large call thus waits no longer than a small call, but the calls after it wait longer.

    Args:
        configured: Units per minute in the settings; ``None`` means no limit.

    Attributes:
        limit: Units per minute; the lower of the limit in the settings and the provider's limit.
        due: Time at which the bucket is out of debt.
        total: Units taken so far.
    """

    __slots__ = (
        "_configured_limit",
        "_mean_amount",
        "_recent_amounts",
        "_reported_limit",
        "_second_length",
        "_slow_rate",
        "_slow_until",
        "_used_amount",
        "due",
        "limit",
        "total",
    )

    def __init__(self, configured: float | None = None) -> None:
        self._configured_limit = configured or math.inf
        self._reported_limit = math.inf
        self.limit = self._configured_limit
        self.due, self.total = 0.0, 0.0
        self._slow_rate, self._slow_until = math.inf, 0.0
        # The amounts taken in the last second, with their times.
        self._recent_amounts: deque[tuple[float, float]] = deque()
        self._used_amount, self._mean_amount, self._second_length = 0.0, 1.0, _SECOND

    @property
    def is_limited(self) -> bool:
        """Whether a limit is known."""
        return self.limit < _UNLIMITED

    def lengthen_second(self) -> None:
        """Lengthen the window that counts as a second, because delays vary more than assumed."""
        self._second_length = min(_LONGEST_SECOND, self._second_length + _SECOND_STEP)

    def rate(self, now: float) -> float:
        """Return the units per second that may currently be used."""
        rate = self.limit / 60 * _USED_SHARE
        return min(rate, self._slow_rate) if now < self._slow_until else rate

    def spend(self, amount: float, now: float, *, has_waited: bool = False) -> None:
        """Spend an amount; see `ready_at`."""
        self.total += amount
        is_late = has_waited and not self._has_few_calls
        catch_up = _MAX_CATCH_UP if is_late else _MAX_CATCH_UP_IF_SPACED
        self.due = max(self.due, now - catch_up) + amount / self.rate(now)
        self._mean_amount += 0.1 * (amount - self._mean_amount)
        if self.is_limited:
            self._recent_amounts.append((now, amount))
            self._used_amount += amount

    def ready_at(self, amount: float, now: float) -> float:
        """Return the time at which a call may start."""
        recent_amounts = self._recent_amounts
        while recent_amounts and recent_amounts[0][0] <= now - self._second_length:
            self._used_amount -= recent_amounts.popleft()[1]
        if self.due > now or not recent_amounts or self._has_few_calls:
            return max(self.due, now)
        is_full = self._used_amount + amount > self.limit / 60 * _USED_SHARE_OF_SECOND
        return recent_amounts[0][0] + self._second_length if is_full else now

    def calls_per_second(self, now: float) -> float:
        """Return the number of average-sized calls that may start per second."""
        return self.rate(now) / max(1.0, self._mean_amount)

    @property
    def _has_few_calls(self) -> bool:
        return self._mean_amount * _MAX_SPACED_RATE > self.limit / 60 * _USED_SHARE_OF_SECOND

    def settle(self, surplus: float, now: float) -> None:
        """Spend the amount that a call used beyond its estimate, or return the unused amount."""
        self.due += surplus / self.rate(now)

    def configure(self, configured: float | None, now: float) -> None:
        """Apply a changed limit from the settings."""
        self._configured_limit = configured or math.inf
        self._update(now)

    def rescale(self, ratio: float, now: float) -> None:
        """Multiply the limit that the provider reported."""
        self._reported_limit *= ratio
        self._update(now)

    def apply_reported(  # noqa: PLR0913 - what a provider reports, and how to read it
        self,
        limit: float | None,
        left: float | None,
        reset: float | None,
        *,
        unseen: float,
        now: float,
        share: float = 1.0,
    ) -> None:
        """Apply the limits that a provider reports.

        Args:
            limit: Units per minute; ``None`` means not reported.
            left: Units left when the server answered.
            reset: Seconds until all units are available.
            unseen: Units that were taken after those of the answered call.
            now: Time of the answer.
            share: Share of the reported limits that this process may use.
        """
        if limit is not None and 0 < limit < _UNLIMITED:
            self._reported_limit = limit * share
            self._update(now)
        if left is None or not (0 <= left < _UNLIMITED and self.is_limited):
            return
        rate = self.limit / 60 * _USED_SHARE
        left = max(0.0, left * share - unseen)
        if left >= self.limit:  # the limit in the settings is lower than the provider's
            return
        if reset is None or not 0 < reset < _UNLIMITED:
            reset = max(0.0, (self.limit - left) / rate)
        if left < 1:  # a bucket refills all the time, a window when it is reset
            self.due = max(self.due, now + min(reset, 1 / rate))
        # A bucket's reset is the time to refill it, so the rate is never lower than the full rate.
        # What is left of a window must last until the window's reset, because other clients may
        # also use it.
        elif left / reset < rate and left + rate * reset < 0.9 * self.limit:
            self._slow_rate, self._slow_until = left / reset, now + reset

    def _update(self, now: float) -> None:
        """Set the limit; a debt is paid off at the new rate."""
        former_rate = self.rate(now)
        self.limit = min(self._configured_limit, self._reported_limit)
        if self.due > now and math.isfinite(former_rate):
            self.due = now + (self.due - now) * former_rate / self.rate(now)


class LearnedLimit:
    """A limit that grows after a refusal, like the window of TCP CUBIC.

    The limit grows from its start to its target in `_RECOVERY_TIME` seconds, quickly at first, and
    then beyond the target, slowly at first
    (https://www.rfc-editor.org/rfc/rfc9438#section-4.2). A limit that was halved and then raised
    linearly would cause more refusals or leave more of the provider's limit unused.

    Args:
        target: The limit at which calls were refused.
        now: Time of the refusal.
        start: The initial limit; by default, nine tenths of the target.

    Attributes:
        target: The limit at which calls were refused.
        due: Time at which the next call may start, if the limit is a rate.
    """

    __slots__ = ("_refused_at", "_start", "due", "target")

    def __init__(self, target: float, now: float, start: float | None = None) -> None:
        self.target = target
        self._start = _REDUCTION_FACTOR * target if start is None else min(start, target)
        self._refused_at = self.due = now

    def value(self, now: float) -> float:
        """Return the current limit."""
        growth = (now - self._refused_at) / _RECOVERY_TIME - 1
        span = self.target - self._start
        if growth > 0:
            span = max(span, (1 - _REDUCTION_FACTOR) * self.target)
        return self.target + span * growth**3

    def count_call(self, now: float) -> None:
        """Count a call that starts now; the next call may start at ``due``."""
        self.due = max(self.due, now - _MAX_CATCH_UP) + 1 / self.value(now)
