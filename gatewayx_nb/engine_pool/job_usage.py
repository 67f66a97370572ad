"""Adds the usage of a map's calls to the pool's totals, and sums it for the job."""

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
    """The usage of a job, which writes sums to the ledger instead of an entry for each row.

    Args:
        pool: The pool's usage, to which the job's usage is added.
        max_cost: Maximum cost of the job in US dollars, over all its runs.
        earlier_cost: Cost of the earlier runs in US dollars.
        session_limit: Maximum cost of all calls of the pool.
    """

    def __init__(
        self,
        pool: UsageTracker,
        max_cost: Decimal | None,
        earlier_cost: Decimal,
        session_limit: Decimal | None,
    ) -> None:
        super().__init__(pool.ledger, pool.day_budget)
        self.continue_from(pool)
        self._pool_usage, self._max_cost, self._earlier_cost = pool, max_cost, earlier_cost
        self._session_limit = session_limit
        self._job_cost_by_call: dict[object, Decimal] = {}
        self._sum_by_key: dict[tuple[str, str, str, bool], LedgerEntry] = {}
        self.cost = Decimal(0)
        self.unpriced = 0
        self.input_tokens = 0
        self.output_tokens = 0

    @property
    def limit(self) -> Decimal | None:
        """The cost limit towards which `spent` counts."""
        return self._session_limit if self._max_cost is None else self._max_cost

    def limits(self, limits: Limits) -> Limits:
        """Return the limits of a row's call."""
        return replace(limits, max_cost=self.limit)

    @property
    def total_cost(self) -> Decimal:
        """Cost of all runs of the job in US dollars, without calls in flight."""
        return self._earlier_cost + self.cost

    @property
    @override
    def spent(self) -> Decimal:
        """Cost that counts towards the limit, including the maximum cost of calls in flight.

        If both the job and the session have a limit, this is the cost that counts towards the limit
        with the smaller remaining amount.
        """
        session_cost = super().spent
        if self._max_cost is None:
            return session_cost
        with self._lock:
            job_cost = self.total_cost + sum(self._job_cost_by_call.values(), Decimal(0))
        if self._session_limit is None:
            return job_cost
        return max(job_cost, self._max_cost - (self._session_limit - session_cost))

    @property
    def session_spent(self) -> Decimal:
        """Cost of all calls of the pool in US dollars, including calls in flight."""
        return super().spent

    @override
    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        call = object()
        with self._lock:
            self._job_cost_by_call[call] = cost
        try:
            with super().reserve(cost):
                yield
        finally:
            with self._lock:
                del self._job_cost_by_call[call]

    @override
    def add(self, partial: PartialReply, outcome: str = "ok", error: str = "") -> None:
        if outcome == "BudgetError":  # nothing was sent, and the row may be retried
            return
        self._sum_up(self.add_without_ledger(partial, outcome, error))

    def add_external(self, entry: LedgerEntry) -> None:
        """Add calls of another process, which counts them towards the daily limits."""
        self.add_to_totals(entry)
        self._sum_up(entry)

    def _sum_up(self, entry: LedgerEntry) -> None:
        with self._lock:
            self.cost += entry.cost or 0
            self.unpriced += entry.is_unpriced * entry.rows
            self.input_tokens += entry.input_tokens or 0
            self.output_tokens += entry.output_tokens or 0
            # Unpriced calls have their own sum, because their cost is unknown.
            key = (entry.engine, entry.model, entry.outcome, entry.is_unpriced)
            earlier_sum = self._sum_by_key.get(key)
            self._sum_by_key[key] = entry if earlier_sum is None else earlier_sum.plus(entry)

    def set_earlier_cost(self, cost: Decimal) -> None:
        """Set the cost of the job's earlier runs."""
        with self._lock:
            self._earlier_cost = cost

    def write_sums(self, job: str) -> None:
        """Write the sums of the calls to the ledger."""
        for entry in self.take_sums():
            self.ledger.add(replace(entry, job=job))

    def take_sums(self) -> list[LedgerEntry]:
        """Return the sums since the previous call of this method."""
        with self._lock:
            sums, self._sum_by_key = list(self._sum_by_key.values()), {}
        return sums

    def budget_error(self, error: BudgetError) -> BudgetError:
        """Return the error for a row that was not sent because of the job's limit."""
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
