"""Questions that are answered in the background, by name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from gatewayx_nb.errors import DeadlineError, GatewayError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayx_nb.comparisons import Comparison, Outcome, Race
    from gatewayx_nb.messages import Reply

State = Literal["running", "done", "failed", "cancelled"]

_LOOK = 0.2
"""Seconds between looks while a thread waits, for Ctrl-C on Windows."""


class Job:
    """A question to one model or several that answer while the notebook goes on.

    Args:
        name: Its name.
        race: The models; it is started here.

    Attributes:
        name: Its name.
    """

    def __init__(self, name: str, race: Race) -> None:
        self.name = name
        self._race = race
        self._began = time.monotonic()
        self._took: float | None = None
        self._cancelled = False
        race.start()

    @property
    def references(self) -> tuple[str, ...]:
        """Who is asked."""
        return tuple(column.reference for column in self._race.columns)

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._race.ended

    @property
    def state(self) -> State:
        """How it stands; ``"failed"`` where no model answered."""
        if self._cancelled:
            return "cancelled"
        if not self.done:
            return "running"
        failed = [isinstance(one, GatewayError) for one in self._race.comparison]
        return "failed" if all(failed) else "done"

    @property
    def seconds(self) -> float:
        """How long it has run."""
        if self._took is None and self.done:
            self._took = time.monotonic() - self._began
        return time.monotonic() - self._began if self._took is None else self._took

    def result(self, timeout: float | None = None) -> Reply | Comparison:
        """Wait for the answer: a reply, or of several models their comparison.

        Ctrl-C ends the waiting, not the job. What had come of a job that was cancelled is its
        answer, ``interrupted``.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            DeadlineError: It runs still.
            GatewayError: The model that was asked failed.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._race.join(_LOOK):
            if end is not None and time.monotonic() >= end:
                raise DeadlineError(
                    f"job {self.name!r} still runs, after {self.seconds:.0f} s.",
                    mend=f"Wait longer: `{self.name}.result()`; or `%gatewayx cancel {self.name}`.",
                )
        compared = self._race.comparison
        return compared if len(compared) > 1 else _one(compared[0])

    def cancel(self) -> bool:
        """Stop what still runs and close its connections; tell whether anything did."""
        if self.done:
            return False
        self._cancelled = True
        self._race.stop()
        return True

    @override
    def __repr__(self) -> str:
        return f"Job({self.name!r}, {' '.join(self.references)}, {self.state})"


class Jobs:
    """The jobs of a notebook, the oldest first."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def start(self, name: str | None, race: Callable[[], Race]) -> Job:
        """Start a job; without a name it gets one.

        Raises:
            UsageError: A job of that name still runs.
        """
        name = name or self._free()
        self.check(name)
        job = self._jobs[name] = Job(name, race())
        return job

    def check(self, name: str) -> None:
        """Refuse a name under which a job still runs.

        Raises:
            UsageError: There is one.
        """
        known = self._jobs.get(name)
        if known is not None and not known.done:
            raise UsageError(
                f"a job {name!r} still runs.",
                mend=f"Stop it: `%gatewayx cancel {name}`; or give this one another name: `-o`.",
            )

    def known(self, name: str) -> Job:
        """Give the job of a name.

        Raises:
            UsageError: There is none.
        """
        if name not in self._jobs:
            raise UsageError(
                f"no job {name!r}.{nearest(name, self._jobs)}",
                mend="`%gatewayx jobs` lists them; `%%gatewayx REF --bg` starts one.",
            )
        return self._jobs[name]

    def close(self) -> None:
        """Cancel all."""
        for job in self:
            job.cancel()

    def _free(self) -> str:
        number = len(self._jobs) + 1
        while f"job{number}" in self._jobs:
            number += 1
        return f"job{number}"

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))


def _one(outcome: Outcome) -> Reply:
    if isinstance(outcome, GatewayError):
        raise outcome
    return outcome
