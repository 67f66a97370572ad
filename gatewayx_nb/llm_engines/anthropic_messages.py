"""Anthropic's Messages API.

Sources: https://platform.claude.com/docs/en/api/messages and, for streaming,
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import itertools
import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import anthropic_turn, json_body, tool_declarations
from gatewayx_nb.llm_engines.answer_details import NewDetails
from gatewayx_nb.llm_engines.anthropic_batches import AnthropicBatches
from gatewayx_nb.llm_engines.http import HTTPEngine, system_prompt
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_str
from gatewayx_nb.llm_engines.message_parts import (
    accepted_id,
    arguments_of,
    carried_items,
    check_images,
    content_of,
)
from gatewayx_nb.llm_engines.strict_schema import SchemaRules
from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.messages import ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.llm_engines.batches import BatchInterface
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Message, Part, Request

VERSION = "2023-06-01"
"""The API version; version 2026-10-21 does not accept sampling parameters."""

_MAX_UNSTREAMED_TOKENS = 21_333
"""Maximum ``max_tokens`` of a reply that is not streamed.

A longer reply may take over ten minutes, after which connections are closed. Anthropic's SDK has
the same limit.
"""

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}

_STATUS_BY_ERROR_TYPE = {
    "invalid_request_error": 400,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP statuses of error types in a stream (https://platform.claude.com/docs/en/api/errors)."""

