"""OpenAI's Responses API: its requests, answers and streams, through OpenAI's SDK."""

import base64
import json
from dataclasses import dataclass, replace

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import TruncatedError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.server import serve
from gatewayx_nb.testing import ScriptedEngine
from tests.test_images import PNG

PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"

CALL = ToolCall("call_1", "weather", '{"city": "Rome"}')
CALL_ITEM = {
    "type": "function_call",
    "call_id": CALL.id,
    "name": CALL.name,
    "arguments": CALL.arguments,
}
OUTPUT_ITEM = {"type": "function_call_output", "call_id": CALL.id, "output": "sunny"}
QUESTION = {"role": "user", "content": "Why?"}

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Return the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}

USAGE = Usage(
    input_tokens=7, output_tokens=5, cached_tokens=3, cache_write_tokens=1, reasoning_tokens=2
)
END = Chunk(finish_reason="stop", usage=USAGE)

CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}

EVENT = TypeAdapter(ResponseStreamEvent)


class City(BaseModel):
    """The value of a structured answer."""

    name: str


class SeeingEngine(ScriptedEngine):
    """A scripted engine that accepts images."""

    features = ScriptedEngine.features | {"images"}


@dataclass
class Served:
    """A server with one engine, a client of OpenAI's SDK and a plain client."""

    engine: ScriptedEngine
    openai: openai.OpenAI
    http: httpx.Client

    def play(self, *scripts):
        """Set the scripts of the next calls, and forget the requests of earlier ones."""
        self.engine.scripts = list(scripts)
        self.engine.requests.clear()

    def create(self, **body):
        """Send a request and return the response as the SDK parses it."""
        return self.openai.responses.create(**{"model": "seeing", "input": "Hi"} | body)

    def post(self, **body):
        """Send a request and return the HTTP response."""
        return self.http.post("/responses", json={"model": "seeing", "input": "Hi"} | body)

    def events(self, **body):
        """Return the events of a stream, each checked against its type in the SDK."""
        return list(read_events(self.post(stream=True, **body).raise_for_status().text))


@pytest.fixture(scope="module")
def served():
    """Serve a scripted engine until the module's tests end."""
    engine = SeeingEngine(["ok", END])
    with EnginePool(env={}, engines=[engine]) as pool:
        server = serve(pool)
        try:
            headers = {"Authorization": f"Bearer {server.token}"}
            with (
                openai.OpenAI(**server.openai) as client,
                httpx.Client(base_url=f"{server.url}/v1", headers=headers, trust_env=False) as http,
            ):
                yield Served(engine, client, http)
        finally:
            server.close()


def read_events(text):
    """Yield the events of a stream."""
    for number, block in enumerate(text.strip().split("\n\n")):
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        assert event["sequence_number"] == number
        if event["type"] != "response.failed":  # the SDK knows only the codes of OpenAI
            EVENT.validate_python(event)
        yield event


def types_of(events):
    """Return the types of events, without the prefix that all have."""
    return [event["type"].removeprefix("response.") for event in events]


@pytest.fixture
def echo(served):
    """Return a server whose answers are all the same."""
    served.play(["ok", END])
    return served


def test_an_answer_has_every_field_of_a_response(served):
    """The answer is valid for the SDK's type, which has required fields."""
    served.play(["Hel", "lo.", END])
    body = served.post(instructions="Be brief.", metadata={"run": "1"}).json()

    response = Response.model_validate(body)
    assert (response.object, response.status, response.model) == (
        "response",
        "completed",
        "seeing:script",
    )
    assert response.id.startswith("resp_")
    assert (response.output_text, response.output[0].status) == ("Hello.", "completed")
    assert response.output[0].content[0].annotations == []
    assert (response.error, response.incomplete_details) == (None, None)
    assert (response.instructions, response.metadata) == ("Be brief.", {"run": "1"})
    assert (response.tools, response.tool_choice, response.parallel_tool_calls) == (
        [],
        "auto",
        True,
    )


def test_the_usage_has_all_counts(served):
    served.play(["a", END])
    usage = served.create().usage

    assert usage.model_dump(exclude_none=True) == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


