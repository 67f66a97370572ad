"""Cohere's Chat and Embed APIs, version 2.

Sources: https://docs.cohere.com/reference/chat and, for streaming,
https://docs.cohere.com/reference/chat-stream
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from typing_extensions import override

from gatewayx_nb import bounded_json
from gatewayx_nb.llm_engines import embedding_request, json_body, tool_declarations
from gatewayx_nb.llm_engines.answer_details import citation, details_chunk, finite
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_list, as_str
from gatewayx_nb.llm_engines.message_parts import carried_items, check_images
from gatewayx_nb.llm_engines.openai_chat import chat_messages, tool_call_json
from gatewayx_nb.llm_engines.strict_schema import SchemaRules
from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.replies import Chunk, FinishReason, Logprob, Usage
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Effort, Request, ToolCall, ToolResult
    from gatewayx_nb.replies import Citation

_DIALECT = "cohere"

_FINISH_REASONS: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}

_STATUS_BY_ERROR_REASON = {"ERROR": 500, "TIMEOUT": 504}
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
    features = frozenset({"system", "history", "images", "schema", "tools", "embed"})
    unsupported_options: ClassVar[frozenset[str]] = frozenset({"cache"})
    prices: ClassVar[str] = "cohere"
    schema_rules = _STRICT_SCHEMA
    # https://docs.cohere.com/docs/reasoning
    models_without_effort = re.compile(
        r"^command(?:$|-(?:light|nightly|r|a-03-2025|a-vision|a-translate))|^c4ai-|aya-"
    )
    # The maximum of one request: https://docs.cohere.com/reference/embed
    embedding_batch: ClassVar[int] = 96

    @override
    def enforceable_schema(self, request: Request) -> Mapping[str, Any] | None:
        # The API rejects `response_format` in combination with tools or documents.
        return (
            None
            if request.tools or {"tools", "documents"} & set(request.params)
            else super().enforceable_schema(request)
        )

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        check_images(request, "Cohere's Chat API", "user", "tool", has_detail=True)
        payload = {
            "model": request.model,
            "messages": list(_messages(request)),
            "stream": request.streamed,
        }
        optional_fields = {
            "temperature": request.temperature,
            "p": request.top_p,
            "max_tokens": request.max_tokens,
            "stop_sequences": list(request.stop) or None,
            "seed": request.seed,
            "thinking": request.effort and _thinking(request.effort),
            "response_format": _response_format(request),
            "tools": tool_declarations.chosen_tools(request),
            "tool_choice": tool_declarations.cohere_choice(request),
        }
        return json_body.with_options(payload, optional_fields, request.params)

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
            # Models since version 3 require this: https://docs.cohere.com/reference/embed
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
        self.finished = self.ended = False
        self._errors = errors
        self._call_assembler = ToolCallAssembler()
        self._message_assembler = _MessageAssembler()

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body, which has no ``type``."""
        # The end mark is not part of Cohere's API, but proxies add it.
        if data.startswith("[DONE]"):
            return
        body = json_body.parse(data)
        if body.get("error") or isinstance(body.get("message"), str):
            raise self._errors.from_body(body)
        yield from self._event(body) if "type" in body else self._whole_answer(body)

    def _event(self, event: dict[str, Any]) -> Iterator[Chunk]:
        delta = as_dict(event.get("delta"))
        message = as_dict(delta.get("message"))
        index = as_int(event.get("index"))
        match event.get("type"):
            case "message-start":
                yield Chunk(request_id=as_str(event.get("id")) or None)
            case "content-start" | "content-delta":
                content = as_dict(message.get("content"))
                self._message_assembler.add_content(index, content)
                if row := event.get("logprobs"):
                    self._message_assembler.logprobs.append(_logprob(as_dict(row)))
                yield from _text_chunks(content)
            case "tool-plan-delta":
                self._message_assembler.plan.append(as_str(message.get("tool_plan")))
                yield from _plan_chunks(message)
            case "citation-start":
                self._add_citations([as_dict(message.get("citations"))])
            case "tool-call-start":
                self._start_call(index, as_dict(message.get("tool_calls")))
            case "tool-call-delta":
                function = as_dict(as_dict(message.get("tool_calls")).get("function"))
                self._call_assembler.extend(index, as_str(function.get("arguments")))
            case "tool-call-end":
                yield from self._finish_call(index)
            case "message-end":
                yield from self._end(delta)
                self.finished = self.ended = True

    def _whole_answer(self, body: dict[str, Any]) -> Iterator[Chunk]:
        message = as_dict(body.get("message"))
        yield Chunk(request_id=as_str(body.get("id")) or None)
        for index, part in enumerate(as_dicts(message.get("content"))):
            self._message_assembler.add_content(index, part)
            yield from _text_chunks(part)
        self._message_assembler.plan.append(as_str(message.get("tool_plan")))
        self._add_citations(as_dicts(message.get("citations")))
        self._message_assembler.logprobs += map(_logprob, as_dicts(body.get("logprobs")))
        yield from _plan_chunks(message)
        for index, call in enumerate(as_dicts(message.get("tool_calls"))):
            self._start_call(index, call)
            yield from self._finish_call(index)
        yield from self._end(body)
        yield Chunk(raw=body)

    def _add_citations(self, rows: list[dict[str, Any]]) -> None:
        count = sum(max(1, len(as_list(row.get("sources")))) for row in rows)
        self._errors.check_count(len(self._message_assembler.citations) + count)
        self._message_assembler.citations += (source for row in rows for source in _sources(row))

    def _start_call(self, index: int | None, call: dict[str, Any]) -> None:
        function = as_dict(call.get("function"))
        name, arguments = as_str(function.get("name")), as_str(function.get("arguments"))
        self._call_assembler.add(index, as_str(call.get("id")), name, arguments)

    def _finish_call(self, index: int | None) -> Iterator[Chunk]:
        for chunk in self._call_assembler.finish(index):
            yield self._calls_chunk(chunk.tool_calls)

    def _calls_chunk(self, calls: tuple[ToolCall, ...]) -> Chunk:
        self._message_assembler.calls += calls
        return Chunk(tool_calls=calls)

    def _end(self, end: dict[str, Any]) -> Iterator[Chunk]:
        reason = as_str(end.get("finish_reason"))
        if end.get("error") or reason in _STATUS_BY_ERROR_REASON:
            message = as_str(end.get("error")) or f"it ended with {reason}"
            raise self._errors.from_body(
                {"message": message}, _STATUS_BY_ERROR_REASON.get(reason, 500)
            )
        self.finished = bool(reason)
        if self._call_assembler:  # some proxies omit the events that end calls
            yield self._calls_chunk(self._call_assembler.finish_all())
        yield from self._message_assembler.details()
        finish_reason = _FINISH_REASONS.get(reason, "other") if reason else None
        usage = as_dict(end.get("usage"))
        billed_units = as_dict(usage.get("billed_units"))
        yield Chunk(
            finish_reason=finish_reason,
            usage=usage_of(usage) if usage else None,
            billed=_tokens(billed_units) if billed_units else None,
        )


