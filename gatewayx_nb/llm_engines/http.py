"""The base of engines that speak HTTP: sends a payload, reads an answer, tells its faults."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from typing_extensions import override

from gatewayx_nb.llm_engines import body, rejected
from gatewayx_nb.llm_engines.engine import LLMEngine
from gatewayx_nb.llm_engines.faults import FIRST_FAULT, Faults
from gatewayx_nb.llm_engines.limits import rate_limits
from gatewayx_nb.messages import Chunk, ModelInfo
from gatewayx_nb.sse import Decoder
from gatewayx_nb.transport import HTTPClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from gatewayx_nb.messages import Request
    from gatewayx_nb.transport import Response

_REQUEST_IDS = ("x-request-id", "request-id", "x-generation-id")


class Parser(Protocol):
    """Turns the bodies of one answer, whole or in pieces, into chunks."""

    finished: bool
    """Whether the answer's end mark was seen."""

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body.

        Raises:
            GatewayError: The body is a fault, or no JSON object.
        """
        ...


class Dialect(Protocol):
    """How one interface of a provider is asked, and how its answers are read."""

    def route(self, request: Request) -> str:
        """Give the path of a request, below the engine's ``base_url``."""
        ...

    def payload(self, request: Request) -> dict[str, Any]:
        """Give the JSON body that asks for this request."""
        ...

    def parser(self, faults: Faults) -> Parser:
        """Give a parser for one answer, which makes its errors with ``faults``."""
        ...


class HTTPEngine(LLMEngine, ABC):
    """An engine whose provider answers over HTTP with JSON or server-sent events.

    A dialect overrides `payload` and `parser`; an engine file sets the attributes. An engine whose
    provider has several interfaces overrides `dialect` too.

    Attributes:
        path: Where prompts go, below ``base_url``; `route` where it depends on the request.
        models_path: Where the models are listed.
        key_header: Header that carries the key.
        key_prefix: What stands before the key there.
        headers: Further headers of every request.
    """

    path: ClassVar[str] = ""
    models_path: str = "models"
    key_header: ClassVar[str] = "Authorization"
    key_prefix: ClassVar[str] = "Bearer "
    headers: Mapping[str, str] = MappingProxyType({})
    keywords: ClassVar[frozenset[str] | None] = frozenset()

    _client: HTTPClient | None = None

    @property
    def http(self) -> HTTPClient:
        """The connections of this engine; made on first use, for the loop that uses them."""
        if self._client is None:
            self._client = HTTPClient(
                self.base_url,
                engine=self.name,
                key=self.api_key,
                key_header=self.key_header,
                key_prefix=self.key_prefix,
                headers=self.headers,
                network=self.network,
            )
        return self._client

    def dialect(self, request: Request) -> Dialect:  # noqa: ARG002 - an override reads it
        """Give the interface that answers a request: the engine's own unless there are several."""
        return self

    def route(self, request: Request) -> str:  # noqa: ARG002 - an override reads it
        """Give the path of a request, below ``base_url``."""
        return self.path

    @abstractmethod
    def payload(self, request: Request) -> dict[str, Any]:
        """Give the JSON body that asks for this request."""
        raise NotImplementedError

    @abstractmethod
    def parser(self, faults: Faults) -> Parser:
        """Give a parser for one answer, which makes its errors with ``faults``."""
        raise NotImplementedError

    def listed(self, listing: dict[str, Any]) -> Iterable[str]:
        """Give the names in an answer to ``models_path``."""
        return (body.text(body.table(row).get("id")) for row in body.rows(listing.get("data")))

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        rejected.refuse(request, self.lacks, self.name)
        faults = Faults(self.name, request.model, self.api_key)
        dialect = self.dialect(request)
        parser = dialect.parser(faults)
        async with self.http.post(dialect.route(request), dialect.payload(request)) as response:
            if response.status >= FIRST_FAULT:
                data = await response.read()
                error = faults.status(response.status, response.headers, data)
                raise rejected.explained(error, request, data)
            yield _of_headers(response)
            pieces = _events if response.content_type == "text/event-stream" else _whole
            async for piece in pieces(response):
                for chunk in parser.feed(piece):
                    if chunk.text:
                        response.watch_silence()
                    yield chunk
        if not parser.finished:
            raise faults.truncated()

    @override
    async def models(self) -> list[ModelInfo]:
        async with self.http.get(self.models_path) as response:
            data = await response.read()
            if response.status >= FIRST_FAULT:
                faults = Faults(self.name, None, self.api_key)
                raise faults.status(response.status, response.headers, data)
        names = filter(None, self.listed(body.parse(data)))
        return [ModelInfo(self.name, name, name == self.model_name) for name in names]

    @override
    async def health_check(self) -> bool:
        return bool(await self.models())

    @override
    async def cleanup(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _of_headers(response: Response) -> Chunk:
    """Give what the headers tell: the request's name, and what is left of the limits."""
    names = (response.headers.get(name) for name in _REQUEST_IDS)
    return Chunk(
        request_id=next(filter(None, names), None),
        rate_limits=rate_limits(response.headers, time.time()),
    )


async def _events(response: Response) -> AsyncIterator[str]:
    """Yield the data of the events of a stream, and the error that may stand behind them.

    A server that fails midway, Gemini's for one, writes its error as bare JSON, of no event. What
    was cut off at the end is left out: the missing end mark tells of it.
    """
    decoder = Decoder()
    async for block in response.blocks():
        for event in decoder.feed(block):
            yield event.data
    for event in decoder.close():
        if body.is_whole(event.data):
            yield event.data
    if '"error"' in decoder.stray and body.is_whole(decoder.stray):
        yield decoder.stray


async def _whole(response: Response) -> AsyncIterator[str]:
    """Yield the one body of an answer that is no stream, asked for or not."""
    yield (await response.read()).decode(errors="replace")
