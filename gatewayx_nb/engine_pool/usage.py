"""Totals of a pool's calls: number, tokens, cost and last errors."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.errors import ConfigError, UsageError, did_you_mean
from gatewayx_nb.files import quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Usage
from gatewayx_nb.storage import (
    MAX_GROUPS,
    USAGE_KEYS,
    LedgerEntry,
    UsageTotals,
    start_of_day,
)
from gatewayx_nb.text import counted, dollars, known_and_unpriced, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.engine_pool.day_budget import DayBudget
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.storage import Ledger, UsageKey


_USER_ERRORS = (
    *("UsageError", "BudgetError", "UnsupportedFeatureError", "RejectedParameterError"),
    "ModelNotFoundError",
)
"""Outcomes that are not the engine's failures, because the user has to change the call."""

_MAX_COUNT = 2**63 - 1
"""Largest integer that SQLite supports."""

_MAX_DAYS = 36_500
"""Maximum number of days for which totals are computed: a century."""

_CAPITAL_LETTER = re.compile(r"[A-Z]")


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Totals of a pool's calls to one model.

    Attributes:
        engine: Name of the engine.
        model: Name of the model.
        calls: Number of finished calls, including failed ones.
        failed: Number of failed calls.
        input_tokens: Input tokens in the calls that reported them.
        output_tokens: Output tokens in the calls that reported them.
        cached_tokens: Input tokens that were read from the provider's cache.
        cost: Cost in US dollars of the calls with a known price.
        unpriced: Number of calls that used tokens whose number or price is unknown.
    """

    engine: str
    model: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def plus(self, entry: LedgerEntry) -> ModelUsage:
        """Return the totals with one more call."""
        return ModelUsage(  # `replace` would take four times as long, for every call
            self.engine,
            self.model,
            calls=self.calls + entry.rows,
            failed=self.failed + (entry.outcome not in ("ok", "interrupted")) * entry.rows,
            input_tokens=self.input_tokens + (entry.input_tokens or 0),
            output_tokens=self.output_tokens + (entry.output_tokens or 0),
            cached_tokens=self.cached_tokens + (entry.cached_tokens or 0),
            cost=self.cost + (entry.cost or 0),
            unpriced=self.unpriced + entry.is_unpriced * entry.rows,
        )


_Row = ModelUsage | LedgerEntry | UsageTotals


def _reference_cell(row: ModelUsage | LedgerEntry) -> str:
    return f"{row.engine}:{row.model}".rstrip(":")


def _cost_cell(entry: LedgerEntry) -> str:
    return "unpriced" if entry.is_unpriced else dollars(entry.cost or Decimal(0))


def _count_text(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _calls_cell(row: ModelUsage | UsageTotals) -> str:
    return _count_text(row.calls)


def _failed_cell(row: ModelUsage | UsageTotals) -> str:
    return str(row.failed or "")


def _tokens_in_cell(row: _Row) -> str:
    return "?" if _lacks_tokens(row) else _count_text(row.input_tokens)


def _tokens_out_cell(row: _Row) -> str:
    return "?" if _lacks_tokens(row) else _count_text(row.output_tokens)


def _lacks_tokens(row: _Row) -> bool:
    """Return whether no call of a total reported its tokens, although some have answered."""
    if isinstance(row, LedgerEntry):  # its unknown numbers are None
        return False
    return row.calls > row.failed and not (row.input_tokens or row.output_tokens)


def _cached_cell(row: _Row) -> str:
    return f"{row.cached_tokens:,}" if row.cached_tokens else ""


def _total_cost_cell(row: ModelUsage | UsageTotals) -> str:
    return known_and_unpriced(row.cost, row.unpriced)


def _latency_cell(entry: LedgerEntry) -> str:
    return f"{entry.latency:.1f} s"


def _model_and_outcome_cell(entry: LedgerEntry) -> str:
    """Return a call's model, and what is unusual about the call."""
    # The class of the error is split into words, so that a narrow page can break the line.
    outcome = _CAPITAL_LETTER.sub(r" \g<0>", entry.outcome).lower().strip()
    return ", ".join(
        [
            _reference_cell(entry),
            *([outcome] if entry.outcome != "ok" else []),
            *([f"{entry.attempts:,} attempts"] if entry.attempts > entry.rows else []),
            *([f"{counted(entry.rows, 'row')} of {entry.job}"] if entry.job else []),
        ]
    )


