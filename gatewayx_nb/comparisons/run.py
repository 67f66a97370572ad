"""Concurrent calls of several models with one prompt."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from gatewayx_nb.comparisons.comparison import Comparison, Outcome, unique_labels
from gatewayx_nb.concurrency import InterruptibleEvent, forbid_blocking_call, interruptible
from gatewayx_nb.errors import GatewayError, ProviderError, UsageError, with_short_traceback

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.replies import Reply

_LOOK = 0.2
"""Seconds between polls while nothing is shown: for Ctrl-C on Windows, and for deadlines."""


class Progress(Protocol):
    """The partial answer, which another thread updates; each field is set atomically."""

    engine: str
    model: str
    text: list[str]
    reasoning: list[str]
    started: float
    instant: bool

    @property
    def pending_retry(self) -> Any:  # noqa: ANN401 - why it waits before a retry, or None
        """The pending retry, as ``.error`` and ``.until``; or ``None``."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether any of the answer has arrived."""
        ...

    def reply(self, *, interrupted: bool = False) -> Reply:
        """Return the partial answer as a reply."""
        ...


class _ColumnCall(Protocol):
    """The call of a column, as planned by a pool."""

    @property
    def portal(self) -> Portal:
        """The event loop on which it runs."""
        ...

    @property
    def partial(self) -> Progress:
        """The partial answer."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds to wait for the call."""
        ...

    async def run(self) -> Reply:
        """Make the call."""
        ...

    def closed_error(self) -> GatewayError:
        """Return the error for a call whose pool was closed."""
        ...

    def deadline_error(self) -> GatewayError:
        """Return the error for a call that timed out."""
        ...


class Column:
    """One model's answer, while it streams and when it is complete.

    Chunks trigger no callback: a view polls ``tally`` at its own rate.

    Attributes:
        reference: The reference as passed.
        label: Unique name among the columns.
        tally: The partial answer; ``None`` if the call could not be planned.
    """

    def __init__(self, reference: str, label: str, call: _ColumnCall | GatewayError) -> None:
        self.reference, self.label = reference, label
        self._call = None if isinstance(call, GatewayError) else call
        self.partial = self._call.partial if self._call else None
        self._outcome: Outcome | None = call if isinstance(call, GatewayError) else None
        self._running: concurrent.futures.Future[None] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The reply or the error; ``None`` while the call is running."""
        return self._outcome

    def start(self, told: Callable[[], object]) -> None:
        """Start the call, once; ``told`` is called on the call's loop when it has ended."""
        if self._call is None or self._outcome is not None or self._running is not None:
            return
        self._call.partial.started = time.monotonic()  # each column's clock starts when it is sent
        self._running = self._call.portal.submit(self._run(self._call, told))

    def stop(self) -> None:
        """Cancel the call and close its connection; keep the partial answer, ``interrupted``."""
        if self._call is None or self._outcome is not None:
            return
        self._settle(self._call.partial.reply(interrupted=True))
        if self._running is not None:
            self._running.cancel()

    def check(self) -> None:
        """Settle the call if its loop is closed, or blocked by third-party code."""
        if self._call is None or self._running is None or self._outcome is not None:
            return
        if self._call.portal.loop.is_closed():
            self._settle(self._call.closed_error())
        elif time.monotonic() - self._call.partial.started > self._call.timeout:
            self._settle(self._call.deadline_error())
            self._running.cancel()

    async def _run(self, call: _ColumnCall, told: Callable[[], object]) -> None:
        try:
            self._settle(await call.run())
        except GatewayError as error:
            self._settle(error)
        except asyncio.CancelledError:
            self._settle(call.closed_error())  # no effect if it was stopped: it is settled then
            raise
        except Exception as error:  # noqa: BLE001 - a user's engine may raise anything
            self._settle(_strange(self.label, error))
        finally:
            told()

    def _settle(self, outcome: Outcome) -> None:
        """Keep the first outcome. No lock: of two concurrent outcomes either is correct."""
        if self._outcome is None:
            self._outcome = outcome


class _Signal:
    """Signal from the engines' loops that a column has ended, for one thread and one loop."""

    def __init__(self) -> None:
        self.gate = InterruptibleEvent()
        self._news: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self) -> None:
        """Wake the waiting thread and loop."""
        self.gate.set()
        news, loop = self._news, self._loop
        if news is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

    def listen(self) -> asyncio.Event:
        """Return an event of the current loop that the next ring sets."""
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        return self._news


