"""Answers requests to models, whole or as a stream, in the format of one of the APIs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import msgspec

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import GatewayError, ProviderError
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Chunk, Reply
from gatewayx_nb.server.api_errors import describe, error_location
from gatewayx_nb.server.hidden_paths import known_folders, without_keys, without_paths
from gatewayx_nb.server.json_request import read_request
from gatewayx_nb.text import short_repr, well_formed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import Receive, Scope, Send

    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.server.api_errors import APIError
    from gatewayx_nb.server.request_fields import RequestFields

S = TypeVar("S", Chunk, Reply)

log = logging.getLogger(__name__)

_MAX_CHUNKS_PER_TURN = 16
"""Maximum number of chunks of a stream that are sent at once."""

_ID_SOURCE = random.Random()  # noqa: S311 - IDs are not secret; `SystemRandom` takes 20 µs
"""A generator of its own: a notebook that seeds the shared generator would repeat the IDs."""

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", **_HEADERS}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model, independent of the API through which it was sent.

    Attributes:
        options: The keyword arguments of `EnginePool.aask`, including ``messages``.
        is_streamed: Whether the client reads the answer as a stream.
        includes_usage: Whether a Chat Completions stream ends with a usage chunk.
        allows_parallel_calls: Whether the answer may call more than one tool.
        strict_schemas: The schemas for validating the arguments of tool calls, by name of the tool.
        echo: The fields of the request that an answer of the Responses API repeats.
        id: A random part of the answer's ID.
        created: Time of the request, in seconds since the epoch.
    """

    options: Mapping[str, Any]
    is_streamed: bool
    includes_usage: bool = False
    allows_parallel_calls: bool = True
    strict_schemas: Mapping[str, ResponseSchema] = field(default_factory=dict)
    echo: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"{_ID_SOURCE.getrandbits(96):024x}")
    created: int = field(default_factory=lambda: int(time.time()))


class StreamWriter(Protocol):
    """Writes the events of one stream. Only `end` may mark the answer as complete."""

    def begin(self, model: str) -> bytes:
        """Return the events before the first chunk."""

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events of a chunk; empty if it has none."""

    def end(self, reply: Reply) -> bytes:
        """Return the events after the last chunk of a complete answer."""

    def error(self, error: APIError) -> bytes:
        """Return the event of an error, which ends the stream."""


class ModelAPI(Protocol):
    """The format of an API for models: its requests, answers, streams and errors."""

    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request that a body contains.

        Raises:
            UsageError: If the body is invalid, or has a field that is not supported.
        """

    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""

    def writer(self, request: ModelRequest) -> StreamWriter:
        """Return a writer of the events of a stream."""

    def error(self, error: APIError) -> dict[str, Any]:
        """Return the body of an error."""


