"""The Messages API: its answers and streams, through Anthropic's SDK and raw requests."""

import json

import anthropic
import pydantic
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import AuthenticationError, GatewayError, ProviderError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.replies import Chunk
from gatewayx_nb.server.messages_api import count_tokens
from gatewayx_nb.server.request_fields import RequestFields
from gatewayx_nb.testing import ScriptedEngine
from tests.server.messages_client import (
    BASE64,
    CALL,
    HI,
    PNG,
    REMOTE,
    SCHEMA,
    STOP,
    WEATHER,
    VisionEngine,
    events_of,
    result_of,
)


def test_an_answer_is_a_message(connect):
    """An answer has every field that the SDK requires, and the usage as Anthropic counts it."""
    message = connect(ScriptedEngine(["Hel", "lo.", STOP])).create()

    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == (
        "message",
        "assistant",
        "scripted:script",
    )
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello."}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.to_dict()["stop_sequence"] is None
    assert message.usage.to_dict() == {
        "input_tokens": 5,
        "output_tokens": 3,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 4,
    }


def test_unknown_counts_are_zero(connect):
    """The SDK requires the counts of tokens even if the provider does not report them."""
    usage = connect(ScriptedEngine(["Hello.", Chunk(finish_reason="stop")])).create().usage

    assert set(usage.to_dict().values()) == {0}


@pytest.mark.parametrize(
    ("chunks", "stop_reason"),
    [
        ([Chunk(finish_reason="stop")], "end_turn"),
        ([Chunk(finish_reason="length")], "max_tokens"),
        ([Chunk(finish_reason="content_filter")], "refusal"),
        ([Chunk(finish_reason="other")], "refusal"),
        ([CALL, Chunk(finish_reason="tool_calls")], "tool_use"),
        ([CALL, Chunk(finish_reason="stop")], "tool_use"),
        ([CALL, Chunk(finish_reason="length")], "max_tokens"),
    ],
)
def test_the_stop_reason_tells_whether_the_answer_is_whole(connect, chunks, stop_reason):
    """An answer and a stream have the same stop reason; an incomplete answer is not `end_turn`."""
    connection = connect(ScriptedEngine(["Hi", *chunks]))

    assert connection.create(tools=[WEATHER]).stop_reason == stop_reason
    with connection.sdk.messages.stream(
        model="scripted", max_tokens=50, messages=HI, tools=[WEATHER]
    ) as stream:
        assert stream.get_final_message().stop_reason == stop_reason


def test_the_events_of_a_text(connect):
    """A text is one block, and the usage is in the last event but one."""
    response = connect(ScriptedEngine(["Hel", "lo.", STOP])).raw_stream()
    start, *blocks, delta, stop = events_of(response)

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (start["message"]["content"], start["message"]["stop_reason"]) == ([], None)
    assert start["message"]["model"] == "scripted:script"
    assert blocks == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hel"},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "lo."},
        },
        {"type": "content_block_stop", "index": 0},
    ]
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert (delta["usage"]["input_tokens"], delta["usage"]["output_tokens"]) == (5, 3)
    assert stop == {"type": "message_stop"}