_STRICT_SCHEMA = SchemaRules(
    keywords=frozenset({"minItems"}),
    formats=frozenset(
        {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6"}
        | {"uuid"}
    ),
    enum_needs_type=False,
    max_min_items=1,
    max_optional=24,
    max_unions=16,
    max_properties=500,
)
"""The documented limits of structured outputs.

``max_properties`` is an estimate, because the API only says that a schema is "too complex".

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""


_ACCEPTED_ID = re.compile(r"[a-zA-Z0-9_-]+")
"""The tool-call IDs that the API accepts; IDs of Kimi K2, for example, have dots and colons.

https://github.com/maximhq/bifrost/issues/5097
"""


class AnthropicMessagesEngine(HTTPEngine):
    """An endpoint that implements the Messages API.

    Args:
        api_key: The engine's key.
        **kwargs: The options of `LLMEngine`, and ``version``, the ``anthropic-version`` header;
            default ``"2023-06-01"``.
    """

    path: ClassVar[str] = "v1/messages"
    # The largest page: https://platform.claude.com/docs/en/api/models-list
    models_path: str = "v1/models?limit=1000"
    key_header: ClassVar[str] = "x-api-key"
    key_prefix: ClassVar[str] = ""
    features = frozenset({"system", "history", "images", "schema", "tools"})
    schema_rules = _STRICT_SCHEMA
    # The API requires `max_tokens`; thinking tokens count towards it.
    default_max_tokens: ClassVar[int | None] = 8192
    # https://platform.claude.com/docs/en/build-with-claude/extended-thinking#supported-models
    models_without_effort = re.compile(r"claude-(?:instant|v?2\b|3-(?:5|haiku|opus|sonnet))")
    unsupported_options: ClassVar[frozenset[str]] = frozenset({"seed"})
    keywords: ClassVar[frozenset[str] | None] = frozenset({"version"})
    prices: ClassVar[str] = "anthropic"

    def __init__(self, api_key: str = "", **kwargs: Any) -> None:  # noqa: ANN401 - as in the base class
        super().__init__(api_key, **kwargs)
        # An unquoted version in the TOML settings is parsed as a date.
        self.headers = {"anthropic-version": str(kwargs.get("version") or VERSION)}

    @override
    def may_write_cache(self, request: Request) -> bool:
        return request.cache is not None or "cache_control" in repr(request.params)

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        check_images(request, "the Messages API", "user", "tool")
        payload = {
            "model": request.model,
            "max_tokens": request.max_tokens or self.default_max_tokens,
            "messages": list(_turns(request.messages)),
        }
        optional_fields = {
            "system": _system(request),
            # This marks the last message; the system prompt is marked separately.
            "cache_control": request.cache and _CACHE_MARK,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "stop_sequences": list(request.stop) or None,
            "thinking": _thinking(request),
            "output_config": _output_config(request),
            "tools": tool_declarations.anthropic_tools(request),
            "tool_choice": tool_declarations.anthropic_choice(request),
        }
        payload = json_body.with_options(payload, optional_fields, request.params)
        is_long = (as_int(payload["max_tokens"]) or 0) > _MAX_UNSTREAMED_TOKENS
        # `payload` comes last, so that `params` can override `stream`.
        return {"stream": request.streamed or is_long} | payload

    @override
    def parser(self, errors: ProviderErrors) -> Parser:
        return MessagesParser(errors)

    @override
    def batch_interface(self) -> BatchInterface:
        return AnthropicBatches(self, lambda _, errors: self.parser(errors), _STATUS_BY_ERROR_TYPE)


class MessagesParser:
    """Parses one response; a whole message is parsed like the equivalent events."""

    def __init__(self, errors: ProviderErrors) -> None:
        self.finished = self.ended = False
        self._errors = errors
        self._call_assembler = ToolCallAssembler()
        self._block_assembler = anthropic_turn.BlockAssembler()
        self._new_details = NewDetails(errors)
        self._is_paused = False
        self._usage: dict[str, Any] = {}
        self._has_answered = False

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body."""
        event = json_body.parse(data)
        if event.get("error") or event.get("type") == "error":
            error_type = as_str(as_dict(event.get("error")).get("type"))
            raise self._errors.from_body(event, _STATUS_BY_ERROR_TYPE.get(error_type))
        index = as_int(event.get("index"))
        match event.get("type"):
            case "message":
                yield from self._message(event)
            case "message_start":
                yield self._start_message(as_dict(event.get("message")))
            case "content_block_start":
                yield from self._start_block(index, as_dict(event.get("content_block")))
            case "content_block_delta":
                yield from self._extend_block(index, as_dict(event.get("delta")))
            case "content_block_stop":
                yield from self._call_assembler.finish(index)
            case "message_delta":
                usage = as_dict(event.get("usage"))
                yield from self._end_message(as_dict(event.get("delta")), usage)
            case "message_stop":
                yield from self._close()
                self.finished = self.ended = True

    def _message(self, message: dict[str, Any]) -> Iterator[Chunk]:
        yield self._start_message(message)
        for index, block in enumerate(as_dicts(message.get("content"))):
            yield from self._start_block(index, block)
            yield from self._call_assembler.finish(index)
        yield from self._end_message(message, {})
        yield Chunk(raw=message)

    def _start_message(self, message: dict[str, Any]) -> Chunk:
        self._usage = as_dict(message.get("usage"))
        return Chunk(model=as_str(message.get("model")) or None, usage=usage_of(self._usage))

    def _start_block(self, index: int | None, block: dict[str, Any]) -> Iterator[Chunk]:
        self._block_assembler.start(index, block)
        yield from self._text_chunks(block)
        # The caller runs only these tools; the provider runs the tools of `server_tool_use`.
        if block.get("type") == "tool_use":
            # A stream starts with an empty object, and sends the arguments as `partial_json`.
            arguments = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else ""
            call_id, name = as_str(block.get("id")), as_str(block.get("name"))
            self._call_assembler.add(index, call_id, name, arguments)
            self._has_answered = True

    def _extend_block(self, index: int | None, delta: dict[str, Any]) -> Iterator[Chunk]:
        if text := as_str(delta.get("text")):
            self._has_answered = True
            self._block_assembler.add_text(index, text)
            yield Chunk.of_text(text)
            return
        yield from self._text_chunks(delta)
        self._call_assembler.extend(index, as_str(delta.get("partial_json")))
        self._block_assembler.extend(index, delta)

    def _text_chunks(self, part: dict[str, Any]) -> Iterator[Chunk]:
        text, thinking = as_str(part.get("text")), as_str(part.get("thinking"))
        self._has_answered = self._has_answered or bool(text)
        if text or thinking:
            yield Chunk.of_text(text, thinking)

    def _end_message(self, end: dict[str, Any], usage: dict[str, Any]) -> Iterator[Chunk]:
        # The counts are running totals, which replace the counts of the start event.
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        reason = as_str(end.get("stop_reason"))
        # Once text has been delivered, a refusal is only a finish reason, because the caller has
        # already seen the text.
        if reason == "refusal" and not self._has_answered:
            raise self._refusal_error(as_dict(end.get("stop_details")))
        if reason:
            self.finished, self._is_paused = True, reason == "pause_turn"
            yield from self._close()
        finish_reason = _FINISH_REASONS.get(reason, "other") if reason else None
        yield Chunk(finish_reason=finish_reason, usage=usage_of(self._usage))

    def _close(self) -> Iterator[Chunk]:
        """Yield calls whose end a proxy omitted, and all contents other than text and calls."""
        if self._call_assembler:
            yield Chunk(tool_calls=self._call_assembler.finish_all())
        details = self._block_assembler.details(is_paused=self._is_paused)
        yield from self._new_details.chunk(details, self._block_assembler.size)

    def _refusal_error(self, details: dict[str, Any]) -> Exception:
        explanation = as_str(details.get("explanation")) or as_str(details.get("category"))
        message = f"the prompt was refused{f': {explanation}' if explanation else '.'}"
        return self._errors.from_body({"error": {"type": "refusal", "message": message}})


def usage_of(usage: dict[str, Any]) -> Usage:
    """Parse the usage; cached tokens, which Anthropic counts separately, are added to the input."""
    uncached_tokens = as_int(usage.get("input_tokens"))
    written_tokens = as_int(usage.get("cache_creation_input_tokens"))
    cached_tokens = as_int(usage.get("cache_read_input_tokens"))
    details = as_dict(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=None
        if uncached_tokens is None
        else uncached_tokens + (written_tokens or 0) + (cached_tokens or 0),
        output_tokens=as_int(usage.get("output_tokens")),
        cached_tokens=cached_tokens,
        cache_write_tokens=written_tokens,
        reasoning_tokens=as_int(details.get("thinking_tokens")),
    )


_CACHE_MARK = {"type": "ephemeral"}
"""Marks the end of the cached prefix, which expires 5 minutes after its last use.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""


def _system(request: Request) -> str | list[dict[str, Any]] | None:
    """Return the system prompt, marked so that calls with different messages share its cache."""
    text = system_prompt(request)
    if not (request.cache and text):
        return text
    return [{"type": "text", "text": text, "cache_control": _CACHE_MARK}]


def _thinking(request: Request) -> dict[str, str] | None:
    """Return the thinking mode; `_output_config` sets its depth.

    https://platform.claude.com/docs/en/build-with-claude/effort
    """
    if request.effort is None:
        return None
    return {"type": "disabled" if request.effort == "none" else "adaptive"}


def _output_config(request: Request) -> dict[str, Any] | None:
    schema, effort = request.schema, request.effort
    config = {
        "format": None if schema is None else {"type": "json_schema", "schema": dict(schema)},
        "effort": None if effort == "none" else effort,
    }
    return {name: value for name, value in config.items() if value is not None} or None


def _turns(messages: Iterable[Message]) -> Iterator[dict[str, Any]]:
    """Yield the messages, merging adjacent messages that have the same role.

    The results of all calls must be in one message, before any text. Empty messages are rejected:
    https://platform.claude.com/docs/en/agents-and-tools/tool-use/handle-tool-calls
    """
    blocks_by_role = (
        (_role(message), _block_dicts(message)) for message in messages if message.role != "system"
    )
    for role, group in itertools.groupby(filter(itemgetter(1), blocks_by_role), key=itemgetter(0)):
        match [block for _, blocks in group for block in blocks]:
            case [{"type": "text", "text": text}]:
                yield {"role": role, "content": text}
            case content:
                yield {"role": role, "content": content}


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


def _block_dicts(message: Message) -> list[dict[str, Any]]:
    if items := carried_items(message, anthropic_turn.DIALECT):
        return items
    match message.parts:
        # Images come first, as recommended in
        # https://platform.claude.com/docs/en/build-with-claude/vision.
        case [str(text), *others] if all(isinstance(part, Image) for part in others):
            return list(map(_block_dict, filter(_is_not_blank, (*others, text))))
        case parts:
            return list(map(_block_dict, filter(_is_not_blank, parts)))


def _is_not_blank(part: Part) -> bool:
    return not isinstance(part, str) or bool(part.strip())  # blank text is rejected


def _block_dict(part: Part) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "text", "text": part}
        case Image():
            return _image_block(part)
        case ToolCall():
            fields = {"id": _id(part), "name": part.name, "input": arguments_of(part)}
            return {"type": "tool_use", **fields}
        case ToolResult():
            content = content_of(filter(_is_not_blank, part.parts), _block_dict)
            error_field = {"is_error": True} if part.is_error else {}
            return {
                "type": "tool_result",
                "tool_use_id": _id(part),
                "content": content,
                **error_field,
            }


def _id(part: ToolCall | ToolResult) -> str:
    return accepted_id(part.id, _ACCEPTED_ID, 24)


def _image_block(image: Image) -> dict[str, Any]:
    base64_source = {"type": "base64", "media_type": image.mime, "data": image.base64}
    return {
        "type": "image",
        "source": {"type": "url", "url": image.url} if image.url else base64_source,
    }
