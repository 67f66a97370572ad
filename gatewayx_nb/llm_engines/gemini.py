"""Google's Gemini API: generateContent and streamGenerateContent.

Source: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from typing_extensions import override

from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import embedding_request, gemini_turn, json_body, tool_declarations
from gatewayx_nb.llm_engines.answer_details import NewDetails
from gatewayx_nb.llm_engines.http import HTTPEngine, system_prompt
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_str
from gatewayx_nb.llm_engines.message_parts import arguments_of, carried_items, check_images
from gatewayx_nb.llm_engines.strict_schema import SchemaRules
from gatewayx_nb.messages import ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Effort, Message, Request

_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
_SIGNATURE_PLACEHOLDER = "skip_thought_signature_validator"
"""Placeholder for the signature of a call; Gemini 3 and later reject a call without a signature.

https://ai.google.dev/gemini-api/docs/thought-signatures
"""

_PLAIN_FIELDS = frozenset({"content", "index"})
_UNFINISHED_REASONS = frozenset({"", "FINISH_REASON_UNSPECIFIED"})

_STRICT_SCHEMA = SchemaRules(
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems"}),
    formats=frozenset({"date-time", "date", "time"}),
    prefix_items=True,
    recursion="optional",
    max_properties=1_000,
    max_depth=20,
)
"""The documented subset; the sizes are estimates: "very large or deeply nested schemas" fail.