def test_the_blocks_of_a_stream_are_numbered(connect):
    """Each tool call is a block, which ends the text before it; no two blocks are open."""
    second = Chunk(tool_calls=(ToolCall("toolu_2", "weather", "{}"),))
    engine = ScriptedEngine(["Let me see.", CALL, second, "Done.", STOP])
    _, *events, _, _ = events_of(connect(engine).raw_stream(tools=[WEATHER]))

    assert [(event["type"].removeprefix("content_block_"), event["index"]) for event in events] == [
        (kind, index) for index in range(4) for kind in ("start", "delta", "stop")
    ]
    blocks = [event["content_block"] for event in events if event["type"].endswith("start")]
    assert [block["type"] for block in blocks] == ["text", "tool_use", "tool_use", "text"]
    assert blocks[1] == {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    assert events[4]["delta"] == {
        "type": "input_json_delta",
        "partial_json": '{"city": "Rome"}',
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_loop(connect, streamed):
    """The client runs the tool that the model calls, and sends the result in a second request."""
    engine = ScriptedEngine(["Let me see.", CALL, STOP], ["It is sunny.", STOP])
    connection = connect(engine)

    def answer(messages):
        fields = {"model": "scripted", "max_tokens": 50, "messages": messages, "tools": [WEATHER]}
        if not streamed:
            return connection.sdk.messages.create(**fields)
        with connection.sdk.messages.stream(**fields) as stream:
            return stream.get_final_message()

    first = answer(HI)
    call = first.content[1]
    assert (first.stop_reason, call.name, call.input) == ("tool_use", "weather", {"city": "Rome"})

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    second = answer(
        [
            *HI,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
        ]
    )
    assert (second.content[0].text, second.stop_reason) == ("It is sunny.", "end_turn")
    assert engine.requests[1].messages == (
        Message("user", "Hi"),
        Message("assistant", ["Let me see.", ToolCall("toolu_1", "weather", '{"city": "Rome"}')]),
        Message("tool", [ToolResult("toolu_1", "sunny", "weather")]),
        Message("user", "So?"),
    )
    (tool,) = engine.requests[1].tools
    assert (tool.name, tool.description, tool.parameters) == ("weather", "The weather.", SCHEMA)


def test_the_mock_engine_calls_a_tool(connect):
    """The first example of a tool needs no key."""
    prompt = {"role": "user", "content": 'call weather {"city": "Rome"}'}
    message = connect().create("mock", messages=[prompt], tools=[WEATHER])

    assert (message.stop_reason, message.content[1].input) == ("tool_use", {"city": "Rome"})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"n": 1180591620717411303424}', {"n": 1 << 70}),
        ('{"text": "\\ud800"}', {"text": "�"}),
        ("", {}),
    ],
)
def test_the_input_of_a_call_is_an_object(connect, arguments, expected):
    """The arguments are an object, in an answer and in a stream."""
    calls = Chunk(tool_calls=(ToolCall("", "weather", arguments),))
    connection = connect(ScriptedEngine([calls, STOP]))

    (block,) = connection.create(tools=[WEATHER]).content
    assert block.input == expected
    assert block.id
    deltas = [event.get("delta", {}) for event in events_of(connection.raw_stream(tools=[WEATHER]))]
    (partial,) = [delta["partial_json"] for delta in deltas if "partial_json" in delta]
    assert json.loads(partial) == expected


@pytest.mark.parametrize("arguments", ['{"x": NaN}', "[1]", '{"city": "Ro', "null"])
def test_a_call_with_damaged_arguments_is_an_error(connect, arguments):
    """A client that received no arguments would call the function with its defaults."""
    calls = Chunk(tool_calls=(ToolCall("", "weather", arguments),))
    connection = connect(ScriptedEngine([calls, STOP]))

    with pytest.raises(anthropic.APIStatusError, match="not a JSON object") as caught:
        connection.create(tools=[WEATHER])
    assert caught.value.status_code == 502
    assert "tool_use" not in str(connection.raw_stream(tools=[WEATHER]))


