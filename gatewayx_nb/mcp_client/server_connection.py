"""Connects to one server, which is started on first use, and again after it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from gatewayx_nb import _version
from gatewayx_nb.errors import ConfigError, GatewayError, TransportError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.masking import redact
from gatewayx_nb.mcp_client.declarations import read_listing
from gatewayx_nb.mcp_client.process import ServerProcess
from gatewayx_nb.text import one_line, shorten
from gatewayx_nb.transport import ForbiddenAddressError, sdk_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from gatewayx_nb.mcp_client.declarations import MCPTool
    from gatewayx_nb.mcp_client.launch import Launch

THREAD = "gatewayx mcp"
"""Name of the thread on which the event loop of all connections runs."""

_MAX_PAGES = 100
"""Maximum number of pages in a server's list of tools."""

_MAX_LISTED_TOOLS, _MAX_LIST_BYTES = 10_000, 16 << 20
"""Maximum number of tools that a server may list, and the maximum size of their JSON in bytes."""

_LIST_TIMEOUT = 30.0
"""Maximum number of seconds for a server to list its tools."""

_CHECK_TIMEOUT = 2.0
"""Maximum number of seconds to answer after a stopped call; a slower server counts as busy."""

_MAX_LIST_ATTEMPTS = 3
"""Maximum number of attempts to list the tools; an attempt ends if another call is stopped."""

_CLOSE_TIMEOUT = 2.0
"""Maximum number of seconds for a connection to close."""

_CANCEL_TIMEOUT = 10.0
"""Maximum number of seconds to wait for a connection to end after it was cancelled."""

_MAX_QUOTED_LENGTH = 200
"""Maximum number of characters of a server's text in an error message."""


class _StoppedCallError(Exception):
    """Raised if another call was stopped and the server may still be busy with it."""


class _ServerError(Exception):
    """Raised if a server has failed.

    Attributes:
        problem: What happened, without any text from the server.
        detail: The server's own text about the failure, which may contain keys; empty if none.
    """

    def __init__(self, problem: str, detail: str = "") -> None:
        super().__init__(problem)
        self.problem, self.detail = problem, detail


