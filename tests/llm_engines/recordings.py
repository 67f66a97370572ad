"""A sample answer from each provider, as a response body and as the events of a stream.

Both contain the text "Hello.", reasoning, and two tool calls, the second without arguments. The
stream has the text in two chunks, "Hel" and "lo.". The tests also read both with the vendors' SDKs.
"""

import json
from dataclasses import dataclass


def encode_event(event):
    """Encode an event for a stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


@dataclass(frozen=True)
class Recording:
    """An answer as a body and as a stream.

    Attributes:
        body: The body of the non-streamed response.
        events: The data of the stream's events.
    """

    body: dict
    events: list

    @property
    def stream(self):
        """The encoded events of the stream."""
        return [encode_event(event) for event in self.events]


def delta_event(index, kind, **fields):
    """Return Anthropic's `content_block_delta` event."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def start_event(index, kind, **fields):
    """Return Anthropic's `content_block_start` event."""
    block = {"type": kind, **fields}
    return {"type": "content_block_start", "index": index, "content_block": block}


def stop_event(index):
    """Return Anthropic's `content_block_stop` event."""
    return {"type": "content_block_stop", "index": index}


def end_event(reason, **usage):
    """Return Anthropic's event with the stop reason."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 50, **usage}}


_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [
        {"type": "thinking", "thinking": "Hmé.", "signature": "c2ln"},
        {"type": "text", "text": "Hello.", "citations": None},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"place": "Zürich"}},
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 500,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 400,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 7},
    },
}
_INITIAL_USAGE = {**_MESSAGE["usage"], "output_tokens": 1, "output_tokens_details": None}
_INITIAL_MESSAGE = {**_MESSAGE, "content": [], "stop_reason": None, "usage": _INITIAL_USAGE}

ANTHROPIC = Recording(
    _MESSAGE,
    [
        {"type": "message_start", "message": _INITIAL_MESSAGE},
        start_event(0, "thinking", thinking="", signature=""),
        {"type": "ping"},
        delta_event(0, "thinking_delta", thinking="Hm"),
        delta_event(0, "thinking_delta", thinking="é."),
        delta_event(0, "signature_delta", signature="c2ln"),
        stop_event(0),
        start_event(1, "text", text=""),
        delta_event(1, "text_delta", text="Hel"),
        delta_event(1, "text_delta", text="lo."),
        stop_event(1),
        start_event(2, "tool_use", id="call_1", name="weather", input={}),
        delta_event(2, "input_json_delta", partial_json=""),
        delta_event(2, "input_json_delta", partial_json='{"place": "Z'),
        delta_event(2, "input_json_delta", partial_json='ürich"}'),
        stop_event(2),
        start_event(3, "tool_use", id="call_2", name="now", input={}),
        stop_event(3),
        end_event("tool_use", output_tokens_details={"thinking_tokens": 7}),
        {"type": "message_stop"},
    ],
)


def message_event(kind, index=None, **message):
    """Return Cohere's event with a change to the message."""
    position = {} if index is None else {"index": index}
    return {"type": kind, **position, "delta": {"message": message}}


def _tool_call_event(kind, index, arguments, **fields):
    function = {**fields.pop("function", {}), "arguments": arguments}
    return message_event(kind, index, tool_calls={**fields, "function": function})


_EMPTY_TEXT, _EMPTY_THOUGHT = {"type": "text", "text": ""}, {"type": "thinking", "thinking": ""}
_USAGE = {
    "billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
    "tokens": {"input_tokens": 100.0, "output_tokens": 7.0},
    "cached_tokens": 64.0,
}

COHERE = Recording(
    {
        "id": "reply-1",
        "finish_reason": "TOOL_CALL",
        "message": {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hmé."},
                {"type": "text", "text": "Hello."},
            ],
            "tool_plan": " I will look.",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"place": "Zürich"}'},
                },
                {
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "now", "arguments": "{}"},
                },
            ],
        },
        "usage": _USAGE,
    },
    [
        {"type": "message-start", "id": "reply-1", "delta": {"message": {"role": "assistant"}}},
        message_event("content-start", 0, content=_EMPTY_THOUGHT),
        message_event("content-delta", 0, content={"thinking": "Hm"}),
        message_event("content-delta", 0, content={"thinking": "é."}),
        {"type": "content-end", "index": 0},
        message_event("content-start", 1, content=_EMPTY_TEXT),
        message_event("content-delta", 1, content={"text": "Hel"}),
        message_event("content-delta", 1, content={"text": "lo."}),
        {"type": "content-end", "index": 1},
        message_event("tool-plan-delta", tool_plan=" I will"),
        message_event("tool-plan-delta", tool_plan=" look."),
        _tool_call_event(
            "tool-call-start", 0, "", id="call_1", type="function", function={"name": "weather"}
        ),
        _tool_call_event("tool-call-delta", 0, '{"place": "Z'),
        _tool_call_event("tool-call-delta", 0, 'ürich"}'),
        {"type": "tool-call-end", "index": 0},
        _tool_call_event(
            "tool-call-start", 1, "", id="call_2", type="function", function={"name": "now"}
        ),
        {"type": "tool-call-end", "index": 1},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": _USAGE}},
    ],
)
