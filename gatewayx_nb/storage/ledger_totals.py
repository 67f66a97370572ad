"""Computes totals of the calls in a ledger by day, engine, model or job, in SQLite."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    import sqlite3

UsageKey = Literal["day", "engine", "model", "job"]

USAGE_KEYS: tuple[UsageKey, ...] = ("day", "engine", "model", "job")
"""The fields by which past calls can be grouped into totals."""

HIGHEST_COST = 10**15
"""Maximum plausible cost in US dollars; a larger cost would make every total meaningless."""

MAX_GROUPS = 10_000
"""Maximum number of totals; in a file of another program, each call could have its own total."""

_BUCKET_SECONDS = 900
"""Seconds in a quarter of an hour; the UTC offset of every time zone is a multiple of 15 minutes.

Only the start of each quarter of an hour is converted to a day, because converting the time of each
call would take longer than everything else.
"""

_DECIMAL_PLACES = 9
"""Decimal places of a total cost, which is a sum of floats."""


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Totals of past calls.

    Attributes:
        by: The field by which calls are grouped: ``"day"``, ``"engine"``, ``"model"`` or ``"job"``.
        key: The day as ``YYYY-MM-DD``, the engine, ``engine:model``, or the job; empty for single
            calls, which belong to no job.
        calls: Number of calls; each row of a map counts as one.
        failed: Number of failed calls.
        input_tokens: Input tokens in the calls that reported them.
        cached_tokens: Input tokens that were read from the provider's cache.
        output_tokens: Output tokens in the calls that reported them.
        cost: Cost in US dollars of the calls with a known price.
        unpriced: Number of calls that used tokens whose number or price is unknown.
    """

    by: UsageKey
    key: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def plus(self, other: UsageTotals) -> UsageTotals:
        """Return the sum of two totals with the same key."""
        return UsageTotals(
            self.by,
            self.key,
            self.calls + other.calls,
            self.failed + other.failed,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the fields; the first is named after the grouping, such as ``day``."""
        values = asdict(self)
        return {values.pop("by"): values.pop("key"), **values}


_KEY_EXPRESSIONS = {
    "day": f"CAST(at / {_BUCKET_SECONDS} AS INTEGER)",
    "engine": "engine",
    "model": "engine || ':' || model",
    "job": "job",
}
_COLUMNS = (
    *("at", "engine", "model", "outcome", "input_tokens", "output_tokens", "cost"),
    *("time_to_first", "cached_tokens", "rows", "job"),
)
_SUM_EXPRESSIONS = (
    "total(ifnull(rows, 1))",
    "total(CASE WHEN outcome IN ('ok', 'interrupted') THEN 0 ELSE ifnull(rows, 1) END)",
    *("total(input_tokens)", "total(cached_tokens)", "total(output_tokens)"),
    # As in `LedgerEntry.is_unpriced`.
    (
        "total(CASE WHEN cost IS NULL AND (input_tokens NOT NULL OR output_tokens NOT NULL"
        " OR outcome = 'ok' OR time_to_first NOT NULL) THEN ifnull(rows, 1) END)"
    ),
    "total(cost)",
)
"""The values of `UsageTotals`; ``total`` adds floats, so that no sum overflows."""


def select_totals(connection: sqlite3.Connection, by: UsageKey, since: float) -> list[UsageTotals]:
    """Return the totals of a ledger whose schema has been checked.

    Args:
        connection: The ledger.
        by: The field by which calls are grouped. Days are in local time.
        since: Time of the first call, in seconds since the epoch.

    Returns:
        At most `MAX_GROUPS` totals, ordered by day, latest first, or by cost, highest first.
    """
    # A file written by an earlier version has fewer columns.
    existing_columns = {
        name for name, *_ in connection.execute("SELECT * FROM calls LIMIT 0").description
    }
    columns = ", ".join(
        name if name in existing_columns else f"NULL AS {name}" for name in _COLUMNS
    )
    query = (
        f"SELECT {_KEY_EXPRESSIONS[by]} AS key, {', '.join(_SUM_EXPRESSIONS)}"  # noqa: S608 - constants
        f" FROM (SELECT {columns} FROM calls) WHERE at >= ? GROUP BY key ORDER BY"
        + (
            " key DESC LIMIT 1000000"
            if by == "day"
            else f" total(cost) DESC, key LIMIT {MAX_GROUPS}"
        )
    )
    totals = [_parse_totals(by, row) for row in connection.execute(query, (since,))]
    return _by_day(totals)[:MAX_GROUPS] if by == "day" else totals


def _parse_totals(by: UsageKey, row: tuple[object, ...]) -> UsageTotals:
    """Return the totals in a row, whose values may have any type if another program wrote them."""
    key, *sums, cost = row
    text = well_formed(key).rstrip(":") if isinstance(key, str) else ""
    calls, failed, tokens_in, cached, tokens_out, unpriced = map(_whole_number, sums)
    dollars = cost if isinstance(cost, float) and 0 <= cost < HIGHEST_COST else None
    return UsageTotals(
        by,
        str(key) if isinstance(key, int) else text,
        *(calls, failed, tokens_in, cached, tokens_out),
        cost=Decimal(str(round(dollars or 0.0, _DECIMAL_PLACES))),
        unpriced=calls if dollars is None else unpriced,
    )


def _whole_number(total: object) -> int:
    is_number = isinstance(total, float) and 0 <= total < math.inf
    return int(total) if is_number else 0  # type: ignore[call-overload]


def _by_day(buckets: list[UsageTotals]) -> list[UsageTotals]:
    """Return the totals of each day, which are the sums of its quarter-hours."""
    days: dict[str, UsageTotals] = {}
    for bucket in buckets:
        day = local_day(int(bucket.key or 0) * _BUCKET_SECONDS)
        day_totals = replace(bucket, key=day)
        days[day] = days[day].plus(day_totals) if day in days else day_totals
    return sorted(days.values(), key=lambda day_totals: day_totals.key, reverse=True)


def local_day(at: float) -> str:
    """Return the day of a time as ``YYYY-MM-DD``, in the local time zone."""
    try:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    except (OverflowError, OSError, ValueError):  # another program may have written any number
        return "unknown"


def start_of_day(days_ago: int = 0) -> float:
    """Return the local midnight at which a day began, in seconds since the epoch.

    Args:
        days_ago: Number of days before today; negative for future days.
    """
    today = time.localtime()
    # `mktime` accepts a day of the month below 1 or above 31, and accounts for daylight saving.
    return time.mktime((today.tm_year, today.tm_mon, today.tm_mday - days_ago, 0, 0, 0, 0, 0, -1))