https://ai.google.dev/gemini-api/docs/structured-output#json-schema-support
"""


class GeminiEngine(HTTPEngine):
    """An endpoint that implements Gemini's generateContent.

    Args:
        api_key: The engine's key.
        version: The API version, which is part of every path. ``v1beta`` is a superset of
            ``v1``.
        **kwargs: The options of `LLMEngine`.
    """

    key_header: ClassVar[str] = "x-goog-api-key"
    key_prefix: ClassVar[str] = ""
    features = frozenset({"system", "history", "images", "schema", "tools", "embed"})
    schema_rules = _STRICT_SCHEMA
    # https://ai.google.dev/gemini-api/docs/thinking#supported-models
    models_without_effort = re.compile(r"gemini-(?:pro|1\.|2\.0(?!.*thinking))|gemma-[23]|learnlm")
    # Gemini caches prompts automatically: https://ai.google.dev/gemini-api/docs/caching
    unsupported_options: ClassVar[frozenset[str]] = frozenset({"cache"})
    keywords: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(self, api_key: str = "", *, version: str = "v1beta", **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(api_key, **kwargs)
        self.version = version
        # The largest page: https://ai.google.dev/api/models#method:-models.list
        self.models_path = f"{version}/models?pageSize=1000"

    @override
    def route(self, request: Request) -> str:
        # Without `alt=sse`, a stream is sent as one JSON array.
        action = "streamGenerateContent?alt=sse" if request.streamed else "generateContent"
        return f"{self.version}/{_resource(request.model)}:{action}"

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        check_images(request, "generateContent", "user", "assistant", "tool")
        system = system_prompt(request)  # contents have only the roles "user" and "model"
        config = {
            name: value for name, value in _generation_config(request).items() if value is not None
        }
        optional_fields = {
            "systemInstruction": _text_content("user", system) if system else None,
            "generationConfig": config or None,
            "tools": tool_declarations.gemini_tools(request),
            "toolConfig": tool_declarations.gemini_config(request),
        }
        payload = {"contents": list(_contents(request.messages))}
        return json_body.with_options(payload, optional_fields, request.params)

    @override
    def parser(self, errors: ProviderErrors) -> Parser:
        return GeminiParser(errors)

    @override
    def model_names(self, listing: dict[str, Any]) -> Iterable[str]:
        resources = (as_str(row.get("name")) for row in as_dicts(listing.get("models")))
        return (name.removeprefix("models/") for name in resources)

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        resource = _resource(model)
        requests = [{"model": resource, "content": _text_content("user", text)} for text in texts]
        path = f"{self.version}/{resource}:batchEmbedContents"
        body = await embedding_request.post_json(self, path, {"requests": requests}, model)
        vectors = [row.get("values") for row in as_dicts(body.get("embeddings"))]
        return embedding_request.check_vectors(vectors, texts, self.name)


class GeminiParser:
    """Parser for one response; a whole body is parsed like an event that ends the answer."""

    def __init__(self, errors: ProviderErrors) -> None:
        self.finished = self.ended = False
        self._errors = errors
        self._response_ids = ("", "")
        self._has_started = False
        self._has_tool_calls = False
        self._other_part_count = 0  # other than text, which every event may contain
        self._part_assembler = gemini_turn.PartAssembler()
        self._new_details = NewDetails(errors)

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body.

        Errors may be wrapped in a list; so may a stream, if a proxy has removed ``alt=sse``.
        """
        if data.startswith("[DONE]"):  # added by proxies
            return
        if data.lstrip().startswith("["):
            # The list is wrapped in an object, because `json_body.parse` accepts nothing else.
            data = f'{{"all":{data}}}'
            bodies = as_dicts(json_body.parse(data).get("all"))
        else:
            bodies = [json_body.parse(data)]
        for body in bodies:
            yield from self._body(body)

    def _body(self, body: dict[str, Any]) -> Iterator[Chunk]:
        if body.get("error"):
            raise self._errors.from_body(body)
        # Every event repeats the IDs, but they are yielded only once.
        ids = as_str(body.get("modelVersion")), as_str(body.get("responseId"))
        if ids != self._response_ids:
            self._response_ids = ids
            yield Chunk(model=ids[0] or None, request_id=ids[1] or None)
        is_first, self._has_started = not self._has_started, True
        for candidate in as_dicts(body.get("candidates")):
            if not candidate.get("index"):  # only the first candidate (`candidateCount`)
                yield from self._candidate(candidate)
        usage = as_dict(body.get("usageMetadata"))
        if usage or (is_first and self.finished):
            raw = body if is_first and self.finished else None
            yield Chunk(usage=usage_of(usage) if usage else None, raw=raw)
        if not body.get("candidates"):
            self._check_prompt(as_dict(body.get("promptFeedback")))

    def _candidate(self, candidate: dict[str, Any]) -> Iterator[Chunk]:
        parts = as_dicts(as_dict(candidate.get("content")).get("parts"))
        for part in parts:
            if not part:
                continue
            self._part_assembler.parts.append(part)
            self._other_part_count += "text" not in part
            self._errors.check_count(self._other_part_count)
            yield from self._part(part)
        if not candidate.keys() <= _PLAIN_FIELDS:
            self._part_assembler.add_metadata(candidate)
        reason = as_str(candidate.get("finishReason"))
        if reason.startswith("MALFORMED"):
            message = as_str(candidate.get("finishMessage")) or "the reply is malformed"
            raise self._errors.from_body({"error": {"status": reason, "message": message}})
        if reason not in _UNFINISHED_REASONS:
            self.finished = True
            finish_reason = _FINISH_REASONS.get(reason, "other")
            # Replies with tool calls end with STOP too.
            has_ended_with_calls = self._has_tool_calls and finish_reason == "stop"
            yield Chunk(finish_reason="tool_calls" if has_ended_with_calls else finish_reason)
        elif self.finished and any("functionCall" in part for part in parts):
            # The call arrived after the finish reason.
            yield Chunk(finish_reason="tool_calls")
        if self.finished:
            details = self._part_assembler.details()
            yield from self._new_details.chunk(details, self._part_assembler.size)

    def _part(self, part: dict[str, Any]) -> Iterator[Chunk]:
        if text := as_str(part.get("text")):
            yield Chunk.of_text("", text) if part.get("thought") else Chunk.of_text(text)
        if call := as_dict(part.get("functionCall")):
            self._has_tool_calls = True
            # The arguments are an object and arrive whole, even in a stream.
            arguments = json.dumps(as_dict(call.get("args")), ensure_ascii=False)
            id_and_name = as_str(call.get("id")), as_str(call.get("name"))
            yield Chunk(tool_calls=(ToolCall(*id_and_name, arguments),))

    def _check_prompt(self, feedback: dict[str, Any]) -> None:
        """Check that the prompt was not blocked.

        Raises:
            ContentFilterError: If the prompt was blocked; the message contains the reason.
        """
        if reason := as_str(feedback.get("blockReason")):
            explanation = as_str(feedback.get("blockReasonMessage"))
            message = f"the prompt was blocked: {explanation or reason}"
            raise self._errors.from_body({"error": {"type": "content_filter", "message": message}})


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse the usage; tool prompts count as input, thoughts as output.

    https://ai.google.dev/api/generate-content#UsageMetadata
    """
    input_fields = ("promptTokenCount", "toolUsePromptTokenCount")
    thought_tokens = as_int(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=_sum(*(as_int(usage.get(name)) for name in input_fields)),
        output_tokens=_sum(as_int(usage.get("candidatesTokenCount")), thought_tokens),
        cached_tokens=as_int(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thought_tokens,
    )


def _sum(*counts: int | None) -> int | None:
    reported_counts = [count for count in counts if count is not None]
    return sum(reported_counts) if reported_counts else None


def _resource(model: str) -> str:
    """Return a model's resource name, quoted for use in a path."""
    resource = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return quote(resource, safe="/-._~")