@pytest.mark.parametrize("usage", [None, Usage(input_tokens=3)], ids=["none", "partial"])
def test_an_unknown_usage_is_null(served, usage):
    """A count that the provider does not report is not 0."""
    served.play(["a", Chunk(finish_reason="stop", usage=usage)])
    assert served.create().usage is None
    assert served.events()[-1]["response"]["usage"] is None


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("pause", "incomplete", "content_filter"),
        ("other", "incomplete", "content_filter"),
    ],
)
def test_the_status_follows_from_the_finish_reason(served, finish_reason, status, reason):
    """An answer that has ended early is incomplete, and so is its message."""
    served.play(["a", Chunk(finish_reason=finish_reason)])
    whole = served.create()
    *_, item_done, last = served.events()

    assert (whole.status, whole.output[0].status, whole.output_text) == (status, status, "a")
    assert (whole.incomplete_details and whole.incomplete_details.reason) == reason
    assert (last["type"], last["response"]["status"]) == (f"response.{status}", status)
    assert last["response"]["incomplete_details"] == (reason and {"reason": reason})
    assert item_done["item"]["status"] == status


def test_a_call_that_ends_at_the_limit_is_incomplete(served):
    """A limit takes precedence over a call, whose arguments may be cut."""
    script = [Chunk(tool_calls=(CALL,)), Chunk(finish_reason="length")]
    served.play(script)
    assert served.create(tools=[WEATHER]).status == "incomplete"


def test_the_options_reach_the_engine(echo):
    """Each field becomes the option with the same meaning."""
    response = echo.create(
        instructions="Be brief.",
        max_output_tokens=9,
        temperature=0,
        top_p=0.5,
        reasoning={"effort": "low", "summary": None},
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        text={"format": {"type": "text"}, "verbosity": None},
    )

    request = echo.engine.requests[-1]
    assert (request.system, request.max_tokens, request.temperature, request.top_p) == (
        "Be brief.",
        9,
        0,
        0.5,
    )
    assert (request.effort, request.tool_choice, request.schema) == ("low", "weather", None)
    (tool,) = request.tools
    assert (tool.name, tool.description) == ("weather", "Return the weather.")
    assert tool.parameters == WEATHER["parameters"]
    assert response.tools[0].to_dict() == WEATHER
    assert response.tool_choice.to_dict() == {"type": "function", "name": "weather"}
    assert (response.max_output_tokens, response.temperature, response.top_p) == (9, 0, 0.5)


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_tool_choice_can_be_a_keyword(echo, choice):
    echo.create(tools=[WEATHER], tool_choice=choice)

    assert echo.engine.requests[-1].tool_choice == choice


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_without_tools_a_choice_that_calls_none_is_accepted(echo, choice):
    assert echo.create(tool_choice=choice).output_text == "ok"


def test_instructions_precede_the_system_messages_of_the_input(echo):
    """The system prompt consists of both."""
    echo.create(
        instructions="First.", input=[{"role": "developer", "content": "Second."}, QUESTION]
    )

    assert echo.engine.requests[-1].system == "First.\n\nSecond."
    assert echo.engine.requests[-1].messages == (Message("user", "Why?"),)


IMAGE = {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}

ANSWER_ITEM = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Well.", "annotations": [], "logprobs": []}],
}

