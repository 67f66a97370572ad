"""Implements Anthropic's Messages API.

Sources: https://platform.claude.com/docs/en/api/messages and, for streaming,
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb import bounded_json
from gatewayx_nb.calls import build_request, check_options, join_conversation
from gatewayx_nb.engine_pool import estimate_request_tokens
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.messages import EFFORTS
from gatewayx_nb.replies import Usage
from gatewayx_nb.server.inference import ModelAPI, ModelRequest, StreamWriter
from gatewayx_nb.server.message_blocks import PromptReader, allows_parallel_calls, read_tool_choice
from gatewayx_nb.server.request_fields import (
    InvalidFieldError,
    RequestFields,
    check_fields,
    read_schema,
)
from gatewayx_nb.server.tool_fields import tool_options
from gatewayx_nb.text import short_repr, well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.replies import Chunk, Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.server.api_errors import APIError

NEUTRAL_FIELDS: Mapping[str, tuple[object, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
}
"""For each unsupported field, the values that are accepted because they have no effect."""

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
"""Maps the pool's finish reasons to stop reasons of the API; any other reason is `refusal`.

Clients treat `max_tokens` and `refusal` as incomplete answers.
"""


class ThreadRefusedError(InvalidFieldError):
    """Raised for a request that requires the server to store, or to have stored, a conversation.

    Attributes:
        details: The reason in a form that the tool runner of Anthropic's SDK understands: the
            tool runner then sends the whole conversation.
    """

    details: Mapping[str, str] = {"error_code": "thread_unsupported_request"}

    def __init__(self) -> None:
        super().__init__(
            "thread",
            "is not supported, because the server keeps no messages; send the whole conversation",
        )


class MessagesAPI(ModelAPI):
    """Requests, answers, streams and errors of the Messages API."""

    @override
    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request that a body contains."""
        if "thread" in body:
            raise ThreadRefusedError
        options = {"max_tokens": body.require("max_tokens", int), **_read_options(body)}
        is_streamed = body.take("stream", bool) or False
        may_call_in_parallel = allows_parallel_calls(body.take_object("tool_choice"))
        body.check_all_known()
        check_fields(options, {"stop": "stop_sequences", "effort": "output_config.effort"})
        return ModelRequest(options, is_streamed, allows_parallel_calls=may_call_in_parallel)

    @override
    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        texts = [{"type": "text", "text": reply.text}] if reply.text else []
        calls = [
            # The JSON is not parsed, because arguments may contain integers of any size.
            {**_tool_use(call), "input": msgspec.Raw(_input_json(call).encode())}
            for call in reply.tool_calls
        ]
        message = _message(request, f"{reply.engine}:{reply.model}", reply.usage)
        return message | {"content": [*texts, *calls], "stop_reason": _stop_reason(reply)}

    @override
    def writer(self, request: ModelRequest) -> StreamWriter:
        """Return a writer of the events of a stream."""
        return _MessageWriter(request)

    @override
    def error(self, error: APIError) -> dict[str, Any]:
        """Return the body of an error."""
        return error.anthropic


def count_tokens(pool: EnginePool, body: RequestFields) -> int:
    """Return an estimate of the number of tokens in a request, without images.

    No model is called.

    Args:
        pool: The pool that would make the call.
        body: The request, without ``max_tokens``.

    Raises:
        GatewayError: If the request is invalid, or its model cannot be called.
    """
    options = _read_options(body)
    body.check_all_known()
    messages, model = options.pop("messages"), options["model"]
    pool.features(model)  # raises an error if the model cannot be called
    request = build_request(messages, model, check_options(options), streamed=False)  # type: ignore[arg-type]
    return estimate_request_tokens(join_conversation(request, None))


def usage_of(usage: Usage) -> dict[str, int]:
    """Return the token counts of an answer; a count that the provider does not report is 0.

    Anthropic's ``input_tokens`` excludes tokens read from or written to the cache.
    """
    cached_tokens, written_tokens = usage.cached_tokens or 0, usage.cache_write_tokens or 0
    return {
        "input_tokens": max(0, (usage.input_tokens or 0) - cached_tokens - written_tokens),
        "output_tokens": usage.output_tokens or 0,
        "cache_creation_input_tokens": written_tokens,
        "cache_read_input_tokens": cached_tokens,
    }


