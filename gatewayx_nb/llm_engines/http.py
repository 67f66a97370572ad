"""Base class of HTTP engines: sends payloads, parses responses and raises typed errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from typing_extensions import override

from gatewayx_nb.errors import ConfigError, GatewayError
from gatewayx_nb.llm_engines import json_body, unsupported_params
from gatewayx_nb.llm_engines.engine import LLMEngine
from gatewayx_nb.llm_engines.json_body import as_dicts, as_str
from gatewayx_nb.llm_engines.message_parts import sendable
from gatewayx_nb.llm_engines.provider_errors import FIRST_ERROR_STATUS, ProviderErrors
from gatewayx_nb.llm_engines.rate_limit_headers import rate_limits
from gatewayx_nb.llm_engines.response_body import (
    BodyParts,
    EventLog,
    is_end_mark,
    is_event,
    read_error,
    read_parts,
)
from gatewayx_nb.messages import Message, ModelInfo
from gatewayx_nb.replies import Chunk
from gatewayx_nb.transport import HTTPClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from gatewayx_nb.llm_engines.strict_schema import SchemaRules
    from gatewayx_nb.messages import Request
    from gatewayx_nb.transport import Response

_TRAILING_DATA_TIMEOUT = 1.0
"""Seconds to wait, once an answer is complete, for the usage or more tool calls."""

_CLOSE_TIMEOUT = 0.1
"""Seconds to wait after the end mark for the end of the body, to reuse the connection."""

_REFUSAL_STATUSES = (400, 422)

_MAX_ADAPTATIONS = 10
"""Maximum number of times that an engine adapts to the refusals of one request."""

_CARRIED_DATA_WORDS = re.compile(
    rb"encrypted.content|signature|thinking.{0,9} block", re.IGNORECASE
)
"""Words in an error that show that the provider cannot verify the data that a turn carries."""

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-generation-id")


class Parser(Protocol):
    """Converts the body of one response, whole or as events, to chunks."""

    finished: bool
    """Whether the answer is complete, although its usage or more tool calls may follow."""

    ended: bool
    """Whether the end mark has been parsed; data after the mark is not part of the answer."""

    def feed(self, data: str) -> Iterable[Chunk]:
        """Return the chunks of one event's data, or of a whole body.

        Raises:
            GatewayError: If the body is an error or not a JSON object.
        """
        ...


class Dialect(Protocol):
    """Request format and response parser of one of a provider's APIs."""

    def route(self, request: Request) -> str:
        """Return a request's path, relative to the engine's ``base_url``."""
        ...

    def payload(self, request: Request) -> dict[str, Any]:
        """Return the JSON body for a request."""
        ...

    def parser(self, errors: ProviderErrors) -> Parser:
        """Return a parser for one response; it uses ``errors`` to create its errors."""
        ...


