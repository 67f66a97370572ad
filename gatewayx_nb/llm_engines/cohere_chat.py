"""The dialect of Cohere's chat and embed, version 2.

Source of the shapes: https://docs.cohere.com/reference/chat, and
https://docs.cohere.com/reference/chat-stream for what is streamed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.llm_engines import body, embedding
from gatewayx_nb.llm_engines.calls import OpenCalls
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.messages import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gatewayx_nb.llm_engines.faults import Faults
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.messages import Message, Request

_FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}

_FAULTS = {"ERROR": 500, "TIMEOUT": 504}
"""Finish reasons that tell of a fault, and the status that it would have had."""


class CohereChatEngine(HTTPEngine):
    """An endpoint that speaks Cohere's dialect."""

    path: ClassVar[str] = "v2/chat"
    models_path: str = "v1/models?page_size=1000&endpoint=chat"
    features = frozenset({"system", "history", "images", "schema", "embed"})
    prices: ClassVar[str] = "cohere"
    embedding_batch: ClassVar[int] = 96

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system}] if request.system else []
        set_by_caller = {
            "temperature": request.temperature,
            "p": request.top_p,
            "max_tokens": request.max_tokens,
            "stop_sequences": list(request.stop) or None,
            "seed": request.seed,
            "response_format": _response_format(request),
        }
        ours = {
            "model": request.model,
            "messages": [*system, *map(_turn, request.messages)],
            "stream": request.streamed,
            **{name: value for name, value in set_by_caller.items() if value is not None},
        }
        return body.merged(ours, request.params)

    @override
    def parser(self, faults: Faults) -> Parser:
        return CohereParser(faults)

    @override
    def listed(self, listing: dict[str, Any]) -> Iterable[str]:
        return (body.text(body.table(row).get("name")) for row in body.rows(listing.get("models")))

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        payload = {
            "model": model,
            "input_type": "search_document",
            "texts": list(texts),
            "embedding_types": ["float"],
        }
        answer = await embedding.ask(self, "v2/embed", payload, model)
        found = body.rows(body.table(answer.get("embeddings")).get("float"))
        return embedding.vectors(found, texts, self.name)


class CohereParser:
    """Reads one answer: what an event brings in pieces stands in a whole body at once."""

    def __init__(self, faults: Faults) -> None:
        self.finished = False
        self._faults = faults
        self._calls = OpenCalls()

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body, which has no ``type``."""
        if data.startswith("[DONE]"):
            return
        answer = body.parse(data)
        if answer.get("error") or isinstance(answer.get("message"), str):
            raise self._faults.within(answer)
        yield from self._event(answer) if "type" in answer else self._whole(answer)

    def _event(self, event: dict[str, Any]) -> Iterator[Chunk]:
        delta = body.table(event.get("delta"))
        message = body.table(delta.get("message"))
        index = body.count(event.get("index"))
        match event.get("type"):
            case "message-start":
                yield Chunk(request_id=body.text(event.get("id")) or None)
            case "content-start" | "content-delta":
                yield from _said(body.table(message.get("content")))
            case "tool-plan-delta":
                yield from _planned(message)
            case "tool-call-start":
                self._open(index, body.table(message.get("tool_calls")))
            case "tool-call-delta":
                function = body.table(body.table(message.get("tool_calls")).get("function"))
                self._calls.extend(index, body.text(function.get("arguments")))
            case "tool-call-end":
                yield from self._calls.close(index)
            case "message-end":
                yield from self._ended(delta)
                self.finished = True

    def _whole(self, answer: dict[str, Any]) -> Iterator[Chunk]:
        message = body.table(answer.get("message"))
        yield Chunk(request_id=body.text(answer.get("id")) or None)
        for part in body.rows(message.get("content")):
            yield from _said(body.table(part))
        yield from _planned(message)
        for index, call in enumerate(body.rows(message.get("tool_calls"))):
            self._open(index, body.table(call))
            yield from self._calls.close(index)
        yield from self._ended(answer)
        yield Chunk(raw=answer)

    def _open(self, index: int | None, call: dict[str, Any]) -> None:
        function = body.table(call.get("function"))
        name, arguments = body.text(function.get("name")), body.text(function.get("arguments"))
        self._calls.open(index, body.text(call.get("id")), name, arguments)

    def _ended(self, end: dict[str, Any]) -> Iterator[Chunk]:
        reason = body.text(end.get("finish_reason"))
        if end.get("error") or reason in _FAULTS:
            message = body.text(end.get("error")) or f"it ended with {reason}"
            raise self._faults.within({"message": message}, _FAULTS.get(reason, 500))
        self.finished = bool(reason)
        finish = _FINISH_REASONS.get(reason, "other") if reason else None
        usage = body.table(end.get("usage"))
        billed = body.table(usage.get("billed_units"))
        yield Chunk(
            finish_reason=finish,
            usage=usage_of(usage) if usage else None,
            billed=_tokens(billed) if billed else None,
        )


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the tokens that the model saw and wrote, which are more than those that are billed."""
    return _tokens(body.table(usage.get("tokens")), body.count(usage.get("cached_tokens")))


def _tokens(counted: dict[str, Any], cached: int | None = None) -> Usage:
    return Usage(
        input_tokens=body.count(counted.get("input_tokens")),
        output_tokens=body.count(counted.get("output_tokens")),
        cached_tokens=cached,
    )


def _said(part: dict[str, Any]) -> Iterator[Chunk]:
    text, thinking = body.text(part.get("text")), body.text(part.get("thinking"))
    if text or thinking:
        yield Chunk(text=text, reasoning=thinking)


def _planned(message: dict[str, Any]) -> Iterator[Chunk]:
    """Yield what the model thinks before it calls tools."""
    if plan := body.text(message.get("tool_plan")):
        yield Chunk(reasoning=plan)


def _turn(message: Message) -> dict[str, Any]:
    if not message.images:
        return {"role": message.role, "content": message.content}
    text = [{"type": "text", "text": message.content}] if message.content else []
    images = [
        {"type": "image_url", "image_url": {"url": image.address}} for image in message.images
    ]
    return {"role": message.role, "content": [*text, *images]}


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    return {"type": "json_object", "json_schema": dict(request.schema)}
