"""Implements OpenAI's Chat Completions API.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb.calls import read_messages
from gatewayx_nb.server.inference import ModelAPI, ModelRequest, StreamWriter
from gatewayx_nb.server.openai_fields import (
    IGNORED_FIELDS,
    read_format,
    read_tool,
    read_tool_choice,
)
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields, check_fields
from gatewayx_nb.server.tool_fields import tool_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.replies import Chunk, Reply, Usage
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.server.api_errors import APIError

NEUTRAL_FIELDS: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "frequency_penalty": (0, 0.0),
    "presence_penalty": (0, 0.0),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
"""For each unsupported field, the values that are accepted because they have no effect."""

_FIELD_NAMES = {"effort": "reasoning_effort"}

_FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
"""Maps the pool's finish reasons to those of the API; any other reason is `content_filter`.

Clients treat `length` and `content_filter` as incomplete answers.
"""


class ChatCompletionsAPI(ModelAPI):
    """Requests, answers, streams and errors of Chat Completions."""

    @override
    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request that a body contains."""
        strict_schemas: dict[str, ResponseSchema] = {}
        read_one_tool = partial(read_tool, strict_schemas=strict_schemas, function_field="function")
        tools = body.take_list("tools", read_one_tool)
        choice = read_tool_choice(body.take_any("tool_choice"), tools, function_field="function")
        max_tokens_field = _max_tokens_field(body)
        options: dict[str, Any] = {
            "model": body.require("model", str),
            "messages": read_messages(body.require("messages", list)),
            "temperature": body.take("temperature", float),
            "top_p": body.take("top_p", float),
            "max_tokens": body.take(max_tokens_field, int),
            "stop": body.take_any("stop"),
            "seed": body.take("seed", int),
            "effort": body.take("reasoning_effort", str),
            "schema": read_format(body.take_object("response_format"), schema_field="json_schema"),
            **tool_options(tools, choice),
        }
        is_streamed = body.take("stream", bool) or False
        includes_usage = _includes_usage(body.take_object("stream_options"))
        may_call_in_parallel = body.take("parallel_tool_calls", bool) is not False
        body.accept(NEUTRAL_FIELDS, ignored_names=IGNORED_FIELDS)
        body.check_all_known()
        options = {name: value for name, value in options.items() if value is not None}
        check_fields(options, _FIELD_NAMES | {"max_tokens": max_tokens_field})
        return ModelRequest(
            options, is_streamed, includes_usage, may_call_in_parallel, strict_schemas
        )

    @override
    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text or (None if reply.tool_calls else ""),
            "refusal": None,
        }
        if reply.tool_calls:
            message["tool_calls"] = list(map(_tool_call, reply.tool_calls))
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": _finish_reason(reply),
        }
        return {
            "id": f"chatcmpl-{request.id}",
            "object": "chat.completion",
            "created": request.created,
            "model": f"{reply.engine}:{reply.model}",
            "choices": [choice],
            "usage": usage_of(reply.usage),
        }

    @override
    def writer(self, request: ModelRequest) -> StreamWriter:
        """Return a writer of the events of a stream."""
        return _ChunkWriter(request)

    @override
    def error(self, error: APIError) -> dict[str, Any]:
        """Return the body of an error."""
        return error.openai


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """Return the token counts of an answer; ``None`` if the provider does not report them."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }


_BEFORE_TEXT, _AFTER_TEXT = msgspec.json.encode(
    [{"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": None}]
).split(b'""')


class _ChunkWriter(StreamWriter):
    """Writes the chunks of a stream, each with the ID, time and model that SDKs require."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._head = self._tail = self._before_text = self._after_text = b""
        self._call_count = 0

    @override
    def begin(self, model: str) -> bytes:
        """Return the first chunk, with the role."""
        head = {
            "id": f"chatcmpl-{self._request.id}",
            "object": "chat.completion.chunk",
            "created": self._request.created,
            "model": model,
        }
        self._head = b"data: " + msgspec.json.encode(head)[:-1] + b',"choices":'
        # If the last chunk of a stream has the usage, all chunks have the field.
        self._tail = (b',"usage":null' if self._request.includes_usage else b"") + b"}\n\n"
        self._before_text, self._after_text = self._head + _BEFORE_TEXT, _AFTER_TEXT + self._tail
        return self._chunk({"role": "assistant", "content": ""})

    @override
    def chunk(self, chunk: Chunk) -> bytes:
        """Return the events for the text and the tool calls of a chunk."""
        events = b""
        if chunk.text:  # as `_chunk` writes it, without a dict for each piece of text
            text = msgspec.json.encode(chunk.text)
            events = b"".join((self._before_text, text, self._after_text))
        if chunk.tool_calls:
            calls = [
                {"index": number, **_tool_call(call)}
                for number, call in enumerate(chunk.tool_calls, self._call_count)
            ]
            self._call_count += len(calls)
            events += self._chunk({"tool_calls": calls})
        return events

    @override
    def end(self, reply: Reply) -> bytes:
        """Return the finish reason, the usage and the end mark as the last events."""
        events = self._chunk({}, _finish_reason(reply))
        if self._request.includes_usage:
            usage = msgspec.json.encode(usage_of(reply.usage))
            events += self._head + b'[],"usage":' + usage + b"}\n\n"
        return events + b"data: [DONE]\n\n"

    @override
    def error(self, error: APIError) -> bytes:
        """Return an event that makes SDKs raise an error."""
        return b"data: " + msgspec.json.encode(error.openai) + b"\n\n"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._head + msgspec.json.encode([choice]) + self._tail


def _finish_reason(reply: Reply) -> str:
    # An engine may report "stop" although it calls a tool; clients would then ignore the call.
    if reply.tool_calls and reply.finish_reason != "length":
        return "tool_calls"
    return _FINISH_REASONS.get(reply.finish_reason, "content_filter")


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _max_tokens_field(body: RequestFields) -> str:
    """Return which of its two names the field with the maximum number of tokens has."""
    newer_name, older_name = "max_completion_tokens", "max_tokens"
    if newer_name in body and older_name in body:
        raise InvalidFieldError(older_name, f"and {newer_name} are both set")
    return newer_name if newer_name in body else older_name


def _includes_usage(stream_options: RequestFields | None) -> bool:
    if stream_options is None:
        return False
    includes_usage = stream_options.take("include_usage", bool) or False
    stream_options.accept({"include_obfuscation": (False,)})
    stream_options.check_all_known()
    return includes_usage
