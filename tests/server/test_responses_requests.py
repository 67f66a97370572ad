"""OpenAI's Responses API: what a request may contain, and what is refused."""

import json

import pytest

from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from tests.server.responses_client import (
    CALL,
    CALL_ITEM,
    OUTPUT_ITEM,
    PNG_URL,
    QUESTION,
    WEATHER,
)
from tests.test_images import PNG


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
    content = json.dumps({"model": "vision", "input": "Hi", **values})
    headers = {"content-type": "application/json"}

    whole = echo.http.post("/responses", content=content, headers=headers).json()
    assert {name: whole[name] for name in values} == values
