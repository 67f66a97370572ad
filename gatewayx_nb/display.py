"""An answer shown while it comes: one growing display in a notebook, plain text in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb import forms
from gatewayx_nb.errors import GatewayError, in_one_line
from gatewayx_nb.rendering import plain, reply_html

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayx_nb.engine_pool import AsyncReplyStream, ReplyStream
    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.forms import Form
    from gatewayx_nb.messages import Reply

INTERVAL = 0.1
"""Least seconds between two updates of a display."""

_SHARE = 10
"""An update is followed by at least so many times its own cost, which bounds rendering to a tenth
of a core however long the answer grows."""

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


class PartialView:
    """Shows an answer only if it does not come to its end; else the cell's value shows it.

    Args:
        view: Where it is shown.
    """

    waits = False

    def __init__(self, view: View) -> None:
        self._view = view

    def update(self, tally: Tally) -> None:
        """Show nothing yet."""

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show what came, if that is not all."""
        if mark:
            self._view.finish(reply, mark)


class NotebookView:
    """One display, updated in place, so that a notebook saves the answer once.

    Args:
        clock: Gives seconds that never go back.
        form: How the answer is shown.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, form: Form = "markdown"
    ) -> None:
        from IPython.display import DisplayHandle

        self._handle = DisplayHandle()
        self._clock = clock
        self._form = form
        self._growing = forms.growing(form)
        self._shown = False
        self._due = 0.0
        self._state: tuple[int, str] | None = None

    @property
    def waits(self) -> bool:
        """Whether it says that an answer is awaited."""
        return self._shown

    def update(self, tally: Tally) -> None:
        """Show what has arrived, if there is news and the last update is long enough ago."""
        start = self._clock()
        state = (len(tally.text), _waiting(tally))
        if start >= self._due and state != self._state:
            text, thoughts = "".join(tally.text), "".join(tally.reasoning)
            body = self._growing(text) if text else ""
            self._show(text, reply_html(text, status=state[1], reasoning=thoughts, body=body))
            self._state = state
            self._due = self._clock() + max(INTERVAL, _SHARE * (self._clock() - start))

    def finish(self, reply: Reply, mark: str = "") -> None:
        """Show the whole answer, and its figures."""
        shown, line = forms.show(self._form, reply), figures(reply, mark)
        page = reply_html(reply.text, line, reasoning=reply.reasoning, body=shown.page)
        self._show(shown.text, page)

    def _show(self, text: str, html: str) -> None:
        show = self._handle.update if self._shown else self._handle.display
        self._shown = True
        show({"text/plain": text, "text/html": html}, raw=True)


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

    def update(self, tally: Tally) -> None:
        """Write what came since the last time."""
        if not self._comes:
            return
        pieces = tally.text[self._pieces :]
        self._pieces += len(pieces)
        sys.stdout.write(plain("".join(pieces)))
        sys.stdout.flush()

    def finish(self, reply: Reply, mark: str = "") -> None:
        """End the text, and write its figures."""
        if not self._comes:
            sys.stdout.write(plain(forms.show(self._form, reply).text))
        sys.stdout.write(f"\n[{figures(reply, mark)}]\n")
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
        with _undisturbed():
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
        _uncancel()
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
def _undisturbed() -> Iterator[None]:
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


def _uncancel() -> None:
    """Take the kernel's cancellation back: from here on it is a KeyboardInterrupt."""
    task = asyncio.current_task()
    if task is not None:
        with contextlib.suppress(RuntimeError):
            task.uncancel()


def _waiting(tally: Tally) -> str:
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
