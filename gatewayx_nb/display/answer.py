"""Displays one answer while it streams, in a notebook or as plain text in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from typing_extensions import override

from gatewayx_nb import output_formats
from gatewayx_nb.calls import reply_summary
from gatewayx_nb.display.throttle import Throttle
from gatewayx_nb.errors import GatewayError, with_short_traceback
from gatewayx_nb.html import reply_html
from gatewayx_nb.replies import (
    details_html,
    details_text,
    reply_markdown,
)
from gatewayx_nb.text import plain
from gatewayx_nb.tool_steps import calls_html, calls_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatewayx_nb.calls import AsyncReplyStream, PartialReply, ReplyStream
    from gatewayx_nb.output_formats import OutputFormat
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.tool_steps import Step

_PAUSE_FACTOR = 10
"""Pause after an update, as a multiple of the update's duration, to use about 1/10 of a core."""

_WAKE_INTERVAL = 0.1
"""Seconds between wake-ups of an awaited cell, without which its kernel would not handle a stop."""


class AnswerState(NamedTuple):
    """The values that determine how a partial answer is rendered.

    The text and the reasoning of a request only grow, so their length identifies their content.
    """

    length: int
    steps: int
    status: str


def answer_state(partial: PartialReply) -> AnswerState:
    """Return the state of a partial answer."""
    # A step is added when its tool starts, and changes when the tool ends.
    steps = 2 * len(partial.steps) - sum(step.seconds is None for step in partial.steps[-1:])
    return AnswerState(len(partial.text) + len(partial.reasoning), steps, call_status(partial))


class View(Protocol):
    """A view of one answer."""

    @property
    def shows_status(self) -> bool:
        """Whether the view shows a waiting message, which must be cleared at the end."""

    def update(self, partial: PartialReply) -> None:
        """Show the partial answer, if an update is due."""

    def finish(self, reply: Reply, ending: str = "") -> None:
        """Show the final state of the answer and its metrics.

        Args:
            reply: The answer.
            ending: Why the answer is incomplete, such as ``interrupted``; empty if it is complete.
        """


class QuietView:
    """A view that shows nothing."""

    shows_status = False

    def update(self, partial: PartialReply) -> None:
        """Show nothing."""

    def finish(self, reply: Reply, ending: str = "") -> None:
        """Show nothing."""


class UpdatableDisplay:
    """A display in a cell's output that is updated in place.

    Args:
        clock: Returns monotonic seconds.
        pause_factor: Pause after an update, as a multiple of the update's duration.

    Attributes:
        is_shown: Whether anything has been shown.
        throttle: Limits the update rate.
    """

    def __init__(self, clock: Callable[[], float], pause_factor: int = _PAUSE_FACTOR) -> None:
        from IPython.display import DisplayHandle

        self.is_shown = False
        self.throttle = Throttle(clock, pause_factor)
        self._handle = DisplayHandle()

    def show(self, text: str, html: str, markdown: str = "") -> None:
        """Show the content, replacing the previous content.

        Args:
            text: The content as plain text.
            html: The content as safe HTML.
            markdown: The content as safe Markdown, for programs that prefer it; omitted if empty.
        """
        show_or_update = self._handle.update if self.is_shown else self._handle.display
        self.is_shown = True
        self.throttle.html_length = len(html)
        # With `raw`, IPython treats the content as a MIME bundle.
        content = {"text/plain": plain(text), "text/html": html}
        show_or_update(content | ({"text/markdown": markdown} if markdown else {}), raw=True)


