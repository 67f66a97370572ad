"""Starts the process of a server, connects its streams to the SDK, and terminates it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.bounded_json import TooManyValuesError, check_values
from gatewayx_nb.mcp_client.process_guard import NOT_EXECUTABLE, NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.mcp_client.launch import Launch

MAX_MESSAGE_BYTES = 16 << 20
"""Maximum size of a message from a server, in bytes."""

MAX_VALUES = 100_000
"""Maximum number of JSON values in a message; the SDK needs about 400 bytes for each value."""

_GUARD_SCRIPT = Path(__file__).with_name("process_guard.py")
_CHUNK_SIZE = 1 << 16
_MAX_LOG_LINES = 20
_MAX_LOG_LINE_LENGTH = 2_000
_EXIT_TIMEOUT = 0.5
"""Maximum number of seconds to exit after the input, and again after the lifeline, is closed."""

_KILL_TIMEOUT = 5.0
"""Maximum number of seconds for a killed server to exit; only a busy machine needs that long."""

_STATUS_TIMEOUT = 1.0
"""Maximum number of seconds to wait for the exit status after the output was closed."""


class TooLargeError(Exception):
    """Raised if a server has sent a message of more than `MAX_MESSAGE_BYTES` bytes."""


class InvalidMessageError(Exception):
    """Raised if a server has sent a message that cannot be parsed; its request gets no answer."""


class ServerProcess:
    """The process of a server.

    Args:
        launch: How to start the server.

    Attributes:
        has_ended: Whether the server has closed its output, so that it can no longer answer.
        failure: The exception that ended the connection; ``None`` if the server closed it.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._log: deque[str] = deque(maxlen=_MAX_LOG_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self.has_ended = False
        self.failure: Exception | None = None

    @property
    def status(self) -> int | None:
        """The exit status of the command; ``None`` while the command is running."""
        return self._process.returncode if self._process else None

    @property
    def problem(self) -> str:
        """Why the server cannot be used, without any text from the server."""
        if isinstance(self.failure, TooLargeError):
            return f"sent a message of more than {MAX_MESSAGE_BYTES >> 20} MiB"
        if isinstance(self.failure, TooManyValuesError):
            return f"sent a message of more than {MAX_VALUES:,} JSON values"
        if isinstance(self.failure, InvalidMessageError):
            return "sent a message that cannot be read"
        if self.status == NOT_FOUND and not self.last_log_line:
            return "cannot start: its command was not found"
        if self.status == NOT_EXECUTABLE and not self.last_log_line:
            return "cannot start: its command is not executable"
        return "ended" if self.status is None else f"ended with status {self.status}"

    @property
    def last_log_line(self) -> str:
        """The last line that the server wrote to standard error; empty if there is none."""
        return next((line for line in reversed(self._log) if line.strip()), "").strip()

    async def wait(self) -> None:
        """Wait for the exit status and the log of a server that has closed its output."""
        if self._process is not None:
            await _wait_for_exit(self._process, _STATUS_TIMEOUT)
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def streams(self) -> AsyncIterator[Any]:
        """Start the server, yield the streams for the SDK, and terminate the server on exit.

        Raises:
            OSError: If the process cannot be started.
        """
        import anyio

        lifeline = _Lifeline()
        try:
            process = self._process = await self._start(lifeline)
        finally:
            lifeline.close_child_end()
        to_session, from_server = anyio.create_memory_object_stream[Any](0)
        to_server, from_session = anyio.create_memory_object_stream[Any](0)
        tasks = [
            asyncio.create_task(self._read_messages(process, to_session, lifeline)),
            asyncio.create_task(self._write_messages(process, from_session)),
            asyncio.create_task(self._read_log(process)),
        ]
        try:
            yield from_server, to_server
        finally:
            self.has_ended = True
            try:
                await _terminate(process, lifeline)
            finally:
                lifeline.close()
                for task in tasks:
                    task.cancel()
                # Processes that the server has started may still hold the pipes open.
                process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - as the SDK does
                for stream in (to_session, from_server, to_server, from_session):
                    stream.close()

    async def _start(self, lifeline: _Lifeline) -> asyncio.subprocess.Process:
        launch = self._launch
        start = partial(
            asyncio.create_subprocess_exec,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(launch.env),
            cwd=launch.cwd,
        )
        if sys.platform == "win32":  # no process groups: closing the input must suffice
            return await start(*launch.command)
        guard = (sys.executable, "-I", str(_GUARD_SCRIPT), str(lifeline.child_end))
        return await start(
            *guard, *launch.command, start_new_session=True, pass_fds=[lifeline.child_end]
        )

    async def _read_messages(
        self,
        process: asyncio.subprocess.Process,
        session: Any,  # noqa: ANN401
        lifeline: _Lifeline,
    ) -> None:
        """Pass the server's messages to the session, and skip all other lines."""
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async for line in _read_lines(process.stdout):
                if not line.lstrip().startswith(b"{"):
                    continue  # servers may print other text to standard output
                check_values(line, MAX_VALUES)
                try:
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError as error:
                    if b'"jsonrpc"' not in line:
                        continue
                    raise InvalidMessageError from error
                await session.send(SessionMessage(message))
        except Exception as error:  # noqa: BLE001 - a broken pipe or a closed session
            self.failure = error
        finally:
            self.has_ended = True
            session.close()
            if self.failure:
                # The group is not killed, because this would also kill the guard, which ends the
                # processes in other groups.
                lifeline.close()

    async def _write_messages(self, process: asyncio.subprocess.Process, session: Any) -> None:  # noqa: ANN401
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError):
            async with session:
                async for item in session:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    process.stdin.write(text.encode(errors="replace") + b"\n")
                    await process.stdin.drain()

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last lines that the server writes to standard error."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        last_line = b""
        while chunk := await process.stderr.read(_CHUNK_SIZE):
            *lines, last_line = (last_line + chunk).split(b"\n")
            last_line = last_line[-_MAX_LOG_LINE_LENGTH:]
            self._log += [line[:_MAX_LOG_LINE_LENGTH].decode(errors="replace") for line in lines]
        self._log.append(last_line.decode(errors="replace"))


