import contextlib
from dataclasses import dataclass

import genai_prices
import openai
import pytest
from hypothesis import given, settings
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.openai_chat import ChatParser
from gatewayx_nb.messages import Message, ToolCall
from gatewayx_nb.replies import Usage
from tests.llm_engines.wire import (
    KEY,
    Wire,
    body_script,
    check_block_boundaries,
    check_concurrent_streams,
    check_no_raw_exception,
    check_truncated_streams,
    make_errors,
    make_event,
    make_request,
    mutations,
    stream_script,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 80,
    "total_tokens": 130,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
TOOL_CALLS = (ToolCall("c1", "look", '{"at": "sky"}'), ToolCall("c2", "wait", "{}"))


def _tool_call(call, **fields):
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function} | fields


def _make_body(message, reason="stop", **fields):
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


def _make_chunk(delta=None, reason=None, index=0, **fields):
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": reason}
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-6.1-sol",
        "choices": [choice],
        "usage": None,
    } | fields


def _tool_call_chunk(*fragments):
    return _make_chunk({"tool_calls": list(fragments)})


BODY = _make_body(
    {"content": "Hello.", "tool_calls": [_tool_call(c) for c in TOOL_CALLS]}, "tool_calls"
)
CHUNKS = [
    _make_chunk({"role": "assistant", "content": "", "refusal": None}),
    _make_chunk({"content": "Hel"}),
    _make_chunk({"content": "???"}, index=1),
    _make_chunk({"content": "lo."}),
    _tool_call_chunk({"index": 0, "id": "c1", "type": "function", "function": {"name": "look"}}),
    _tool_call_chunk({"index": 0, "function": {"arguments": '{"at": '}}),
    _tool_call_chunk(
        {"index": 0, "function": {"arguments": '"sky"}'}}, _tool_call(TOOL_CALLS[1], index=1)
    ),
    _make_chunk(reason="tool_calls"),
    _make_chunk(choices=[], usage=USAGE),
]
STREAM = [*map(make_event, CHUNKS), make_event("[DONE]")]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the openai engine with a local base URL, for which it uses Chat Completions."""
    with Wire(tmp_path_factory.mktemp("chat") / "project", "openai", "/v1") as wire:
        yield wire


@contextlib.contextmanager
def _open_sdk(wire):
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as client:
        yield client.chat.completions


def _image_part(url):
    return {"type": "image_url", "image_url": {"url": url}}


@dataclass(frozen=True)
class RequestCase:
    """A request, and the equivalent call of OpenAI's SDK."""

    name: str
    request: object
    sdk: dict


REQUEST_CASES = [
    RequestCase(
        "bare",
        make_request("Hi"),
        {"messages": [{"role": "user", "content": "Hi"}], "stream": False},
    ),
    RequestCase(
        "all options",
        make_request(
            "Hi",
            "Ho",
            Message("user", ["See", Image("image/png", b"\x89PNG")]),
            Message("user", [Image("image/jpeg", url="https://x.test/a.jpg")]),
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
                        _image_part("data:image/png;base64,iVBORw=="),
                    ],
                },
                {"role": "user", "content": [_image_part("https://x.test/a.jpg")]},
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


@pytest.mark.parametrize("case", REQUEST_CASES, ids=lambda case: case.name)
def test_requests_equal_those_of_the_sdk(wire, case):
    """The request is equal to the SDK's and contains only the options that were set."""
    wire.respond_with(stream_script(STREAM) if case.request.streamed else body_script(BODY))
    wire.get_chunks(case.request)
    engine_request, engine_body = wire.last_request, wire.request_body
    with _open_sdk(wire) as sdk:
        list(sdk.create(model="gpt-6.1-sol", **case.sdk))

    assert engine_body == wire.request_body
    assert engine_request.target == wire.last_request.target == "/v1/chat/completions"
    assert engine_request.headers["authorization"] == wire.last_request.headers["authorization"]


def test_the_recorded_answers_match_the_sdk_types():
    """The recorded answers match OpenAI's types, and genai-prices reads the same usage."""
    for body in CHUNKS:
        ChatCompletionChunk.model_validate(body)
    ChatCompletion.model_validate(BODY)

    usage = genai_prices.extract_usage(BODY, provider_id="openai", api_flavor="chat").usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (50, 80, 40)


@pytest.mark.parametrize("form", ["body", "stream"])
def test_body_and_stream_yield_the_same_answer(wire, form):
    """Fragments are joined into tool calls, and only the first of several answers is yielded."""
    wire.respond_with(body_script(BODY) if form == "body" else stream_script(STREAM))
    answer = wire.get_answer(make_request("Hi", streamed=form == "stream"))

    assert (answer.text, answer.tool_calls) == ("Hello.", TOOL_CALLS)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(50, 80, 40, 5, 30))
    assert (answer.model, answer.request_id) == ("gpt-6.1-sol", "cmpl-1")
    assert answer.raw == BODY if form == "body" else list(answer.raw) == CHUNKS


FIRST_CALL, SECOND_CALL = TOOL_CALLS
FIRST_FUNCTION, SECOND_FUNCTION = {"name": "look", "arguments": '{"at":'}, {"arguments": ' "sky"}'}