class FinalView(QuietView):
    """A view that shows an answer only when it is complete.

    Args:
        view: The view that shows the complete answer.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    @override
    def finish(self, reply: Reply, ending: str = "") -> None:
        self._view.finish(reply, ending)


class NotebookView:
    """A view that updates a single display, so that a notebook saves the answer only once.

    Args:
        clock: Returns monotonic seconds.
        output_format: The format in which the answer is shown.
        schema: The schema that parses the answer, if any.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        output_format: OutputFormat = "markdown",
        schema: ResponseSchema | None = None,
    ) -> None:
        self._display = UpdatableDisplay(clock)
        self._output_format, self._schema = output_format, schema
        self._render_partial = output_formats.incremental_renderer(output_format)
        self._state: AnswerState | None = None

    @property
    def shows_status(self) -> bool:
        """Whether the display may show a waiting message."""
        return self._display.is_shown

    def update(self, partial: PartialReply) -> None:
        """Show the partial answer, if it has changed and an update is due.

        An immediate replay is shown only once, at the end, so that notebook tests see no updates.
        """
        if partial.instant:
            return
        state = answer_state(partial)
        if self._display.throttle.is_due and state != self._state:
            with self._display.throttle.measure():
                text, reasoning = "".join(partial.text), "".join(partial.reasoning)
                body = self._render_partial(text) if text else ""
                answer_html = reply_html(
                    text,
                    status=state.status,
                    reasoning=reasoning,
                    body=body,
                    above=calls_html(partial.steps),
                )
                calls_line = calls_text(partial.steps)
                self._display.show("\n\n".join(filter(None, (calls_line, text))), answer_html)
                self._state = state

    def finish(self, reply: Reply, ending: str = "") -> None:
        """Show the complete answer and its metrics."""
        formatted_answer = output_formats.render(self._output_format, reply, self._schema)
        footer = reply_summary(reply, ending)
        page = reply_html(
            reply.text,
            footer,
            reasoning=reply.reasoning,
            body=formatted_answer.html,
            above=calls_html(reply.steps),
            below=details_html(reply),
        )
        parts = (calls_text(reply.steps), formatted_answer.text, details_text(reply))
        text = "\n\n".join(filter(None, parts))
        is_markdown = self._output_format == "markdown"
        self._display.show(text, page, reply_markdown(reply) if is_markdown else "")


class TerminalView:
    """A view that writes plain text as it arrives, but code, JSON and tables only at the end.

    Args:
        output_format: The format in which the answer is shown.
        schema: The schema that parses the answer, if any.
    """

    shows_status = False

    def __init__(
        self, output_format: OutputFormat = "markdown", schema: ResponseSchema | None = None
    ) -> None:
        self._output_format, self._schema = output_format, schema
        self._is_streamed = output_format in ("markdown", "text")
        # The number of chunks, characters and tool calls that have been written.
        self._chunk_count = self._length = self._step_count = 0

    def update(self, partial: PartialReply) -> None:
        """Write the text that has arrived since the last update."""
        if not self._is_streamed:
            return
        self._write_steps(partial.steps)
        # Only the new chunks are joined, because joining the whole answer each time would take
        # quadratic time.
        chunks = partial.text[self._chunk_count :]
        self._chunk_count += len(chunks)
        text = "".join(chunks)
        self._length += len(text)
        sys.stdout.write(plain(text))
        sys.stdout.flush()

    def _write_steps(self, steps: Sequence[Step]) -> None:
        """Write the tool calls that have ended since the last update, and the text before them."""
        ended_steps = [step for step in steps[self._step_count :] if step.seconds is not None]
        for step in ended_steps:
            text = plain(step.text[self._length :])
            line = calls_text([replace(step, text="")])
            end = "\n" if step.text else ""  # only the first call of a turn follows text
            sys.stdout.write(f"{text}{end}{line}\n")
            self._chunk_count = self._length = 0
        self._step_count += len(ended_steps)

    def finish(self, reply: Reply, ending: str = "") -> None:
        """Write the remaining text and the metrics."""
        self._write_steps(reply.steps)
        text = reply.text
        if not self._is_streamed:
            text = output_formats.render(self._output_format, reply, self._schema).text
        remaining_text = plain(text[self._length :])
        if details := details_text(reply):
            remaining_text += f"\n\n{details}"
        sys.stdout.write(f"{remaining_text}\n[{plain(reply_summary(reply, ending))}]\n")
        sys.stdout.flush()


