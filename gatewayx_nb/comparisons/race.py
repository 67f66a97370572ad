"""Several models that answer one prompt at once, each at its own pace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

from gatewayx_nb.comparisons.comparison import Comparison, Outcome, labelled
from gatewayx_nb.errors import GatewayError, ProviderError, UsageError, in_one_line
from gatewayx_nb.portal import Gate, forbid_here, open_to_stop

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from gatewayx_nb.messages import Reply
    from gatewayx_nb.portal import Portal

_LOOK = 0.2
"""Seconds between looks while nothing is shown: for Ctrl-C on Windows, and for deadlines."""


class Progress(Protocol):
    """What has arrived of an answer, growing on another thread; each field is set whole."""

    engine: str
    model: str
    text: list[str]
    reasoning: list[str]
    started: float
    at_once: bool

    @property
    def waiting(self) -> Any:  # noqa: ANN401 - why it waits before it is sent again, or None
        """Why it waits, as ``.error``, and ``.until`` when; or ``None``."""
        ...

    @property
    def begun(self) -> bool:
        """Whether some of it is there."""
        ...

    def reply(self, *, interrupted: bool = False) -> Reply:
        """Give what has arrived as a reply."""
        ...


class Call(Protocol):
    """What a column runs; a pool plans it."""

    @property
    def portal(self) -> Portal:
        """The loop on which it runs."""
        ...

    @property
    def tally(self) -> Progress:
        """What has arrived."""
        ...

    @property
    def patience(self) -> float:
        """Seconds to wait for it."""
        ...

    async def run(self) -> Reply:
        """Make the call."""
        ...

    def closed(self) -> GatewayError:
        """Make the error of a call whose pool was closed."""
        ...

    def too_late(self) -> GatewayError:
        """Make the error of a call that took too long."""
        ...


class Column:
    """One model's answer, while it comes and when it is there.

    Nothing is handed over chunk by chunk: whoever shows it looks at ``tally`` as often as it likes.

    Attributes:
        reference: Who is asked, as it was named.
        label: A name of its own beside the others.
        tally: What has arrived; ``None`` where the call could not be made.
    """

    def __init__(self, reference: str, label: str, call: Call | GatewayError) -> None:
        self.reference, self.label = reference, label
        self._call = None if isinstance(call, GatewayError) else call
        self.tally = self._call.tally if self._call else None
        self._outcome: Outcome | None = call if isinstance(call, GatewayError) else None
        self._running: concurrent.futures.Future[None] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The reply or the error; ``None`` until it is there."""
        return self._outcome

    def start(self, told: Callable[[], object]) -> None:
        """Send it, once; ``told`` is called, on the call's loop, when there is an outcome."""
        if self._call is None or self._outcome is not None or self._running is not None:
            return
        self._call.tally.started = time.monotonic()  # all columns count from when they are sent
        self._running = self._call.portal.submit(self._run(self._call, told))

    def stop(self) -> None:
        """Cancel it and close its connection; what had come is the outcome, ``interrupted``."""
        if self._call is None or self._outcome is not None:
            return
        self._settle(self._call.tally.reply(interrupted=True))
        if self._running is not None:
            self._running.cancel()

    def check(self) -> None:
        """Give up where the call's loop is blocked by code of others, or was closed."""
        if self._call is None or self._running is None or self._outcome is not None:
            return
        if self._call.portal.loop.is_closed():
            self._settle(self._call.closed())
        elif time.monotonic() - self._call.tally.started > self._call.patience:
            self._settle(self._call.too_late())
            self._running.cancel()

    async def _run(self, call: Call, told: Callable[[], object]) -> None:
        try:
            self._settle(await call.run())
        except GatewayError as error:
            self._settle(error)
        except asyncio.CancelledError:
            self._settle(call.closed())  # unless it was stopped: then it is settled
            raise
        except Exception as error:  # noqa: BLE001 - an engine of the user's may raise anything
            self._settle(_strange(self.label, error))
        finally:
            told()

    def _settle(self, outcome: Outcome) -> None:
        """Keep the first outcome. No lock: where two come at once, either is true."""
        if self._outcome is None:
            self._outcome = outcome


