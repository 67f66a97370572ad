"""An answer shown while it comes: one growing display in a notebook, plain text in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gatewayx_nb import forms
from gatewayx_nb.display.throttle import Throttle
from gatewayx_nb.errors import GatewayError, in_one_line
from gatewayx_nb.rendering import plain, reply_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayx_nb.comparisons import Progress
    from gatewayx_nb.engine_pool import AsyncReplyStream, ReplyStream
    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.forms import Form
    from gatewayx_nb.messages import Reply

_SHARE = 10
"""An update is followed by at least so many times its own cost: that is a tenth of a core."""

_BEAT = 0.1
"""Seconds between beats of an awaited cell: a kernel notices Stop only when its loop wakes."""


class View(Protocol):
    """Where an answer is shown."""

    @property
    def waits(self) -> bool:
        """Whether it says that an answer is awaited, which in the end it must take back."""
        ...

    def update(self, tally: Tally) -> None:
        """Show what has arrived, if the last update is long enough ago."""

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show the whole answer, and its figures."""


class QuietView:
    """Shows nothing."""

    waits = False

    def update(self, tally: Tally) -> None:
        """Show nothing."""

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show nothing."""


class Output:
    """One place in a cell's output, updated in place.

    Args:
        clock: Gives seconds that never go back.
        share: An update is followed by at least so many times its own cost.

    Attributes:
        shown: Whether anything was shown there.
        throttle: How often it may be updated.
    """

    def __init__(self, clock: Callable[[], float], share: int = _SHARE) -> None:
        from IPython.display import DisplayHandle

        self.shown = False
        self.throttle = Throttle(clock, share)
        self._handle = DisplayHandle()

    def show(self, text: str, html: str) -> None:
        """Show it, in the place of what was shown before."""
        show = self._handle.update if self.shown else self._handle.display
        self.shown = True
        self.throttle.length = len(html)
        show({"text/plain": text, "text/html": html}, raw=True)


class WholeView:
    """Shows an answer when it is whole.

    Args:
        view: Where it is shown.
    """

    waits = False

    def __init__(self, view: View) -> None:
        self._view = view

    def update(self, tally: Tally) -> None:
        """Show nothing yet."""

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show the whole answer, and its figures."""
        self._view.finish(reply, mark)


class PartialView(WholeView):
    """Shows an answer only if it does not come to its end; else the cell's value shows it."""

    @override
    def finish(self, reply: Reply, mark: str = "") -> None:
        if mark:
            super().finish(reply, mark)


class NotebookView:
    """One display, updated in place, so that a notebook saves the answer once.

    Args:
        clock: Gives seconds that never go back.
        form: How the answer is shown.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, form: Form = "markdown"
    ) -> None:
        self._output = Output(clock)
        self._form = form
        self._growing = forms.growing(form)
        self._state: tuple[int, str] | None = None

    @property
    def waits(self) -> bool:
        """Whether it says that an answer is awaited."""
        return self._output.shown

    def update(self, tally: Tally) -> None:
        """Show what has arrived, if there is news and the last update is long enough ago.

        What is played back at once is shown once, at its end: notebook tests see no update.
        """
        if tally.at_once:
            return
        state = (len(tally.text) + len(tally.reasoning), waiting(tally))
        if self._output.throttle.is_due and state != self._state:
            with self._output.throttle.timed():
                text, thoughts = "".join(tally.text), "".join(tally.reasoning)
                body = self._growing(text) if text else ""
                page = reply_html(text, status=state[1], reasoning=thoughts, body=body)
                self._output.show(text, page)
                self._state = state

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show the whole answer, and its figures."""
        shown, line = forms.show(self._form, reply), figures(reply, mark)
        page = reply_html(reply.text, line, reasoning=reply.reasoning, body=shown.page)
        self._output.show(shown.text, page)


