"""Sample replies in each of the five dialects, whole and streamed, for the fault server.

All replies contain "Hello.", streamed as "Hel" and "lo.", with 10 input and 5 output tokens. Each
dialect also has a reply with only a tool call. The replies have the fields that the vendors' own
SDKs read; the engines' modules link to the documentation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewayx_nb.testing.steps import Send, chunk, reply, stream_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.testing.steps import ReceivedRequest, Step

TEXT = "Hello."
"""The text of every reply."""

INPUT_TOKENS, OUTPUT_TOKENS = 10, 5
"""The usage of every reply."""

MODELS = ("one", "two")
"""The models in every listing."""

CALL_ID, TOOL, ARGUMENTS = "call00001", "weather", '{"city": "Rome"}'
"""The tool call of every reply with a tool call; Gemini sends no ID."""

_ARGUMENT_PIECES = ('{"city": "Ro', 'me"}')


@dataclass(frozen=True, slots=True)
class DialectSample:
    """Sample replies in one dialect.

    Attributes:
        name: The dialect's name.
        base: Name of the engine class that uses the dialect; its subclasses also use it.
        whole: Body of a non-streamed reply.
        events: Events of a stream with the same content, each with its blank line.
        end: Index of the event with the end marker.
        ignorable: Events without content that occur in a stream, including an unknown event.
        fault: Body of an error, as sent with a status or within a stream.
        listing: Body of a list of the models ``"one"`` and ``"two"``.
        options: Constructor options that select the dialect at any base URL.
        call: Body of a non-streamed reply with a tool call; empty if there is no sample.
        call_events: Events of a stream with the same call.
    """

    name: str
    base: str
    whole: bytes
    events: tuple[bytes, ...]
    end: int
    ignorable: tuple[bytes, ...]
    fault: bytes
    listing: bytes
    options: Mapping[str, Any] = field(default_factory=dict)
    call: bytes = b""
    call_events: tuple[bytes, ...] = ()

    def answer(self, request: ReceivedRequest) -> Sequence[Step]:
        """Return the script for a reply like the provider's, for use in a `Server`."""
        if request.method == "GET":
            return [Send(reply(self.listing))]
        if b'"stream":true' in request.body or "streamGenerateContent" in request.target:
            return self.stream(*self.events)
        return [Send(reply(self.whole))]

    def stream(self, *events: bytes, end: Step | None = None) -> Sequence[Step]:
        """Return the script that streams these events; it ends normally or with ``end``."""
        # An empty chunk ends the body.
        chunks = (Send(chunk(event)) for event in events)
        return [Send(stream_head()), *chunks, end or Send(chunk(b""))]


def dialect_of(engine: type) -> DialectSample | None:
    """Return the dialect of an engine class's nearest base; ``None`` for a custom dialect.

    >>> from gatewayx_nb.llm_engines import CohereChatEngine
    >>> dialect_of(CohereChatEngine).name
    'cohere'
    """
    # Compare classes by name, so that this module need not import them.
    dialect_by_base = {dialect.base: dialect for dialect in DIALECTS}
    dialects = (dialect_by_base.get(base.__name__) for base in engine.__mro__)
    return next(filter(None, dialects), None)


def event(body: Mapping[str, Any] | str, *, name: str = "") -> bytes:
    """Return a stream event; its name, if any, is on a separate line."""
    data = body if isinstance(body, str) else json.dumps(body)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def _body(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _named_events(*bodies: Mapping[str, Any]) -> tuple[bytes, ...]:
    """Return events named by their type, as in Anthropic, Cohere and Responses streams."""
    return tuple(event(body, name=body["type"]) for body in bodies)


# A vendor may add event types at any time, and an engine must ignore types that it does not know.
_UNKNOWN_EVENT = event({"type": "something.new", "object": "something.new"}, name="something.new")
_OPENAI_FAULT = {"message": "Try again.", "type": "server_error", "param": None, "code": None}
_OPENAI_LISTING = {
    "object": "list",
    "data": [{"id": name, "object": "model", "created": 1, "owned_by": "them"} for name in MODELS],
}


def _chat(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    fixed_fields = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "exact-1",
    }
    return fixed_fields | {"choices": [], "usage": None} | fields


def _chat_delta(finish: str | None = None, **delta: Any) -> dict[str, Any]:  # noqa: ANN401
    return _chat(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])


_CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
_CHAT_CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": TEXT, "refusal": None},
    "logprobs": None,
    "finish_reason": "stop",
}