class ComparisonRun:
    """Columns that run concurrently; one that fails or is stopped does not affect the others.

    `start` returns immediately. Wait with `join`, or poll the columns. Leaving a race early, by
    `stop`, by an exception or by dropping the last reference to it, cancels the running columns.

    Args:
        prompt: The prompt.
        columns: The columns.
    """

    def __init__(self, prompt: str, columns: Iterable[Column]) -> None:
        self.prompt = prompt
        self.columns = tuple(columns)
        self._bell = _Signal()

    def start(self) -> None:
        """Start all columns, once."""
        for column in self.columns:
            column.start(self._bell.set)

    def stop(self) -> None:
        """Cancel the running columns; see `Column.stop`."""
        for column in self.columns:
            column.stop()
        self._bell.set()

    @property
    def ended(self) -> bool:
        """Whether every column has an outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes of all columns.

        Raises:
            UsageError: If a column is still running.
        """
        outcomes = [column.outcome for column in self.columns if column.outcome is not None]
        if len(outcomes) < len(self.columns):
            raise UsageError(
                "some models still answer, so that there is no comparison yet.",
                hint="Wait until they have ended, or `stop()` them.",
            )
        references = tuple(column.reference for column in self.columns)
        return Comparison(self.prompt, references, tuple(outcomes))

    def join(self, seconds: float) -> bool:
        """Block until all columns have ended, for at most ``seconds``; return whether they have."""
        forbid_blocking_call("acompare")
        end = time.monotonic() + seconds
        while not self._look() and (left := end - time.monotonic()) > 0:
            self._bell.gate.wait(left)
        return self.ended

    async def ajoin(self, seconds: float) -> bool:
        """Wait on an event loop; see `join`."""
        with contextlib.suppress(TimeoutError), interruptible():
            async with asyncio.timeout(seconds):
                while True:
                    news = self._bell.listen()
                    if self._look():
                        break
                    await news.wait()
        return self.ended

    def run(self, look: Callable[[], object] = bool, every: float = _LOOK) -> Comparison:
        """Start the race, wait until all columns have ended, and return the comparison.

        Args:
            look: Called in this thread at the start, then repeatedly until the end.
            every: Seconds between calls of ``look``.

        Raises:
            KeyboardInterrupt: If stopped; its ``comparison`` holds the partial answers.
        """
        with self._stopping():
            self.start()
            look()
            while not self.join(every):
                look()
            return self.comparison

    async def arun(self, look: Callable[[], object] = bool, every: float = _LOOK) -> Comparison:
        """Run on an event loop; see `run`. Cancelling the task stops all columns."""
        with self._stopping():
            self.start()
            look()
            while not await self.ajoin(every):
                look()
            return self.comparison

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, asyncio.CancelledError) as stop:
            self.stop()
            stop.comparison = self.comparison  # type: ignore[union-attr]
            raise with_short_traceback(stop) from None
        finally:
            self.stop()

    def _look(self) -> bool:
        for column in self.columns:
            column.check()
        return self.ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __del__(self) -> None:
        for column in getattr(self, "columns", ()):
            column.stop()


def plan_comparison(
    prompt: str, references: Iterable[str], plan: Callable[[str], _ColumnCall], **options: object
) -> ComparisonRun:
    """Return a race that is ready to start.

    Args:
        prompt: The prompt.
        references: The models to call; a repeated reference is called repeatedly.
        plan: Returns the call for a reference, without sending anything.
        **options: The calls' keywords, to reject those that are invalid for several models.

    Raises:
        UsageError: If ``references`` is empty, or the calls are invalid for every model.
    """
    given = _references(references)
    _refuse(options)
    columns = []
    for reference, label in zip(given, unique_labels(given), strict=True):
        try:
            columns.append(Column(reference, label, plan(reference)))
        except UsageError:
            raise
        except GatewayError as error:
            columns.append(Column(reference, label, error))
    return ComparisonRun(prompt, columns)


def _strange(label: str, error: Exception) -> ProviderError:
    """Return the error for an unexpected exception, whose message may contain a key."""
    failure = ProviderError(
        f"asking {label!r} raised {type(error).__name__}.",
        hint="Ask it alone to see where.",
    )
    failure.__cause__ = error
    return failure


def _references(given: Iterable[str]) -> tuple[str, ...]:
    found: tuple[object, ...] = (given,)
    if not isinstance(given, str):
        found = tuple(given)
    if not found or not all(isinstance(reference, str) and reference for reference in found):
        raise UsageError(
            f"models is {given!r}; expected references.",
            hint='For instance `compare("…", models=["grok", "local"])`.',
        )
    return tuple(map(str, found))


_MEANINGLESS = {
    "model": ("a comparison takes no `model`.", "Name all of them in `models=[…]`."),
    "chat": (
        "a comparison joins no conversation: which of its answers would be the next turn?",
        "Leave `chat` out, or ask one model.",
    ),
    "fallback": (
        "a comparison takes no fallback: one model's answer would stand under another's name.",
        "Leave `fallback` out, and name that model beside the others.",
    ),
}


def _refuse(options: dict[str, object]) -> None:
    for name, (what, hint) in _MEANINGLESS.items():
        if options.get(name):
            raise UsageError(what, hint=hint)
