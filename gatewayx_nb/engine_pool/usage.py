"""Totals of a pool's calls: number, tokens, cost and last errors."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.files import quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Usage
from gatewayx_nb.storage import LedgerEntry
from gatewayx_nb.text import dollars, known_and_unpriced, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.secure_config import Config
    from gatewayx_nb.storage import Ledger


_USER_ERRORS = (
    *("UsageError", "BudgetError", "UnsupportedFeatureError", "RejectedParameterError"),
    "ModelNotFoundError",
)
"""Outcomes that do not count as failures of the engine: the user has to change the call."""

_MAX_COUNT = 2**63 - 1
"""Largest number in a query of SQLite."""

_CAPITAL = re.compile(r"[A-Z]")


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
        unpriced: Number of calls that used tokens at an unknown price.
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
            calls=self.calls + 1,
            failed=self.failed + (entry.outcome not in ("ok", "interrupted")),
            input_tokens=self.input_tokens + (entry.input_tokens or 0),
            output_tokens=self.output_tokens + (entry.output_tokens or 0),
            cached_tokens=self.cached_tokens + (entry.cached_tokens or 0),
            cost=self.cost + (entry.cost or 0),
            unpriced=self.unpriced + _is_unpriced(entry),
        )


def _reference(row: ModelUsage | LedgerEntry) -> str:
    return f"{row.engine}:{row.model}".rstrip(":")


def _is_unpriced(entry: LedgerEntry) -> bool:
    # A failed call without tokens was not billed, so its price is not missing. A stopped call
    # reports no tokens, but the provider bills those that it has generated.
    used = (entry.input_tokens, entry.output_tokens) != (None, None)
    was_stopped = entry.outcome == "interrupted" and entry.time_to_first is not None
    return (used or was_stopped) and entry.cost is None


def _cost(entry: LedgerEntry) -> str:
    return "unpriced" if _is_unpriced(entry) else dollars(entry.cost or Decimal(0))


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _calls(row: ModelUsage) -> str:
    return _count(row.calls)


def _failed(row: ModelUsage) -> str:
    return str(row.failed or "")


def _tokens_in(row: ModelUsage | LedgerEntry) -> str:
    return _count(row.input_tokens)


def _tokens_out(row: ModelUsage | LedgerEntry) -> str:
    return _count(row.output_tokens)


def _cached(row: ModelUsage | LedgerEntry) -> str:
    return f"{row.cached_tokens:,}" if row.cached_tokens else ""


def _total_cost(row: ModelUsage) -> str:
    return known_and_unpriced(row.cost, row.unpriced)


def _latency(entry: LedgerEntry) -> str:
    return f"{entry.latency:.1f} s"


def _model_and_outcome(entry: LedgerEntry) -> str:
    """Return the model of a call, and what is unusual about the call."""
    # The class of the error is split into words, so that a narrow page can break the line.
    outcome = _CAPITAL.sub(r" \g<0>", entry.outcome).lower().strip()
    return ", ".join(
        [
            _reference(entry),
            *([outcome] if entry.outcome != "ok" else []),
            *([f"{entry.attempts} attempts"] if entry.attempts > 1 else []),
        ]
    )


def _local_time(entry: LedgerEntry) -> str:
    ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
    return ended.removeprefix(time.strftime("%Y-%m-%d "))


USAGE_COLUMNS: tuple[TableColumn[ModelUsage], ...] = (
    TableColumn("model", _reference),
    TableColumn("calls", _calls, "right"),
    TableColumn("failed", _failed, "right", optional=True),
    TableColumn("tokens in", _tokens_in, "right"),
    TableColumn("cached", _cached, "right", optional=True),
    TableColumn("tokens out", _tokens_out, "right"),
    TableColumn("cost", _total_cost, "decimal"),
)
"""The columns of a table of totals."""

HISTORY_COLUMNS: tuple[TableColumn[LedgerEntry], ...] = (
    TableColumn("ended", _local_time),
    TableColumn("model", _model_and_outcome),
    TableColumn("took", _latency, "right"),
    TableColumn("tokens in", _tokens_in, "right"),
    TableColumn("cached", _cached, "right", optional=True),
    TableColumn("tokens out", _tokens_out, "right"),
    TableColumn("cost", _cost, "decimal"),
)
"""The columns of a table of past calls."""


class UsageTracker:
    """A pool's totals by engine and model, and the ledger, which outlives the pool.

    Args:
        ledger: Records each call.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._totals: dict[tuple[str, str], ModelUsage] = {}
        self._last_error: dict[str, str] = {}
        self._reserved: dict[object, Decimal] = {}  # the maximum cost of each running call
        self._lock = threading.Lock()  # calls end on several engines' event loops

    def continue_from(self, other: UsageTracker) -> None:
        """Share the totals of another pool's calls, including those that are still running."""
        self._totals, self._reserved, self._lock = other._totals, other._reserved, other._lock
        self._last_error = other._last_error

    @property
    def spent(self) -> Decimal:
        """US dollars spent, including the maximum cost of running calls."""
        with self._lock:
            costs = (total.cost for total in self._totals.values())
            return sum((*self._reserved.values(), *costs), Decimal(0))

    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        call = object()
        with self._lock:
            self._reserved[call] = cost
        try:
            yield
        finally:
            with self._lock:
                del self._reserved[call]

    def add(self, partial: PartialReply, outcome: str = "ok", error: str = "") -> None:
        """Add a finished call.

        Args:
            partial: The answer and its usage.
            outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
            error: The error message, in one line.
        """
        entry = _entry(partial, outcome)
        key = (entry.engine, entry.model)
        with self._lock:
            self._totals[key] = self._totals.get(key, ModelUsage(*key)).plus(entry)
            if outcome not in _USER_ERRORS:
                # An engine works if it ended its answer, even if that does not match the schema.
                self._last_error[entry.engine] = "" if partial.finish_reason else error
        # This is outside the lock, because the ledger's queue has its own.
        self.ledger.add(entry)

    def last_error(self, engine: str) -> str:
        """Return the error from an engine's last call; empty if it answered.

        Calls that failed through a user error are ignored.
        """
        with self._lock:
            return self._last_error.get(engine, "")

    def history(self, count: int) -> list[LedgerEntry]:
        """Return the last calls in the ledger; see `EnginePool.history`."""
        if not isinstance(count, int) or not 0 <= count <= _MAX_COUNT:
            limit = " and at most 2**63 - 1" if isinstance(count, int) and count > 0 else ""
            raise UsageError(
                f"count must be an int >= 0{limit}, got {short_repr(count)}.",
                hint="For example, `history(50)`.",
            )
        try:
            return self.ledger.last(count)
        except OSError as error:
            path = self.ledger.path
            is_busy = "locked" in str(error) or "interrupted" in str(error)
            quoted = quoted_path(path)
            move = f"Move it away: `mv {quoted} {quoted}.off`; the next call creates a new one."
            raise ConfigError(
                f"the ledger {str(path)!r} cannot be read: {error}.",
                hint=Hint("run_again") if is_busy else move,
            ) from None

    def totals(self) -> Table[ModelUsage]:
        """Return the totals by engine and model."""
        with self._lock:
            totals = [total for _, total in sorted(self._totals.items())]
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
            last_error=self._last_error.get(row.name, ""),
        )


def ledger_path(config: Config) -> Path:
    """Return the path of the project's ledger, or the user's if there is no project."""
    if config.project:
        return config.project.root / ".gatewayx" / "store.sqlite"
    # The variable is read here, because platformdirs uses only the process's own environment.
    data = config.env.get("XDG_DATA_HOME")
    folder = Path(data) / "gatewayx" if data else platformdirs.user_data_path("gatewayx")
    return folder / "store.sqlite"


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