INPUTS = {
    "a string": ("Why?", [Message("user", "Why?")]),
    "an item without a type": ([QUESTION], [Message("user", "Why?")]),
    "an item with a type": ([{"type": "message", **QUESTION}], [Message("user", "Why?")]),
    "parts": (
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What"},
                    {"type": "text", "text": "is"},
                    {"type": "output_text", "text": "this?"},
                ],
            }
        ],
        [Message("user", ["What", "is", "this?"])],
    ),
    "an image": (
        [{"role": "user", "content": [{"type": "input_text", "text": "See"}, IMAGE]}],
        [Message("user", ["See", Image("image/png", PNG, detail="auto")])],
    ),
    "the URL of an image": (
        [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": "https://host.example/a.png"}],
            }
        ],
        [Message("user", [Image("", url="https://host.example/a.png")])],
    ),
    "an answer": (
        [QUESTION, ANSWER_ITEM, QUESTION],
        [Message("user", "Why?"), Message("assistant", "Well."), Message("user", "Why?")],
    ),
    "two answers": (
        [ANSWER_ITEM, ANSWER_ITEM, QUESTION],
        [Message("assistant", "Well."), Message("assistant", "Well."), Message("user", "Why?")],
    ),
    "a call": (
        [QUESTION, {**CALL_ITEM, "id": "fc_1", "status": "completed"}, OUTPUT_ITEM],
        [
            Message("user", "Why?"),
            Message("assistant", [CALL]),
            Message("tool", [ToolResult("call_1", "sunny", "weather")]),
        ],
    ),
    "calls after a text": (
        [
            QUESTION,
            ANSWER_ITEM,
            CALL_ITEM,
            {**CALL_ITEM, "call_id": "call_2"},
            {**OUTPUT_ITEM, "call_id": "call_2", "output": [IMAGE]},
            OUTPUT_ITEM,
        ],
        [
            Message("user", "Why?"),
            Message("assistant", ["Well.", CALL, ToolCall("call_2", CALL.name, CALL.arguments)]),
            Message(
                "tool",
                [ToolResult("call_2", [Image("image/png", PNG, detail="auto")], "weather")],
            ),
            Message("tool", [ToolResult("call_1", "sunny", "weather")]),
        ],
    ),
    "a text between a call and its output": (
        [QUESTION, CALL_ITEM, ANSWER_ITEM, OUTPUT_ITEM],
        [
            Message("user", "Why?"),
            Message("assistant", [CALL, "Well."]),
            Message("tool", [ToolResult("call_1", "sunny", "weather")]),
        ],
    ),
    "calls in two turns": (
        [QUESTION, CALL_ITEM, OUTPUT_ITEM, CALL_ITEM, OUTPUT_ITEM],
        [
            Message("user", "Why?"),
            Message("assistant", [CALL]),
            Message("tool", [ToolResult("call_1", "sunny", "weather")]),
            Message("assistant", [CALL]),
            Message("tool", [ToolResult("call_1", "sunny", "weather")]),
        ],
    ),
    "a later system message": (
        [QUESTION, {"role": "system", "content": "Now."}, QUESTION],
        [Message("user", "Why?"), Message("system", "Now."), Message("user", "Why?")],
    ),
}


@pytest.mark.parametrize(("items", "messages"), INPUTS.values(), ids=INPUTS)
def test_the_input_becomes_messages(echo, items, messages):
    """The items of one answer become one message."""
    echo.create(input=items)

    assert list(echo.engine.requests[-1].messages) == messages


@pytest.mark.parametrize("are_dicts", [True, False], ids=["dicts", "objects"])
def test_a_tool_loop(served, are_dicts):
    """The items of an answer can be sent back, with the output of the tool."""
    first = ["Let me see.", Chunk(tool_calls=(CALL,)), Chunk(finish_reason="stop")]
    served.play(first, ["Sunny.", END])
    response = served.create(tools=[WEATHER])
    message, call = response.output
    items = [item.model_dump() for item in response.output] if are_dicts else response.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    last = served.create(input=[QUESTION, *items, output], tools=[WEATHER])

    assert (response.status, message.content[0].text) == ("completed", "Let me see.")
    assert (call.name, call.arguments, call.call_id) == ("weather", CALL.arguments, "call_1")
    assert last.output_text == "Sunny."
    assert served.engine.requests[-1].messages == (
        Message("user", "Why?"),
        Message("assistant", ["Let me see.", CALL]),
        Message("tool", [ToolResult("call_1", "sunny", "weather")]),
    )


