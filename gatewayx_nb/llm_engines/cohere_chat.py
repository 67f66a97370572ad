"""Cohere's Chat and Embed APIs, version 2.

Sources: https://docs.cohere.com/reference/chat and, for streaming,
https://docs.cohere.com/reference/chat-stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.llm_engines import embedding_request, json_body
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_list, as_str
from gatewayx_nb.llm_engines.message_parts import check_images
from gatewayx_nb.llm_engines.openai_chat import chat_messages
from gatewayx_nb.llm_engines.strict_schema import SchemaRules
from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.replies import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Effort, Request

_FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}

_ERROR_STATUSES = {"ERROR": 500, "TIMEOUT": 504}
"""Finish reasons that report an error, with the equivalent HTTP status."""

_STRICT_SCHEMA = SchemaRules(
    keywords=frozenset({"pattern"}),
    formats=frozenset({"date-time", "uuid", "date", "time"}),
    some_required=True,
    max_properties=200,
)
"""https://docs.cohere.com/docs/structured-outputs#unsupported-schema-features"""


class CohereChatEngine(HTTPEngine):
    """An endpoint that implements Cohere's Chat API."""

    path: ClassVar[str] = "v2/chat"
    models_path: str = "v1/models?page_size=1000&endpoint=chat"
    features = frozenset({"system", "history", "images", "schema", "embed"})
    lacks: ClassVar[frozenset[str]] = frozenset({"cache"})
    prices: ClassVar[str] = "cohere"
    schema_rules = _STRICT_SCHEMA
    # The maximum of one request: https://docs.cohere.com/reference/embed
    embedding_batch: ClassVar[int] = 96

    @override
    def enforceable(self, request: Request) -> Mapping[str, Any] | None:
        # The API refuses `response_format` beside these.
        return (
            None if {"tools", "documents"} & set(request.params) else super().enforceable(request)
        )

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        check_images(request, "Cohere's Chat API", "user", has_detail=True)
        payload = {
            "model": request.model,
            # Version 2 of the API has the roles and content parts of Chat Completions.
            "messages": list(map(_with_plan, chat_messages(request))),
            "stream": request.streamed,
        }
        optional = {
            "temperature": request.temperature,
            "p": request.top_p,
            "max_tokens": request.max_tokens,
            "stop_sequences": list(request.stop) or None,
            "seed": request.seed,
            "thinking": request.effort and _thinking(request.effort),
            "response_format": _response_format(request),
        }
        return json_body.with_options(payload, optional, request.params)

    @override
    def parser(self, errors: ProviderErrors) -> Parser:
        return CohereParser(errors)

    @override
    def model_names(self, listing: dict[str, Any]) -> Iterable[str]:
        return (as_str(row.get("name")) for row in as_dicts(listing.get("models")))

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        payload = {
            "model": model,
            # Required since version 3 of the models: https://docs.cohere.com/reference/embed
            "input_type": "search_document",
            "texts": list(texts),
            "embedding_types": ["float"],
        }
        body = await embedding_request.post_json(self, "v2/embed", payload, model)
        vectors = as_list(as_dict(body.get("embeddings")).get("float"))
        return embedding_request.check_vectors(vectors, texts, self.name)


