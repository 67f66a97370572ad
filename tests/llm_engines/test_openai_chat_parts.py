import contextlib
from dataclasses import dataclass

import genai_prices
import openai
import pytest
from hypothesis import given, settings
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gatewayx_nb.llm_engines.openai_chat import ChatParser
from gatewayx_nb.messages import Image, Message, ToolCall
from gatewayx_nb.replies import Usage
from tests.llm_engines.wire import (
    KEY,
    Wire,
    check_at_once,
    check_cuts,
    check_no_raw_exception,
    check_splits,
    errors,
    event,
    mutations,
    request,
    streamed,
    whole,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 80,
    "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
CALLS = (ToolCall("c1", "look", '{"at": "sky"}'), ToolCall("c2", "wait", "{}"))


def _call(call, **fields):
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function} | fields


def _whole(message, reason="stop", **fields):
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-6.1-sol",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None} | message,
                "logprobs": None,
                "finish_reason": reason,
            }
        ],
        "usage": USAGE,
    } | fields


def _chunk(delta=None, reason=None, index=0, **fields):
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": reason}
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-6.1-sol",
        "choices": [choice],
        "usage": None,
    } | fields


def _fragments(*fragments):
    return _chunk({"tool_calls": list(fragments)})


WHOLE = _whole({"content": "Hello.", "tool_calls": [_call(c) for c in CALLS]}, "tool_calls")
CHUNKS = [
    _chunk({"role": "assistant", "content": "", "refusal": None}),
    _chunk({"content": "Hel"}),
    _chunk({"content": "???"}, index=1),
    _chunk({"content": "lo."}),
    _fragments({"index": 0, "id": "c1", "type": "function", "function": {"name": "look"}}),
    _fragments({"index": 0, "function": {"arguments": '{"at": '}}),
    _fragments({"index": 0, "function": {"arguments": '"sky"}'}}, _call(CALLS[1], index=1)),
    _chunk(reason="tool_calls"),
    _chunk(choices=[], usage=USAGE),
]
STREAM = [*map(event, CHUNKS), event("[DONE]")]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the openai engine at a local base URL, where it uses Chat Completions."""
    with Wire(tmp_path_factory.mktemp("chat") / "project", "openai", "/v1") as wire:
        yield wire


@contextlib.contextmanager
def _sdk(wire):
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as sdk:
        yield sdk.chat.completions


def _image(url):
    return {"type": "image_url", "image_url": {"url": url}}


@dataclass(frozen=True)
class Sent:
    """A request, and the equivalent call of OpenAI's SDK."""

    name: str
    request: object
    sdk: dict


SENT = [
    Sent("bare", request("Hi"), {"messages": [{"role": "user", "content": "Hi"}], "stream": False}),
    Sent(
        "everything",
        request(
            "Hi",
            "Ho",
            Message("user", "See", (Image("image/png", b"\x89PNG"),)),
            Message("user", "", (Image("image/jpeg", url="https://x.test/a.jpg"),)),
            system="Brief.",
            temperature=0,
            top_p=0.5,
            max_tokens=9,
            stop=("x", "y"),
            seed=1,
            schema=SCHEMA,
            params={"n": 2, "stream_options": {"include_obfuscation": False}},
            streamed=True,
        ),
        {
            "messages": [
                {"role": "system", "content": "Brief."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Ho"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See"},
                        _image("data:image/png;base64,iVBORw=="),
                    ],
                },
                {"role": "user", "content": [_image("https://x.test/a.jpg")]},
            ],
            "temperature": 0,
            "top_p": 0.5,
            "max_completion_tokens": 9,
            "stop": ["x", "y"],
            "seed": 1,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
            },
            "n": 2,
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
        },
    ),
]


@pytest.mark.parametrize("case", SENT, ids=lambda case: case.name)
def test_what_is_sent_is_what_the_vendors_sdk_sends(wire, case):
    """The request is equal to the SDK's and contains only the options that were set."""
    wire.answers(streamed(STREAM) if case.request.streamed else whole(WHOLE))
    wire.chunks(case.request)
    ours, sent = wire.last_request, wire.sent
    with _sdk(wire) as sdk:
        list(sdk.create(model="gpt-6.1-sol", **case.sdk))

    assert sent == wire.sent
    assert ours.target == wire.last_request.target == "/v1/chat/completions"
    assert ours.headers["authorization"] == wire.last_request.headers["authorization"]


