"""Calls several models concurrently with the same prompt."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gatewayx_nb.calls import check_options, prompt_text
from gatewayx_nb.comparisons.comparison import Comparison, Outcome, unique_labels
from gatewayx_nb.concurrency import InterruptibleEvent, forbid_blocking_call, interruptible
from gatewayx_nb.errors import (
    EngineNotFoundError,
    GatewayError,
    ProviderError,
    UsageError,
    with_short_traceback,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator
    from typing import Self

    from gatewayx_nb.calls import CallOptions, PlannedCall, Planner
    from gatewayx_nb.messages import Prompt

_POLL_INTERVAL = 0.2
"""Seconds between polls if nothing is shown.

Polling lets Ctrl-C work on Windows, and enforces deadlines.
"""


class Column:
    """One model's answer, while it streams and when it is complete.

    There is no callback for chunks; a view polls ``partial`` at its own rate.

    Attributes:
        reference: The model reference, exactly as the caller passed it.
        label: A name that is unique among the columns.
        partial: The partial answer; ``None`` if the call could not be planned.
    """

    def __init__(self, reference: str, label: str, call: PlannedCall | GatewayError) -> None:
        self.reference, self.label = reference, label
        self._call = None if isinstance(call, GatewayError) else call
        self.partial = self._call.partial if self._call else None
        self._outcome: Outcome | None = call if isinstance(call, GatewayError) else None
        self._future: concurrent.futures.Future[None] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The reply or the error; ``None`` while the call is running."""
        return self._outcome

    def start(self, wake: Callable[[], object]) -> None:
        """Start the call unless it has started.

        Args:
            wake: Called on the event loop of the call when the call ends, or when it has queued a
                function for the thread that calls `run_pending`.
        """
        if self._call is None or self._outcome is not None or self._future is not None:
            return
        self._call.partial.started = time.monotonic()  # each column's clock starts with its call
        if self._call.caller_thread is not None:
            self._call.caller_thread.serve(wake)
        self._future = self._call.portal.submit(self._run_call(self._call, wake))

    def stop(self) -> None:
        """Cancel the call and close its connection.

        The partial answer is kept, and marked as ``interrupted``.
        """
        if self._call is None or self._outcome is not None:
            return
        # The call is settled first, because a cancelled call settles with an error.
        self._settle(self._call.partial.reply(interrupted=True))
        if self._future is not None:
            self._future.cancel()

    def settle_if_overdue(self) -> None:
        """Settle the call if its event loop is closed, or is still blocked after the deadline."""
        if self._call is None or self._future is None or self._outcome is not None:
            return
        if self._call.portal.loop.is_closed():
            self._settle(self._call.closed_error())
        elif time.monotonic() - self._call.partial.started > self._call.timeout:
            self._settle(self._call.deadline_error())
            self._future.cancel()

    def run_pending(self) -> None:
        """Run the functions that the call has queued for this thread."""
        if self._call is not None and self._call.caller_thread is not None:
            self._call.caller_thread.run_pending()

    async def _run_call(self, call: PlannedCall, wake: Callable[[], object]) -> None:
        try:
            self._settle(await call.run())
        except GatewayError as error:
            self._settle(error)
        except asyncio.CancelledError:
            # If the call was stopped, it is already settled, so this has no effect.
            self._settle(call.closed_error())
            raise
        except Exception as error:  # noqa: BLE001 - a user's engine may raise any exception
            # The error is stored, not raised, because nothing awaits this coroutine.
            self._settle(_unexpected_error(self.label, error))
        except KeyboardInterrupt:
            # The user interrupted a function that the call ran in the caller's thread.
            self._settle(call.partial.reply(interrupted=True))
        finally:
            wake()

    def _settle(self, outcome: Outcome) -> None:
        """Store the outcome, unless an outcome is already stored.

        No lock is needed, because either of two simultaneous outcomes is correct.
        """
        if self._outcome is None:
            self._outcome = outcome


class _WakeSignal:
    """Wakes one waiting thread and one event loop; set from the engines' loops."""

    def __init__(self) -> None:
        self.event = InterruptibleEvent()
        self._loop_event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self) -> None:
        """Wake the waiting thread and event loop."""
        self.event.set()
        event, loop = self._loop_event, self._loop
        if event is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing is waiting
                loop.call_soon_threadsafe(event.set)

    def listen(self) -> asyncio.Event:
        """Return a new event on the current loop, which the next call of `set` sets."""
        self._loop, self._loop_event = asyncio.get_running_loop(), asyncio.Event()
        return self._loop_event