@pytest.mark.parametrize(
    "fragments",
    [
        pytest.param([_tool_call(FIRST_CALL), _tool_call(SECOND_CALL)], id="no index"),
        pytest.param(
            [_tool_call(FIRST_CALL, index=0), _tool_call(SECOND_CALL, index=0)], id="every index 0"
        ),
        pytest.param(
            [
                {"id": "c1", "function": FIRST_FUNCTION},
                {"function": SECOND_FUNCTION},
                _tool_call(SECOND_CALL),
            ],
            id="fragments without an index",
        ),
        pytest.param(
            [
                {"index": 0, "id": "c1", "function": FIRST_FUNCTION},
                {"index": 0, "id": "c1", "function": {**SECOND_FUNCTION, "name": "look"}},
                _tool_call(SECOND_CALL, index=1),
            ],
            id="repeated id and name",
        ),
        pytest.param(
            [
                {"index": 0, "id": "c1", "function": {"name": "look", "arguments": {"at": "sky"}}},
                _tool_call(SECOND_CALL, index=1),
            ],
            id="arguments as an object",
        ),
    ],
)
def test_tool_calls_are_joined_from_any_form_of_fragments(wire, fragments):
    """Tool calls are complete, whichever fields of their fragments the server sends."""
    bodies = [*map(_tool_call_chunk, fragments), _make_chunk(reason="stop")]
    wire.respond_with(stream_script(map(make_event, bodies)))
    answer = wire.get_answer(make_request("Hi", streamed=True))

    assert (answer.tool_calls, answer.finish_reason) == (TOOL_CALLS, "tool_calls")


def _message_event(text, reason=None, delta=...):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    delta = {} if delta is ... else {"delta": delta}
    return {"choices": [choice | delta | {"finish_reason": reason}]}


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param(
            [
                _make_chunk({"content": "Hel"}),
                _make_chunk({"content": "lo."}),
                _message_event("Hello.", "stop"),
            ],
            id="the whole after the deltas",
        ),
        pytest.param(
            [
                _make_chunk({"role": "assistant", "content": ""}),
                _message_event("Hello.", "stop", {}),
            ],
            id="an empty delta beside the whole",
        ),
        pytest.param([_message_event("Hello.", "stop", None)], id="a null delta"),
        pytest.param(
            [_message_event("Hel"), _message_event("Hello."), _message_event("Hello.", "stop")],
            id="the text so far",
        ),
        pytest.param(
            [_message_event("Hel"), _message_event("l"), _message_event("o.", "stop")], id="pieces"
        ),
    ],
)
def test_messages_in_a_stream_do_not_repeat_text(wire, bodies):
    """The text is complete and appears once, however a server repeats it in a stream."""
    wire.respond_with(stream_script(map(make_event, bodies)))

    assert wire.get_answer(make_request("Hi", streamed=True)).text == "Hello."


def test_a_function_call_in_the_old_form_is_a_tool_call(wire):
    """A server that sends `function_call`, the field before `tool_calls`, calls a tool."""
    name, arguments = {"name": "look"}, {"arguments": '{"at": "sky"}'}
    bodies = [_make_chunk({"function_call": part}) for part in (name, arguments)]
    end = _make_chunk(reason="function_call")
    wire.respond_with(stream_script(map(make_event, [*bodies, end])))
    streamed = wire.get_answer(make_request("Hi", streamed=True))
    wire.respond_with(body_script(_make_body({"function_call": name | arguments}, "function_call")))
    whole = wire.get_answer(make_request("Hi"))

    assert streamed.tool_calls == whole.tool_calls == (ToolCall("", "look", '{"at": "sky"}'),)
    assert streamed.finish_reason == whole.finish_reason == "tool_calls"


def test_tool_calls_in_a_body_need_no_ids(wire):
    """Tool calls in a body need no ids, because each is a separate list item."""
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in "ab"]
    wire.respond_with(body_script(_make_body({"tool_calls": calls})))

    assert [call.name for call in wire.get_answer(make_request("Hi")).tool_calls] == ["a", "b"]


def test_a_refusal_is_a_reply(wire):
    """A refusal is a reply with the text of the refusal, as a body and as a stream."""
    chunks = [
        _make_chunk({"refusal": "No"}),
        _make_chunk({"refusal": "."}),
        _make_chunk(reason="stop"),
    ]
    for script in (
        body_script(_make_body({"refusal": "No."})),
        stream_script(map(make_event, chunks)),
    ):
        wire.respond_with(list(script))
        answer = wire.get_answer(make_request("Hi"))
        assert (answer.text, answer.finish_reason) == ("No.", "content_filter")


def test_content_may_be_a_list_of_parts(wire):
    """The content may be a list of parts, as sent by Mistral's reasoning models."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Hello."},
        {"type": "reference", "reference_ids": [1]},
        3,
    ]
    chunks = [*(_make_chunk({"content": [part]}) for part in parts), _make_chunk(reason="stop")]
    for script in (
        body_script(_make_body({"content": parts})),
        stream_script(map(make_event, chunks)),
    ):
        wire.respond_with(list(script))
        answer = wire.get_answer(make_request("Hi"))
        assert (answer.text, answer.reasoning) == ("Hello.", "Hm.")


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(wire):
    """A stream truncated before its finish reason raises an error."""
    check_truncated_streams(wire, STREAM[:8], ChatParser)


def test_chunks_do_not_depend_on_block_boundaries(wire):
    """The chunks do not depend on the sizes of the received blocks."""
    check_block_boundaries(wire, ChatParser, STREAM)


def test_concurrent_streams_do_not_mix(wire):
    """Concurrent streams do not mix, because the engine holds no per-stream state."""
    check_concurrent_streams(wire, STREAM)


@settings(max_examples=400)
@given(mutations([*CHUNKS, BODY, {"error": {"message": "m", "code": 429}}]))
@pytest.mark.no_cover
def test_arbitrary_events_raise_only_typed_errors(events):
    """Bodies with arbitrary values in any field raise only typed errors."""
    check_no_raw_exception(ChatParser(make_errors()), events)
