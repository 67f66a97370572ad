"""The Messages API: what a request may contain, and what is refused."""

import anthropic
import pytest

from gatewayx_nb.messages import Message, ToolResult
from gatewayx_nb.server.messages_api import NEUTRAL_FIELDS
from gatewayx_nb.server.request_fields import InvalidFieldError
from gatewayx_nb.testing import ScriptedEngine
from tests.server.messages_client import (
    BASE64,
    HI,
    REMOTE,
    STOP,
    WEATHER,
    read,
    result_of,
)


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


MARK = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}


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
    ("cache_control.ttl", {"cache_control": {"type": "ephemeral", "ttl": "1h"}}),
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