class HTTPEngine(LLMEngine, ABC):
    """Base class of engines whose provider answers over HTTP with JSON or server-sent events.

    A dialect overrides `payload` and `parser`; an engine file sets the attributes. An engine whose
    provider has several APIs also overrides `dialect`.

    Attributes:
        path: Path to which prompts are sent, relative to ``base_url``; override `route` if it
            depends on the request.
        models_path: Path of the model list.
        key_header: Name of the header that contains the key.
        key_prefix: Prefix of the key in that header.
        headers: Additional headers of every request.
        extra_headers: Additional headers from the settings; they cannot replace other headers.
        schema_rules: The JSON Schemas that the provider enforces; ``None`` if it enforces every
            schema that lists the properties of its objects.
    """

    path: ClassVar[str] = ""
    models_path: str = "models"
    key_header: ClassVar[str] = "Authorization"
    key_prefix: ClassVar[str] = "Bearer "
    headers: Mapping[str, str] = MappingProxyType({})
    extra_headers: Mapping[str, str] = MappingProxyType({})
    keywords: ClassVar[frozenset[str] | None] = frozenset()
    schema_rules: ClassVar[SchemaRules | None] = None

    _client: HTTPClient | None = None
    _refused_features: frozenset[str] = frozenset()
    """Fields that the provider has rejected; later requests omit them (see `adapt_to_refusal`)."""

    @property
    def http(self) -> HTTPClient:
        """The engine's HTTP client; created on first use, for the event loop that uses it."""
        if self._client is None:
            self._client = HTTPClient(
                self.base_url,
                engine=self.name,
                key=self.api_key,
                key_header=self.key_header,
                key_prefix=self.key_prefix,
                headers={**self.headers, **self._checked_extra_headers()},
                network=self.network,
            )
        return self._client

    def _checked_extra_headers(self) -> Mapping[str, str]:
        engine_header_names = {name.lower() for name in (*self.headers, self.key_header)}
        for name in self.extra_headers:
            if name.lower() in engine_header_names:
                raise ConfigError(
                    f"the headers of [engines.{self.name}] must not contain {name!r}, which the"
                    " engine itself sets.",
                    hint="Delete it from the settings.",
                    engine=self.name,
                )
        return self.extra_headers

    @override
    def enforceable_schema(self, request: Request) -> Mapping[str, Any] | None:
        if self.schema_rules is None:
            return super().enforceable_schema(request)
        return self.schema_rules.enforceable_schema(request.schema or {})

    def dialect(self, request: Request) -> Dialect:  # noqa: ARG002 - for overrides
        """Return the dialect for a request, by default the engine itself."""
        return self

    def route(self, request: Request) -> str:  # noqa: ARG002 - for overrides
        """Return a request's path, relative to ``base_url``."""
        return self.path

    @abstractmethod
    def payload(self, request: Request) -> dict[str, Any]:
        """Return the JSON body for a request."""
        raise NotImplementedError

    @abstractmethod
    def parser(self, errors: ProviderErrors) -> Parser:
        """Return a parser for one response; it uses ``errors`` to create its errors."""
        raise NotImplementedError

    def model_names(self, listing: dict[str, Any]) -> Iterable[str]:
        """Return the model names in a response to ``models_path``."""
        return (as_str(row.get("id")) for row in as_dicts(listing.get("data")))

    def adapt_to_refusal(self, status: int, body: bytes) -> bool:  # noqa: ARG002 - for overrides
        """Adapt to a provider's refusal of a request; return whether to send it again.

        Args:
            status: The HTTP status.
            body: The body of the response.
        """
        return False

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        async with self._accepted_response(request) as (response, parser, errors):
            if headers := _headers_chunk(response):
                yield headers
            log = EventLog(key=self.api_key)
            deadline: float | None = None
            has_text = False
            async with contextlib.aclosing(read_parts(response)) as blocks:
                while (
                    not parser.ended and (parts := await _next_parts(blocks, deadline)) is not None
                ):
                    if not parts.is_whole:
                        log.add(parts.data)
                    for chunk in _parse(parser, parts, errors):
                        # A model may think for minutes before its first text.
                        if not has_text and chunk.text:
                            has_text = True
                            response.start_read_timeout()
                        deadline = None
                        yield chunk
                    if parser.finished and deadline is None:
                        deadline = asyncio.get_running_loop().time() + _TRAILING_DATA_TIMEOUT
                # A closed connection looks like the end of a stream; only the end mark shows the
                # difference.
                if not parser.finished:
                    raise errors.truncated()
                if log:
                    yield Chunk(raw=log.closed())
                if parser.ended:
                    await _next_parts(blocks, asyncio.get_running_loop().time() + _CLOSE_TIMEOUT)

    @contextlib.asynccontextmanager
    async def _accepted_response(
        self, request: Request
    ) -> AsyncIterator[tuple[Response, Parser, ProviderErrors]]:
        """Send a request, adapted if the provider refuses it, and yield the response.

        Raises:
            GatewayError: If the provider refuses the request, and adapting it does not help.
        """
        adaptations = 0
        while True:
            errors = ProviderErrors(self.name, request.model, self.api_key)
            dialect = self.dialect(request)
            async with self.http.post(dialect.route(request), dialect.payload(request)) as response:
                if response.status < FIRST_ERROR_STATUS:
                    yield response, dialect.parser(errors), errors
                    return
                body = await read_error(response)
            may_adapt = adaptations < _MAX_ADAPTATIONS
            if may_adapt and self.adapt_to_refusal(response.status, body):
                adaptations += 1
                continue
            plain_request = _without_refused_turns(request, response.status, body)
            if plain_request is None:
                error = errors.from_response(response.status, response.headers, body)
                raise unsupported_params.explain_rejection(error, request, body)
            request = plain_request

    @override
    async def models(self) -> list[ModelInfo]:
        async with self.http.get(self.models_path) as response:
            body = await response.read()
            if response.status >= FIRST_ERROR_STATUS:
                errors = ProviderErrors(self.name, None, self.api_key)
                raise errors.from_response(response.status, response.headers, body)
        names = filter(None, self.model_names(json_body.parse_listing(body)))
        return [ModelInfo(self.name, name, name == self.model_name) for name in names]

    @override
    async def health_check(self) -> bool:
        return bool(await self.models())

    @override
    async def cleanup(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def system_prompt(request: Request) -> str | None:
    """Return the system prompt and any system messages, for APIs without the role ``system``."""
    system_messages = (turn.content for turn in request.messages if turn.role == "system")
    return "\n\n".join(filter(None, (request.system, *system_messages))) or None


def _without_refused_turns(request: Request, status: int, body: bytes) -> Request | None:
    """Return a request without the data that its turns carry, if the provider refused that data.

    Signatures and encrypted reasoning may be bound to a model, a key or the preceding turns:
    https://platform.claude.com/docs/en/build-with-claude/preserved-thinking
    """
    has_carried_data = any(turn.carried for turn in request.messages)
    if (
        not has_carried_data
        or status not in _REFUSAL_STATUSES
        or not _CARRIED_DATA_WORDS.search(body)
    ):
        return None
    messages = [Message(turn.role, turn.parts) for turn in request.messages]
    return replace(request, messages=sendable(messages, ""))


def _headers_chunk(response: Response) -> Chunk | None:
    """Return the request ID and the rate limits from the headers; ``None`` if there are none."""
    request_ids = (response.headers.get(name) for name in _REQUEST_ID_HEADERS)
    request_id = next(filter(None, request_ids), None)
    limits = rate_limits(response.headers, time.time())
    return Chunk(request_id=request_id, rate_limits=limits) if request_id or limits else None


def _parse(parser: Parser, parts: BodyParts, errors: ProviderErrors) -> Iterator[Chunk]:
    """Yield the chunks of the events, or of the whole body, in ``parts``."""
    for data in parts.data:
        begins_json = data[:1] == "{"  # nearly always, which saves two checks
        if not begins_json and is_end_mark(data):
            parser.ended = parser.finished  # an end mark before the end of the answer is ignored
        elif parser.ended or not (begins_json or data.strip()):
            continue  # some servers keep a connection open with empty data
        elif parts.is_whole:
            yield from whole_body(parser, data, errors)
        elif parser.finished:
            yield from _late_chunks(parser, data)
        else:
            yield from parser.feed(data)


def whole_body(parser: Parser, body: str, errors: ProviderErrors) -> Iterator[Chunk]:
    """Yield the answer in a whole body as one chunk.

    Raises:
        GatewayError: If the body has no answer, or contains an error; the chunks before an error
            are yielded first.
    """
    chunks: list[Chunk] = []
    try:
        for chunk in parser.feed(body):
            chunks.append(chunk)  # noqa: PERF402 - keeps the chunks before an error
        if not parser.finished and not any(map(_has_content, chunks)):
            raise errors.without_answer(body)
    except GatewayError:
        yield Chunk.merged(chunks)
        raise
    parser.finished = parser.finished or not is_event(body)
    yield Chunk.merged(chunks)


def _has_content(chunk: Chunk) -> bool:
    return bool(chunk.text or chunk.reasoning or chunk.tool_calls or chunk.details)


def _late_chunks(parser: Parser, data: str) -> Iterator[Chunk]:
    """Yield the chunks of an event that follows a complete answer; an error in it is ignored."""
    with contextlib.suppress(GatewayError):
        yield from parser.feed(data)


async def _next_parts(blocks: AsyncIterator[BodyParts], deadline: float | None) -> BodyParts | None:
    """Return the body parts that the next block completes, or ``None`` after the last block.

    Args:
        blocks: The parts of the body.
        deadline: The loop's time until which to wait if the answer is complete, otherwise
            ``None``. Silence or a broken connection does not affect a complete answer.
    """
    if deadline is None:
        return await anext(blocks, None)
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(blocks, None)
    except (GatewayError, TimeoutError):
        return None