def _function_call(arguments: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a call, or its first piece, in the form of Chat Completions and Cohere."""
    function = {"name": TOOL, "arguments": arguments}
    return {"id": CALL_ID, "type": "function", "function": function, **fields}


_CHAT_CALL = {
    "index": 0,
    "message": {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [_function_call(ARGUMENTS)],
    },
    "logprobs": None,
    "finish_reason": "tool_calls",
}

CHAT = DialectSample(
    name="chat",
    base="OpenAICompatibleEngine",
    whole=_body(_chat(object="chat.completion", choices=[_CHAT_CHOICE], usage=_CHAT_USAGE)),
    events=(
        event(_chat_delta(role="assistant", content="")),
        event(_chat_delta(content="Hel")),
        event(_chat_delta(content="lo.")),
        event(_chat_delta("stop")),
        event(_chat(usage=_CHAT_USAGE)),
        event("[DONE]"),
    ),
    end=3,
    ignorable=(
        event(_chat()),
        event(_chat_delta(content="")),
        event(_chat_delta()),
        _UNKNOWN_EVENT,
    ),
    fault=_body({"error": _OPENAI_FAULT}),
    listing=_body(_OPENAI_LISTING),
    call=_body(_chat(object="chat.completion", choices=[_CHAT_CALL], usage=_CHAT_USAGE)),
    call_events=(
        event(_chat_delta(role="assistant", content=None)),
        event(_chat_delta(tool_calls=[_function_call("", index=0)])),
        *(
            event(_chat_delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]))
            for piece in _ARGUMENT_PIECES
        ),
        event(_chat_delta("tool_calls")),
        event(_chat(usage=_CHAT_USAGE)),
        event("[DONE]"),
    ),
)


def _response(status: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    fixed_fields = {"id": "resp_1", "object": "response", "created_at": 1.0, "model": "exact-1"}
    empty_fields: dict[str, Any] = {
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    tools = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return fixed_fields | empty_fields | tools | {"status": status} | fields


def _response_event(event_type: str, number: int, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"type": f"response.{event_type}", "sequence_number": number, **fields}


def _response_delta(text: str) -> dict[str, Any]:
    position = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return _response_event("output_text.delta", 4, **position, delta=text, logprobs=[])


_RESPONSE_ITEM = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
}
_RESPONSE_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 15,
}
_RESPONSE = _response("completed", output=[_RESPONSE_ITEM], usage=_RESPONSE_USAGE)

_CALL_ITEM = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": CALL_ID,
    "name": TOOL,
    "arguments": ARGUMENTS,
    "status": "completed",
}
_CALL_RESPONSE = _response("completed", output=[_CALL_ITEM], usage=_RESPONSE_USAGE)
_FIRST_ITEM = _CALL_ITEM | {"arguments": "", "status": "in_progress"}
_ITEM_PLACE = {"item_id": "fc_1", "output_index": 0}

RESPONSES = DialectSample(
    name="responses",
    base="OpenAIResponsesEngine",
    whole=_body(_RESPONSE),
    events=_named_events(
        _response_event("created", 0, response=_response("in_progress")),
        _response_event("in_progress", 1, response=_response("in_progress")),
        _response_delta("Hel"),
        _response_delta("lo."),
        _response_event("output_item.done", 6, output_index=0, item=_RESPONSE_ITEM),
        _response_event("completed", 7, response=_RESPONSE),
    ),
    end=5,
    ignorable=(*_named_events(_response_delta("")), _UNKNOWN_EVENT),
    fault=_body({"type": "error", "error": _OPENAI_FAULT}),
    listing=_body(_OPENAI_LISTING),
    options={"api": "responses"},
    call=_body(_CALL_RESPONSE),
    call_events=_named_events(
        _response_event("created", 0, response=_response("in_progress")),
        _response_event("output_item.added", 1, output_index=0, item=_FIRST_ITEM),
        *(
            _response_event("function_call_arguments.delta", 2, **_ITEM_PLACE, delta=piece)
            for piece in _ARGUMENT_PIECES
        ),
        _response_event("output_item.done", 4, output_index=0, item=_CALL_ITEM),
        _response_event("completed", 5, response=_CALL_RESPONSE),
    ),
)


def _text_delta(text: str) -> dict[str, Any]:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


_STOP = {"stop_reason": "end_turn", "stop_sequence": None}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "exact-1",
    "content": [{"type": "text", "text": TEXT, "citations": None}],
    "usage": {"input_tokens": 10, "output_tokens": 5},
    **_STOP,
}
_FIRST_USAGE = {"input_tokens": 10, "output_tokens": 1}
_FIRST_MESSAGE = _MESSAGE | {"content": [], "stop_reason": None, "usage": _FIRST_USAGE}

_TOOL_USE = {"type": "tool_use", "id": CALL_ID, "name": TOOL, "input": json.loads(ARGUMENTS)}
_TOOL_STOP = {"stop_reason": "tool_use", "stop_sequence": None}


def _input_delta(piece: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": piece}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


ANTHROPIC = DialectSample(
    name="anthropic",
    base="AnthropicMessagesEngine",
    whole=_body(_MESSAGE),
    events=_named_events(
        {"type": "message_start", "message": _FIRST_MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        _text_delta("Hel"),
        _text_delta("lo."),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": _STOP, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ),
    end=5,
    ignorable=(*_named_events({"type": "ping"}, _text_delta("")), _UNKNOWN_EVENT),
    fault=_body({"type": "error", "error": {"type": "api_error", "message": "Try again."}}),
    listing=_body({"data": [{"type": "model", "id": name} for name in MODELS], "has_more": False}),
    call=_body(_MESSAGE | {"content": [_TOOL_USE]} | _TOOL_STOP),
    call_events=_named_events(
        {"type": "message_start", "message": _FIRST_MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": _TOOL_USE | {"input": {}}},
        *map(_input_delta, _ARGUMENT_PIECES),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": _TOOL_STOP, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ),
)


def _candidate(text: str = "", **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    content = {"role": "model", "parts": [{"text": text}]}
    return {"index": 0, "content": content} | fields


def _gemini(*candidates: Mapping[str, Any]) -> dict[str, Any]:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
    names = {"modelVersion": "exact-1", "responseId": "r-1"}
    # Gemini repeats the usage in every event; an engine must use the last usage.
    return {"candidates": list(candidates), "usageMetadata": usage} | names


_CALL_PART = {"functionCall": {"name": TOOL, "args": json.loads(ARGUMENTS)}}
_CALL_CONTENT = {"role": "model", "parts": [_CALL_PART]}

GEMINI = DialectSample(
    name="gemini",
    base="GeminiEngine",
    whole=_body(_gemini(_candidate(TEXT, finishReason="STOP"))),
    events=(
        event(_gemini(_candidate("Hel"))),
        event(_gemini(_candidate("lo."))),
        event(_gemini(_candidate(finishReason="STOP"))),
    ),
    end=2,
    ignorable=(event(_gemini()), event(_gemini(_candidate())), event({"somethingNew": [1]})),
    fault=_body({"error": {"code": 503, "message": "Try again.", "status": "UNAVAILABLE"}}),
    listing=_body({"models": [{"name": f"models/{name}"} for name in MODELS]}),
    call=_body(_gemini(_candidate(content=_CALL_CONTENT, finishReason="STOP"))),
    call_events=(
        event(_gemini(_candidate(content=_CALL_CONTENT))),
        event(_gemini(_candidate(finishReason="STOP"))),
    ),
)


def _cohere(event_type: str, **content: str) -> dict[str, Any]:
    return {"type": event_type, "index": 0, "delta": {"message": {"content": content}}}


def _cohere_call(event_type: str, call: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": event_type, "index": 0, "delta": {"message": {"tool_calls": call}}}


# Billed units differ from tokens; the usage is the number of tokens.
_COHERE_USAGE = {
    "billed_units": {"input_tokens": 3.0, "output_tokens": 2.0},
    "tokens": {"input_tokens": 10.0, "output_tokens": 5.0},
}

COHERE = DialectSample(
    name="cohere",
    base="CohereChatEngine",
    whole=_body(
        {
            "id": "reply-1",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
            "usage": _COHERE_USAGE,
        }
    ),
    events=_named_events(
        {"type": "message-start", "id": "reply-1", "delta": {"message": {"role": "assistant"}}},
        _cohere("content-start", type="text", text=""),
        _cohere("content-delta", text="Hel"),
        _cohere("content-delta", text="lo."),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}},
    ),
    end=5,
    ignorable=(*_named_events(_cohere("content-delta", text="")), _UNKNOWN_EVENT),
    fault=_body({"id": "reply-1", "message": "Try again."}),
    listing=_body({"models": [{"name": name, "endpoints": ["chat"]} for name in MODELS]}),
    call=_body(
        {
            "id": "reply-1",
            "finish_reason": "TOOL_CALL",
            "message": {"role": "assistant", "tool_calls": [_function_call(ARGUMENTS)]},
            "usage": _COHERE_USAGE,
        }
    ),
    call_events=_named_events(
        {"type": "message-start", "id": "reply-1", "delta": {"message": {"role": "assistant"}}},
        _cohere_call("tool-call-start", _function_call("")),
        *(
            _cohere_call("tool-call-delta", {"function": {"arguments": piece}})
            for piece in _ARGUMENT_PIECES
        ),
        {"type": "tool-call-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": _COHERE_USAGE}},
    ),
)

DIALECTS = (CHAT, RESPONSES, ANTHROPIC, GEMINI, COHERE)
"""The samples of all dialects."""
