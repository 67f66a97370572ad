"""Stores the ledger of past calls, daily costs and the results of jobs in SQLite files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules
from gatewayx_nb.storage.daily_costs import DailyCosts, daily_costs
from gatewayx_nb.storage.ledger import Ledger, LedgerEntry
from gatewayx_nb.storage.ledger_totals import (
    MAX_GROUPS,
    USAGE_KEYS,
    UsageKey,
    UsageTotals,
    local_day,
    start_of_day,
)
from gatewayx_nb.storage.location import (
    ResultsLocation,
    daily_costs_path,
    ledger_path,
    results_location,
)

if TYPE_CHECKING:
    from gatewayx_nb.storage.job_parts import JobPart, JobParts, PartState
    from gatewayx_nb.storage.job_record import JobFigures, JobRecord, JobState, StoredRow
    from gatewayx_nb.storage.job_results import JobResults
    from gatewayx_nb.storage.results_store import ResultsStore, StoreDescription

__all__ = [
    "MAX_GROUPS",
    "USAGE_KEYS",
    "DailyCosts",
    "JobFigures",
    "JobPart",
    "JobParts",
    "JobRecord",
    "JobResults",
    "JobState",
    "Ledger",
    "LedgerEntry",
    "PartState",
    "ResultsLocation",
    "ResultsStore",
    "StoreDescription",
    "StoredRow",
    "UsageKey",
    "UsageTotals",
    "daily_costs",
    "daily_costs_path",
    "ledger_path",
    "local_day",
    "results_location",
    "start_of_day",
]

# Imported on first use, because most programs make no map, and so store no results.
__getattr__ = attach_modules(
    __name__,
    {
        "job_parts": ["JobPart", "JobParts", "PartState"],
        "job_record": ["JobFigures", "JobRecord", "JobState", "StoredRow"],
        "job_results": ["JobResults"],
        "results_store": ["ResultsStore", "StoreDescription"],
    },
)