class ModelEndpoint:
    """ASGI application that answers requests to models.

    Args:
        api: The API whose format is used.
        pool: Returns the pool; called for each request.
    """

    def __init__(self, api: ModelAPI, pool: Callable[[], EnginePool]) -> None:
        self._api, self._pool = api, pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; stop the call if the client disconnects."""
        exchange = _ModelExchange(self._api, self._pool, send)
        try:
            request = await read_request(scope, receive, self._api.read)
        except Exception as error:  # noqa: BLE001 - the client receives it
            await exchange.fail(error)
        else:
            await until_disconnected(receive, exchange.answer(request))


async def until_disconnected(receive: Receive, work: Awaitable[None]) -> None:
    """Await ``work``, and cancel it if the client disconnects.

    Args:
        receive: The ASGI ``receive`` callable, after the whole body has been received.
        work: The work for the client.
    """
    task = cast("asyncio.Task[None]", asyncio.current_task())
    has_disconnected = False

    async def cancel_at_disconnection() -> None:
        nonlocal has_disconnected
        while (await receive())["type"] != "http.disconnect":
            pass
        has_disconnected = True
        task.cancel()

    watcher = asyncio.create_task(cancel_at_disconnection())
    try:
        await work
    except asyncio.CancelledError:
        # The server itself may also have cancelled the task.
        if not has_disconnected or task.uncancel():
            raise
    finally:
        watcher.cancel()


class _ModelExchange:
    """One request and its response."""

    def __init__(self, api: ModelAPI, pool: Callable[[], EnginePool], send: Send) -> None:
        self._api, self._pool, self._send = api, pool, send
        self._writer: StreamWriter | None = None  # set once the head of a stream has been sent

    async def answer(self, request: ModelRequest) -> None:
        """Answer the request, or respond with an error."""
        try:
            # With a schema, a second answer replaces an invalid first answer. This is no longer
            # possible once the first answer has been streamed.
            if request.is_streamed and "schema" not in request.options:
                await self._send_stream(request)
            else:
                reply = await self._pool().aask(**request.options)
                await _check_arguments(reply, request)
                reply = _for_client(reply, request, set())
                if "schema" in request.options and not reply.tool_calls:
                    reply = replace(reply, text=_json_text(reply))
                send_answer = self._send_as_stream if request.is_streamed else self._send_whole
                await send_answer(request, reply)
        except Exception as error:  # noqa: BLE001 - the client receives it
            await self.fail(error)

    async def fail(self, error: Exception) -> None:
        """Send an error as a response or, after the head of a stream, as the last event."""
        api_error = describe(error)
        if not isinstance(error, GatewayError):
            log.warning("A request failed: %s", error_location(error))
        # This resolves symlinks in this thread: at exit, no other thread can be started.
        message = without_keys(api_error.message, self._pool)
        message = without_paths(message, known_folders(self._pool))
        api_error = replace(api_error, message=message)
        if self._writer is None:
            content = self._api.error(api_error)
            await self._send_json(content, api_error.status, api_error.headers)
        else:
            await self._send_events(self._writer.error(api_error), is_last=True)

    async def _send_stream(self, request: ModelRequest) -> None:
        ids: set[str] = set()
        async with self._pool().astream(**request.options) as stream:
            # The head is sent when the answer begins, so that an earlier error has an HTTP status.
            first_chunk = await anext(stream, None)
            while first_chunk is not None and not (first_chunk.text or first_chunk.tool_calls):
                first_chunk = await anext(stream, None)
            if first_chunk is not None:
                await _check_arguments(first_chunk, request)
            partial = stream.partial
            writer, events = await self._begin_stream(
                request, partial.engine, partial.model, partial.attempts
            )
            if first_chunk is not None:
                events += writer.chunk(_for_client(first_chunk, request, ids))
            await self._send_events(events)
            async for chunk in stream:
                # Other tasks can run here, such as the one that detects a disconnection. Chunks
                # that arrive in the meantime are sent together.
                await asyncio.sleep(0)
                chunks = [chunk, *stream.poll(_MAX_CHUNKS_PER_TURN - 1)]
                for index, received_chunk in enumerate(chunks):
                    if received_chunk.tool_calls:
                        await _check_arguments(received_chunk, request)
                        chunks[index] = _for_client(received_chunk, request, ids)
                events = b"".join(map(writer.chunk, chunks))
                if events:
                    await self._send_events(events)
            reply = _for_client(stream.reply, request, set())
            await self._send_events(writer.end(reply), is_last=True)

    async def _send_as_stream(self, request: ModelRequest, reply: Reply) -> None:
        writer, events = await self._begin_stream(
            request, reply.engine, reply.model, reply.attempts
        )
        whole_answer = Chunk(text=reply.text, tool_calls=reply.tool_calls)
        await self._send_events(
            events + writer.chunk(whole_answer) + writer.end(reply), is_last=True
        )

    async def _begin_stream(
        self, request: ModelRequest, engine: str, model: str, attempts: int
    ) -> tuple[StreamWriter, bytes]:
        """Send the head of a stream; return the writer and the first events, which are not sent."""
        writer = self._api.writer(request)
        headers = {**_STREAM_HEADERS, **_call_headers(engine, attempts)}
        start = {"type": "http.response.start", "status": 200, "headers": _encode_headers(headers)}
        events = writer.begin(f"{engine}:{model}")
        await self._send(start)
        self._writer = writer
        return writer, events

    async def _send_whole(self, request: ModelRequest, reply: Reply) -> None:
        headers = _call_headers(reply.engine, reply.attempts)
        headers["x-gatewayx-cost"] = "unpriced" if reply.cost is None else f"{reply.cost:f}"
        await self._send_json(self._api.answer(request, reply), 200, headers)

    async def _send_json(
        self, content: Mapping[str, Any], status: int, headers: Mapping[str, str]
    ) -> None:
        body = msgspec.json.encode(content)
        content_headers = {"content-type": "application/json", "content-length": str(len(body))}
        encoded_headers = _encode_headers({**_HEADERS, **content_headers, **headers})
        await self._send(
            {"type": "http.response.start", "status": status, "headers": encoded_headers}
        )
        await self._send_events(body, is_last=True)

    async def _send_events(self, events: bytes, *, is_last: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": events, "more_body": not is_last})


def _for_client(source: S, request: ModelRequest, ids: set[str]) -> S:
    """Return a chunk or a reply with its tool calls as the client receives them.

    Each call gets its own ID, because a client returns results by ID, and some providers send no ID
    or the same ID twice. If the client allows only one call, further calls are omitted: the pool
    has no option for that, and the model can repeat them when it has the first result.

    Args:
        source: The chunk or the reply.
        request: The request.
        ids: The IDs of the answer's earlier calls; the IDs of these calls are added.
    """
    if not source.tool_calls:
        return source
    calls: list[ToolCall] = []
    for call in source.tool_calls:
        if ids and not request.allows_parallel_calls:
            break
        is_unique = call.id and call.id not in ids
        call_id = call.id if is_unique else f"call_{request.id}_{len(ids)}"
        ids.add(call_id)
        calls.append(call if is_unique else replace(call, id=call_id))
    return replace(source, tool_calls=tuple(calls))


async def _check_arguments(source: Chunk | Reply, request: ModelRequest) -> None:
    """Validate the arguments of tool calls against the schemas of strict tools.

    Raises:
        ProviderError: If the arguments do not match. Arguments that are not JSON are passed to the
            client, because the finish reason tells it whether they were truncated.
    """
    for call in source.tool_calls:
        if (schema := request.strict_schemas.get(call.name)) is None:
            continue
        try:
            bounded_json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            continue
        try:
            await schema.aparse(call.arguments or "{}")
        except ValueError as error:
            raise ProviderError(
                f"the arguments of the call to {short_repr(call.name)} must match the schema of the"
                f" strict tool: {error}.",
                hint=Hint("run_again") | "Use another model.",
            ) from None


def _call_headers(engine: str, attempts: int) -> dict[str, str]:
    return {"x-gatewayx-engine": engine, "x-gatewayx-attempts": str(attempts)}


def _encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def _json_text(reply: Reply) -> str:
    """Return the value of a reply with a schema as JSON alone, without a fence or prose."""
    with contextlib.suppress(ValueError):
        if json.loads(reply.text) == reply.parsed:
            return reply.text
    return well_formed(json.dumps(reply.parsed, ensure_ascii=False))