def show_stream(stream: ReplyStream, view: View) -> Reply:
    """Show an answer as it arrives and return the reply; Ctrl-C keeps the partial answer.

    Raises:
        KeyboardInterrupt: If the user stops the call; the partial answer has then been shown.
        GatewayError: If the call fails; the partial answer has then been shown.
    """
    # The callback refers to the partial reply, not to the stream, because a stream in a reference
    # cycle would not be freed immediately, and its connection would stay open.
    partial = stream.partial
    stream.on_idle = lambda: view.update(partial)
    with _show_partial_on_error(stream, view), stream:
        view.update(partial)
        for _ in stream:
            view.update(partial)
        view.finish(stream.reply)
    return stream.reply


async def ashow_stream(stream: AsyncReplyStream, view: View) -> Reply:
    """Show an answer as it arrives, on an event loop; see `show_stream`."""
    partial = stream.partial
    stream.on_idle = lambda: view.update(partial)
    update_task = asyncio.ensure_future(_update_periodically(partial, view))
    try:
        with _show_partial_on_error(stream, view):
            async with stream:
                async for _ in stream:
                    view.update(partial)
                view.finish(stream.reply)
    finally:
        update_task.cancel()
    return stream.reply


async def _update_periodically(partial: PartialReply, view: View) -> None:
    while True:  # cancelled by `ashow_stream`
        view.update(partial)
        await asyncio.sleep(_WAKE_INTERVAL)


@contextlib.contextmanager
def _show_partial_on_error(stream: ReplyStream | AsyncReplyStream, view: View) -> Iterator[None]:
    """Show the partial answer of a call that is stopped or fails."""
    try:
        yield
    except KeyboardInterrupt:
        with ignore_interrupts():
            raise _end_interrupted(stream, view) from None
    except asyncio.CancelledError:
        clear_cancellation()
        raise _end_interrupted(stream, view) from None
    except GatewayError:
        _show_failure(stream.partial, view)
        raise


def _end_interrupted(stream: ReplyStream | AsyncReplyStream, view: View) -> KeyboardInterrupt:
    """Close a stream, show its partial answer, and return an exception with a short traceback."""
    stream.close()
    view.finish(stream.reply, "interrupted")
    return with_short_traceback(KeyboardInterrupt())


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Ignore further interrupts while one is being handled, because the final display takes time.

    Signals are delivered to the main thread, and only that thread may set their handler. An awaited
    cell does not need this, because its kernel counts only the first interrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # The handler is restored even if the view fails; otherwise, Ctrl-C would no longer work.
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def _show_failure(partial: PartialReply, view: View) -> None:
    """Show the partial answer of a failed call and clear the waiting message."""
    if partial.has_begun and partial.has_ended:
        view.finish(partial.reply(), "not in the requested format")
    elif partial.has_begun:
        view.finish(partial.reply(interrupted=True), "incomplete")
    elif view.shows_status:
        view.finish(partial.reply(interrupted=True), "failed")


def clear_cancellation() -> None:
    """Undo the kernel's cancellation of this task; the caller raises KeyboardInterrupt instead."""
    task = asyncio.current_task()
    if task is not None:
        with contextlib.suppress(RuntimeError):
            task.uncancel()


def call_status(partial: PartialReply) -> str:
    """Return the status of a running call: its model, and its duration or the next retry."""
    seconds = time.monotonic() - partial.started
    name = f"{partial.engine}:{partial.model}".rstrip(":")
    pending_retry = partial.pending_retry
    if pending_retry:
        delay = max(0.0, pending_retry.until - time.monotonic())
        return f"{name} · {pending_retry.error.message} Trying again in {delay:.0f} s"
    return f"{name} · {seconds:.0f} s" + ("" if partial.has_begun else f", {partial.activity}")