def _local_time_cell(entry: LedgerEntry) -> str:
    ended_at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
    return ended_at.removeprefix(time.strftime("%Y-%m-%d "))


_SUM_COLUMNS: tuple[TableColumn[Any], ...] = (
    TableColumn("calls", _calls_cell, "right"),
    TableColumn("failed", _failed_cell, "right", optional=True),
    TableColumn("tokens in", _tokens_in_cell, "right"),
    TableColumn("cached", _cached_cell, "right", optional=True),
    TableColumn("tokens out", _tokens_out_cell, "right"),
    TableColumn("cost", _total_cost_cell, "decimal"),
)
"""The columns with the sums of a group of calls, in this session or over time."""

USAGE_COLUMNS: tuple[TableColumn[ModelUsage], ...] = (
    TableColumn("model", _reference_cell),
    *_SUM_COLUMNS,
)
"""The columns of a table of totals."""

HISTORY_COLUMNS: tuple[TableColumn[LedgerEntry], ...] = (
    TableColumn("ended", _local_time_cell),
    TableColumn("model", _model_and_outcome_cell),
    TableColumn("took", _latency_cell, "right"),
    TableColumn("tokens in", _tokens_in_cell, "right"),
    TableColumn("cached", _cached_cell, "right", optional=True),
    TableColumn("tokens out", _tokens_out_cell, "right"),
    TableColumn("cost", _cost_cell, "decimal"),
)
"""The columns of a table of past calls."""


def _group_cell(row: UsageTotals) -> str:
    return row.key or ("single calls" if row.by == "job" else "unknown")


def _totals_columns(by: UsageKey) -> tuple[TableColumn[UsageTotals], ...]:
    """Return the columns of a table of past totals."""
    return (TableColumn(by, _group_cell), *_SUM_COLUMNS)


