"""Counts the rows, costs and errors of a running or finished map, and formats the figures."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.text import counted, dollars, known_and_unpriced, plain, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.errors import BudgetError, GatewayError

_MAX_FULL_ERRORS = 3
"""Number of errors that a summary shows in full; further errors are counted by class."""

_MAX_LATEST_ANSWERS = 3
"""Number of latest answers that a display shows."""

_RATE_WINDOW = 10.0
"""Seconds over which the current rate is measured."""


class MapUsage(Protocol):
    """Cost and tokens of a map's calls in this run."""

    @property
    def cost(self) -> Decimal:
        """Cost in US dollars of the calls with a known price."""

    @property
    def unpriced(self) -> int:
        """Number of calls with an unknown price."""

    @property
    def input_tokens(self) -> int:
        """Input tokens."""

    @property
    def output_tokens(self) -> int:
        """Output tokens."""

    def budget_error(self, error: BudgetError) -> BudgetError:
        """Return the error for a row that was not sent because of the job's cost limit."""

    def set_earlier_cost(self, cost: Decimal) -> object:
        """Set the cost of the job's earlier runs."""

    def write_sums(self, job: str) -> object:
        """Write the sums of this run to the ledger."""


@dataclass(slots=True)
class MapFigures:
    """The progress and the totals of a map in this run.

    Attributes:
        name: The job's name.
        total: Number of rows; ``None`` if it is not known yet.
        answered: Rows with an answer, including those of earlier runs.
        reused: Rows that an earlier run answered.
        replayed: Rows that the open cassette answered.
        failed: Rows that failed.
        asked: Distinct rows that were sent in this run and have an outcome.
        repeated: Rows that duplicate a row that was sent in this run.
        in_flight: Calls in flight.
        rate_limited: Number of "too many requests" responses in this run.
        bound_by: What currently limits the speed.
        reused_since: Times of the oldest and the newest reused answer; ``None`` if none was reused.
        errors: Number of failed rows by error class.
        first_errors: The first failed rows, by position.
        first_of_kind: The first error of each class.
        latest: The latest answers, by position.
        state: ``"running"``, ``"done"``, ``"stopped"`` or ``"failed"``.
        problem: A problem that does not end the map, such as a full disk.
        unit: What a row is called in counts, such as ``"row"`` or ``"question"``.
        row_name: Returns the name of the row at a position, such as ``"row 3"``.
        note: A line that is shown while the map runs, such as scores of the answers.
        detail_html: Returns safe HTML that a notebook shows in place of the note; ``None`` to show
            the note.
        failure: The error that ended the map.
        usage: Cost and tokens of this run.
    """

    name: str
    total: int | None = None
    answered: int = 0
    reused: int = 0
    replayed: int = 0
    failed: int = 0
    asked: int = 0
    repeated: int = 0
    in_flight: int = 0
    rate_limited: int = 0
    bound_by: str = ""
    reused_since: tuple[float, float] | None = None
    errors: Counter[str] = field(default_factory=Counter)
    first_errors: dict[int, GatewayError] = field(default_factory=dict)
    first_of_kind: dict[str, GatewayError] = field(default_factory=dict)
    latest: deque[tuple[int, str]] = field(
        default_factory=lambda: deque(maxlen=_MAX_LATEST_ANSWERS)
    )
    state: str = "running"
    problem: str = ""
    unit: str = "row"
    row_name: Callable[[int], str] = "row {}".format
    note: str = ""
    detail_html: Callable[[], str] | None = None
    failure: GatewayError | None = None
    usage: MapUsage | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _recent_counts: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def done(self) -> int:
        """Number of rows with an answer or an error."""
        return self.answered + self.failed

    @property
    def seconds(self) -> float:
        """Seconds since the start; for a map that has ended, its duration."""
        return (time.monotonic() if self.ended is None else self.ended) - self.started

    def add_answer(self, position: int, text: str) -> None:
        """Count a row that was answered in this run."""
        self.answered += 1
        self.latest.append((position, text))

    def add_reused(self, reply_time: float) -> None:
        """Count a row that an earlier run answered.

        Args:
            reply_time: Time of the answer in seconds since the epoch.
        """
        self.answered += 1
        self.reused += 1
        oldest_time, newest_time = self.reused_since or (reply_time, reply_time)
        self.reused_since = min(oldest_time, reply_time), max(newest_time, reply_time)

    def add_error(self, position: int, error: GatewayError) -> None:
        """Count a row that failed."""
        self.failed += 1
        error_name = type(error).__name__
        self.errors[error_name] += 1
        self.first_of_kind.setdefault(error_name, error)
        if len(self.first_errors) < _MAX_FULL_ERRORS:
            self.first_errors[position] = error

    def rate(self) -> float:
        """Return the number of rows per second over the last ten seconds."""
        now = time.monotonic()
        recent_counts, count = self._recent_counts, self.done - self.reused
        if not recent_counts or now - recent_counts[-1][0] >= 0.5:  # noqa: PLR2004 - two samples per second
            recent_counts.append((now, count))
        while len(recent_counts) > 2 and now - recent_counts[1][0] > _RATE_WINDOW:  # noqa: PLR2004 - both ends
            recent_counts.popleft()
        start, previous_count = recent_counts[0] if len(recent_counts) > 1 else (self.started, 0)
        return (count - previous_count) / max(now - start, 1e-3)

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until the last row; ``None`` if they cannot be estimated."""
        rate = self.rate()
        return None if self.total is None or rate <= 0 else (self.total - self.done) / rate

    def cost_text(self) -> str:
        """Return the rounded cost of this run, and the number of calls with an unknown price."""
        usage = self.usage
        if usage is None:
            return dollars(Decimal(0))
        return known_and_unpriced(_rounded_cost(usage.cost), usage.unpriced)

    def rows_text(self) -> str:
        """Return the number of finished rows, and the number of all rows if it is known."""
        if self.total is None:
            return counted(self.done, self.unit)
        return f"{self.done:,} of {counted(self.total, self.unit)}"

    def progress_line(self) -> str:
        """Return the state of a running map in one line."""
        seconds_left = self.seconds_left()
        parts = [
            # The most important parts come first, because a terminal cuts the line.
            self.rows_text(),
            *(
                [f"{duration(seconds_left)} left"]
                if seconds_left and self.done > self.reused
                else []
            ),
            f"{self.rate():,.1f} {self.unit}s/s",
            self.cost_text(),
            *([f"{self.failed:,} failed"] if self.failed else []),
            *([f"429s: {self.rate_limited:,}"] if self.rate_limited else []),
            f"{self.in_flight:,} in flight",
            *([f"bound by {self.bound_by}"] if self.bound_by else []),
        ]
        return plain(", ".join(parts))

    def summary_lines(self) -> list[str]:
        """Return a summary of the map: where the answers came from, and the errors."""
        is_complete = self.total in (None, self.answered)
        answers = counted(self.answered, self.unit) if is_complete else self._answered_text()
        parts = [*([f"{self.reused:,} {self._reused_days_text()}"] if self.reused else [])]
        is_replay = 0 < self.replayed == self.asked
        parts += [f"{self.replayed:,} replayed"] if self.replayed else []
        sent_count = self.asked - self.replayed
        has_other_sources = self.reused or self.repeated or self.replayed
        parts += [f"{sent_count:,} asked"] if has_other_sources and not is_replay else []
        parts += [f"{self.repeated:,} equal to another {self.unit}"] if self.repeated else []
        details = f" ({', '.join(parts)})" if parts else ""
        failed_text = f", {self.failed:,} failed" if self.failed else ""
        # The summary of a replay omits times, so that notebook outputs can be compared.
        ending = self.cost_text() + ("." if is_replay else f", {duration(self.seconds)}.")
        lines = [f"{answers} answered{details}{failed_text}, {ending}", *self.error_lines()]
        if self.state == "stopped":
            lines.append(f"Stopped. Run it again to ask about the missing {self.unit}s.")
        return [*map(plain, lines), *([plain(self.problem)] if self.problem else [])]

    def _row_label(self, position: int) -> str:
        name = self.row_name(position)
        return name[:1].upper() + name[1:]

    def error_lines(self) -> list[str]:
        """Return the first errors in full, and the number of errors by class if there are more.

        Errors that the error raised at the end repeats are omitted.
        """
        shown_errors = {
            position: error
            for position, error in sorted(self.first_errors.items())
            if self.failure is None or error.message not in self.failure.message
        }
        lines = [
            shorten(f"{self._row_label(position)}: {type(error).__name__}: {error.describe()}", 300)
            for position, error in shown_errors.items()
        ]
        is_raised = self.failure is not None and len(self.errors) == 1
        if self.failed > len(self.first_errors) and not is_raised:
            counts_text = ", ".join(
                f"{count:,} {name}" for name, count in self.errors.most_common()
            )
            lines.append(f"Errors: {counts_text}.")
        return list(map(plain, lines))

    def _answered_text(self) -> str:
        return f"{self.answered:,} of {counted(self.total or 0, self.unit)}"

    def _reused_days_text(self) -> str:
        oldest_day, newest_day = (
            _day_text(timestamp) for timestamp in self.reused_since or (0.0, 0.0)
        )
        return (
            f"from {newest_day}"
            if oldest_day == newest_day
            else f"from {oldest_day} to {newest_day}"
        )


def duration(seconds: float) -> str:
    """Return a rounded duration, such as ``"0.4 s"``, ``"3 min 5 s"`` or ``"2 h 10 min"``."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, remaining_seconds = divmod(round(seconds), 60)
    if not minutes:
        return f"{remaining_seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {remaining_seconds} s"


def _rounded_cost(cost: Decimal) -> Decimal:
    """Return a cost rounded to cents, or to three digits if it is less than a dollar."""
    return round(cost, max(2, 2 - cost.adjusted())) if cost else cost


def _day_text(timestamp: float) -> str:
    try:
        day = datetime.fromtimestamp(timestamp)  # noqa: DTZ006 - the user's local day
    except (OverflowError, OSError, ValueError):
        return "an unknown day"
    if day.date() == datetime.now().date():  # noqa: DTZ005 - as above
        return "today"
    return f"{day.day} {day:%B}" + (f" {day.year}" if day.year != datetime.now().year else "")  # noqa: DTZ005
