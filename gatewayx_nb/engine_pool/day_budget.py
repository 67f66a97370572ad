"""Daily cost limits, and the cost of today's calls from all processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import BudgetError, ConfigError
from gatewayx_nb.files import display_path, quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.storage import daily_costs, daily_costs_path, start_of_day
from gatewayx_nb.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    from gatewayx_nb.files import ConfigDir, Owner
    from gatewayx_nb.secure_config import Config
    from gatewayx_nb.storage import DailyCosts

DAY_LIMIT = "max_cost_per_day"
"""Name of the setting, and error code of a call that the limit prevents."""


@dataclass(frozen=True, slots=True)
class DayLimit:
    """The daily limit in one settings file.

    Attributes:
        amount: Maximum cost per day in US dollars.
        costs: The costs of the calls to which the limit applies.
        owner: The owner of the file; a limit of the user applies to the calls of all projects.
        settings: The settings file.
    """

    amount: Decimal
    costs: DailyCosts
    owner: Owner
    settings: Path

    @property
    def left(self) -> Decimal:
        """The remaining budget in US dollars, assuming that running calls cost their maximum.

        Raises:
            ConfigError: If today's cost cannot be read.
        """
        try:
            return self.amount - self.costs.spent
        except OSError as error:
            raise _unusable_file_error(self, str(error)) from None

    def error(self, left: Decimal, cost: Decimal) -> BudgetError:
        """Return the error for a call that may cost more than the remaining budget.

        Args:
            left: The remaining budget when the call was checked.
            cost: The maximum cost of the call.
        """
        counted_calls = (
            "the project's calls" if self.owner == "project" else "all your projects' calls"
        )
        next_day = time.strftime("%Y-%m-%d %H:%M", time.localtime(start_of_day(-1)))
        return BudgetError(
            f"today {counted_calls}, including running ones, have used"
            f" {dollars(self.amount - left)} of {dollars(self.amount)}, and this one may cost"
            f" {dollars(cost)} or more; nothing was sent.",
            hint=f"Wait until the next day begins at {next_day}, local time, or raise"
            f" [limits] {DAY_LIMIT} in {display_path(self.settings)}.",
            code=DAY_LIMIT,
        )


class DayBudget:
    """The ``max_cost_per_day`` limits in a pool's current settings.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._limits_by_amounts: dict[tuple[object, ...], list[DayLimit]] = {}

    def limits(self) -> list[DayLimit]:
        """Return the limits of the project and of the user."""
        amounts = tuple(self._config.day_limits())
        limits = self._limits_by_amounts.get(amounts)
        if limits is None:  # cached, so that paths are not joined for each call
            limits = [self._limit(folder, amount) for folder, amount in amounts]
            self._limits_by_amounts = {amounts: limits}
        return limits

    def _limit(self, folder: ConfigDir, amount: Decimal) -> DayLimit:
        costs = daily_costs(daily_costs_path(self._config, folder))
        return DayLimit(amount, costs, folder.owner, folder.settings)

    def lowest(self) -> DayLimit | None:
        """Return the limit with the smallest remaining amount; ``None`` if there is no limit.

        Raises:
            ConfigError: If today's cost cannot be read.
        """
        return min(self.limits(), key=lambda limit: limit.left, default=None)

    async def refresh(self) -> None:
        """Read the costs of other processes, at most once a second.

        Raises:
            ConfigError: If a file with daily costs cannot be read or written.
        """
        for limit in self.limits():
            if limit.costs.is_current:
                continue
            try:
                await asyncio.to_thread(limit.costs.refresh)
            except OSError as error:
                raise _unusable_file_error(limit, str(error)) from None

    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        with contextlib.ExitStack() as reservations:
            for limit in self.limits():
                reservations.enter_context(limit.costs.reserve(cost))
            yield

    def add(self, cost: Decimal) -> None:
        """Add the cost of a finished call."""
        for limit in self.limits():
            limit.costs.add_cost(cost)

    def flush(self, timeout: float) -> None:
        """Write the costs of finished calls; wait at most ``timeout`` seconds for each file."""
        for limit in self.limits():
            limit.costs.flush(timeout)


def _unusable_file_error(limit: DayLimit, reason: str) -> ConfigError:
    quoted_file = quoted_path(limit.costs.path)
    is_busy = "locked" in reason or "interrupted" in reason
    return ConfigError(
        f"[limits] {DAY_LIMIT} needs today's costs, and {str(limit.costs.path)!r} cannot be"
        f" used: {reason.rstrip('.')}; nothing was sent.",
        hint=Hint("run_again")
        if is_busy
        else f"Make it writable, or move it away, so that the sum begins at 0: `mv {quoted_file}"
        f" {quoted_file}.off`. The file is needed only for the limit in"
        f" {display_path(limit.settings)}.",
    )