class UsageTracker:
    """Counts a pool's calls by engine and model, and records them in the ledger.

    Args:
        ledger: Records each call.
        day_budget: Receives the cost of each call.
    """

    def __init__(self, ledger: Ledger, day_budget: DayBudget) -> None:
        self.ledger, self.day_budget = ledger, day_budget
        self._total_by_model: dict[tuple[str, str], ModelUsage] = {}
        self._last_error_by_engine: dict[str, str] = {}
        # The maximum cost of each running call.
        self._reserved_cost_by_call: dict[object, Decimal] = {}
        self._lock = threading.Lock()  # calls end on the event loops of several engines

    def continue_from(self, other: UsageTracker) -> None:
        """Share the totals of another pool's calls, including those that are still running."""
        self._total_by_model, self._reserved_cost_by_call, self._lock = (
            other._total_by_model,
            other._reserved_cost_by_call,
            other._lock,
        )
        self._last_error_by_engine = other._last_error_by_engine

    @property
    def spent(self) -> Decimal:
        """Total cost in US dollars, including the maximum cost of running calls."""
        with self._lock:
            costs = (total.cost for total in self._total_by_model.values())
            return sum((*self._reserved_cost_by_call.values(), *costs), Decimal(0))

    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        call = object()
        with self._lock:
            self._reserved_cost_by_call[call] = cost
        try:
            with self.day_budget.reserve(cost):
                yield
        finally:
            with self._lock:
                del self._reserved_cost_by_call[call]

    def add(self, partial: PartialReply, outcome: str = "ok", error: str = "") -> None:
        """Add a finished call to the totals and to the ledger.

        Args:
            partial: The answer and its usage.
            outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
            error: The error message, in one line.
        """
        # This is outside the lock, because the ledger's queue has its own lock.
        self.ledger.add(self.add_without_ledger(partial, outcome, error))

    def add_without_ledger(self, partial: PartialReply, outcome: str, error: str) -> LedgerEntry:
        """Add a finished call to the totals, and return its ledger entry; see `add`."""
        entry = _entry(partial, outcome)
        if entry.cost:
            self.day_budget.add(entry.cost)
        self.add_to_totals(entry)
        with self._lock:
            if outcome not in _USER_ERRORS:
                # An engine works if it completes its answer, even if the answer does not match the
                # schema.
                self._last_error_by_engine[entry.engine] = "" if partial.finish_reason else error
        return entry

    def add_to_totals(self, entry: LedgerEntry) -> None:
        """Add calls to the totals, but not to the ledger."""
        key = (entry.engine, entry.model)
        with self._lock:
            self._total_by_model[key] = self._total_by_model.get(key, ModelUsage(*key)).plus(entry)

    def last_error(self, engine: str) -> str:
        """Return the error of an engine's last call; empty if the call succeeded.

        Calls that failed because of a user error are ignored.
        """
        with self._lock:
            return self._last_error_by_engine.get(engine, "")

    def history(self, count: int) -> list[LedgerEntry]:
        """Return the last calls in the ledger; see `EnginePool.history`."""
        if not isinstance(count, int) or not 0 <= count <= _MAX_COUNT:
            upper_limit = " and at most 2**63 - 1" if isinstance(count, int) and count > 0 else ""
            raise UsageError(
                f"count must be an int >= 0{upper_limit}, got {short_repr(count)}.",
                hint="For example, `history(50)`.",
            )
        with self._translated_ledger_errors():
            return self.ledger.last(count)

    def past_totals(self, by: UsageKey, days: int | None) -> Table[UsageTotals]:
        """Return the totals of past calls in the ledger; see `EnginePool.usage`."""
        if by not in USAGE_KEYS:
            suggestion = did_you_mean(by, USAGE_KEYS) if isinstance(by, str) else ""
            raise UsageError(
                f"by must be {', '.join(map(repr, USAGE_KEYS[:-1]))} or {USAGE_KEYS[-1]!r},"
                f" got {short_repr(by)}.{suggestion}",
                hint="For example, `usage(by='day')`.",
            )
        if days is not None and (type(days) is not int or not 1 <= days <= _MAX_DAYS):
            raise UsageError(
                f"days must be an int from 1 to {_MAX_DAYS:,}, got {short_repr(days)}.",
                hint="For example, `usage(days=7)`: today and the six days before.",
            )
        with self._translated_ledger_errors():
            rows = self.ledger.totals(by, start_of_day(days - 1) if days else 0.0)
        notes = [f"Only {MAX_GROUPS:,} rows are shown."] if len(rows) == MAX_GROUPS else []
        return Table(rows, _totals_columns(by), notes)

    @contextlib.contextmanager
    def _translated_ledger_errors(self) -> Iterator[None]:
        """Raise a `ConfigError` if the ledger cannot be read."""
        try:
            yield
        except OSError as error:
            path = self.ledger.path
            is_busy = "locked" in str(error) or "interrupted" in str(error)
            quoted_file = quoted_path(path)
            move_hint = (
                f"Move it away: `mv {quoted_file} {quoted_file}.off`; the next call creates a new"
                " one."
            )
            raise ConfigError(
                f"the ledger {str(path)!r} cannot be read: {error}.",
                hint=Hint("run_again") if is_busy else move_hint,
            ) from None

    def totals(self) -> Table[ModelUsage]:
        """Return the totals by engine and model."""
        with self._lock:
            totals = [total for _, total in sorted(self._total_by_model.items())]
        return Table(totals, USAGE_COLUMNS)

    def with_totals(self, row: EngineStatus) -> EngineStatus:
        """Return a row with the totals of its engine, if the engine has been called."""
        totals = [total for total in self.totals() if total.engine == row.name]
        if not totals or row.state == "shadowed":
            return row
        return replace(
            row,
            calls=sum(total.calls for total in totals),
            spend=sum((total.cost for total in totals), Decimal(0)),
            unpriced=sum(total.unpriced for total in totals),
            last_error=self._last_error_by_engine.get(row.name, ""),
        )


def _entry(partial: PartialReply, outcome: str) -> LedgerEntry:
    usage = partial.total_usage or Usage()
    return LedgerEntry(
        at=time.time(),
        engine=partial.engine,
        model=str.__str__(partial.model),  # a subclass might not be sortable
        outcome=outcome,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost=partial.cost,
        latency=time.monotonic() - partial.started,
        time_to_first=partial.time_to_first,
        attempts=partial.attempts,
        fallback_from=partial.fallback_from,
        cached_tokens=usage.cached_tokens,
    )