def test_a_tool_loop_with_the_mock_engine(served):
    """The mock engine calls the tool that the prompt names."""
    prompt = 'call weather {"city": "Rome"}'
    first = served.create(model="mock", input=prompt, tools=[WEATHER])
    call = first.output[-1]
    items = [
        {"role": "user", "content": prompt},
        *first.output,
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    last = served.create(model="mock", input=items, tools=[WEATHER])

    assert (call.type, json.loads(call.arguments)) == ("function_call", {"city": "Rome"})
    assert last.output_text == "[mock] sunny"


def test_a_call_without_an_id_gets_one(served):
    """The client needs the ID to return the output; some providers send none."""
    calls = (ToolCall("", "weather", "{}"), ToolCall("", "weather", "{}"))
    served.play([Chunk(tool_calls=calls), END])
    output = served.create(tools=[WEATHER]).output
    streamed = served.events(tools=[WEATHER])[-1]["response"]["output"]

    assert all(item.call_id for item in output)
    assert len({item.call_id for item in output}) == 2
    assert len({item["call_id"] for item in streamed}) == 2


def test_a_schema_constrains_the_answer(served):
    """The text is the JSON value alone, without a fence."""
    text_format = {"type": "json_schema", "name": "city", "schema": CITY_SCHEMA, "strict": True}
    served.play(['```json\n{"name": "Rome"}\n```', END])
    response = served.create(text={"format": text_format})

    assert json.loads(response.output_text) == {"name": "Rome"}
    assert served.engine.requests[-1].schema == CITY_SCHEMA
    assert response.to_dict()["text"] == {"format": text_format}


def test_a_json_object_can_be_required(served):
    """Every object satisfies the schema, which is in the system prompt."""
    served.play(['{"a": 1}', END])
    response = served.create(text={"format": {"type": "json_object"}})

    assert response.output_text == '{"a": 1}'
    assert '{"type": "object"}' in served.engine.requests[-1].system


def test_the_sdk_parses_a_structured_answer(served):
    """`parse` and the stream helper return an instance of the class."""
    served.play(['{"name": "Rome"}', END])
    request = {"model": "seeing", "input": "Where?", "text_format": City}
    parsed = served.openai.responses.parse(**request).output_parsed
    with served.openai.responses.stream(**request) as stream:
        streamed = stream.get_final_response().output_parsed

    assert (parsed, streamed) == (City(name="Rome"), City(name="Rome"))


TEXT_EVENTS = [
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]

CALL_EVENTS = [
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
]


def test_a_text_is_streamed_in_order(served):
    """Each event names its item, and the last one has the whole response."""
    served.play(["Hel", "lo.", END])
    events = served.events()

    assert types_of(events) == [*TEXT_EVENTS, "completed"]
    created, in_progress, item_added, part_added, *deltas, done, part, item, last = events
    response = last["response"]
    assert created["response"] == in_progress["response"]
    assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
    assert created["response"]["id"] == response["id"]
    place = {"item_id": item_added["item"]["id"], "output_index": 0, "content_index": 0}
    for event in (part_added, *deltas, done, part):
        assert event.items() >= place.items()
    assert (item_added["output_index"], item_added["item"]["content"]) == (0, [])
    assert [event["delta"] for event in deltas] == ["Hel", "lo."]
    assert (done["text"], part["part"]["text"]) == ("Hello.", "Hello.")
    assert response["output"] == [item["item"]]
    assert response["usage"]["total_tokens"] == 12


def test_calls_are_streamed_after_the_text(served):
    """Each call has its own item, also if more text follows it."""
    second = ToolCall("call_2", "weather", "{}")
    script = ["Hel", Chunk(tool_calls=(CALL,)), "lo.", Chunk(tool_calls=(second,)), END]
    served.play(script)
    events = served.events(tools=[WEATHER])

    assert types_of(events) == [*TEXT_EVENTS, *CALL_EVENTS, *CALL_EVENTS, "completed"]
    output = events[-1]["response"]["output"]
    for index, call, start in ((1, CALL, 9), (2, second, 13)):
        added, delta, done, item = events[start : start + 4]
        assert {event["output_index"] for event in (added, delta, done, item)} == {index}
        assert delta["item_id"] == done["item_id"] == added["item"]["id"] == item["item"]["id"]
        assert (added["item"]["arguments"], added["item"]["status"]) == ("", "in_progress")
        assert (delta["delta"], done["arguments"]) == (call.arguments, call.arguments)
        assert item["item"] == output[index]
        assert (output[index]["call_id"], output[index]["arguments"]) == (call.id, call.arguments)


def test_a_call_alone_is_the_first_item(served):
    served.play([Chunk(tool_calls=(CALL,)), END])
    events = served.events(tools=[WEATHER])

    assert types_of(events) == ["created", "in_progress", *CALL_EVENTS, "completed"]
    assert events[2]["output_index"] == 0


def test_an_empty_answer_has_no_item(served):
    served.play([END])
    assert served.create().output == []
    events = served.events()

    assert types_of(events) == ["created", "in_progress", "completed"]


def test_a_stream_and_a_whole_answer_have_the_same_fields(served):
    """Only the random IDs and the time differ."""
    served.play(["Hi", Chunk(tool_calls=(CALL,)), END])
    request = {"tools": [WEATHER], "user": "me", "temperature": 1, "tool_choice": "auto"}
    whole = served.post(**request).json()
    streamed = served.events(**request)[-1]["response"]

    for response in (whole, streamed):
        del response["id"], response["created_at"]
        for item in response["output"]:
            del item["id"]
    assert streamed == whole


def test_the_sdk_iterates_over_a_stream(served):
    served.play(["Hel", "lo.", END])
    with served.create(stream=True) as stream:
        events = list(stream)

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == ["Hel", "lo."]
    assert events[-1].response.output_text == "Hello."


def test_the_stream_helper_returns_the_final_response(served):
    """The SDK's helper checks the order of the events and the identity of the items."""
    served.play(["Hel", "lo.", Chunk(tool_calls=(CALL,)), END])
    request = {"model": "seeing", "input": "Hi", "tools": [WEATHER]}
    with served.openai.responses.stream(**request) as stream:
        snapshots = [
            event.snapshot for event in stream if event.type == "response.output_text.delta"
        ]
        final = stream.get_final_response()

    assert snapshots == ["Hel", "Hello."]
    assert (final.status, final.output_text) == ("completed", "Hello.")
    assert final.output[1].parsed_arguments == {"city": "Rome"}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_error_before_the_answer_has_a_status(served, streamed):
    """The SDK raises the error of the status, and does not send the request again."""
    served.play([Chunk(reasoning="Hm"), TruncatedError("oh no.")])
    with pytest.raises(openai.InternalServerError, match=r"oh no\.") as caught:
        served.create(stream=streamed)

    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
    assert len(served.engine.requests) == 1


CHUNKS = (
    "Hel",
    "lo.",
    Chunk(tool_calls=(CALL,)),
    Chunk(tool_calls=(ToolCall("call_2", "weather", "{}"),)),
    "Bye.",
    Chunk(finish_reason="tool_calls"),
    Chunk(usage=USAGE),
)


@pytest.mark.parametrize("first", ["text", "call"])
@pytest.mark.parametrize("length", range(len(CHUNKS) + 1))
def test_a_cut_stream_never_looks_whole(served, length, first):
    """After any number of chunks, an error is a status or at the end, and no item is done."""
    chunks = CHUNKS[:length] if first == "text" else CHUNKS[2:length]
    served.play([*chunks, TruncatedError("oh no.")])
    response = served.post(stream=True, tools=[WEATHER])

    assert b"response.completed" not in response.content
    assert b"response.incomplete" not in response.content
    assert b".done" not in response.content
    assert b"oh no." in response.content
    if not chunks:
        assert response.status_code == 502
        return
    events = list(read_events(response.text))
    assert types_of(events).count("failed") == 1
    failed = events[-2]["response"]
    assert (failed["status"], failed["output"], failed["usage"]) == ("failed", [], None)
    assert failed["error"] == {"code": "provider_error", "message": "oh no."}
    assert (events[-1]["type"], events[-1]["error"]["message"]) == ("error", "oh no.")


def test_the_sdk_raises_the_error_of_a_cut_stream(served):
    """The response has failed, which many clients ignore, and the SDK raises an error."""
    served.play(["Hel", TruncatedError("oh no.")])
    events = []
    with served.create(stream=True) as stream, pytest.raises(openai.APIError, match="oh no"):
        events += stream

    assert (events[-1].type, events[-1].response.status) == ("response.failed", "failed")
    assert events[-1].response.error.message == "oh no."


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_may_allow_only_one_call(served, streamed):
    """The calls after the first are omitted, since the pool has no option for this."""
    second = replace(CALL, id="call_2")
    served.play([Chunk(tool_calls=(CALL, second)), Chunk(tool_calls=(second,)), END])
    fields = {"tools": [WEATHER], "parallel_tool_calls": False, "stream": streamed}
    response = served.post(**fields)
    answer = list(read_events(response.text))[-1]["response"] if streamed else response.json()

    assert [item["call_id"] for item in answer["output"]] == [CALL.id]
    assert (answer["status"], answer["parallel_tool_calls"]) == ("completed", False)


NEUTRAL = {
    "store": False,
    "background": False,
    "parallel_tool_calls": True,
    "truncation": "disabled",
    "include": [],
    "service_tier": "auto",
    "top_logprobs": 0,
    "max_tool_calls": None,
    "previous_response_id": None,
    "conversation": None,
    "prompt": None,
    "metadata": {"a": "b"},
    "user": "me",
    "safety_identifier": "me",
    "prompt_cache_key": "key",
    "instructions": None,
    "tools": None,
    "tool_choice": None,
    "text": {},
    "reasoning": {},
    "unknown": None,
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_field_without_effect_is_accepted(echo, name):
    """A field may have its default value, and any field may be null."""
    response = echo.post(**{name: NEUTRAL[name]})

    assert (response.status_code, response.json()["status"]) == (200, "completed")


def item(**fields):
    """Return a body whose second item is a message with these fields."""
    return {"input": [QUESTION, {"role": "user", "content": "a", **fields}]}


def part(**fields):
    """Return a body whose second item has one part with these fields."""
    return item(content=[fields])


def text_format(**fields):
    """Return a body with a format of the text."""
    return {"text": {"format": fields}}


INVALID = [
    ("store", {"store": True}),
    ("previous_response_id", {"previous_response_id": "resp_1"}),
    ("conversation", {"conversation": "conv_1"}),
    ("background", {"background": True}),
    ("prompt", {"prompt": {"id": "p"}}),
    ("parallel_tool_calls", {"parallel_tool_calls": "no"}),
    ("truncation", {"truncation": "auto"}),
    ("include", {"include": ["reasoning.encrypted_content"]}),
    ("service_tier", {"service_tier": "flex"}),
    ("top_logprobs", {"top_logprobs": 1}),
    ("max_tool_calls", {"max_tool_calls": 1}),
    ("stream_options", {"stream_options": {"include_obfuscation": True}}),
    ("unknown", {"unknown": 1}),
    ("model", {"model": None}),
    ("model", {"model": 1}),
    ("stream", {"stream": "yes"}),
    ("temperature", {"temperature": "0"}),
    ("max_output_tokens", {"max_output_tokens": 0}),
    ("max_output_tokens", {"max_output_tokens": 1.5}),
    ("instructions", {"instructions": ["a"]}),
    ("reasoning.effort", {"reasoning": {"effort": "minimal"}}),
    ("reasoning.summary", {"reasoning": {"summary": "auto"}}),
    ("reasoning.mode", {"reasoning": {"mode": "a"}}),
    ("text", {"text": "a"}),
    ("text.verbosity", {"text": {"verbosity": "low"}}),
    ("text.style", {"text": {"style": "a"}}),
    ("text.format.type", text_format(type="grammar")),
    ("text.format.type", text_format(name="a")),
    ("text.format.schema", text_format(type="json_schema", name="a")),
    ("text.format.schema", text_format(type="text", schema={})),
    ("text.format.unknown", text_format(type="json_object", unknown=1)),
    ("tools", {"tools": {}}),
    ("tools[0].type", {"tools": [{"type": "web_search"}]}),
    ("tools[0].name", {"tools": [{"type": "function"}]}),
    ("tools[1].name", {"tools": [WEATHER, {**WEATHER, "name": "a b"}]}),
    ("tools[0].parameters", {"tools": [{**WEATHER, "parameters": []}]}),
    ("tools[0].defer_loading", {"tools": [{**WEATHER, "defer_loading": True}]}),
    ("tools[0].function", {"tools": [{**WEATHER, "function": {}}]}),
    ("tool_choice", {"tool_choice": "weather", "tools": [WEATHER]}),
    ("tool_choice", {"tool_choice": 1}),
    ("tool_choice", {"tool_choice": "required"}),
    ("tool_choice.type", {"tool_choice": {"type": "custom", "name": "weather"}}),
    ("tool_choice.name", {"tool_choice": {"type": "function"}}),
    ("tool_choice.name", {"tool_choice": {"type": "function", "name": "a"}, "tools": [WEATHER]}),
    (
        "tool_choice.name",
        {
            "tool_choice": {"type": "function", "name": "none"},
            "tools": [{**WEATHER, "name": "none"}],
        },
    ),
    (
        "tool_choice.mode",
        {
            "tool_choice": {"type": "function", "name": "weather", "mode": "a"},
            "tools": [WEATHER],
        },
    ),
    ("input", {"input": None}),
    ("input", {"input": 1}),
    ("input", {"input": {}}),
    ("input", {"input": " "}),
    ("input", {"input": []}),
    ("input[0]", {"input": ["a"]}),
    ("input[1].type", item(type="reasoning", summary=[])),
    ("input[1].type", item(type="item_reference", id="msg_1")),
    ("input[1].type", item(type=1)),
    ("input[1].role", item(role="tool")),
    ("input[1].role", item(role=None)),
    ("input[1].name", item(name="a")),
    ("input[1].phase", item(phase="commentary")),
    ("input[1].content", item(content=None)),
    ("input[1].content", item(content={})),
    ("input[1].content", item(content="")),
    ("input[1].content[0]", item(content=["a"])),
    ("input[1].content[0].type", part(text="a")),
    ("input[1].content[0].type", part(type="input_file", file_id="a")),
    ("input[1].content[0].type", part(type="refusal", refusal="a")),
    ("input[1].content[0].text", part(type="input_text")),
    ("input[1].content[0].annotations", part(type="output_text", text="a", annotations=[{}])),
    ("input[1].content[0].unknown", part(type="input_text", text="a", unknown=1)),
    ("input[1].content[0].file_id", part(type="input_image", file_id="a")),
    ("input[1].content[0].image_url", part(type="input_image")),
    ("input[1].content[0].image_url", part(type="input_image", image_url="/etc/hostname")),
    ("input[1].content[0].image_url", part(type="input_image", image_url="file:///etc/hostname")),
    ("input[1].content[0].image_url", part(type="input_image", image_url="http://host.example")),
    ("input[1].content[0].image_url", part(type="input_image", image_url="https://[")),
    ("input[1].content[0].image_url", part(type="input_image", image_url="data:,text")),
    ("input[1].content[0].detail", part(**IMAGE | {"detail": "fine"})),
    ("input[1].content[0].type", item(role="system", content=[IMAGE])),
    ("input[1].content[0].type", item(role="assistant", content=[IMAGE])),
    ("input[1]", item(role="assistant")),
    ("input[1]", item(role="developer")),
    ("input[1].name", {"input": [QUESTION, {**CALL_ITEM, "name": None}]}),
    ("input[1].arguments", {"input": [QUESTION, {**CALL_ITEM, "arguments": {}}]}),
    ("input[1].call_id", {"input": [QUESTION, {**CALL_ITEM, "call_id": None}]}),
    ("input[1].namespace", {"input": [QUESTION, {**CALL_ITEM, "namespace": "a"}]}),
    ("input[1].call_id", {"input": [QUESTION, OUTPUT_ITEM]}),
    ("input[3].call_id", {"input": [QUESTION, CALL_ITEM, OUTPUT_ITEM, OUTPUT_ITEM]}),
    ("input", {"input": [QUESTION, CALL_ITEM, QUESTION]}),
    ("input[2].output", {"input": [QUESTION, CALL_ITEM, {**OUTPUT_ITEM, "output": None}]}),
    ("input[2].output", {"input": [QUESTION, CALL_ITEM, {**OUTPUT_ITEM, "output": 1}]}),
    (
        "input[2].output[0].type",
        {"input": [QUESTION, CALL_ITEM, {**OUTPUT_ITEM, "output": [{"type": "input_file"}]}]},
    ),
    ("input[2].is_error", {"input": [QUESTION, CALL_ITEM, {**OUTPUT_ITEM, "is_error": True}]}),
]


@pytest.mark.parametrize(
    ("field", "body"),
    INVALID,
    ids=[f"{number} {field}" for number, (field, _) in enumerate(INVALID)],
)
def test_another_field_or_value_is_refused_by_name(echo, field, body):
    """Nothing in a request is ignored without an error, and no engine is called."""
    response = echo.post(**body)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, field)
    assert error["message"].startswith(f"{field} ")
    assert error["type"] == "invalid_request_error"
    assert response.headers["x-should-retry"] == "false"
    assert echo.engine.requests == []


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "store"])
def test_state_is_refused_with_the_reason(echo, name):
    value = True if name == "store" else "resp_1"

    message = echo.post(**{name: value}).json()["error"]["message"]
    assert "the server keeps no responses" in message


def test_any_text_of_the_request_can_be_repeated(echo):
    """Lone surrogates and large integers, which few encoders accept, are returned unchanged."""
    values = {"user": "\ud800", "metadata": {"number": 10**30}}
    content = json.dumps({"model": "seeing", "input": "Hi", **values})
    headers = {"content-type": "application/json"}

    whole = echo.http.post("/responses", content=content, headers=headers).json()
    assert {name: whole[name] for name in values} == values
