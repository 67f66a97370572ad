"""OpenAI's Responses API: its answers and streams, through OpenAI's SDK."""

import json
from dataclasses import replace

import openai
import pytest
from openai.types.responses import Response

from gatewayx_nb.errors import TruncatedError
from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from tests.server.responses_client import (
    CALL,
    CITY_SCHEMA,
    END,
    QUESTION,
    USAGE,
    WEATHER,
    City,
    read_events,
    types_of,
)


def test_an_answer_has_every_field_of_a_response(served):
    """The answer is valid for the SDK's type, which has required fields."""
    served.play(["Hel", "lo.", END])
    body = served.post(instructions="Be brief.", metadata={"run": "1"}).json()

    response = Response.model_validate(body)
    assert (response.object, response.status, response.model) == (
        "response",
        "completed",
        "vision:script",
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
    response = served.create(tools=[WEATHER])
    assert (response.status, response.output[0].status) == ("incomplete", "incomplete")
    *_, done, last = served.events(tools=[WEATHER])
    assert (last["type"], done["item"]["status"]) == ("response.incomplete", "incomplete")


def test_repeated_ids_of_calls_are_made_unique(served):
    """The SDK's helper refuses two calls with one ID."""
    served.play([Chunk(tool_calls=(CALL, CALL)), END])
    with served.openai.responses.stream(model="vision", input="Hi", tools=[WEATHER]) as stream:
        first, second = stream.get_final_response().output
    assert first.call_id == CALL.id
    assert second.call_id != CALL.id


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
    request = {"model": "vision", "input": "Where?", "text_format": City}
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
    request = {"model": "vision", "input": "Hi", "tools": [WEATHER | {"strict": True}]}
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
