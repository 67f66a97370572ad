"""Events built from the vendors' SDK types, read by the vendors' clients and by our parsers.

Each answer is built from the types of a vendor's SDK, sent by a loopback server, and read twice.
"""

import json
import types
import typing
from dataclasses import dataclass

import anthropic
import cohere
import httpx
import openai
import pydantic
import pytest
from anthropic.types import ContentBlock, RawMessageStreamEvent
from cohere import V2ChatStreamResponse
from google import genai
from google.genai.types import GenerateContentResponse, Part
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseOutputItem, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.llm_engines.wire import KEY, Wire, make_event, stream_script

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

HI = [{"role": "user", "content": "Hi"}]
IDS = {"id": "a-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}


@dataclass(frozen=True)
class Call:
    """A tool call, with its arguments in pieces."""

    id: str
    name: str
    pieces: tuple = ()

    @property
    def arguments(self):
        """The arguments as JSON."""
        return "".join(self.pieces) or "{}"


@dataclass(frozen=True)
class Spec:
    """A vendor-independent answer."""

    name: str
    texts: tuple = ()
    reasoning: tuple = ()
    calls: tuple = ()
    reason: str = "stop"
    input_tokens: int = 11
    output_tokens: int = 7


LOOK = Call("call_1", "look", ('{"at": ', '"s', 'ky"}'))
NOW = Call("call_2", "now")
SPECS = [
    Spec("a text", ("Hel", "lo.")),
    Spec("a text in one piece", ("Hello.",)),
    Spec("characters beyond ASCII", ("é", "\n\n👩", "\u200d🚀 ", " end ")),
    Spec("reasoning and a text", ("Yes.",), ("H", "m.\n", "So.")),
    Spec("a call", calls=(LOOK,), reason="tool_calls"),
    Spec("two calls", calls=(LOOK, NOW), reason="tool_calls"),
    Spec("all of it", ("I ", "look."), ("Hm.",), (LOOK, NOW), "tool_calls", 1234, 567),
    Spec("a text that was cut", ("Once upon",), reason="length"),
    Spec("many pieces", tuple(f"{number} " for number in range(300))),
]


@dataclass(frozen=True)
class Result:
    """An answer as read by a client or parser."""

    text: str
    calls: tuple
    reason: str
    usage: tuple


def _parsed(calls):
    return tuple((call_id, name, json.loads(arguments)) for call_id, name, arguments in calls)


def _dump(kind, event):
    """Return an event as the SDK's own type serializes it."""
    typed = TypeAdapter(kind).validate_python(event)
    return typed.model_dump(mode="json", by_alias=True, exclude_unset=True)


# --------------------------------------------------------------------------------- OpenAI's Chat


def chat_events(spec):
    def event(delta=None, reason=None, **fields):
        choices = [{"index": 0, "delta": delta or {}, "finish_reason": reason}]
        return _dump(ChatCompletionChunk, IDS | {"choices": choices} | fields)

    yield event({"role": "assistant", "content": "", "refusal": None})
    for piece in spec.reasoning:
        yield event({"reasoning_content": piece})
    for piece in spec.texts:
        yield event({"content": piece})
    for index, call in enumerate(spec.calls):
        start = {"index": index, "id": call.id, "type": "function"}
        yield event({"tool_calls": [start | {"function": {"name": call.name, "arguments": ""}}]})
        for piece in call.pieces:
            yield event({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield event(reason=spec.reason)
    total = spec.input_tokens + spec.output_tokens
    counts = {"prompt_tokens": spec.input_tokens, "completion_tokens": spec.output_tokens}
    yield event(usage=counts | {"total_tokens": total}) | {"choices": []}


def read_chat(url):
    state = ChatCompletionStreamState()
    with openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as client:
        for chunk in client.chat.completions.create(model="m", messages=HI, stream=True):
            state.handle_chunk(chunk)
    answer = state.current_completion_snapshot
    choice = answer.choices[0]
    calls = [
        (c.id, c.function.name, c.function.arguments or "{}")
        for c in choice.message.tool_calls or ()
    ]
    usage = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return Result(choice.message.content or "", _parsed(calls), choice.finish_reason, usage)


# -------------------------------------------------------------------------------- OpenAI Responses


def _items(spec):
    if spec.reasoning:
        summary = [{"type": "summary_text", "text": "".join(spec.reasoning)}]
        yield {"type": "reasoning", "id": "rs_1", "summary": summary}
    if spec.texts:
        part = {"type": "output_text", "text": "".join(spec.texts), "annotations": []}
        yield {
            "type": "message", "id": "msg_1", "role": "assistant", "content": [part],
            "status": "completed",
        }  # fmt: skip
    for number, call in enumerate(spec.calls):
        yield {
            "type": "function_call", "id": f"fc_{number}", "call_id": call.id, "name": call.name,
            "arguments": call.arguments, "status": "completed",
        }  # fmt: skip


def response_events(spec):
    items = list(_items(spec))
    is_cut = spec.reason == "length"
    usage = {
        "input_tokens": spec.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": spec.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": spec.input_tokens + spec.output_tokens,
    }
    response = {
        "id": "resp_1", "object": "response", "created_at": 1.0, "model": "m", "output": items,
        "status": "incomplete" if is_cut else "completed", "usage": usage, "tools": [],
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "parallel_tool_calls": True, "tool_choice": "auto",
    }  # fmt: skip
    events = [("created", {"response": response | {"output": [], "status": "in_progress"}})]
    for number, item in enumerate(items):
        events += _item_events(spec, number, item)
    events.append(("incomplete" if is_cut else "completed", {"response": response}))
    for number, (kind, fields) in enumerate(events):
        event = {"type": f"response.{kind}", "sequence_number": number} | fields
        yield _dump(ResponseStreamEvent, event)


def _item_events(spec, number, item):
    place = {"item_id": item["id"], "output_index": number}
    empty = {"content": [], "summary": [], "arguments": ""}
    started = item | {name: value for name, value in empty.items() if name in item}
    yield "output_item.added", {"output_index": number, "item": started}
    if item["type"] == "reasoning":
        part = place | {"summary_index": 0}
        yield "reasoning_summary_part.added", part | {"part": {"type": "summary_text", "text": ""}}
        for piece in spec.reasoning:
            yield "reasoning_summary_text.delta", part | {"delta": piece}
    elif item["type"] == "message":
        content = place | {"content_index": 0}
        part = item["content"][0]
        yield "content_part.added", content | {"part": part | {"text": ""}}
        for piece in spec.texts:
            yield "output_text.delta", content | {"delta": piece, "logprobs": []}
        yield "output_text.done", content | {"text": part["text"], "logprobs": []}
        yield "content_part.done", content | {"part": part}
    else:
        call = next(call for call in spec.calls if call.id == item["call_id"])
        for piece in call.pieces:
            yield "function_call_arguments.delta", place | {"delta": piece}
        done = {"arguments": call.arguments, "name": call.name}
        yield "function_call_arguments.done", place | done
    yield "output_item.done", {"output_index": number, "item": item}


def read_responses(url):
    with (
        openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0) as client,
        client.responses.stream(model="m", input="Hi") as stream,
    ):
        answer = [event for event in stream][-1].response  # noqa: C416 - read to its end
    calls = [
        (item.call_id, item.name, item.arguments)
        for item in answer.output
        if item.type == "function_call"
    ]
    reason = "length" if answer.status == "incomplete" else "tool_calls" if calls else "stop"
    usage = (answer.usage.input_tokens, answer.usage.output_tokens)
    return Result(answer.output_text, _parsed(calls), reason, usage)


# -------------------------------------------------------------------------------------- Anthropic

ANTHROPIC_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def anthropic_events(spec):
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": spec.input_tokens, "output_tokens": 1},
    }  # fmt: skip
    blocks = []
    if spec.reasoning:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in spec.reasoning]
        signature = {"type": "signature_delta", "signature": "c2ln"}
        blocks.append(
            ({"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signature])
        )
    if spec.texts:
        texts = [{"type": "text_delta", "text": piece} for piece in spec.texts]
        blocks.append(({"type": "text", "text": "", "citations": None}, texts))
    for call in spec.calls:
        start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces]
        blocks.append((start, pieces))
    events = [{"type": "message_start", "message": message}]
    for index, (start, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": ANTHROPIC_REASONS[spec.reason], "stop_sequence": None}
    usage = {"output_tokens": spec.output_tokens}
    events += [{"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]
    return [_dump(RawMessageStreamEvent, event) for event in events]


def read_anthropic(url):
    with (
        anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=HI) as stream,
    ):
        answer = stream.get_final_message()
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = tuple(
        (block.id, block.name, block.input or {})
        for block in answer.content
        if block.type == "tool_use"
    )
    reasons = {theirs: ours for ours, theirs in ANTHROPIC_REASONS.items()}
    usage = (answer.usage.input_tokens, answer.usage.output_tokens)
    return Result(text, calls, reasons[answer.stop_reason], usage)


# ----------------------------------------------------------------------------------------- Gemini

GEMINI_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


def gemini_events(spec):
    parts = [{"text": piece, "thought": True} for piece in spec.reasoning]
    parts += [{"text": piece} for piece in spec.texts]
    parts += [
        {"functionCall": {"id": call.id, "name": call.name, "args": json.loads(call.arguments)}}
        for call in spec.calls
    ]
    usage = {
        "promptTokenCount": spec.input_tokens,
        "candidatesTokenCount": spec.output_tokens,
        "totalTokenCount": spec.input_tokens + spec.output_tokens,
    }
    for number, part in enumerate(parts, start=1):
        candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if number == len(parts):
            candidate["finishReason"] = GEMINI_REASONS[spec.reason]
        body = {"candidates": [candidate], "modelVersion": "m", "responseId": "r"}
        yield _dump(GenerateContentResponse, body | {"usageMetadata": usage})


def read_gemini(url):
    options = genai.types.HttpOptions(base_url=url)
    client = genai.Client(api_key=KEY, http_options=options)
    text, calls, reason, usage = "", [], None, ()
    for chunk in client.models.generate_content_stream(model="m", contents="Hi"):
        # Not `chunk.text`, which warns about non-text parts.
        parts = chunk.candidates[0].content.parts
        text += "".join(part.text for part in parts if part.text and not part.thought)
        calls += [(call.id, call.name, call.args) for call in chunk.function_calls or ()]
        reason = chunk.candidates[0].finish_reason or reason
        counts = chunk.usage_metadata
        usage = (counts.prompt_token_count, counts.candidates_token_count)
    client.close()
    reasons = {"STOP": "tool_calls" if calls else "stop", "MAX_TOKENS": "length"}
    return Result(text, tuple(calls), reasons[reason.value], usage)


# ----------------------------------------------------------------------------------------- Cohere

COHERE_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


def cohere_events(spec):
    def event(kind, index=None, **message):
        position = {} if index is None else {"index": index}
        return {"type": kind, **position, "delta": {"message": message}}

    events = [{"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant"}}}]
    for index, (kind, pieces) in enumerate((("thinking", spec.reasoning), ("text", spec.texts))):
        if pieces:
            events.append(event("content-start", index, content={"type": kind, kind: ""}))
            events += [event("content-delta", index, content={kind: piece}) for piece in pieces]
            events.append({"type": "content-end", "index": index})
    for index, call in enumerate(spec.calls):
        start = {"id": call.id, "type": "function"}
        function = {"name": call.name, "arguments": ""}
        events.append(event("tool-call-start", index, tool_calls=start | {"function": function}))
        events += [
            event("tool-call-delta", index, tool_calls={"function": {"arguments": piece}})
            for piece in call.pieces
        ]
        events.append({"type": "tool-call-end", "index": index})
    counts = {"input_tokens": spec.input_tokens, "output_tokens": spec.output_tokens}
    delta = {"finish_reason": COHERE_REASONS[spec.reason], "usage": {"tokens": counts}}
    events.append({"type": "message-end", "delta": delta})
    return [_dump(V2ChatStreamResponse, event) for event in events]


def read_cohere(url):
    text, calls, end = "", [], None
    with httpx.Client() as http:
        client = cohere.ClientV2(api_key=KEY, base_url=url, httpx_client=http)
        events = list(client.chat_stream(model="m", messages=HI))
    for event in events:
        match event.type:
            case "content-delta":
                text += event.delta.message.content.text or ""
            case "tool-call-start":
                call = event.delta.message.tool_calls
                calls.append([call.id, call.function.name, ""])
            case "tool-call-delta":
                calls[-1][2] += event.delta.message.tool_calls.function.arguments
            case "message-end":
                end = event.delta
    reasons = {theirs: ours for ours, theirs in COHERE_REASONS.items()}
    tokens = end.usage.tokens
    parsed = _parsed((call_id, name, arguments or "{}") for call_id, name, arguments in calls)
    usage = (int(tokens.input_tokens), int(tokens.output_tokens))
    return Result(text, parsed, reasons[end.finish_reason], usage)


# ------------------------------------------------------------------------------------------ tests


@dataclass(frozen=True)
class Vendor:
    """A vendor's API.

    Attributes:
        events: Returns the events of an answer, as the SDK's types write them.
        read: Reads a server's answer with the vendor's SDK.
    """

    name: str
    engine: str
    path: str
    events: object
    read: object
    settings: str = ""


VENDORS = [
    Vendor("chat", "groq", "/v1", chat_events, read_chat),
    Vendor(
        "responses", "openai", "/v1", response_events, read_responses,
        '[engines.openai]\napi = "responses"',
    ),
    Vendor("anthropic", "anthropic", "", anthropic_events, read_anthropic),
    Vendor("gemini", "google", "", gemini_events, read_gemini),
    Vendor("cohere", "cohere", "", cohere_events, read_cohere),
]  # fmt: skip


@pytest.fixture(scope="module", params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request):
    """Yield each vendor."""
    return request.param


@pytest.fixture(scope="module")
def wire(vendor, tmp_path_factory):
    """Yield the vendor's engine, connected to a local server."""
    folder = tmp_path_factory.mktemp(vendor.name) / "project"
    with Wire(folder, vendor.engine, vendor.path, vendor.settings) as wire:
        yield wire


def _encoded(vendor, events):
    blocks = [
        (f"event: {event['type']}\n".encode() if "type" in event else b"") + make_event(event)
        for event in events
    ]
    return [*blocks, b"data: [DONE]\n\n"] if vendor.name == "chat" else blocks


def _read(wire, vendor, events):
    wire.respond_with(stream_script(_encoded(vendor, events)))
    stream = wire.pool.stream("Hi", model=f"{vendor.engine}:m")
    for _ in stream:
        pass
    return stream.reply


def _result(reply):
    calls = _parsed((call.id, call.name, call.arguments) for call in reply.tool_calls)
    usage = (reply.usage.input_tokens, reply.usage.output_tokens)
    return Result(reply.text, calls, reply.finish_reason, usage)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_our_parser_and_the_sdk_read_the_same(wire, vendor, spec):
    """Text, tool calls, finish reason and usage are equal to those of the vendor's own SDK."""
    events = list(vendor.events(spec))
    reply = _read(wire, vendor, events)
    wire.respond_with(stream_script(_encoded(vendor, events)))

    assert _result(reply) == vendor.read(wire.server.url)
    assert reply.text == "".join(spec.texts)
    assert reply.reasoning == "".join(spec.reasoning)
    assert _result(reply).usage == (spec.input_tokens, spec.output_tokens)


ADDING = {
    "response.output_text.delta",
    "response.refusal.delta",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.delta",
    "response.output_item.done",
    "response.created",
    "response.completed",
    "response.incomplete",
    "response.failed",
    "error",
    "text_delta",
    "thinking_delta",
    "content_block_delta",
    "message_start",
    "message_delta",
    "message_stop",
    "text",
    "thinking",
    "tool_use",
    "content-start",
    "content-delta",
    "tool-plan-delta",
    "tool-call-start",
    "message-end",
    "citation-start",
    "message",
    "reasoning",
    "function_call",
    "image_generation_call",
}
"""The types whose events, blocks or items change an answer."""


def _example(kind, depth=0):
    """Return a minimal JSON value of an SDK type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _example(arguments[0], depth)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        return None if type(None) in arguments else _example(arguments[0], depth)
    if origin in (list, typing.List):  # noqa: UP006 - what the SDKs write
        return [] if depth > 3 else [_example(arguments[0], depth + 1)]
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return {
            field.alias or name: _example(field.annotation, depth + 1)
            for name, field in kind.model_fields.items()
        }
    values = {str: "x", int: 0, float: 0.0, bool: False, bytes: "eA=="}
    return values.get(kind, {})


def _members(union):
    kinds = union
    while typing.get_origin(kinds) is typing.Annotated:
        kinds = typing.get_args(kinds)[0]
    return typing.get_args(kinds)


def _examples(union):
    """Return an example of every member of a union that leaves an answer unchanged."""
    examples = (_example(member) for member in _members(union))
    return [example for example in examples if example["type"] not in ADDING]


def _block_events(block):
    return [
        {"type": "content_block_start", "index": 90, "content_block": block},
        {"type": "content_block_stop", "index": 90},
    ]


def _item_done(item):
    return {"type": "response.output_item.done", "output_index": 90, "item": item}


def _part_events():
    for name, part_field in Part.model_fields.items():
        if name not in ("text", "thought", "function_call", "inline_data"):
            inner = next(kind for kind in _members(part_field.annotation) if kind is not type(None))
            part = {part_field.alias or name: _example(inner, 2)}
            candidate = {"content": {"role": "model", "parts": [part]}, "index": 0}
            yield {"candidates": [candidate], "modelVersion": "m", "responseId": "r"}


OTHERS = {
    "chat": [IDS | {"choices": []}, IDS | {"choices": [{"index": 1, "delta": {"content": "no"}}]}],
    "responses": [
        *_examples(ResponseStreamEvent),
        *map(_item_done, _examples(ResponseOutputItem)),
    ],
    "anthropic": [
        {"type": "ping"},
        *(event for block in _examples(ContentBlock) for event in _block_events(block)),
    ],
    "gemini": list(_part_events()),
    "cohere": _examples(V2ChatStreamResponse),
}
"""Events of every other type that the SDKs know."""


def test_every_other_event_of_the_sdk_leaves_the_answer_as_it_is(wire, vendor):
    """Provider-run tools, progress events and unknown parts do not change text or calls."""
    spec = SPECS[6]
    events, others = list(vendor.events(spec)), OTHERS[vendor.name]
    plain = _result(_read(wire, vendor, events))
    mixed = _result(_read(wire, vendor, [events[0], *others, *events[1:]]))

    assert len(others) >= 2
    assert mixed == plain
