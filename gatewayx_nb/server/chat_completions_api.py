"""OpenAI's Chat Completions API.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb.calls import read_messages
from gatewayx_nb.server.inference import ModelAPI, ModelRequest, StreamWriter
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields
from gatewayx_nb.server.tool_fields import client_tool, named_choice, tool_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.replies import Chunk, Reply, Usage
    from gatewayx_nb.server.api_errors import APIError

NEUTRAL: Mapping[str, tuple[object, ...]] = {
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

IGNORED = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Fields that are accepted but not forwarded."""

_FINISH_REASONS = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
"""The API's finish reason for the pool's; any other becomes `content_filter`.

Clients treat `length` and `content_filter` as incomplete answers.
"""


class ChatCompletionsAPI(ModelAPI):
    """Requests, answers, streams and errors of Chat Completions."""

    @override
    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request in a body."""
        options: dict[str, Any] = {
            "model": body.require("model", str),
            "messages": read_messages(body.require("messages", list)),
            "temperature": body.take("temperature", float),
            "top_p": body.take("top_p", float),
            "max_tokens": _max_tokens(body),
            "stop": body.take_any("stop"),
            "seed": body.take("seed", int),
            "effort": body.take("reasoning_effort", str),
            "schema": _schema(body.take_object("response_format")),
            **tool_options(body.take_list("tools", _tool), _choice(body.take_any("tool_choice"))),
        }
        streamed = body.take("stream", bool) or False
        includes_usage = _includes_usage(body.take_object("stream_options"))
        parallel_calls = body.take("parallel_tool_calls", bool) is not False
        body.accept(NEUTRAL, ignored=IGNORED)
        body.check_all_known()
        options = {name: value for name, value in options.items() if value is not None}
        return ModelRequest(options, streamed, includes_usage, parallel_calls)

    @override
    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return a whole answer."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text or (None if reply.tool_calls else ""),
            "refusal": None,
        }
        if reply.tool_calls:
            message["tool_calls"] = [
                _call(call, request, number) for number, call in enumerate(reply.tool_calls)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
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
    """Return the tokens of an answer, or ``None`` if the provider does not report them."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }


class _ChunkWriter(StreamWriter):
    """Writes the chunks of a stream, each with the ID, time and model that SDKs require."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._head = self._tail = b""
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
        # The chunks of a stream that ends with the usage have the field, too.
        self._tail = (b',"usage":null' if self._request.includes_usage else b"") + b"}\n\n"
        return self._chunk({"role": "assistant", "content": ""})

    @override
    def chunk(self, chunk: Chunk) -> bytes:
        """Return the chunks with a piece of text and with tool calls."""
        events = self._chunk({"content": chunk.text}) if chunk.text else b""
        if chunk.tool_calls:
            calls = [
                {"index": number, **_call(call, self._request, number)}
                for number, call in enumerate(chunk.tool_calls, self._call_count)
            ]
            self._call_count += len(calls)
            events += self._chunk({"tool_calls": calls})
        return events

    @override
    def end(self, reply: Reply) -> bytes:
        """Return the chunk with the finish reason, the one with the usage, and the end mark."""
        events = self._chunk({}, _finish(reply))
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


def _finish(reply: Reply) -> str:
    # An engine may report "stop" although it calls a tool, whose call clients would then ignore.
    if reply.tool_calls and reply.finish_reason != "length":
        return "tool_calls"
    return _FINISH_REASONS.get(reply.finish_reason, "content_filter")


def _call(call: ToolCall, request: ModelRequest, number: int) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    # Some providers send no ID, without which the client could not name the call.
    call_id = call.id or f"call_{request.id}_{number}"
    return {"id": call_id, "type": "function", "function": function}


def _max_tokens(body: RequestFields) -> int | None:
    newer, older = body.take("max_completion_tokens", int), body.take("max_tokens", int)
    if newer is not None and older is not None:
        raise InvalidFieldError("max_tokens", "and max_completion_tokens are both set")
    return older if newer is None else newer


def _includes_usage(stream_options: RequestFields | None) -> bool:
    if stream_options is None:
        return False
    includes_usage = stream_options.take("include_usage", bool) or False
    stream_options.accept({"include_obfuscation": (False,)})
    stream_options.check_all_known()
    return includes_usage


def _schema(response_format: RequestFields | None) -> dict[str, Any] | None:
    if response_format is None:
        return None
    kind = response_format.require("type", str)
    if kind == "json_schema":
        described = response_format.take_object("json_schema")
        if described is None:
            raise InvalidFieldError("response_format.json_schema", "is missing")
        schema: dict[str, Any] = described.require("schema", dict)
        # The engine decides whether its provider enforces the schema.
        described.accept({}, ignored=("name", "description", "strict"))
        described.check_all_known()
        response_format.check_all_known()
        return schema
    response_format.check_all_known()
    if kind not in ("text", "json_object"):
        raise InvalidFieldError(
            "response_format.type", 'must be "text", "json_object" or "json_schema"'
        )
    return {"type": "object"} if kind == "json_object" else None


def _tool(value: object, place: str) -> Tool:
    fields = RequestFields(value, place)
    if fields.require("type", str) != "function":
        raise InvalidFieldError(f"{place}.type", 'must be "function"')
    function = fields.take_object("function")
    if function is None:
        raise InvalidFieldError(f"{place}.function", "is missing")
    name = function.require("name", str)
    description = function.take("description", str)
    parameters = function.take("parameters", dict)
    # The engine decides whether its provider enforces the schema.
    function.accept({}, ignored=("strict",))
    function.check_all_known()
    fields.check_all_known()
    return client_tool(f"{place}.function.name", name, description, parameters)


def _choice(value: object) -> str | None:
    """Return the tool choice as our option; a named tool is an object."""
    if not isinstance(value, dict):
        if value is not None and not isinstance(value, str):
            raise InvalidFieldError("tool_choice", "must be a string or an object")
        return value
    fields = RequestFields(value, "tool_choice")
    kind = fields.require("type", str)
    function = fields.take_object("function")
    if kind != "function" or function is None:
        raise InvalidFieldError(
            "tool_choice", 'must be {"type": "function", "function": {"name": …}}'
        )
    name = function.require("name", str)
    function.check_all_known()
    fields.check_all_known()
    return named_choice("tool_choice.function.name", name)