class ServerConnection:
    """The connection to a server. All methods run on the event loop of the connections.

    Args:
        launch: How to start or contact the server.
    """

    # Methods receive the function that masks the pool's keys as an argument, because the
    # connection must not keep the pool alive.

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._process: ServerProcess | None = None
        self._owner: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Any] | None = None
        self._stop, self._stopped_call = asyncio.Event(), asyncio.Event()
        self._lock = asyncio.Lock()  # concurrent calls must start only one process
        self._is_broken = self._may_be_busy = False

    @property
    def is_running(self) -> bool:
        """Whether the server has started and has not ended."""
        has_started = self._client is not None and self._client.done() and not self._has_ended
        return has_started and not (self._client.cancelled() or self._client.exception())  # type: ignore[union-attr]

    async def list_tools(self, mask: Callable[[str], str]) -> list[MCPTool]:
        """Return the tools that the server currently lists.

        Args:
            mask: Masks the keys of the pool in a message.

        Raises:
            GatewayError: If the server cannot be started, fails, lists too many tools, or does not
                answer within 30 s.
        """
        for _ in range(_MAX_LIST_ATTEMPTS):
            with contextlib.suppress(_StoppedCallError):  # the next attempt checks the server
                return await self._list_once(mask)
        raise self._error(_ServerError("is busy with stopped calls"), mask)

    async def _list_once(self, mask: Callable[[str], str]) -> list[MCPTool]:
        client = await self._connect(mask)
        tools: list[MCPTool] = []
        size = 0
        cursor: str | None = None
        async with self._typed_errors(mask):
            async with asyncio.timeout(_LIST_TIMEOUT):
                for _ in range(_MAX_PAGES):
                    page = await self._unless_stopped(client.list_tools(cursor=cursor))
                    size += len(page.model_dump_json())
                    tools += read_listing(page.tools)
                    cursor = page.next_cursor
                    if not cursor or len(tools) > _MAX_LISTED_TOOLS or size > _MAX_LIST_BYTES:
                        break
        if cursor:
            problem = (
                f"lists more than {_MAX_LISTED_TOOLS:,} tools, {_MAX_LIST_BYTES >> 20} MiB or"
                f" {_MAX_PAGES} pages"
            )
            raise self._error(_ServerError(problem), mask)
        return tools

    async def call(self, tool: str, arguments: dict[str, Any], mask: Callable[[str], str]) -> Any:  # noqa: ANN401 - of the SDK
        """Call a tool, and return its result as the SDK's ``CallToolResult``.

        Args:
            tool: The name of the tool on the server.
            arguments: The arguments, as JSON values.
            mask: Masks the keys of the pool in a message.

        Raises:
            GatewayError: If the server cannot be started or fails.
        """
        client = await self._connect(mask)
        types = _import_sdk(self.launch.name).types
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        # `client.call_tool` would also validate the result with the server's schema, whose
        # regular expressions could block the process.
        request = client.session.send_request(
            types.CallToolRequest(params=params), types.CallToolResult
        )
        async with self._typed_errors(mask):
            return await self._recording_cancellation(request)

    async def _unless_stopped(self, request: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        """Await a request, unless an earlier call is stopped in the meantime.

        Calls are stopped from another event loop, so the next request may begin before the stop.

        Raises:
            _StoppedCallError: If a call is stopped before the answer.
        """
        task, stop_waiter = (
            asyncio.create_task(request),
            asyncio.create_task(self._stopped_call.wait()),
        )
        try:
            await asyncio.wait([task, stop_waiter], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise _StoppedCallError
        finally:
            task.cancel()
            stop_waiter.cancel()

    async def _recording_cancellation(self, request: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        """Await a request; if it is cancelled, record that the server may still be busy with it."""
        task = asyncio.create_task(request)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            # These are set first, because the SDK takes some time to notify the server.
            self._may_be_busy = True
            self._stopped_call.set()
            task.cancel()
            await asyncio.wait([task])
            raise
        return task.result()

    async def _check_if_busy(self, client: asyncio.Future[Any]) -> None:
        """Mark the connection as broken if the server is still busy with a stopped call."""
        self._may_be_busy = False
        self._stopped_call = asyncio.Event()
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await client.result().list_tools()
        except asyncio.CancelledError:
            self._may_be_busy = True
            raise
        except BaseException:  # noqa: BLE001 - after any failure, a new connection is better
            self._is_broken = True

    async def close(self) -> None:
        """Close the connection, and terminate the server if it is a process."""
        owner, self._owner, self._client = self._owner, None, None
        self._stop.set()
        if owner is not None and not owner.done():
            ended_tasks, _ = await asyncio.wait([owner], timeout=_CLOSE_TIMEOUT)
            if not ended_tasks:
                owner.cancel()
                await asyncio.wait([owner], timeout=_CANCEL_TIMEOUT)

    @property
    def _has_ended(self) -> bool:
        is_closed = self._owner is None or self._owner.done() or self._is_broken
        return is_closed or (self._process is not None and self._process.has_ended)

    async def _connect(self, mask: Callable[[str], str]) -> Any:  # noqa: ANN401 - the client
        """Return the connected client; start the server if it is not running."""
        async with self._lock:
            client = await self._start_if_needed()
        try:
            return await asyncio.shield(client)
        except _ServerError as failure:
            raise self._error(failure, mask) from None

    async def _start_if_needed(self) -> asyncio.Future[Any]:
        """Return a future of the client; start the server if it is not running."""
        if self._may_be_busy and self._client is not None and self.is_running:
            await self._check_if_busy(self._client)
        if self._client is None or (self._client.done() and self._has_ended):
            await self.close()
            self._stop, self._is_broken, self._may_be_busy = asyncio.Event(), False, False
            self._stopped_call = asyncio.Event()
            self._client = client = asyncio.get_running_loop().create_future()
            # The same task must open and close the connection. If the caller is stopped, the server
            # continues to start, for the next call.
            self._owner = asyncio.create_task(self._hold_open(client, self._stop))
        return self._client

    async def _hold_open(self, client: asyncio.Future[Any], stop: asyncio.Event) -> None:
        """Open the connection, keep it open until ``stop`` is set, and close it."""
        try:
            # The import takes a second.
            mcp = await asyncio.to_thread(_import_sdk, self.launch.name)
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(self.launch.timeout):
                    opened_client = await stack.enter_async_context(self._open_client(mcp))
                if not client.done():
                    client.set_result(opened_client)
                await stop.wait()
        except asyncio.CancelledError:
            client.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the client is awaited
            reason = await self._start_error(error)
            if not client.done():
                client.set_exception(reason)
                client.exception()  # otherwise, asyncio logs that it was never retrieved

    @contextlib.asynccontextmanager
    async def _open_client(self, mcp: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - the SDK
        """Yield the SDK's client, connected to the server."""
        async with contextlib.AsyncExitStack() as stack:
            if self.launch.url:
                http = await stack.enter_async_context(
                    sdk_client(
                        self.launch.url,
                        f"mcp:{self.launch.name}",
                        self.launch.key,
                        self.launch.network,
                    )
                )
                transport = mcp.client.streamable_http.streamable_http_client(
                    self.launch.url, http_client=http, terminate_on_close=False
                )
            else:
                self._process = ServerProcess(self.launch)
                transport = self._process.streams()
            # The SDK offers sampling, elicitation and roots only if it has callbacks for them.
            yield await stack.enter_async_context(
                mcp.Client(
                    transport,
                    client_info=mcp.types.Implementation(
                        name="gatewayx-nb", version=_version.__version__
                    ),
                    cache=None,
                )
            )

    @contextlib.asynccontextmanager
    async def _typed_errors(self, mask: Callable[[str], str]) -> AsyncIterator[None]:
        """Replace any exception of a server or the SDK with a one-line `TransportError`."""
        try:
            yield
        except (GatewayError, asyncio.CancelledError, _StoppedCallError):
            raise
        except TimeoutError:
            failure = _ServerError(f"did not answer within {_LIST_TIMEOUT:g} s")
            raise self._error(failure, mask) from None
        except BaseException as error:
            cause = _innermost(error)
            if isinstance(cause, (KeyboardInterrupt, SystemExit)):
                raise
            raise self._error(await self._describe_failure(cause), mask) from None

    async def _start_error(self, error: BaseException) -> Exception:
        cause = _innermost(error)
        if isinstance(cause, GatewayError):
            return cause
        if isinstance(cause, TimeoutError):
            problem = f"did not start within {self.launch.timeout:g} s"
            return _ServerError(problem, self._process.last_log_line if self._process else "")
        return await self._describe_failure(cause)

    async def _describe_failure(self, error: BaseException) -> _ServerError:
        if self._process is not None and self._process.has_ended:
            await self._process.wait()
        return _ServerError(self._problem(error), self._detail(error))

    def _problem(self, error: BaseException) -> str:
        """Return what happened, without any text from the server."""
        if self._process is not None and self._process.has_ended:
            return self._process.problem
        if type(error).__name__ == "MCPError":
            return "returned an error"
        if isinstance(error, OSError) and not self.launch.url:
            return f"cannot start: {error.strerror or type(error).__name__}"
        if type(error).__name__ == "ValidationError":
            return "sent an invalid answer"
        if self.launch.url:
            self._is_broken = True
            is_forbidden = isinstance(error, ForbiddenAddressError)
            return f"cannot be reached ({error if is_forbidden else type(error).__name__})"
        return f"failed ({type(error).__name__})"

    def _detail(self, error: BaseException) -> str:
        """Return the server's own text about an error; empty if there is none."""
        if self._process is not None and self._process.has_ended:
            return self._process.last_log_line
        return str(error) if type(error).__name__ == "MCPError" else ""

    def _error(self, failure: _ServerError, mask: Callable[[str], str]) -> TransportError:
        # Keys are masked before the text is shortened, because a part of a key is not recognized.
        masked_text = mask(redact(failure.detail, list(self.launch.secrets)))
        quoted_text = shorten(one_line(masked_text), _MAX_QUOTED_LENGTH)
        advice = f"Check the URL {self.launch.url}." if self.launch.url else "Check its command."
        return TransportError(
            f"the MCP server {self.launch.name!r} {failure.problem}"
            f"{f': {quoted_text}' if quoted_text else ''}.",
            hint=as_hint(advice) | Hint("run_again"),
            topic="mcp-server",
        )


def _import_sdk(name: str) -> Any:  # noqa: ANN401 - the module
    try:
        import mcp
        import mcp.client.streamable_http
        import mcp.types
    except ImportError:
        raise ConfigError(
            f"the MCP server {name!r} needs the package mcp, which is not installed.",
            hint=Hint("install", extra="mcp"),
            topic="mcp-server",
        ) from None
    for logger in list(logging.root.manager.loggerDict):
        if logger == "client" or logger.startswith("mcp."):
            logging.getLogger(logger).addFilter(
                _is_other_thread
            )  # adding a filter twice has no effect
    return mcp


def _is_other_thread(_: logging.LogRecord) -> bool:
    """Return whether a record is from another thread; records of `THREAD` may contain keys."""
    return threading.current_thread().name != THREAD


def _innermost(error: BaseException) -> BaseException:
    """Return the first exception that is not a group; task groups nest exceptions."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error
