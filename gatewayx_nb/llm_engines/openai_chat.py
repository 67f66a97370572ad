"""The Chat Completions API, shared by OpenAI-compatible providers.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.llm_engines import embedding_request, json_body, tool_declarations
from gatewayx_nb.llm_engines.chat_turn import ExtraFields, carried_message
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_str
from gatewayx_nb.llm_engines.message_parts import (
    accepted_id,
    check_images,
    content_of,
    result_parts,
)
from gatewayx_nb.llm_engines.strict_schema import SchemaRules
from gatewayx_nb.llm_engines.text_event import read_text_event
from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.replies import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.images import Image
    from gatewayx_nb.llm_engines.engine import SchemaMode, ToolRules
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Message, Request, Role, ToolCall, ToolResult

_PLAIN_FIELDS = frozenset({"role", "content"})

_TEXT_FIELDS = ("content", "reasoning_content", "reasoning")
_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_STRICT_SCHEMA = SchemaRules(
    keywords=frozenset(
        {"pattern", "minItems", "maxItems", "multipleOf"}
        | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    ),
    formats=frozenset(
        {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
    ),
    all_required=True,
    recursion="anywhere",
    max_properties=5_000,
    max_depth=10,
    max_enum_values=1_000,
    max_long_labels=15_000,
    distinct_variants=True,
    max_chars=120_000,
)
"""The schemas that ``strict`` mode accepts, in Chat Completions and Responses alike.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas

The API says of unions: "Objects provided via 'anyOf' must not share identical first keys."
"""

_PLACEHOLDER_ANSWER = "OK."
"""Placeholder answer between tool results and a user message; it must not be empty."""

_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")

_OPENAI_ID = re.compile(r".{1,40}", re.DOTALL)
"""The tool-call IDs that OpenAI's models accept; IDs of other providers may be longer.

Only an endpoint that refuses long IDs receives shorter IDs, because proxies store signatures in
IDs: https://github.com/openclaw/openclaw/pull/875
"""


class OpenAICompatibleEngine(HTTPEngine):
    """An endpoint that implements the Chat Completions API.

    Attributes:
        max_tokens_field: Name of the field that limits the reply: ``max_completion_tokens`` for
            OpenAI, Azure and xAI, ``max_tokens`` for others.
        seed_field: Name of the seed field.
        stream_usage: Whether the endpoint supports ``stream_options``, which requests the usage.
        schema_mode: The format that the endpoint enforces.
        tool_rules: The vendor whose rules for tool calls the endpoint follows.
        reasoning_field: Name of the field in which reasoning from earlier answers must be sent back
            if a request has tools or tool calls; empty if this is not required. Other endpoints
            reject the field.
    """

    path: ClassVar[str] = "chat/completions"
    features = frozenset({"system", "history", "images", "schema", "tools"})
    max_tokens_field: ClassVar[str] = "max_tokens"
    seed_field: ClassVar[str] = "seed"
    # Only OpenAI supports `prompt_cache_key`, and some servers reject unknown fields.
    unsupported_options: ClassVar[frozenset[str]] = frozenset({"cache"})
    stream_usage: ClassVar[bool] = True
    schema_mode: ClassVar[SchemaMode] = "strict"
    tool_rules: ClassVar[ToolRules] = "openai"
    reasoning_field: ClassVar[str] = ""
    schema_rules = _STRICT_SCHEMA
    # Models from OpenAI, Meta and xAI, whether called directly or through OpenRouter or Groq.
    models_without_effort = re.compile(
        r"(?:^|[/-])(?:gpt-(?:3\.5|4)(?!\d)|chatgpt-4o|llama-[23]|grok-[23](?!-mini)(?![\d.]))"
        r"|non-reasoning"
    )

    @override
    def enforceable_schema(self, request: Request) -> Mapping[str, Any] | None:
        if self.schema_mode == "strict":
            return super().enforceable_schema(request)
        return {} if self.schema_mode == "json_object" else None

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        roles: tuple[Role, ...] = ("user",) if self.tool_rules == "mistral" else ("user", "tool")
        check_images(request, "Chat Completions", *roles, has_detail=True)
        messages = chat_messages(request)
        if self.tool_rules == "mistral" or "user after tool" in self._refused_features:
            messages = list(_as_mistral_requires(messages))
        if "long ids" in self._refused_features:
            messages = [_with_short_ids(message, _OPENAI_ID, 24) for message in messages]
        if self.reasoning_field:
            has_tools = request.tools or "tools" in request.params
            has_tool_calls = any("tool_calls" in message for message in messages)
            is_required = has_tools or has_tool_calls
            adapt_message = self._with_reasoning if is_required else self._without_reasoning
            messages = list(map(adapt_message, messages))
        payload = {
            "model": request.model,
            "messages": messages,
            "stream": request.streamed,
        }
        include_usage = (
            request.streamed
            and self.stream_usage
            and "stream_options" not in self._refused_features
        )
        optional_fields = {
            "stream_options": {"include_usage": True} if include_usage else None,
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.max_tokens_field: request.max_tokens,
            "stop": list(request.stop) or None,
            self.seed_field: request.seed,
            "reasoning_effort": request.effort,
            "prompt_cache_key": request.cache and cache_key(request),
            "response_format": _response_format(request),
            "tools": tool_declarations.chat_tools(request),
            "tool_choice": tool_declarations.chat_choice(request),
        }
        return json_body.with_options(payload, optional_fields, request.params)

    def _with_reasoning(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return a message with its reasoning, which is empty if another model wrote the message.

        DeepSeek refuses an answer without the field:
        https://api-docs.deepseek.com/guides/thinking_mode#tool-calls
        """
        return {self.reasoning_field: ""} | message if message["role"] == "assistant" else message

    def _without_reasoning(self, message: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in message.items() if name != self.reasoning_field}

    @override
    def parser(self, errors: ProviderErrors) -> Parser:
        return ChatParser(errors, self.reasoning_field)

    @override
    def adapt_to_refusal(self, status: int, body: bytes) -> bool:
        # Mistral's models on other servers: "Unexpected role 'user' after role 'tool'".
        error_part_by_feature = {
            "stream_options": b"stream_options",
            "user after tool": b"after role 'tool'",
            "long ids": b"].id': string too long",
        }
        refused_features = {
            name for name, error_part in error_part_by_feature.items() if error_part in body
        } - self._refused_features
        if status not in (400, 422) or not refused_features:
            return False
        self._refused_features |= refused_features
        return True

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        if "embed" not in self.features:
            return await super().embed(texts, model)
        # OpenAI's SDK requests base64 by default; not every server supports that.
        payload = {"model": model, "input": list(texts), "encoding_format": "float"}
        body = await embedding_request.post_json(self, "embeddings", payload, model)
        # The API numbers the vectors and does not promise an order.
        rows = sorted(as_dicts(body.get("data")), key=lambda row: as_int(row.get("index")) or 0)
        vectors = [row.get("embedding") for row in rows]
        return embedding_request.check_vectors(vectors, texts, self.name)


