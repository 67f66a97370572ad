"""What the calls of a map use: added to the pool's totals, and summed for the job."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.engine_pool.day_budget import DAY_LIMIT
from gatewayx_nb.engine_pool.usage import UsageTracker
from gatewayx_nb.errors import BudgetError
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.secure_config import Limits
    from gatewayx_nb.storage import LedgerEntry


class JobUsage(UsageTracker):
    """The usage of a job, whose ledger entries are sums instead of one for each row.

    Args:
        pool: The pool's usage, of which it is a part.
        max_cost: Maximum cost of the job in US dollars, over all its runs.
        earlier: What its earlier runs have cost.
        session_limit: Maximum cost of all calls of the pool.
    """

    def __init__(
        self,
        pool: UsageTracker,
        max_cost: Decimal | None,
        earlier: Decimal,
        session_limit: Decimal | None,
    ) -> None:
        super().__init__(pool.ledger, pool.day)
        self.continue_from(pool)
        self._pool, self._max_cost, self._earlier = pool, max_cost, earlier
        self._session_limit = session_limit
        self._held: dict[object, Decimal] = {}
        self._sums: dict[tuple[str, str, str], LedgerEntry] = {}
        self.cost = Decimal(0)
        self.unpriced = 0
        self.input_tokens = 0
        self.output_tokens = 0

    @property
    def limit(self) -> Decimal | None:
        """The cost limit that `spent` counts towards."""
        return self._session_limit if self._max_cost is None else self._max_cost

    def limits(self, limits: Limits) -> Limits:
        """Return the limits of a row's call."""
        return replace(limits, max_cost=self.limit)

    @property
    def total_cost(self) -> Decimal:
        """US dollars spent in all runs of the job, without calls in flight."""
        return self._earlier + self.cost

    @property
    @override
    def spent(self) -> Decimal:
        """US dollars spent towards the limit, including the maximum cost of calls in flight.

        If both the job and the session have a limit, the amount counts towards the one with less
        left.
        """
        session = super().spent
        if self._max_cost is None:
            return session
        with self._lock:
            job = self.total_cost + sum(self._held.values(), Decimal(0))
        if self._session_limit is None:
            return job
        return max(job, self._max_cost - (self._session_limit - session))

    @property
    def session_spent(self) -> Decimal:
        """US dollars that all calls of the pool have cost, including calls in flight."""
        return super().spent

    @override
    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        call = object()
        with self._lock:
            self._held[call] = cost
        try:
            with super().reserve(cost):
                yield
        finally:
            with self._lock:
                del self._held[call]

    @override
    def add(self, partial: PartialReply, outcome: str = "ok", error: str = "") -> None:
        if outcome == "BudgetError":  # nothing was sent, and the row may be tried again
            return
        entry = self.count(partial, outcome, error)
        with self._lock:
            self.cost += entry.cost or 0
            self.unpriced += entry.is_unpriced
            self.input_tokens += entry.input_tokens or 0
            self.output_tokens += entry.output_tokens or 0
            key = (entry.engine, entry.model, entry.outcome)
            known = self._sums.get(key)
            self._sums[key] = entry if known is None else known.plus(entry)

    def set_earlier(self, cost: Decimal) -> None:
        """Set what the earlier runs of the job have cost."""
        with self._lock:
            self._earlier = cost

    def write_sums(self, job: str) -> None:
        """Write an entry for each engine, model and outcome to the ledger."""
        with self._lock:
            sums, self._sums = list(self._sums.values()), {}
        for entry in sums:
            self.ledger.add(replace(entry, job=job))

    def budget_error(self, error: BudgetError) -> BudgetError:
        """Return the error of a row that the job's limit has stopped."""
        job_limit = self._max_cost
        if job_limit is None or error.code == DAY_LIMIT or "price" in error.message:
            return error
        return BudgetError(
            f"the job has used {dollars(self.total_cost)} of its {dollars(job_limit)}, and this row"
            " may cost more than what is left; it was not sent.",
            hint=Hint("raise_option", option="max_cost")
            | Hint("set_option", option="max_tokens", value=500),
            engine=error.engine,
            model=error.model,
        )