class _Bell:
    """Rung on an engine's loop when a column has ended; heard by one thread, and by one loop."""

    def __init__(self) -> None:
        self.gate = Gate()
        self._news: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ring(self) -> None:
        """Wake who waits."""
        self.gate.open()
        news, loop = self._news, self._loop
        if news is not None and loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

    def listen(self) -> asyncio.Event:
        """Give what is set, on the current loop, with the next ring."""
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        return self._news


class Race:
    """Columns that run at once; one that fails or is stopped leaves the others alone.

    `start` returns at once. `join` waits; or look at the columns whenever something is shown.
    Leaving it early, by `stop`, by an exception or by dropping the last reference to it, cancels
    what still runs.

    Args:
        prompt: What is asked.
        columns: Who is asked.
    """

    def __init__(self, prompt: str, columns: Iterable[Column]) -> None:
        self.prompt = prompt
        self.columns = tuple(columns)
        self._bell = _Bell()

    def start(self) -> None:
        """Send all, once."""
        for column in self.columns:
            column.start(self._bell.ring)

    def stop(self) -> None:
        """Cancel what runs; see `Column.stop`."""
        for column in self.columns:
            column.stop()
        self._bell.ring()

    @property
    def ended(self) -> bool:
        """Whether every column has its outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes of all columns.

        Raises:
            UsageError: Some have not ended.
        """
        outcomes = [column.outcome for column in self.columns if column.outcome is not None]
        if len(outcomes) < len(self.columns):
            raise UsageError(
                "some models still answer, so that there is no comparison yet.",
                mend="Wait until they have ended, or `stop()` them.",
            )
        references = tuple(column.reference for column in self.columns)
        return Comparison(self.prompt, references, tuple(outcomes))

    def join(self, seconds: float) -> bool:
        """Wait on this thread until all have ended, so long at most; tell whether they have."""
        forbid_here("acompare")
        end = time.monotonic() + seconds
        while not self._look() and (left := end - time.monotonic()) > 0:
            self._bell.gate.passed(left)
        return self.ended

    async def ajoin(self, seconds: float) -> bool:
        """Wait on an event loop; see `join`."""
        with contextlib.suppress(TimeoutError), open_to_stop():
            async with asyncio.timeout(seconds):
                while True:
                    news = self._bell.listen()
                    if self._look():
                        break
                    await news.wait()
        return self.ended

    def run(self, look: Callable[[], object] = bool, every: float = _LOOK) -> Comparison:
        """Start, wait until all have ended, and give the comparison.

        Args:
            look: Called by this thread at the start, and again and again until then.
            every: Seconds between.

        Raises:
            KeyboardInterrupt: It was stopped; its ``comparison`` holds what had come.
        """
        with self._stopping():
            self.start()
            look()
            while not self.join(every):
                look()
            return self.comparison

    async def arun(self, look: Callable[[], object] = bool, every: float = _LOOK) -> Comparison:
        """Start and wait on an event loop; see `run`. A cancelled wait stops all columns."""
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
            raise in_one_line(stop) from None
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


def line_up(
    prompt: str, references: Iterable[str], plan: Callable[[str], Call], **options: object
) -> Race:
    """Give a race that is ready to start.

    Args:
        prompt: What is asked.
        references: Who is asked; one that is named twice is asked twice.
        plan: Gives the call to one of them, with nothing sent yet.
        **options: The keywords of the calls, to refuse what makes no sense for several.

    Raises:
        UsageError: Nobody is asked, or the calls are wrong whoever is asked.
    """
    given = _references(references)
    _refuse(options)
    columns = []
    for reference, label in zip(given, labelled(given), strict=True):
        try:
            columns.append(Column(reference, label, plan(reference)))
        except UsageError:
            raise
        except GatewayError as error:
            columns.append(Column(reference, label, error))
    return Race(prompt, columns)


def _strange(label: str, error: Exception) -> ProviderError:
    """Make the error of a column that failed otherwise than calls do; its words may hold a key."""
    failure = ProviderError(
        f"asking {label!r} raised {type(error).__name__}.",
        mend="Ask it alone to see where.",
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
            mend='For instance `compare("…", models=["grok", "local"])`.',
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
    for name, (what, mend) in _MEANINGLESS.items():
        if options.get(name):
            raise UsageError(what, mend=mend)
