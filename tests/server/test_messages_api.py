"""The Messages API, called by Anthropic's SDK and with raw requests."""

import base64
import contextlib
import json
from dataclasses import dataclass

import anthropic
import httpx
import pydantic
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import AuthenticationError, GatewayError, ProviderError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, Usage
from gatewayx_nb.server import serve
from gatewayx_nb.server.messages_api import NEUTRAL_FIELDS, MessagesAPI, count_tokens
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields
from gatewayx_nb.testing import ScriptedEngine

PNG = b"\x89PNG\r\n\x1a\n0000"
BASE64 = base64.b64encode(PNG).decode()
REMOTE = {"type": "url", "url": "https://example.com/a.png"}
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
CALL = Chunk(tool_calls=(ToolCall("toolu_1", "weather", '{"city": "Rome"}'),))
STOP = Chunk(
    finish_reason="stop",
    usage=Usage(input_tokens=10, output_tokens=3, cached_tokens=4, cache_write_tokens=1),
)


class SeeingEngine(ScriptedEngine):
    """A scripted engine that supports images."""

    features = ScriptedEngine.features | {"images"}


@dataclass(frozen=True)
class Connection:
    """Clients of a server: Anthropic's SDK, and a plain one that sends the token."""

    sdk: anthropic.Anthropic
    http: httpx.Client

    def create(self, model="scripted", **fields):
        """Return the answer to a request."""
        return self.sdk.messages.create(
            **{"model": model, "max_tokens": 50, "messages": HI} | fields
        )

    def raw_stream(self, **fields):
        """Return the response to a request for a stream."""
        body = {"model": "scripted", "max_tokens": 50, "messages": HI, "stream": True} | fields
        return self.http.post("/v1/messages", json=body)


@pytest.fixture
def connect():
    """Return a function that serves an engine, and returns clients of the server."""
    with contextlib.ExitStack() as stack:

        def open_clients(*engines):
            pool = stack.enter_context(EnginePool(env={}, engines=engines))
            server = serve(pool)
            stack.callback(server.close)
            headers = {"x-api-key": str(server.token)}
            http = httpx.Client(base_url=server.url, headers=headers, trust_env=False)
            sdk = anthropic.Anthropic(**server.anthropic)
            return Connection(stack.enter_context(sdk), stack.enter_context(http))

        yield open_clients


def read(**fields):
    """Return the options of a call, read from a body with other fields."""
    body = {"model": "mock", "max_tokens": 50, "messages": HI} | fields
    return MessagesAPI().read(RequestFields(body)).options


def events_of(response):
    """Return the data of a stream's events, whose type is in both lines of each."""
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


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
    engine = SeeingEngine([CALL, STOP], ["A plot.", STOP])
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
    connect(engine).create("seeing", messages=messages)

    user, _, tool = engine.requests[0].messages
    assert user.parts == (Image("", url="https://example.com/a.png"), "What is this?")
    assert tool.tool_results[0].parts == ("A plot:", Image("image/png", PNG))
    assert tool.tool_results[0].is_error


def test_the_options_reach_the_engine(connect):
    """Every field that has an effect sets a field of the request."""
    engine = ScriptedEngine(["Hello.", STOP])
    marked = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    connect(engine).create(
        max_tokens=7,
        system=[marked, {"type": "text", "text": "Be kind."}],
        stop_sequences=["END"],
        output_config={"effort": "low"},
        extra_body={"temperature": 0.5, "top_p": 0.9},  # the SDK has no parameters for these
    )

    (request,) = engine.requests
    assert (request.system, request.max_tokens) == ("Be brief.\n\nBe kind.", 7)
    assert (request.temperature, request.top_p, request.stop) == (0.5, 0.9, ("END",))
    assert (request.effort, request.cache) == ("low", "auto")


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


@pytest.mark.parametrize(
    ("choice", "option"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any", "disable_parallel_tool_use": False}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, "weather"),
    ],
)
def test_the_tool_choice(choice, option):
    """A choice becomes the option of the call."""
    assert read(tools=[WEATHER], tool_choice=choice)["tool_choice"] == option


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


MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TEXT = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    "fields",
    [
        MARK,
        {"system": [TEXT | MARK]},
        {"tools": [WEATHER | MARK]},
        {"messages": [{"role": "user", "content": [TEXT | MARK]}]},
    ],
)
def test_a_mark_for_the_cache_turns_caching_on(fields):
    """A mark of any part of the prompt sets the option."""
    assert read(**fields)["cache"] == "auto"
    assert "cache" not in read()