class ComparisonRun:
    """Columns that run concurrently; a failed or stopped column does not affect other columns.

    `start` returns immediately. Wait with `join`, or poll the columns. The running columns are
    cancelled by `stop`, by an exception in `run`, `arun` or the ``with`` block, and when the last
    reference to the run is dropped.

    Args:
        prompt: The prompt.
        columns: The columns.
    """

    def __init__(self, prompt: str, columns: Iterable[Column]) -> None:
        self.prompt = prompt
        self.columns = tuple(columns)
        self._signal = _WakeSignal()

    def start(self) -> None:
        """Start all columns; further calls have no effect."""
        for column in self.columns:
            column.start(self._signal.set)

    def stop(self) -> None:
        """Cancel the running columns; see `Column.stop`."""
        for column in self.columns:
            column.stop()
        self._signal.set()

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
                "some models are still answering, so there is no comparison yet.",
                hint="Wait until they have ended, or call `stop()`.",
            )
        references = tuple(column.reference for column in self.columns)
        return Comparison(self.prompt, references, tuple(outcomes))

    def join(self, seconds: float) -> bool:
        """Wait up to ``seconds`` seconds for all columns to end; return whether they have."""
        forbid_blocking_call("acompare")
        deadline = time.monotonic() + seconds
        while not self._poll() and (remaining := deadline - time.monotonic()) > 0:
            self._signal.event.wait(remaining)
        return self.ended

    async def ajoin(self, seconds: float) -> bool:
        """Wait on an event loop; see `join`."""
        with contextlib.suppress(TimeoutError), interruptible():
            async with asyncio.timeout(seconds):
                while True:
                    # The event is created before the check; otherwise, an end could be missed.
                    event = self._signal.listen()
                    if self._poll():
                        break
                    await event.wait()
        return self.ended

    def run(
        self, on_poll: Callable[[], object] = bool, interval: float = _POLL_INTERVAL
    ) -> Comparison:
        """Start all columns, wait until they have ended, and return the comparison.

        Args:
            on_poll: Called in this thread at the start, then repeatedly until the end; `bool` does
                nothing.
            interval: Seconds between calls of ``on_poll``.

        Raises:
            KeyboardInterrupt: If interrupted with Ctrl-C; its ``comparison`` contains the partial
                answers.
        """
        with self._stop_on_exit():
            self.start()
            on_poll()
            while not self.join(interval):
                on_poll()
            return self.comparison

    async def arun(
        self, on_poll: Callable[[], object] = bool, interval: float = _POLL_INTERVAL
    ) -> Comparison:
        """Run on an event loop; see `run`. Cancelling the task stops all columns."""
        with self._stop_on_exit():
            self.start()
            on_poll()
            while not await self.ajoin(interval):
                on_poll()
            return self.comparison

    @contextlib.contextmanager
    def _stop_on_exit(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            self.stop()
            interrupt.comparison = self.comparison  # type: ignore[union-attr]
            raise with_short_traceback(interrupt) from None
        finally:
            self.stop()  # even if `on_poll` raises; no effect on columns that have ended

    def _poll(self) -> bool:
        for column in self.columns:
            column.run_pending()
            column.settle_if_overdue()
        return self.ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __del__(self) -> None:
        # Dropping the last reference, as in `del run`, must stop running calls, which cost money.
        for column in getattr(self, "columns", ()):  # missing if `__init__` failed
            column.stop()


def plan_comparison(
    planner: Planner, prompt: Prompt, models: str | Iterable[str], options: CallOptions
) -> ComparisonRun:
    """Prepare a comparison without sending anything.

    Args:
        planner: Plans the call to each model.
        prompt: The prompt, as a string or a list of messages.
        models: The references of the models; a repeated reference is called once per occurrence.
        options: The options of every call.

    Raises:
        UsageError: If ``models`` is empty, or the options are invalid.
        EngineNotFoundError: If a reference names an unknown engine (probably a typo).
    """
    normalized_options = check_comparison_options(options)
    references = _check_references(models)
    _check_engines(planner, references)
    # A model that cannot be called becomes a column with its error.
    columns = []
    for reference, label in zip(references, unique_labels(references), strict=True):
        call: PlannedCall | GatewayError
        try:
            call = planner.plan(prompt, {**normalized_options, "model": reference}, streamed=True)
        except UsageError:  # invalid options, rather than the outcome of one model
            raise
        except GatewayError as error:
            call = error
        columns.append(Column(reference, label, call))
    return ComparisonRun(prompt_text(prompt), columns)


def check_comparison_options(options: CallOptions) -> CallOptions:
    """Return the normalized options of a comparison.

    Raises:
        UsageError: If an option is unknown, invalid, or supported only for a single model.
    """
    for name, (message, hint) in _SINGLE_MODEL_OPTIONS.items():
        if options.get(name):
            raise UsageError(message, hint=hint)
    return check_options(options)


def _check_engines(planner: Planner, references: Iterable[str]) -> None:
    """Check all references before the first call, so that a misspelt name costs nothing."""
    error_by_reference: dict[str, EngineNotFoundError] = {}
    for reference in references:
        try:
            planner.check_reference(reference)
        except EngineNotFoundError as error:
            error_by_reference[reference] = error
    if len(error_by_reference) == 1:
        raise next(iter(error_by_reference.values()))
    if error_by_reference:
        raise EngineNotFoundError(
            f"there are no engines for {', '.join(map(repr, error_by_reference))}.",
            hint=Hint("list_engines"),
        )


def _unexpected_error(label: str, error: Exception) -> ProviderError:
    """Return the error for an unexpected exception.

    The exception's message is omitted, because it may contain a key.
    """
    failure = ProviderError(
        f"the call to {label!r} raised {type(error).__name__}.",
        hint="Call that model alone to see the traceback.",
    )
    failure.__cause__ = error
    return failure


def _check_references(models: Iterable[str]) -> tuple[str, ...]:
    is_single = isinstance(models, str) or not isinstance(models, Iterable)
    references: tuple[object, ...] = (models,) if is_single else tuple(models)
    if not references or not all(
        isinstance(reference, str) and reference for reference in references
    ):
        raise UsageError(
            f"models must be one or more references, got {short_repr(models)}.",
            hint='For example, `compare("…", models=["grok", "local"])`.',
        )
    return tuple(map(str, references))


_SINGLE_MODEL_OPTIONS = {
    "model": (
        "a comparison does not take `model`. Did you mean `models`?",
        "List all models in `models=[…]`.",
    ),
    "chat": (
        "a comparison cannot join a conversation: several answers cannot all be its next turn.",
        "Omit `chat`, or ask one model.",
    ),
    "fallback": (
        "a comparison does not take `fallback`: an answer would appear under another model's name.",
        "Omit `fallback`, and add that model to the comparison.",
    ),
}