_THINKING_LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL",  # the lowest level, because these models always think
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "max": "XHIGH",
}
"""The levels of thinking: https://ai.google.dev/gemini-api/docs/thinking"""


def _generation_config(request: Request) -> dict[str, Any]:
    schema = None if request.schema is None else dict(request.schema)
    return {
        "temperature": request.temperature,
        "topP": request.top_p,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "thinkingConfig": request.effort and {"thinkingLevel": _THINKING_LEVELS[request.effort]},
        "responseMimeType": None if schema is None else "application/json",
        "responseJsonSchema": schema,
    }


def _contents(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """Yield the turns; empty turns are omitted, because they would be rejected.

    The results of all calls are in one turn. That turn must not have other parts, because Gemini
    would mistake text in the turn for its own.
    """
    turns = [turn for turn in messages if turn.role != "system" and (turn.parts or turn.carried)]
    unknown_ids = {call_id for turn in turns for call_id in _calls_without_id(turn)}
    for role, group in itertools.groupby(turns, key=lambda turn: turn.role):
        contents = [list(_turn_parts(turn, unknown_ids)) for turn in group]
        if role == "tool":
            contents = [list(itertools.chain.from_iterable(contents))]
        for parts in contents:
            yield {"role": "model" if role == "assistant" else "user", "parts": parts}


def _calls_without_id(turn: Message) -> Iterator[str]:
    """Yield the IDs that this package assigned to calls that Gemini sent without an ID."""
    parts = carried_items(turn, gemini_turn.DIALECT)
    function_calls = [as_dict(part["functionCall"]) for part in parts if "functionCall" in part]
    for call, function_call in zip(turn.tool_calls, function_calls, strict=False):
        if not function_call.get("id"):
            yield call.id


def _turn_parts(turn: Message, unknown_ids: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a turn.

    Args:
        turn: The turn.
        unknown_ids: The IDs of tool calls that Gemini does not know.
    """
    if parts := carried_items(turn, gemini_turn.DIALECT):
        yield from parts
        return
    signature_field = {"thoughtSignature": _SIGNATURE_PLACEHOLDER}
    for part in turn.parts:
        match part:
            case str():
                yield {"text": part}
            case Image():
                yield _image_part(part)
            case ToolCall():
                call_fields = {"id": part.id, "name": part.name, "args": arguments_of(part)}
                yield {"functionCall": call_fields} | signature_field
                signature_field = {}  # only the first call of a turn has a signature
            case ToolResult():
                yield {"functionResponse": _function_response(part, unknown_ids)}


def _function_response(result: ToolResult, unknown_ids: set[str]) -> dict[str, Any]:
    response = {"error" if result.is_error else "output": result.content}
    images = list(map(_image_part, result.images))
    fields: dict[str, Any] = {} if result.id in unknown_ids else {"id": result.id}
    fields |= {"name": result.name, "response": response}
    return fields | ({"parts": images} if images else {})


def _text_content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}] if text else []}


def _image_part(image: Image) -> dict[str, Any]:
    if image.url:
        return {"fileData": {"fileUri": image.url, "mimeType": image.mime}}
    return {"inlineData": {"mimeType": image.mime, "data": image.base64}}