class _MessageAssembler:
    """Collects the parts of one answer's message as they arrive."""

    def __init__(self) -> None:
        self.contents: list[tuple[int | None, dict[str, str]]] = []
        self.plan: list[str] = []
        self.calls: list[ToolCall] = []
        self.citations: list[Citation] = []
        self.logprobs: list[Logprob] = []

    def add_content(self, index: int | None, content: dict[str, Any]) -> None:
        """Store the text and the thoughts of a piece of content."""
        texts = {name: text for name in ("thinking", "text") if (text := as_str(content.get(name)))}
        self.contents.append((index, texts))

    def details(self) -> Iterator[Chunk]:
        """Yield the citations, the log probabilities, and the message to send back.

        The message is needed only if it has a plan or thoughts before its tool calls:
        https://docs.cohere.com/docs/tool-use-overview
        """
        contents, plan = list(self._joined_contents()), "".join(self.plan)
        has_thoughts = any("thinking" in content for content in contents)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": contents,
            "tool_plan": plan,
            "tool_calls": list(map(tool_call_json, self.calls)),
        }
        item = {name: value for name, value in message.items() if value}
        is_needed = bool(self.calls) and (has_thoughts or bool(plan))
        yield from details_chunk(
            citations=self.citations,
            logprobs=self.logprobs,
            carried={"dialect": _DIALECT, "items": [item]} if is_needed else None,
        )

    def _joined_contents(self) -> Iterator[dict[str, str]]:
        for _, group in itertools.groupby(self.contents, key=itemgetter(0)):
            pieces = [content for _, content in group]
            for field in ("thinking", "text"):
                if text := "".join(as_str(piece.get(field)) for piece in pieces):
                    yield {"type": field, field: text}