def test_images(connect):
    """Images of a prompt and of a tool's result arrive as bytes, or as a URL."""
    engine = VisionEngine([CALL, STOP], ["A plot.", STOP])
    inline = {"type": "base64", "media_type": "image/png", "data": BASE64}
    prompt = [{"type": "image", "source": REMOTE}, {"type": "text", "text": "What is this?"}]
    shown = [{"type": "text", "text": "A plot:"}, {"type": "image", "source": inline}]
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": shown, "is_error": True}
    messages = [
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    connect(engine).create("vision", messages=messages)

    user, _, tool = engine.requests[0].messages
    assert user.parts == (Image("", url="https://example.com/a.png"), "What is this?")
    assert tool.tool_results[0].parts == ("A plot:", Image("image/png", PNG))
    assert tool.tool_results[0].is_error


class City(pydantic.BaseModel):
    """The schema of an answer."""

    name: str


def test_a_schema(connect):
    """An answer with a schema is the value alone, also as a stream."""
    connection = connect(ScriptedEngine(['```json\n{"name": "Rome"}\n```', STOP]))
    fields = {"model": "scripted", "max_tokens": 50, "messages": HI, "output_format": City}

    assert connection.sdk.messages.parse(**fields).parsed_output == City(name="Rome")
    with connection.sdk.messages.stream(**fields) as stream:
        assert stream.get_final_message().parsed_output == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_may_allow_only_one_call(connect, streamed):
    """The calls after the first are omitted, since the pool has no option for this."""
    second = Chunk(tool_calls=(ToolCall("toolu_2", "weather", "{}"),))
    connection = connect(ScriptedEngine([CALL, second, STOP]))
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    fields = {"tools": [WEATHER], "tool_choice": choice, "messages": HI}
    if streamed:
        fields |= {"model": "scripted", "max_tokens": 50}
        with connection.sdk.messages.stream(**fields) as stream:
            message = stream.get_final_message()
    else:
        message = connection.create(**fields)
    assert [block.id for block in message.content] == ["toolu_1"]
    assert message.stop_reason == "tool_use"


def test_the_tool_runner_of_the_sdk_sends_the_whole_conversation(connect):
    """The server keeps no thread; the SDK recovers from that error, and runs its tools."""
    engine = ScriptedEngine([CALL, STOP], ["It is sunny.", STOP])

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Return the weather."""
        return f"sunny in {city}"

    runner = connect(engine).sdk.beta.messages.tool_runner(
        model="scripted", max_tokens=50, messages=HI, tools=[weather]
    )
    assert runner.until_done().content[0].text == "It is sunny."
    assert engine.requests[1].messages[-1].tool_results[0].content == "sunny in Rome"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_answer_is_a_status(connect, stream):
    """The SDK raises its error for the status, and does not try again."""
    engine = ScriptedEngine([AuthenticationError("The key is wrong.")])
    with pytest.raises(anthropic.AuthenticationError) as raised:
        connect(engine).create(stream=stream)

    assert raised.value.body == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "The key is wrong."},
    }
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(engine.requests) == 1


def test_an_error_within_a_stream_is_raised_by_the_sdk(connect):
    """The text so far arrives, and then the SDK raises an error with the message."""
    connection = connect(ScriptedEngine(["Hel", ProviderError("The model has failed.")]))
    texts = []
    with (
        connection.sdk.messages.stream(model="scripted", max_tokens=50, messages=HI) as stream,
        pytest.raises(anthropic.APIStatusError, match=r"The model has failed\."),
    ):
        texts.extend(stream.text_stream)

    assert texts == ["Hel"]


CHUNKS = ["Let me", " see.", CALL, "Done.", STOP]


@pytest.mark.parametrize("count", range(len(CHUNKS) + 1))
def test_a_cut_stream_never_looks_whole(connect, count):
    """Wherever an engine fails, the last event is the error, and no event has a stop reason."""
    script = [*CHUNKS[:count], AuthenticationError("The key has expired.")]
    response = connect(ScriptedEngine(script)).raw_stream(tools=[WEATHER])

    assert "message_stop" not in response.text
    assert "message_delta" not in response.text
    assert '"stop_reason"' not in response.text.replace('"stop_reason":null', "")
    if count == 0:
        assert (response.status_code, response.json()["type"]) == (401, "error")
    else:
        assert events_of(response)[-1] == {
            "type": "error",
            "error": {"type": "authentication_error", "message": "The key has expired."},
        }


def test_a_whole_stream_of_the_same_chunks_ends(connect):
    """The stream that is not cut has a stop reason and an end."""
    events = events_of(connect(ScriptedEngine(CHUNKS)).raw_stream(tools=[WEATHER]))

    assert (events[-2]["delta"]["stop_reason"], events[-1]["type"]) == ("tool_use", "message_stop")


def test_tokens_are_estimated_without_a_call(connect):
    """One token is counted for four characters of messages, the system prompt and tools."""
    engine = ScriptedEngine(["Hello."])
    connection = connect(engine)
    messages = [{"role": "user", "content": "x" * 400}]

    def count(**fields):
        body = {"model": "scripted", "messages": messages} | fields
        return connection.sdk.messages.count_tokens(**body).input_tokens

    assert count() == 100
    assert count(system="y" * 40) == 110
    assert count(tools=[WEATHER]) > 110
    assert engine.requests == []


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"model": "nope"}, anthropic.NotFoundError, "no engine 'nope'"),
        ({"extra_body": {"max_tokens": 5}}, anthropic.BadRequestError, "max_tokens is not"),
        ({"messages": [{"role": "user", "content": " "}]}, anthropic.BadRequestError, "empty"),
        ({"extra_body": {"temperature": -1}}, anthropic.BadRequestError, "temperature must"),
    ],
)
def test_tokens_of_an_invalid_request_are_not_counted(connect, fields, error, problem):
    """The SDK raises the same errors as for the request itself."""
    with pytest.raises(error) as raised:
        connect().sdk.messages.count_tokens(**{"model": "mock", "messages": HI} | fields)

    assert raised.value.body["type"] == "error"
    assert problem in raised.value.body["error"]["message"]
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_the_results_of_tools_are_counted():
    """The arguments of a call and its result are a part of the prompt."""
    call = {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "x" * 400}}
    messages = [
        *HI,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result_of("a") | {"content": "y" * 400}]},
    ]
    with EnginePool(env={}) as pool:
        assert count_tokens(pool, RequestFields({"model": "mock", "messages": messages})) > 200
        with pytest.raises(GatewayError, match="earlier tool call"):
            count_tokens(pool, RequestFields({"model": "mock", "messages": messages[2:]}))


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_errors_have_anthropics_format_without_its_header(connect, path):
    """A client that does not send the version of the API can read the errors, too."""
    response = connect().http.post(path, json={"model": "mock", "messages": HI, "top_k": 5})

    assert response.status_code == 400
    assert response.json()["type"] == "error"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_the_token_is_required(connect, path):
    """A request with another token is refused."""
    body = {"model": "mock", "max_tokens": 5, "messages": HI}
    response = connect().http.post(path, json=body, headers={"x-api-key": "wrong"})

    assert (response.status_code, response.json()["type"]) == (401, "error")