async def _read_lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a stream.

    Raises:
        TooLargeError: If a line has more than `MAX_MESSAGE_BYTES` bytes.
    """
    pieces: list[bytes] = []
    size = 0
    while chunk := await stream.read(_CHUNK_SIZE):
        *line_ends, line_start = chunk.split(b"\n")
        for line_end in line_ends:
            yield b"".join((*pieces, line_end))
            pieces, size = [], 0
        pieces.append(line_start)
        size += len(line_start)
        if size > MAX_MESSAGE_BYTES:
            raise TooLargeError


async def _terminate(process: asyncio.subprocess.Process, lifeline: _Lifeline) -> None:
    """Terminate the process: close its input, then its lifeline, and finally kill its group.

    A cancellation skips only the first two steps.
    """
    try:
        if process.stdin is not None:
            process.stdin.close()
        await _wait_for_exit(process, _EXIT_TIMEOUT)
        lifeline.close()
        await _wait_for_exit(process, _EXIT_TIMEOUT)
    finally:
        _kill(process)
        await _wait_for_exit(process, _KILL_TIMEOUT)


async def _wait_for_exit(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Wait at most ``seconds`` seconds for a process to end."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.wait()), seconds)


def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the process and the processes that it has started."""
    if process.returncode is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class _Lifeline:
    """A pipe whose closing tells the guard that this process has ended, for any reason."""

    def __init__(self) -> None:
        self.child_end, self._parent_end = os.pipe()
        self._open_ends = {self.child_end, self._parent_end}

    def close_child_end(self) -> None:
        """Close the end that only the process guard needs."""
        self._close(self.child_end)

    def close(self) -> None:
        """Close the end of this process, so that the process guard terminates the server."""
        self._close(self._parent_end)

    def _close(self, end: int) -> None:
        if end in self._open_ends:
            self._open_ends.remove(end)
            os.close(end)