def result_of(call_id):
    """Return the block with the result of a tool call."""
    return {"type": "tool_result", "tool_use_id": call_id}


def test_results_are_a_message_before_the_users_text():
    """All results of a turn are in one message, in their order, followed by the rest."""
    content = [result_of("b"), result_of("a"), TEXT, TEXT]

    assert read(messages=[{"role": "user", "content": content}])["messages"] == [
        Message("tool", [ToolResult("b", ""), ToolResult("a", "")]),
        Message("user", ["Hi", "Hi"]),
    ]


NEUTRAL = [
    *({name: value} for name, values in NEUTRAL_FIELDS.items() for value in values),
    {"metadata": {"user_id": "me"}},
    {"thinking": {"type": "disabled"}},
    {"stop_sequences": []},
    {"system": ""},
    {"tools": []},
    {"tool_choice": {"type": "none"}},
    {"output_config": {}},
    {"top_k": None},
    {"messages": [{"role": "user", "content": [TEXT | {"citations": []}]}]},
]


@pytest.mark.parametrize("fields", NEUTRAL, ids=str)
def test_a_value_without_effect_is_accepted(fields):
    """A value that asks for what the server does anyway, or is null, sets no option."""
    assert read(**fields) == read() | {"messages": [Message("user", "Hi")]}


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "custom"},
        {"strict": False},
        {"defer_loading": False},
        {"eager_input_streaming": False},
        {"allowed_callers": ["direct"]},
    ],
    ids=str,
)
def test_a_value_of_a_tool_without_effect_is_accepted(fields):
    """Such a value leaves the tool as it is."""
    assert read(tools=[WEATHER | fields])["tools"] == read(tools=[WEATHER])["tools"]


def block(content, role="user"):
    """Return a request whose second message has a block."""
    return {"messages": [*HI, {"role": role, "content": [TEXT, content]}]}


def image(**source):
    """Return a request with an image."""
    return block({"type": "image", "source": source})


