"""Defines the values that are stored for a job and its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal, get_args

from gatewayx_nb.text import well_formed

JobState = Literal["running", "submitted", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The answer to one row, or the error with which it failed.

    Attributes:
        key: The key that identifies the row in its job: a signed 64-bit integer.
        content: The encoded answer or error, which the store does not interpret; at most 64 MB.
        outcome: ``"ok"``, or the name of the error's class.
        retry: Whether the row failed for a temporary reason, so that the next run sends it again.
        at: Time of the answer in seconds since the epoch.
    """

    key: int
    content: bytes
    outcome: str = "ok"
    retry: bool = False
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class JobFigures:
    """The progress and the totals of a job, over all of its runs.

    Attributes:
        state: The last stored state. A job whose process was killed is still ``"running"``; a job
            whose rows are in a provider's batches is ``"submitted"``.
        total: Number of rows; ``None`` if not known yet.
        done: Number of rows with an answer.
        failed: Number of rows with an error.
        asked: Number of distinct rows that were sent, over all runs.
        cost: Cost in US dollars.
        unpriced: Number of calls that used tokens whose number or price is unknown.
        input_tokens: Input tokens.
        output_tokens: Output tokens.
        seconds: Total running time in seconds.
        problem: Why the job ended early, in one line.
    """

    state: JobState = "running"
    total: int | None = None
    done: int = 0
    failed: int = 0
    asked: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    problem: str = ""

    def to_json(self) -> str:
        """Return the figures as JSON."""
        # Not `asdict`, which copies each value: this runs for every commit of a map.
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**values, "cost": str(self.cost)})

    @classmethod
    def from_json(cls, text: object) -> JobFigures:
        """Parse figures from JSON; an invalid value is replaced by its default."""
        values = parse_object(text)
        defaults = {item.name: item.default for item in fields(cls)}
        return cls(
            **{name: _valid_or_default(name, values.get(name), defaults[name]) for name in defaults}
        )


def _valid_or_default(name: str, value: Any, default: Any) -> Any:  # noqa: ANN401
    if name == "state":
        return value if value in get_args(JobState) else default
    if name == "problem":
        return well_formed(value) if isinstance(value, str) else default
    if name == "cost":
        return _cost(value)
    number_types = (int, float) if name == "seconds" else (int,)
    is_number = type(value) in number_types and 0 <= value < 2**63  # false for NaN
    return value if is_number else default


def _cost(value: object) -> Decimal:
    try:
        cost = Decimal(str(value))
    except ArithmeticError:
        return Decimal(0)
    return cost if cost.is_finite() and cost >= 0 else Decimal(0)


def parse_object(text: object) -> dict[str, Any]:
    """Parse a JSON object; return an empty dict if the text is not a JSON object."""
    try:
        value = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in the file.

    Attributes:
        id: Number of the job; the file never uses it for another job.
        digest: Digest of the job's model, prompt, options and schema, which identifies it.
        name: Name of the job; may be empty.
        definition: The values from which the digest was computed, by name.
        created: Time of the first run in seconds since the epoch.
        last_used: Time of the last run.
        figures: The progress and the totals.
        driver: The process that last ran the job, such as ``"process 123 on host"``.
        is_running: Whether a process is running the job.
    """

    id: int
    digest: bytes
    name: str
    definition: dict[str, str] = field(default_factory=dict)
    created: float = 0.0
    last_used: float = 0.0
    figures: JobFigures = field(default_factory=JobFigures)
    driver: str = ""
    is_running: bool = False


def parse_time(value: object) -> float:
    """Return a stored time; 0 if the value is not a time."""
    is_time = isinstance(value, int | float) and abs(value) < 1e12  # noqa: PLR2004 - false for NaN
    return float(value) if is_time else 0.0  # type: ignore[arg-type]
