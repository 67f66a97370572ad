"""Images, choices and schemas in calls with tools, in all five dialects."""

import json

import pytest

from gatewayx_nb.errors import UnsupportedFeatureError
from gatewayx_nb.images import Image
from tests.tools.providers import Anthropic, Chat, Cohere, Gemini, Mistral, Responses
from tests.tools.samples import DONE, EACH, LOOK, PNG, STREAMED, chart, now, weather
from tests.tools.strict_server import Turn

IN_RESULT = {
    Responses: ["input_text", "input_image"],
    Anthropic: ["text", "image"],
}


@EACH
@STREAMED
def test_an_image_is_part_of_the_result_or_follows_all_results(connect, kind, is_streamed):
    """Chat Completions and Cohere take images only from the user."""
    turn = Turn("", "Hm.", (("chart", {}), ("now", {})))
    connection = connect(kind, turn, Turn("", "Hm.", (("now", {}),)), DONE)
    connection.ask(tools=[chart, now], is_streamed=is_streamed)

    first, second, _ = connection.results()
    body = connection.server.bodies[-1]
    assert second == "noon"
    if kind in IN_RESULT:
        assert [part["type"] for part in first] == IN_RESULT[kind]
    elif kind is Gemini:
        (part,) = body["contents"][2]["parts"][0]["functionResponse"]["parts"]
        assert part["inlineData"] == {"mimeType": "image/png", "data": PNG.base64}
    else:
        roles = [row["role"] for row in body["messages"]]
        assert roles == ["user", "assistant", "tool", "tool", "user", "assistant", "tool"]
        assert [part["type"] for part in body["messages"][4]["content"]] == ["text", "image_url"]


def test_an_image_alone_leaves_no_result_empty(connect):
    """The result says where the image is."""

    def draw() -> Image:
        """Draw."""
        return PNG

    connection = connect(Cohere, Turn(calls=(("draw", {}),)), DONE)
    connection.ask(tools=draw)

    assert connection.results() == ["The result is the image below."]


def test_an_image_for_an_endpoint_that_takes_none_is_refused_before_it_is_sent(connect):
    """Mistral allows no user message after results."""
    connection = connect(Mistral, Turn(calls=(("chart", {}),)), DONE)

    with pytest.raises(UnsupportedFeatureError, match="images in tool results; nothing was sent"):
        connection.ask(tools=chart)
    assert len(connection.server.bodies) == 1


@EACH
def test_a_tool_without_parameters_is_declared(connect, kind):
    """Its schema is an object without properties; Gemini refuses one, and takes none."""
    connection = connect(kind, Turn(calls=(("now", {}),)), DONE)
    connection.ask(tools=now)

    empty = {"type": "object", "properties": {}, "additionalProperties": False}
    named = {"name": "now", "description": "Return the time."}
    body = connection.server.bodies[0]
    assert (
        body["tools"]
        == {
            Chat: [{"type": "function", "function": named | {"parameters": empty}}],
            Cohere: [{"type": "function", "function": named | {"parameters": empty}}],
            Responses: [{"type": "function", **named, "parameters": empty, "strict": False}],
            Anthropic: [named | {"input_schema": empty}],
            Gemini: [{"functionDeclarations": [named]}],
        }[kind]
    )


def _gemini(mode, **names):
    return {"functionCallingConfig": {"mode": mode, **names}}


CHOICES = {
    Chat: {
        "auto": "auto",
        "none": "none",
        "required": "required",
        "now": {"type": "function", "function": {"name": "now"}},
    },
    Responses: {
        "auto": "auto",
        "none": "none",
        "required": "required",
        "now": {"type": "function", "name": "now"},
    },
    Anthropic: {
        "auto": {"type": "auto"},
        "none": {"type": "none"},
        "required": {"type": "any"},
        "now": {"type": "tool", "name": "now"},
    },
    Gemini: {
        "auto": _gemini("AUTO"),
        "none": _gemini("NONE"),
        "required": _gemini("ANY"),
        "now": _gemini("ANY", allowedFunctionNames=["now"]),
    },
    Cohere: {"auto": None, "none": "NONE", "required": "REQUIRED", "now": "REQUIRED"},
}


@EACH
@pytest.mark.parametrize("choice", ["auto", "none", "required", "now", None])
def test_a_choice_is_sent_in_the_words_of_the_dialect(connect, kind, choice):
    """After the first request, the model may answer."""
    connection = connect(kind, Turn(calls=(("now", {}),)), DONE)
    connection.ask(tools=[now, weather], tool_choice=choice)

    bodies, server = connection.server.bodies, connection.server
    sent = [body.get("toolConfig" if kind is Gemini else "tool_choice") for body in bodies]
    later = choice if choice in (None, "none") else "auto"
    assert sent == [CHOICES[kind].get(each) for each in (choice, later)]
    is_only = kind is Cohere and choice == "now"
    assert server.tool_names(bodies[0]) == (["now"] if is_only else ["now", "weather"])
    assert server.tool_names(bodies[1]) == ["now", "weather"]


FORMATS = {
    Chat: lambda body: body.get("response_format"),
    Responses: lambda body: body.get("text"),
    Anthropic: lambda body: body.get("output_config"),
    Gemini: lambda body: body.get("generationConfig", {}).get("responseJsonSchema"),
    Cohere: lambda body: body.get("response_format"),
}


@EACH
@STREAMED
def test_a_schema_holds_for_the_answer_after_the_calls(connect, kind, is_streamed):
    """Cohere refuses a format together with tools, so the prompt asks for it."""
    text = "21" if kind is Cohere else '{"answer": 21}'
    connection = connect(kind, LOOK, Turn(text, "So."))
    reply = connection.ask(schema=int, is_streamed=is_streamed)

    for body in connection.server.bodies:
        assert bool(FORMATS[kind](body)) is (kind is not Cohere)
        assert ("JSON Schema" in json.dumps(body)) is (kind is Cohere)
    assert reply.parsed == 21
