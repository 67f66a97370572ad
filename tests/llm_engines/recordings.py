"""One answer of each provider, as a whole body and as the events of a stream.

Both contain the text "Hello." in the chunks "Hel" and "lo.", reasoning, and two tool calls, the
second without arguments. The tests also read them with the vendors' SDKs.
"""

import json
from dataclasses import dataclass


def sse(event):
    """Return an event as bytes of a stream."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


@dataclass(frozen=True)
class Recording:
    """An answer in both forms.

    Attributes:
        whole: Its body.
        events: The data of its events.
    """

    whole: dict
    events: list

    @property
    def stream(self):
        """The events as bytes."""
        return [sse(event) for event in self.events]


def delta(index, kind, **fields):
    """Return Anthropic's `content_block_delta` event."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def start(index, kind, **fields):
    """Return Anthropic's `content_block_start` event."""
    block = {"type": kind, **fields}
    return {"type": "content_block_start", "index": index, "content_block": block}


def stop(index):
    """Return Anthropic's `content_block_stop` event."""
    return {"type": "content_block_stop", "index": index}


def end(reason, **usage):
    """Return Anthropic's event with the stop reason."""
    why = {"stop_reason": reason, "stop_sequence": None}
    return {"type": "message_delta", "delta": why, "usage": {"output_tokens": 50, **usage}}


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
_USAGE_AT_FIRST = {**_MESSAGE["usage"], "output_tokens": 1, "output_tokens_details": None}
_MESSAGE_AT_FIRST = {**_MESSAGE, "content": [], "stop_reason": None, "usage": _USAGE_AT_FIRST}

ANTHROPIC = Recording(
    _MESSAGE,
    [
        {"type": "message_start", "message": _MESSAGE_AT_FIRST},
        start(0, "thinking", thinking="", signature=""),
        {"type": "ping"},
        delta(0, "thinking_delta", thinking="Hm"),
        delta(0, "thinking_delta", thinking="é."),
        delta(0, "signature_delta", signature="c2ln"),
        stop(0),
        start(1, "text", text=""),
        delta(1, "text_delta", text="Hel"),
        delta(1, "text_delta", text="lo."),
        stop(1),
        start(2, "tool_use", id="call_1", name="weather", input={}),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"place": "Z'),
        delta(2, "input_json_delta", partial_json='ürich"}'),
        stop(2),
        start(3, "tool_use", id="call_2", name="now", input={}),
        stop(3),
        end("tool_use", output_tokens_details={"thinking_tokens": 7}),
        {"type": "message_stop"},
    ],
)


def expected_message(kind, index=None, **message):
    """Return Cohere's event with a delta of the message."""
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


def _called(kind, index, arguments, **fields):
    function = {**fields.pop("function", {}), "arguments": arguments}
    return expected_message(kind, index, tool_calls={**fields, "function": function})


_TEXT, _THOUGHT = {"type": "text", "text": ""}, {"type": "thinking", "thinking": ""}
_COUNTS = {
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
        "usage": _COUNTS,
    },
    [
        {"type": "message-start", "id": "reply-1", "delta": {"message": {"role": "assistant"}}},
        expected_message("content-start", 0, content=_THOUGHT),
        expected_message("content-delta", 0, content={"thinking": "Hm"}),
        expected_message("content-delta", 0, content={"thinking": "é."}),
        {"type": "content-end", "index": 0},
        expected_message("content-start", 1, content=_TEXT),
        expected_message("content-delta", 1, content={"text": "Hel"}),
        expected_message("content-delta", 1, content={"text": "lo."}),
        {"type": "content-end", "index": 1},
        expected_message("tool-plan-delta", tool_plan=" I will"),
        expected_message("tool-plan-delta", tool_plan=" look."),
        _called(
            "tool-call-start", 0, "", id="call_1", type="function", function={"name": "weather"}
        ),
        _called("tool-call-delta", 0, '{"place": "Z'),
        _called("tool-call-delta", 0, 'ürich"}'),
        {"type": "tool-call-end", "index": 0},
        _called("tool-call-start", 1, "", id="call_2", type="function", function={"name": "now"}),
        {"type": "tool-call-end", "index": 1},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": _COUNTS}},
    ],
)
