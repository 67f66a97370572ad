"""Totals of a pool's calls: number, tokens, cost and last errors."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.storage import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.secure_config import Config
    from gatewayx_nb.storage import Ledger


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Totals of a pool's calls to one model.

    Attributes:
        engine: Name of the engine.
        model: Name of the model.
        calls: Number of finished calls, failed ones included.
        failed: Number of failed calls.
        input_tokens: Input tokens, of the calls that reported them.
        output_tokens: Output tokens, of the calls that reported them.
        cost: US dollars, of the calls with a known price.
        unpriced: Number of calls that used tokens at an unknown price.
    """

    engine: str
    model: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def plus(self, entry: LedgerEntry) -> ModelUsage:
        """Return the totals with one more call."""
        used = (entry.input_tokens, entry.output_tokens) != (None, None)
        return replace(
            self,
            calls=self.calls + 1,
            failed=self.failed + (entry.outcome not in ("ok", "interrupted")),
            input_tokens=self.input_tokens + (entry.input_tokens or 0),
            output_tokens=self.output_tokens + (entry.output_tokens or 0),
            cost=self.cost + (entry.cost or 0),
            unpriced=self.unpriced + (used and entry.cost is None),
        )


class UsageTracker:
    """Totals of a pool by engine and model, and the ledger that outlives it.

    Args:
        ledger: Records each call.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._sums: dict[tuple[str, str], ModelUsage] = {}
        self._last_error: dict[str, str] = {}
        self._held = Decimal(0)
        self._lock = threading.Lock()  # calls end on the loops of several engines

    @property
    def spent(self) -> Decimal:
        """US dollars spent, plus the maximum cost of the running calls."""
        with self._lock:
            return self._held + sum((known.cost for known in self._sums.values()), Decimal(0))

    @contextlib.contextmanager
    def hold(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        with self._lock:
            self._held += cost
        try:
            yield
        finally:
            with self._lock:
                self._held -= cost

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
            self._sums[key] = self._sums.get(key, ModelUsage(*key)).plus(entry)
            self._last_error[entry.engine] = error
        self.ledger.add(entry)

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn a failure to read the ledger into a `ConfigError`."""
        try:
            yield
        except OSError as error:
            path = self.ledger.path
            raise ConfigError(
                f"the ledger {str(path)!r} cannot be read: {error}.",
                hint=f"Move it away: `mv {path} {path}.off`; the next call creates a new one.",
            ) from None

    def totals(self) -> list[ModelUsage]:
        """Return the totals by engine and model."""
        with self._lock:
            return sorted(self._sums.values(), key=lambda known: (known.engine, known.model))

    def on(self, row: EngineStatus) -> EngineStatus:
        """Return a row with the totals of its engine; an engine without calls has none."""
        known = [one for one in self.totals() if one.engine == row.name]
        if not known or row.state == "shadowed":
            return row
        return replace(
            row,
            calls=sum(one.calls for one in known),
            spend=sum((one.cost for one in known), Decimal(0)),
            unpriced=sum(one.unpriced for one in known),
            last_error=self._last_error.get(row.name, ""),
        )


def ledger_path(config: Config) -> Path:
    """Return the file of the ledger: the project's, or the user's if there is no project."""
    if config.project:
        return config.project.root / ".gatewayx" / "store.sqlite"
    data = config.env.get("XDG_DATA_HOME")
    folder = Path(data) / "gatewayx" if data else platformdirs.user_data_path("gatewayx")
    return folder / "store.sqlite"


def _entry(partial: PartialReply, outcome: str) -> LedgerEntry:
    usage, now = partial.total_usage, time.monotonic()
    return LedgerEntry(
        at=time.time(),
        engine=partial.engine,
        model=partial.model,
        outcome=outcome,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost=partial.cost,
        latency=now - partial.started,
        time_to_first=None
        if partial.first_chunk_at is None
        else partial.first_chunk_at - partial.started,
        attempts=partial.attempts,
        fallback_from=partial.fallback_from,
    )