class ChatParser:
    """Parses one response; a whole body has ``message`` where a chunk has ``delta``.

    Some servers also send ``message`` in a stream: either alongside the deltas, or instead of them,
    with the whole text so far.

    Args:
        errors: Creates the errors.
        reasoning_field: Name of the field with the reasoning that must be sent back; empty if
            there is none.
    """

    def __init__(self, errors: ProviderErrors, reasoning_field: str = "") -> None:
        self.finished = self.ended = False
        self._errors = errors
        self._response_ids: tuple[object, object] = (None, None)
        self._has_refused = False
        self._has_deltas = False
        # The pieces of text sent so far, and their total length, by the name of the field.
        self._sent_texts: defaultdict[str, list[str]] = defaultdict(list)
        self._sent_lengths: Counter[str] = Counter()
        self._call_assembler = ToolCallAssembler()
        self._extra_fields = ExtraFields(errors, reasoning_field)

    def feed(self, data: str) -> Iterable[Chunk]:
        """Return the chunks of one event's data, or of a whole body."""
        if self.finished or (event := read_text_event(data)) is None:
            return self._parse(data)
        self._has_deltas = True
        text, ids = event
        chunk = Chunk.of_text(text)
        return (chunk,) if ids == self._response_ids else (self._identity(ids), chunk)

    def _parse(self, data: str) -> Iterator[Chunk]:
        body = json_body.parse(data)
        if body.get("error") or body.get("object") == "error":
            raise self._errors.from_body(body)
        if (ids := (body.get("model"), body.get("id"))) != self._response_ids:
            yield self._identity(ids)
        is_whole = False
        for choice in as_dicts(body.get("choices")):
            is_whole = is_whole or bool(choice.get("message"))
            if not choice.get("index"):  # only the first of several choices (`n`)
                yield from self._choice(choice)
        if self.finished:
            yield from self._extra_fields.sources(body)
        # Groq's field in a stream: https://console.groq.com/docs/api-reference#chat-create
        usage = as_dict(body.get("usage")) or as_dict(as_dict(body.get("x_groq")).get("usage"))
        if usage or is_whole:
            yield Chunk(usage=usage_of(usage) if usage else None, raw=body if is_whole else None)

    def _identity(self, ids: tuple[object, object]) -> Chunk:
        """Return a chunk with the model and the ID of the response, and keep both."""
        self._response_ids = ids
        return Chunk(model=as_str(ids[0]) or None, request_id=as_str(ids[1]) or None)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Chunk]:
        part = self._new_part(choice)
        content, refusal = part.get("content"), as_str(part.get("refusal"))
        self._has_refused = self._has_refused or bool(refusal)
        if isinstance(content, list):
            yield from _part_chunks(content)
        text = as_str(content) or refusal
        # DeepSeek, xAI and older vLLM: `reasoning_content`; OpenRouter, Groq, vLLM: `reasoning`.
        reasoning = as_str(part.get("reasoning_content")) or as_str(part.get("reasoning"))
        if text or reasoning:
            yield Chunk.of_text(text, reasoning)
        is_plain = text and (len(part) == 1 or part.keys() <= _PLAIN_FIELDS)
        if not is_plain or choice.get("logprobs"):
            yield from self._extra_fields.add(choice, part)
        for position, call in enumerate(as_dicts(part.get("tool_calls"))):
            self._add_call(call, position)
        # The deprecated predecessor of `tool_calls`: https://platform.openai.com/docs/api-reference/chat
        if (call := as_dict(part.get("function_call"))) and not part.get("tool_calls"):
            self._add_call({"function": call}, 0)
        reason = as_str(choice.get("finish_reason"))
        if reason == "error":
            raise self._errors.from_body(choice)
        is_repeated = self.finished and not self._call_assembler
        if reason and not is_repeated:
            self.finished = True
            yield self._end(reason)
        elif self.finished and self._call_assembler.are_complete:  # calls after the finish reason
            yield self._end("tool_calls")
        if self.finished:
            yield from self._extra_fields.carried()

    def _new_part(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return the part of a message that has not been sent before."""
        if delta := as_dict(choice.get("delta")):
            self._has_deltas = self._has_deltas or any(
                value for name, value in delta.items() if name != "role"
            )
            return delta
        message = as_dict(choice.get("message"))
        if not self._has_deltas:
            is_last = bool(choice.get("finish_reason"))
            texts = {name: text for name in _TEXT_FIELDS if (text := as_str(message.get(name)))}
            return message | {
                name: self._new_text(name, text, is_last=is_last) for name, text in texts.items()
            }
        # A message after deltas repeats them; only its tool calls may be new.
        is_repeated = self.finished or self._call_assembler
        return {} if is_repeated else {"tool_calls": message.get("tool_calls")}

    def _new_text(self, name: str, text: str, *, is_last: bool) -> str:
        pieces, length = self._sent_texts[name], self._sent_lengths[name]
        # A shorter text cannot repeat the text so far, which is joined only if it may be repeated.
        sent_text = "".join(pieces) if len(text) >= length else None
        # Before the last message, text that equals the text so far is new, not a repetition.
        if sent_text is not None and text.startswith(sent_text) and (is_last or text != sent_text):
            text = text[length:]
        pieces.append(text)
        self._sent_lengths[name] += len(text)
        return text

    def _add_call(self, piece: dict[str, Any], position: int) -> None:
        function = as_dict(piece.get("function"))
        call_id, name = as_str(piece.get("id")), as_str(function.get("name"))
        arguments = function.get("arguments")
        text = json.dumps(arguments) if isinstance(arguments, dict) else as_str(arguments)
        # The calls of a whole body have no index; in some streams it is null.
        index = piece.get("index")
        self._call_assembler.add(position if index is None else index, call_id, name, text)

    def _end(self, reason: str) -> Chunk:
        """Return a chunk with the finish reason and the tool calls, which are complete by now.

        If the caller forced a tool call, the provider reports ``stop``.
        """
        tool_calls = self._call_assembler.finish_all() if self._call_assembler else ()
        finish_reason = _FINISH_REASONS.get(reason, "other")
        if self._has_refused:
            finish_reason = "content_filter"
        elif tool_calls and finish_reason == "stop":
            finish_reason = "tool_calls"
        return Chunk(finish_reason=finish_reason, tool_calls=tool_calls)


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse the usage; output tokens include reasoning tokens, as in `Usage`.

    xAI excludes reasoning tokens from ``completion_tokens``, as its total shows.
    """
    prompt_tokens, completion_tokens = (
        as_int(usage.get("prompt_tokens")),
        as_int(usage.get("completion_tokens")),
    )
    prompt_details = as_dict(usage.get("prompt_tokens_details"))
    completion_details = as_dict(usage.get("completion_tokens_details"))
    reasoning_tokens = as_int(completion_details.get("reasoning_tokens"))
    if reasoning_tokens and prompt_tokens is not None and completion_tokens is not None:
        is_excluded = (
            as_int(usage.get("total_tokens"))
            == prompt_tokens + completion_tokens + reasoning_tokens
        )
        completion_tokens += reasoning_tokens if is_excluded else 0
    cached_tokens = as_int(prompt_details.get("cached_tokens"))
    if cached_tokens is None:  # DeepSeek's field: https://api-docs.deepseek.com/guides/kv_cache
        cached_tokens = as_int(usage.get("prompt_cache_hit_tokens"))
    return Usage(
        input_tokens=prompt_tokens,
        output_tokens=completion_tokens,
        cached_tokens=cached_tokens,
        cache_write_tokens=as_int(prompt_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning_tokens,
    )


def chat_messages(request: Request) -> list[dict[str, Any]]:
    """Return the messages of a request, starting with the system prompt.

    Tool results can contain only text, so their images are sent in a user message after the last
    result.
    """
    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": request.system})
    for is_tool, group in itertools.groupby(request.messages, lambda turn: turn.role == "tool"):
        turns = list(group)
        messages += [message for turn in turns for message in _turn_messages(turn)]
        if is_tool and (images := list(_result_images(turns))):
            messages.append({"role": "user", "content": content_of(images, _part_json)})
    return messages


def _result_images(turns: Iterable[Message]) -> Iterator[str | Image]:
    """Yield the images in tool results, after text that names the call."""
    for result in (result for turn in turns for result in turn.tool_results if result.images):
        yield f"Images in the result of {result.name} (tool call {result.id}):"
        yield from result.images


def _turn_messages(turn: Message) -> list[dict[str, Any]]:
    """Return a turn as one message, or tool results as one message each."""
    if turn.role == "tool":
        return [_tool_message(result) for result in turn.tool_results]
    content = content_of(turn.parts, _part_json)
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.tool_calls:
        message |= {
            "content": content or None,
            "tool_calls": list(map(tool_call_json, turn.tool_calls)),
        }
    return [carried_message(turn, message)]


def _tool_message(result: ToolResult) -> dict[str, Any]:
    texts = [part for part in result_parts(result) if isinstance(part, str)]
    content = content_of(texts, _part_json)
    if not texts and result.images:
        content = "The result is the image below."
    return {"role": "tool", "tool_call_id": result.id, "content": content}


def _as_mistral_requires(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield messages with IDs that Mistral accepts, and with a placeholder after tool results.

    A user message right after tool results is an error:
    https://github.com/langchain-ai/langchain/pull/24668
    """
    last_role = ""
    for message in messages:
        if last_role == "tool" and message["role"] == "user":
            yield {"role": "assistant", "content": _PLACEHOLDER_ANSWER}
        last_role = message["role"]
        yield _with_short_ids(message, _MISTRAL_ID, 9)


def _with_short_ids(
    message: dict[str, Any], pattern: re.Pattern[str], length: int
) -> dict[str, Any]:
    """Return a message with tool-call IDs that are accepted; see `accepted_id`."""
    if "tool_call_id" in message:
        return message | {"tool_call_id": accepted_id(message["tool_call_id"], pattern, length)}
    if "tool_calls" not in message:
        return message
    tool_calls = [
        call | {"id": accepted_id(call["id"], pattern, length)} for call in message["tool_calls"]
    ]
    return message | {"tool_calls": tool_calls}


def _part_json(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.address, **detail}}


def tool_call_json(call: ToolCall) -> dict[str, Any]:
    """Return a tool call as JSON."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _part_chunks(parts: list[Any]) -> Iterator[Chunk]:
    """Yield the text and reasoning in structured content, as Mistral's reasoning models send it.

    https://docs.mistral.ai/capabilities/reasoning
    """
    for part in map(as_dict, parts):
        reasoning_texts = (as_str(row.get("text")) for row in as_dicts(part.get("thinking")))
        chunk = Chunk(text=as_str(part.get("text")), reasoning="".join(reasoning_texts))
        if chunk.text or chunk.reasoning:
            yield chunk


def cache_key(request: Request) -> str:
    """Return a key that is equal for requests with the same beginning.

    OpenAI sends requests with the same key to the machine that has cached their beginning:
    https://platform.openai.com/docs/guides/prompt-caching
    """
    first_text = request.system or request.messages[0].content
    cached_beginning = [request.model, first_text, request.tools or request.params.get("tools")]
    encoded_beginning = json.dumps(cached_beginning, default=repr).encode()
    return f"gatewayx-{hashlib.blake2b(encoded_beginning, digest_size=16).hexdigest()}"


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    if not request.schema:
        return {"type": "json_object"}
    # The name is required. Without `strict`, the schema is only a recommendation:
    # https://platform.openai.com/docs/guides/structured-outputs
    schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
    return {"type": "json_schema", "json_schema": schema}
