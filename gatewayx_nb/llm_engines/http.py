"""The base of engines that speak HTTP: sends a payload, reads an answer, tells its faults."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from typing_extensions import override

from gatewayx_nb import retries
from gatewayx_nb.errors import (
    AuthenticationError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TruncatedError,
    classify,
)
from gatewayx_nb.llm_engines import body
from gatewayx_nb.llm_engines.engine import LLMEngine
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.rendering import shorten
from gatewayx_nb.secure_config import redact
from gatewayx_nb.sse import Decoder
from gatewayx_nb.transport import HTTPClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gatewayx_nb.messages import Chunk, Request
    from gatewayx_nb.transport import Response

_MENDS: dict[type[GatewayError], str] = {
    AuthenticationError: "Set a valid key: `%gatewayx key set {engine}`.",
    ModelNotFoundError: "Name another: `%%gatewayx {engine}:MODEL`.",
    QuotaError: "Top up the account at the provider, or ask another engine: `%gatewayx status`.",
    RateLimitError: "Wait and run the cell again, or ask another engine: `%gatewayx status`.",
    ProviderError: "Run the cell again, or ask another engine: `%gatewayx status`.",
}


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


class HTTPEngine(LLMEngine, ABC):
    """An engine whose provider answers over HTTP with JSON or server-sent events.

    A dialect overrides `payload` and `parser`; an engine file sets the attributes.

    Attributes:
        path: Where prompts go, below ``base_url``.
        key_header: Header that carries the key.
        key_prefix: What stands before the key there.
        headers: Further headers of every request.
    """

    path: ClassVar[str]
    key_header: ClassVar[str] = "Authorization"
    key_prefix: ClassVar[str] = "Bearer "
    headers: ClassVar[dict[str, str]] = {}

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

    @abstractmethod
    def payload(self, request: Request) -> dict[str, Any]:
        """Give the JSON body that asks for this request."""
        raise NotImplementedError

    @abstractmethod
    def parser(self) -> Parser:
        """Give a parser for one answer."""
        raise NotImplementedError

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        parser = self.parser()
        async with self.http.post(self.path, self.payload(request)) as response:
            if response.status >= body.FIRST_FAULT:
                raise await self._fault(response, request.model)
            pieces = _events if response.content_type == "text/event-stream" else _whole
            async for data in pieces(response):
                for chunk in parser.feed(data):
                    if chunk.text:
                        response.watch_silence()
                    yield chunk
        if not parser.finished:
            raise TruncatedError(
                f"the answer of {self.name!r} ended before its end mark.",
                mend="Run the cell again.",
                engine=self.name,
                model=request.model,
            )

    @override
    async def models(self) -> list[ModelInfo]:
        async with self.http.get("models") as response:
            if response.status >= body.FIRST_FAULT:
                raise await self._fault(response, None)
            listed = body.parse(await response.read()).get("data")
        names = [body.text(body.table(row).get("id")) for row in body.rows(listed)]
        return [ModelInfo(self.name, name, name == self.model_name) for name in names if name]

    @override
    async def health_check(self) -> bool:
        return bool(await self.models())

    @override
    async def cleanup(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _fault(self, response: Response, model: str | None) -> GatewayError:
        """Make the typed error of an answer whose status tells of a fault."""
        code, message = body.fault(await response.read())
        kind = classify(response.status, code)
        said = f": {shorten(redact(message, [self.api_key]), 300)}" if message else "."
        return kind(
            f"{self.name!r} answered {response.status}{said}",
            mend=_MENDS.get(kind, _MENDS[ProviderError]).format(engine=self.name),
            engine=self.name,
            model=model,
            status=response.status,
            code=code,
            retry_after=retries.retry_after(response.headers, time.time()),
        )


async def _events(response: Response) -> AsyncIterator[str]:
    """Yield the data of the events of a stream."""
    decoder = Decoder()
    async for block in response.blocks():
        for event in decoder.feed(block):
            yield event.data
    for event in decoder.close():
        yield event.data


async def _whole(response: Response) -> AsyncIterator[str]:
    """Yield the one body of an answer that is no stream, asked for or not."""
    yield (await response.read()).decode(errors="replace")