AT = "messages[1].content[1]"
REFUSED = [
    ("model", {"model": None}),
    ("max_tokens", {"max_tokens": None}),
    ("max_tokens", {"max_tokens": "50"}),
    ("temperature", {"temperature": "hot"}),
    ("top_k", {"top_k": 5}),
    ("stop_sequences[1]", {"stop_sequences": ["END", 1]}),
    ("stop_sequences[0]", {"stop_sequences": [""]}),
    ("stream", {"stream": 1}),
    ("service_tier", {"service_tier": "priority"}),
    ("speed", {"speed": "fast"}),
    ("container", {"container": "abc"}),
    ("mcp_servers", {"mcp_servers": []}),
    ("context_management", {"context_management": {}}),
    ("thinking.type", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    ("thinking.type", {"thinking": {"type": "adaptive"}}),
    ("thinking.budget_tokens", {"thinking": {"type": "disabled", "budget_tokens": 1}}),
    ("output_config.effort", {"output_config": {"effort": "xhigh"}}),
    ("output_config.task_budget", {"output_config": {"task_budget": {}}}),
    ("output_config.format.type", {"output_config": {"format": {"type": "regex"}}}),
    ("output_config.format.schema", {"output_config": {"format": {"type": "json_schema"}}}),
    (
        "output_config.format.name",
        {"output_config": {"format": {"type": "json_schema", "schema": {}, "name": "x"}}},
    ),
    ("cache_control.type", {"cache_control": {"type": "eternal"}}),
    ("cache_control.ttl", {"cache_control": {"type": "ephemeral", "ttl": "1d"}}),
    ("cache_control.scope", {"cache_control": {"type": "ephemeral", "scope": "global"}}),
    ("system", {"system": 5}),
    ("thread", {"thread": {"type": "create"}}),
    ("system[0].type", {"system": [{"type": "image"}]}),
    ("system[0].text", {"system": [{"type": "text"}]}),
    ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("tools[0].name", {"tools": [WEATHER | {"name": "a b"}]}),
    ("tools[0].input_schema", {"tools": [{"name": "weather"}]}),
    ("tools[0].strict", {"tools": [WEATHER | {"strict": True}]}),
    ("tools[0].input_examples", {"tools": [WEATHER | {"input_examples": []}]}),
    ("tool_choice", {"tool_choice": "auto"}),
    ("tool_choice", {"tool_choice": {"type": "any"}}),
    ("tool_choice.type", {"tools": [WEATHER], "tool_choice": {"type": "required"}}),
    ("tool_choice.name", {"tools": [WEATHER], "tool_choice": {"type": "tool"}}),
    (
        "tool_choice.name",
        {"tools": [WEATHER | {"name": "none"}], "tool_choice": {"type": "tool", "name": "none"}},
    ),
    ("tool_choice.name", {"tools": [WEATHER], "tool_choice": {"type": "auto", "name": "x"}}),
    (
        "tool_choice.disable_parallel_tool_use",
        {"tools": [WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": 1}},
    ),
    ("messages", {"messages": []}),
    ("messages", {"messages": "Hi"}),
    ("messages[0]", {"messages": ["Hi"]}),
    ("messages[0].role", {"messages": [{"content": "Hi"}]}),
    ("messages[0].role", {"messages": [{"role": "system", "content": "Hi"}]}),
    ("messages[0].name", {"messages": [{"role": "user", "content": "Hi", "name": "me"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": ""}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": []}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": {}}]}),
    ("messages[1].role", {"messages": [*HI, {"role": "assistant", "content": "The"}]}),
    (AT, block("Hi")),
    (f"{AT}.type", block({"text": "Hi"})),
    (f"{AT}.type", block({"type": "document", "source": {}})),
    (f"{AT}.type", block({"type": "tool_use", "id": "a", "name": "b", "input": {}})),
    (f"{AT}.type", block({"type": "thinking", "thinking": "", "signature": ""}, "assistant")),
    (f"{AT}.type", block({"type": "redacted_thinking", "data": ""}, "assistant")),
    (f"{AT}.type", block({"type": "image", "source": {}}, "assistant")),
    (f"{AT}.text", block({"type": "text", "text": 5})),
    (f"{AT}.citations", block({"type": "text", "text": "", "citations": [{}]})),
    (f"{AT}.input", block({"type": "tool_use", "id": "a", "name": "b"}, "assistant")),
    (
        f"{AT}.caller",
        block(
            {"type": "tool_use", "id": "a", "name": "b", "input": {}, "caller": {"type": "x"}},
            "assistant",
        ),
    ),
    (AT, block(result_of("a"))),
    (f"{AT}.tool_use_id", block({"type": "tool_result"})),
    (f"{AT}.is_error", block(result_of("a") | {"is_error": "no"})),
    (f"{AT}.content", block(result_of("a") | {"content": 12})),
    (f"{AT}.content[0].type", block(result_of("a") | {"content": [{"type": "document"}]})),
    (f"{AT}.source", block({"type": "image"})),
    (f"{AT}.transformations", block({"type": "image", "source": REMOTE, "transformations": {}})),
    (f"{AT}.source.type", image(type="file", file_id="a")),
    (f"{AT}.source.url", image(type="url", url="http://example.com/a.png")),
    (f"{AT}.source.url", image(type="url", url="/etc/passwd")),
    (f"{AT}.source.detail", image(**REMOTE, detail="low")),
    (f"{AT}.source.media_type", image(type="base64", media_type="image/bmp", data=BASE64)),
    (f"{AT}.source.media_type", image(type="base64", media_type="image/gif", data=BASE64)),
    (f"{AT}.source.data", image(type="base64", media_type="image/png", data="?")),
    (f"{AT}.source.data", image(type="base64", media_type="image/png", data="é")),
    (f"{AT}.source.data", image(type="base64", media_type="image/png", data="AAAA")),
]


@pytest.mark.parametrize(
    ("field", "fields"),
    REFUSED,
    ids=[f"{number}-{field}" for number, (field, _) in enumerate(REFUSED)],
)
def test_a_field_that_is_not_supported_is_refused_by_name(field, fields):
    """The error has the path of the field, and nothing is dropped silently."""
    with pytest.raises(InvalidFieldError) as raised:
        read(**fields)

    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field} ")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"messages": [{"role": "user", "content": [result_of("a")]}]}, "an earlier tool call"),
        ({"max_tokens": 0}, "max_tokens must be an int >= 1"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weathr"}},
            "Did you mean 'weather'?",
        ),
        ({"output_config": {"effort": "xhigh"}}, "output_config.effort"),
    ],
)
def test_an_invalid_request_is_an_error_of_the_sdk(connect, fields, problem):
    """The SDK raises its error for the status, with the message, and calls no engine."""
    engine = ScriptedEngine(["Hello."])
    with pytest.raises(anthropic.BadRequestError) as raised:
        connect(engine).create(**fields)

    assert raised.value.body["error"]["type"] == "invalid_request_error"
    assert problem in raised.value.body["error"]["message"]
    assert engine.requests == []


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