class CohereParser:
    """Parser for one response; a whole body has the fields that a stream sends in pieces."""

    def __init__(self, errors: ProviderErrors) -> None:
        self.finished = False
        self._errors = errors
        self._calls = ToolCallAssembler()

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body, which has no ``type``."""
        # Not in Cohere's API, but added by proxies.
        if data.startswith("[DONE]"):
            return
        body = json_body.parse(data)
        if body.get("error") or isinstance(body.get("message"), str):
            raise self._errors.from_body(body)
        yield from self._event(body) if "type" in body else self._whole(body)

    def _event(self, event: dict[str, Any]) -> Iterator[Chunk]:
        delta = as_dict(event.get("delta"))
        message = as_dict(delta.get("message"))
        index = as_int(event.get("index"))
        match event.get("type"):
            case "message-start":
                yield Chunk(request_id=as_str(event.get("id")) or None)
            case "content-start" | "content-delta":
                yield from _text_chunks(as_dict(message.get("content")))
            case "tool-plan-delta":
                yield from _plan_chunks(message)
            case "tool-call-start":
                self._start_call(index, as_dict(message.get("tool_calls")))
            case "tool-call-delta":
                function = as_dict(as_dict(message.get("tool_calls")).get("function"))
                self._calls.extend(index, as_str(function.get("arguments")))
            case "tool-call-end":
                yield from self._calls.finish(index)
            case "message-end":
                yield from self._end(delta)
                self.finished = True

    def _whole(self, body: dict[str, Any]) -> Iterator[Chunk]:
        message = as_dict(body.get("message"))
        yield Chunk(request_id=as_str(body.get("id")) or None)
        for part in as_dicts(message.get("content")):
            yield from _text_chunks(part)
        yield from _plan_chunks(message)
        for index, call in enumerate(as_dicts(message.get("tool_calls"))):
            self._start_call(index, call)
            yield from self._calls.finish(index)
        yield from self._end(body)
        yield Chunk(raw=body)

    def _start_call(self, index: int | None, call: dict[str, Any]) -> None:
        function = as_dict(call.get("function"))
        name, arguments = as_str(function.get("name")), as_str(function.get("arguments"))
        self._calls.add(index, as_str(call.get("id")), name, arguments)

    def _end(self, end: dict[str, Any]) -> Iterator[Chunk]:
        reason = as_str(end.get("finish_reason"))
        if end.get("error") or reason in _ERROR_STATUSES:
            message = as_str(end.get("error")) or f"it ended with {reason}"
            raise self._errors.from_body({"message": message}, _ERROR_STATUSES.get(reason, 500))
        self.finished = bool(reason)
        finish = _FINISH_REASONS.get(reason, "other") if reason else None
        usage = as_dict(end.get("usage"))
        billed = as_dict(usage.get("billed_units"))
        yield Chunk(
            finish_reason=finish,
            usage=usage_of(usage) if usage else None,
            billed=_tokens(billed) if billed else None,
        )


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse the tokens that the model read and wrote, which exceed the billed tokens."""
    return _tokens(as_dict(usage.get("tokens")), as_int(usage.get("cached_tokens")))


def _tokens(counted: dict[str, Any], cached: int | None = None) -> Usage:
    return Usage(
        input_tokens=as_int(counted.get("input_tokens")),
        output_tokens=as_int(counted.get("output_tokens")),
        cached_tokens=cached,
    )


def _text_chunks(part: dict[str, Any]) -> Iterator[Chunk]:
    text, thinking = as_str(part.get("text")), as_str(part.get("thinking"))
    if text or thinking:
        yield Chunk.of_text(text, thinking)


def _plan_chunks(message: dict[str, Any]) -> Iterator[Chunk]:
    """Yield the model's plan before tool calls as reasoning."""
    if plan := as_str(message.get("tool_plan")):
        yield Chunk(reasoning=plan)


def _with_plan(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in which the text before tool calls is the model's plan.

    https://docs.cohere.com/docs/tool-use-overview
    """
    if "tool_calls" not in message:
        return message
    content = message["content"] or ""
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    plan = {"tool_plan": "\n\n".join(texts)} if any(texts) else {}
    return {"role": message["role"], "tool_calls": message["tool_calls"], **plan}


_THINKING_TOKENS: Mapping[Effort, int] = {"low": 1_024, "medium": 4_096, "high": 16_384}
"""The budget of each effort in tokens; ``max`` has none."""


def _thinking(effort: Effort) -> dict[str, Any]:
    """Return the mode and the budget of reasoning (https://docs.cohere.com/docs/reasoning)."""
    if effort == "none":
        return {"type": "disabled"}
    budget = _THINKING_TOKENS.get(effort)
    return {"type": "enabled"} | ({"token_budget": budget} if budget else {})


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    return {"type": "json_object", "json_schema": dict(request.schema)}