def _sources(row: dict[str, Any]) -> Iterator[Citation]:
    """Yield a citation for each source of a passage; a passage in thoughts has no position."""
    is_text = as_str(row.get("type")) in ("", "TEXT_CONTENT")
    span = (row.get("start"), row.get("end")) if is_text else (None, None)
    for source in as_dicts(row.get("sources")) or [{}]:
        content = as_dict(source.get("document")) or as_dict(source.get("tool_output"))
        title = content.get("title") or source.get("id")
        yield citation(row.get("text"), title, content.get("url"), content.get("page"), span)


def _logprob(row: dict[str, Any]) -> Logprob:
    """Return the log probability of a piece of text, which is the sum over its tokens."""
    values = [finite(value) for value in as_list(row.get("logprobs"))]
    known_values = [value for value in values if value is not None]
    total_logprob = sum(known_values) if known_values and len(known_values) == len(values) else None
    return Logprob(well_formed(as_str(row.get("text"))), finite(total_logprob))


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse the token counts of the model's input and output; fewer tokens are billed."""
    return _tokens(as_dict(usage.get("tokens")), as_int(usage.get("cached_tokens")))


def _tokens(counts: dict[str, Any], cached: int | None = None) -> Usage:
    return Usage(
        input_tokens=as_int(counts.get("input_tokens")),
        output_tokens=as_int(counts.get("output_tokens")),
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


def _messages(request: Request) -> Iterator[dict[str, Any]]:
    """Yield the messages of a request; version 2 has the roles and parts of Chat Completions."""
    system_request = replace(request, messages=())
    yield from chat_messages(system_request)
    for is_tool, group in itertools.groupby(request.messages, lambda turn: turn.role == "tool"):
        # The images of results follow the last result, so all of them are converted together.
        for turns in [tuple(group)] if is_tool else [(turn,) for turn in group]:
            if items := carried_items(turns[0], _DIALECT):
                yield from items
            else:
                turn_request = replace(request, system=None, messages=turns)
                results = [result for turn in turns for result in turn.tool_results]
                messages = map(_with_plan, chat_messages(turn_request))
                # Images follow in an extra user message, to which no result belongs.
                for message, result in itertools.zip_longest(messages, results):
                    yield _with_documents(message, result) if result else message


def _with_plan(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in which the text before tool calls is sent as the model's plan.

    https://docs.cohere.com/docs/tool-use-overview
    """
    if "tool_calls" not in message:
        return message
    content = message["content"] or ""
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    plan_field = {"tool_plan": "\n\n".join(texts)} if any(texts) else {}
    return {"role": message["role"], "tool_calls": message["tool_calls"], **plan_field}


def _with_documents(message: dict[str, Any], result: ToolResult) -> dict[str, Any]:
    """Return a tool message with its text as documents, which the answer can cite.

    https://docs.cohere.com/docs/tool-use-citations
    """
    content = message["content"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    contents = [{"error": result.content}] if result.is_error else list(map(_document, texts))
    documents = [{"type": "document", "document": {"data": data}} for data in contents]
    return {**message, "content": documents}


def _document(text: str) -> dict[str, Any]:
    """Return the text as a document: decoded if it is a JSON object, otherwise as ``output``."""
    try:
        bounded_json.check_values(text)
        return msgspec.json.decode(text, type=dict[str, Any])  # rejects NaN, as Cohere does
    except (ValueError, RecursionError):
        return {"output": text}


_THINKING_TOKENS: Mapping[Effort, int] = {"low": 1_024, "medium": 4_096, "high": 16_384}
"""The token budget for each effort; ``max`` has no budget."""


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