class _MessageWriter(StreamWriter):
    """Writes the events of a message, whose content blocks are numbered."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._block_index = 0  # of the open block or, if none is open, of the next block
        self._is_text_open = False

    @override
    def begin(self, model: str) -> bytes:
        """Return the event with the message, which is still empty."""
        # The token counts are known only at the end; the SDKs then replace these zeros.
        return _event("message_start", message=_message(self._request, model, Usage()))

    @override
    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events for the text and the tool calls of a chunk."""
        events = self._text(chunk.text) if chunk.text else b""
        return events + b"".join(map(self._tool_call, chunk.tool_calls))

    @override
    def end(self, reply: Reply) -> bytes:
        """Return the stop reason, the usage and the end of the message as the last events."""
        delta = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
        end = _event("message_delta", delta=delta, usage=usage_of(reply.usage))
        return self._end_text() + end + _event("message_stop")

    @override
    def error(self, error: APIError) -> bytes:
        """Return an event that makes SDKs raise an error."""
        return _event("error", **error.anthropic)

    def _text(self, text: str) -> bytes:
        start = b"" if self._is_text_open else self._start_block({"type": "text", "text": ""})
        self._is_text_open = True
        return start + self._delta({"type": "text_delta", "text": text})

    def _tool_call(self, call: ToolCall) -> bytes:
        end = self._end_text()
        block = {**_tool_use(call), "input": {}}
        delta = {"type": "input_json_delta", "partial_json": _input_json(call)}
        return end + self._start_block(block) + self._delta(delta) + self._stop_block()

    def _end_text(self) -> bytes:
        if not self._is_text_open:
            return b""
        self._is_text_open = False
        return self._stop_block()

    def _start_block(self, block: dict[str, Any]) -> bytes:
        return _event("content_block_start", index=self._block_index, content_block=block)

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", index=self._block_index, delta=delta)

    def _stop_block(self) -> bytes:
        event = _event("content_block_stop", index=self._block_index)
        self._block_index += 1
        return event


def _event(event_type: str, **fields: object) -> bytes:
    """Return an event; its type is in both lines, because SDKs read both."""
    data = msgspec.json.encode({"type": event_type, **fields})
    return b"event: " + event_type.encode() + b"\ndata: " + data + b"\n\n"


def _message(request: ModelRequest, model: str, usage: Usage) -> dict[str, Any]:
    """Return a message without content."""
    return {
        "id": f"msg_{request.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_of(usage),
    }


def _stop_reason(reply: Reply) -> str:
    # An engine may report "stop" although it calls a tool; clients would then ignore the call.
    if reply.tool_calls and reply.finish_reason != "length":
        return "tool_use"
    return _STOP_REASONS.get(reply.finish_reason, "refusal")


def _tool_use(call: ToolCall) -> dict[str, Any]:
    """Return the block of a tool call without its input."""
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _input_json(call: ToolCall) -> str:
    """Return the arguments of a call as a JSON object that every client can parse.

    Raises:
        ProviderError: If the arguments are not a JSON object. Without arguments, a client would
            call the function with its defaults.
    """
    try:
        values = bounded_json.loads(call.arguments or "{}")
        if not isinstance(values, dict):
            raise ValueError  # noqa: TRY004, TRY301 - handled like invalid JSON
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # also NaN and Infinity, which are not JSON
        raise ProviderError(
            f"the arguments of the call to {short_repr(call.name)} are not a JSON object."
        ) from None
    return well_formed(text)


def _read_options(body: RequestFields) -> dict[str, Any]:
    """Return the options of a call that are set, except ``max_tokens``."""
    reader = PromptReader()
    model = body.require("model", str)
    tools = body.take_list("tools", reader.read_tool)
    choice = read_tool_choice(body.take_object("tool_choice"), tools)
    options: dict[str, Any] = {
        "model": model,
        "messages": reader.read_messages(body),
        "system": reader.read_system(body),
        "temperature": body.take("temperature", float),
        "top_p": body.take("top_p", float),
        "stop": body.take_list("stop_sequences", _stop_sequence) or None,
        **_output_options(body.take_object("output_config")),
        **tool_options(tools, choice),
    }
    reader.read_cache_control(body)
    options["cache"] = "auto" if reader.has_cache_mark else None
    _check_thinking(body.take_object("thinking"))
    body.accept(NEUTRAL_FIELDS, ignored_names=("metadata",))
    return {name: value for name, value in options.items() if value is not None}


def _stop_sequence(value: object, field_path: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidFieldError(field_path, "must be a non-empty string")
    return value


def _output_options(config: RequestFields | None) -> dict[str, Any]:
    if config is None:
        return {}
    effort = config.require_choice("effort", EFFORTS) if "effort" in config else None
    schema: ResponseSchema | None = None
    answer_format = config.take_object("format")
    if answer_format is not None:
        answer_format.require_choice("type", ("json_schema",))
        schema = read_schema(answer_format)
        answer_format.check_all_known()
    config.check_all_known()
    return {"effort": effort, "schema": schema}


def _check_thinking(thinking: RequestFields | None) -> None:
    if thinking is not None:
        thinking.require_choice("type", ("disabled",))  # see `output_config.effort`
        thinking.check_all_known()