class TerminalView:
    """Plain text, written as it comes; code, JSON and tables at the end, in their form.

    Args:
        form: How the answer is shown.
    """

    waits = False

    def __init__(self, form: Form = "markdown") -> None:
        self._form = form
        self._comes = form in ("markdown", "text")
        self._pieces = 0
        self._length = 0

    def update(self, tally: Tally) -> None:
        """Write what came since the last time."""
        if not self._comes:
            return
        pieces = tally.text[self._pieces :]
        self._pieces += len(pieces)
        text = "".join(pieces)
        self._length += len(text)
        sys.stdout.write(plain(text))
        sys.stdout.flush()

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Write the rest of the text, and its figures."""
        text = reply.text if self._comes else forms.show(self._form, reply).text
        rest = plain(text[self._length :])
        sys.stdout.write(f"{rest}\n[{plain(figures(reply, mark))}]\n")
        sys.stdout.flush()


def figures(reply: Reply, mark: str = "") -> str:
    """Give the line under an answer: model, seconds, tokens, cost, and what was unusual.

    An answer of which nothing came has neither tokens nor a cost to tell.
    """
    parts = [f"{reply.engine}:{reply.model}" if reply.model else reply.engine, _seconds(reply)]
    if reply.time_to_first is not None or not reply.interrupted:
        usage = reply.usage
        parts.append(
            f"{_or_unknown(usage.input_tokens)} in, {_or_unknown(usage.output_tokens)} out"
        )
        parts.append("unpriced" if reply.cost is None else f"${reply.cost.normalize():f}")
    if reply.attempts > 1:
        parts.append(f"{reply.attempts} attempts")
    if reply.fallback_from:
        parts.append(f"instead of {reply.fallback_from}")
    if reply.finish_reason == "length":
        parts.append("cut at max tokens")
    if reply.replayed:
        parts.append("replayed")
    if mark:
        parts.append(mark)
    return " · ".join(parts)


def read(stream: ReplyStream, view: View) -> Reply:
    """Show a stream while it comes, and give its reply; Ctrl-C stops it and keeps what came.

    Raises:
        KeyboardInterrupt: It was stopped, after what had come was shown.
        GatewayError: The call failed, after what had come was shown.
    """
    tally = stream.tally  # for a stream that held itself would not be dropped
    stream.idle = lambda: view.update(tally)
    try:
        with stream:
            view.update(tally)
            for _ in stream:
                view.update(tally)
            return _finished(stream, view)
    except KeyboardInterrupt:
        with undisturbed():
            raise _stopped(stream, view) from None
    except GatewayError:
        _broken(tally, view)
        raise


async def aread(stream: AsyncReplyStream, view: View) -> Reply:
    """Show a stream while it comes, on an event loop; see `read`."""
    beat = asyncio.ensure_future(_beat(stream.tally, view))
    try:
        async with stream:
            async for _ in stream:
                view.update(stream.tally)
            return _finished(stream, view)
    except asyncio.CancelledError:
        uncancel()
        raise _stopped(stream, view) from None
    except GatewayError:
        _broken(stream.tally, view)
        raise
    finally:
        beat.cancel()


async def _beat(tally: Tally, view: View) -> None:
    while True:
        view.update(tally)
        await asyncio.sleep(_BEAT)


def _finished(stream: ReplyStream | AsyncReplyStream, view: View) -> Reply:
    reply = stream.reply
    view.finish(reply)
    return reply


def _stopped(stream: ReplyStream | AsyncReplyStream, view: View) -> KeyboardInterrupt:
    """Close a stream, show what came, and give the exception, which shows as one line."""
    stream.close()
    view.finish(stream.reply, "interrupted")
    return in_one_line(KeyboardInterrupt())


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Pass over Stop while one is being obeyed: showing a long answer for the last time takes long.

    Signals come to the main thread only, and only there may their handler be set. An awaited cell
    needs none of this, for its kernel counts the first press alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _broken(tally: Tally, view: View) -> None:
    """Show what had come before a call failed, and no longer that it is awaited."""
    if tally.begun:
        view.finish(tally.reply(interrupted=True), "broken off")
    elif view.waits:
        view.finish(tally.reply(interrupted=True), "failed")


def uncancel() -> None:
    """Take the kernel's cancellation back: from here on it is a KeyboardInterrupt."""
    task = asyncio.current_task()
    if task is not None:
        with contextlib.suppress(RuntimeError):
            task.uncancel()


def waiting(tally: Progress) -> str:
    """Say what a call waits for."""
    seconds = time.monotonic() - tally.started
    name = f"{tally.engine}:{tally.model}" if tally.model else tally.engine
    if tally.waiting:
        left = max(0.0, tally.waiting.until - time.monotonic())
        return f"{name} · {tally.waiting.error.what} Trying again in {left:.0f} s"
    return f"{name} · {seconds:.0f} s" + ("" if tally.begun else ", waiting")


def _seconds(reply: Reply) -> str:
    """Tell how long it took, and until its first word where that differs."""
    whole = f"{reply.latency:.1f} s"
    first = whole if reply.time_to_first is None else f"{reply.time_to_first:.1f} s"
    return whole if first == whole else f"{whole}, first after {first}"


def _or_unknown(count: int | None) -> str:
    return "?" if count is None else str(count)