def test_the_vendors_types_take_our_recorded_stream():
    """The recorded stream matches OpenAI's types, and genai-prices reads the same usage."""
    for body in CHUNKS:
        ChatCompletionChunk.model_validate(body)
    ChatCompletion.model_validate(WHOLE)

    theirs = genai_prices.extract_usage(WHOLE, provider_id="openai", api_flavor="chat").usage
    assert (theirs.input_tokens, theirs.output_tokens, theirs.cache_read_tokens) == (50, 80, 40)


@pytest.mark.parametrize("way", ["whole", "streamed"])
def test_every_way_gives_the_same_answer(wire, way):
    """Fragments are merged into tool calls, and the first of several answers is yielded."""
    wire.answers(whole(WHOLE) if way == "whole" else streamed(STREAM))
    answer = wire.answer(request("Hi", streamed=way == "streamed"))

    assert (answer.text, answer.tool_calls) == ("Hello.", CALLS)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(50, 80, 40, 5, 30))
    assert (answer.model, answer.request_id) == ("gpt-6.1-sol", "cmpl-1")
    assert answer.raw == (WHOLE if way == "whole" else None)


ONE, TWO = CALLS
START, REST = {"name": "look", "arguments": '{"at":'}, {"arguments": ' "sky"}'}


@pytest.mark.parametrize(
    "fragments",
    [
        pytest.param([_call(ONE), _call(TWO)], id="no index"),
        pytest.param([_call(ONE, index=0), _call(TWO, index=0)], id="every index 0"),
        pytest.param(
            [{"id": "c1", "function": START}, {"function": REST}, _call(TWO)],
            id="no index, in pieces",
        ),
        pytest.param(
            [
                {"index": 0, "id": "c1", "function": START},
                {"index": 0, "id": "c1", "function": {**REST, "name": "look"}},
                _call(TWO, index=1),
            ],
            id="id and name repeated",
        ),
        pytest.param(
            [
                {"index": 0, "id": "c1", "function": {"name": "look", "arguments": {"at": "sky"}}},
                _call(TWO, index=1),
            ],
            id="arguments as an object",
        ),
    ],
)
def test_tool_calls_come_whole_from_every_server(wire, fragments):
    """Tool calls are complete, however the server numbers and names their fragments."""
    bodies = [*map(_fragments, fragments), _chunk(reason="stop")]
    wire.answers(streamed(map(event, bodies)))
    answer = wire.answer(request("Hi", streamed=True))

    assert (answer.tool_calls, answer.finish_reason) == (CALLS, "tool_calls")


def test_calls_of_a_whole_body_need_no_ids(wire):
    """Tool calls in a whole body need no ids, because they are separate list items."""
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in "ab"]
    wire.answers(whole(_whole({"tool_calls": calls})))

    assert [call.name for call in wire.answer(request("Hi")).tool_calls] == ["a", "b"]


def test_a_refusal_is_a_reply(wire):
    """A refusal is a reply with its text, whole and streamed."""
    rows = [_chunk({"refusal": "No"}), _chunk({"refusal": "."}), _chunk(reason="stop")]
    for script in (whole(_whole({"refusal": "No."})), streamed(map(event, rows))):
        wire.answers(list(script))
        answer = wire.answer(request("Hi"))
        assert (answer.text, answer.finish_reason) == ("No.", "content_filter")


def test_a_content_of_parts_is_read(wire):
    """A content list of parts, as sent by Mistral's reasoning models, is read."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Hello."},
        {"type": "reference", "reference_ids": [1]},
        3,
    ]
    rows = [*(_chunk({"content": [part]}) for part in parts), _chunk(reason="stop")]
    for script in (whole(_whole({"content": parts})), streamed(map(event, rows))):
        wire.answers(list(script))
        answer = wire.answer(request("Hi"))
        assert (answer.text, answer.reasoning) == ("Hello.", "Hm.")


def test_every_cut_of_a_stream_is_an_error(wire):
    """A stream cut at or within any event before the finish reason raises an error."""
    check_cuts(wire, STREAM[:8], ChatParser)


def test_however_it_is_split_the_chunks_are_the_same(wire):
    """The chunks do not depend on the size of the blocks that arrive."""
    check_splits(wire, ChatParser, STREAM)


def test_streams_at_once_do_not_mix(wire):
    """Concurrent streams do not mix: the engine holds no state of a stream."""
    check_at_once(wire, STREAM)


@settings(max_examples=400)
@given(mutations([*CHUNKS, WHOLE, {"error": {"message": "m", "code": 429}}]))
def test_no_body_raises_anything_but_our_errors(events):
    """Bodies with junk in any place raise nothing but typed errors."""
    check_no_raw_exception(ChatParser(errors()), events)
