"""The requests of calls with tools, checked by strict servers in all five dialects."""

import json

import pytest

from gatewayx_nb.messages import Message, ToolCall, ToolResult
from tests.llm_engines.wire import body_script
from tests.tools.providers import (
    Anthropic,
    Chat,
    Cohere,
    DeepSeek,
    Gemini,
    LongIds,
    Mistral,
    Responses,
)
from tests.tools.samples import ALL, DONE, EACH, LOOK, OSLO, ROME, STREAMED, TOOLS, now, weather
from tests.tools.strict_server import Turn

CONVERSATIONS = {
    "one call": [LOOK],
    "no thoughts": [Turn(calls=(("weather", ROME),))],
    "parallel calls": [Turn("I look.", "Hm.", (("weather", ROME), ("now", {}), ("weather", OSLO)))],
    "three turns": [
        LOOK,
        Turn("", "Again.", (("now", {}),)),
        Turn("Once more.", "And again.", (("weather", OSLO), ("now", {}))),
    ],
    "refused calls": [Turn("", "Hm.", (("delete", {"path": "x"}), ("now", {})))],
    "failures": [Turn("", "Hm.", (("broken", {}), ("weathr", ROME), ("weather", {"city": 5})))],
}


@ALL
@STREAMED
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_provider_accepts_every_request(connect, kind, is_streamed, name):
    """Each call is answered at once, under its ID, and the provider's turns come back unchanged."""
    turns = CONVERSATIONS[name]
    connection = connect(kind, *turns, DONE)
    reply = connection.ask(is_streamed=is_streamed)

    assert reply.text == "It is sunny."
    assert len(connection.server.bodies) == len(turns) + 1
    assert [step.call.name for step in reply.steps] == [
        call for turn in turns for call, _ in turn.calls
    ]


MALFORMED = [
    (kind, is_streamed)
    for kind in (Chat, DeepSeek, Mistral, Responses, Cohere, Anthropic)
    for is_streamed in (False, True)
    if is_streamed or kind is not Anthropic  # elsewhere, arguments are an object by nature
]


@pytest.mark.parametrize(("kind", "is_streamed"), MALFORMED)
def test_malformed_arguments_do_not_break_the_conversation(connect, kind, is_streamed):
    """The model learns what was wrong, and the request has only valid JSON."""
    bad = "[1]" if kind is Anthropic else '{"city": "Ro'
    connection = connect(kind, Turn("", "Hm.", (("weather", bad), ("now", {}))), DONE)
    connection.ask(is_streamed=is_streamed)

    assert [text.removeprefix("Error: ") for text in connection.results()] == [
        "the arguments must be a JSON object",
        "noon",
    ]
    assert bad not in connection.wire.last_request.body.decode()


@EACH
def test_a_failure_is_marked_where_the_provider_has_a_mark(connect, kind):
    """An error is a field for Anthropic and Gemini, a document for Cohere, and otherwise text."""
    calls = (("broken", {}), ("delete", {"path": "x"}), ("weathr", {}))
    connection = connect(kind, Turn("", "Hm.", calls), DONE)
    connection.ask(approve="never")

    texts = connection.results()
    body = connection.wire.last_request.body.decode()
    mark = {Anthropic: "", Gemini: "", Cohere: ""}.get(kind, "Error: ")
    assert texts[0] == f"{mark}ValueError: no such city"
    assert texts[1] == f"{mark}calls that need permission are not allowed here"
    assert texts[2].startswith(f"{mark}there is no tool 'weathr'. Did you mean 'weather'?")
    assert body.count('"is_error":true') == (3 if kind is Anthropic else 0)
    assert body.count('"response":{"error"') == (3 if kind is Gemini else 0)
    assert body.count('"data":{"error"') == (3 if kind is Cohere else 0)


@ALL
def test_a_stream_may_be_cut_anywhere(connect, kind):
    """A stream in single bytes has the calls and the second request of the whole answer."""
    turns = CONVERSATIONS["parallel calls"]
    whole, cut = connect(kind, *turns, DONE), connect(kind, *turns, DONE, is_cut=True)
    replies = whole.ask(), cut.ask(is_streamed=True)

    assert [[step.call for step in reply.steps] for reply in replies] == [
        [step.call for step in replies[0].steps]
    ] * 2
    sent = [connection.server.bodies[1] for connection in (whole, cut)]
    for body in sent:
        body.pop("stream", None)
        body.pop("stream_options", None)
    assert sent[0] == sent[1]


def test_twenty_turns_with_four_providers_are_accepted(connect_all):
    """Each provider gets its own turns back unchanged, and those of the others without secrets."""
    calls = (("weather", ROME), ("now", {}))
    servers = []
    for kind in (Responses, Anthropic, Gemini, Cohere):
        turns = []
        for number in range(5):
            turns.append(Turn(f"Look {number}.", f"Hm {number}.", calls))
            turns.append(Turn(f"{kind.engine} {number}.", f"So {number}."))
        servers.append(kind(*turns))
    chat = connect_all(*servers).chat()
    for number in range(20):
        server = servers[number % 4]
        options = {"model": f"{server.engine}:m", "tools": [weather, now]}
        if number % 8 < 4:
            text = chat.ask(f"Question {number}?", **options).text
        else:
            stream = chat.stream(f"Question {number}?", **options)
            text = "".join(chunk.text for chunk in stream)
        assert server.faults == []
        assert text.endswith(f"{server.engine} {number // 4}.")

    assert len(chat) == 20
    assert [server.count for server in servers] == [10] * 4


@pytest.mark.parametrize("kind", [Responses, Gemini, Cohere, DeepSeek])
def test_a_fallback_continues_the_turns_of_another_provider(connect_all, kind):
    """The results of the tools are not lost, and the signature stays with its provider."""

    class Failing(Anthropic):
        def __call__(self, request):
            if self.count:
                return body_script({"error": {"message": "overloaded"}}, 500)
            return super().__call__(request)

    first, second = Failing(LOOK), kind(DONE)
    options = {"fallback": f"{second.engine}:m", "tools": [weather, now]}
    reply = connect_all(first, second).ask("Hi", "anthropic:m", **options)

    assert (first.faults, second.faults) == ([], [])
    assert (reply.engine, reply.text) == (second.engine, "It is sunny.")
    assert second.results(second.bodies[0]) == ["sunny in Rome"]


@ALL
def test_a_conversation_goes_on_without_tools(connect, kind):
    """The calls and the reasoning of earlier turns are still sent."""
    connection = connect(kind, LOOK, DONE)
    chat = connection.wire.pool.chat(f"{kind.engine}:m")
    chat.ask("Hi", tools=TOOLS)
    chat.ask("And now?")

    assert connection.server.faults == []
    assert connection.server.count == 3
    assert connection.server.tool_names(connection.server.bodies[-1]) == []


LONG = "weather_in_every_city_of_the_world_" * 2


@EACH
def test_a_long_id_of_another_provider_is_shortened(connect, kind):
    """A custom engine or Cohere may send IDs that another provider refuses."""
    kind = LongIds if kind is Chat else kind
    connection = connect(kind, DONE)
    messages = [
        Message("user", "Hi"),
        Message("assistant", [ToolCall(LONG, "weather", "{}"), ToolCall("short", "now", "{}")]),
        Message("tool", [ToolResult(LONG, "sunny"), ToolResult("short", "noon")]),
    ]
    connection.wire.pool.ask(messages=messages, model=f"{kind.engine}:m", tools=[weather, now])

    body = connection.wire.last_request.body.decode()
    assert connection.server.faults == []
    assert ("short" in body, LONG in body) == (True, kind not in (LongIds, Responses))


def test_a_paused_turn_and_its_continuation_come_back_as_one(connect):
    """Anthropic goes on after a tool of its own, and then calls a function."""
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    contents = [
        ([thought, search], "pause_turn"),
        ([found, call], "tool_use"),
        ([{"type": "text", "text": "Done."}], "end_turn"),
    ]
    connection = connect(Anthropic, DONE)
    bodies = []

    def script(request):
        bodies.append(json.loads(request.body))
        content, reason = contents[len(bodies) - 1]
        usage = {"input_tokens": 3, "output_tokens": 5}
        fixed = {"type": "message", "role": "assistant", "model": "m", "usage": usage}
        return body_script(fixed | {"content": content, "stop_reason": reason})

    connection.wire.respond_with(script)
    reply = connection.ask()

    assert reply.text == "Done."
    assert bodies[1]["messages"][1:] == [{"role": "assistant", "content": [thought, search]}]
    assert bodies[2]["messages"][1] == {
        "role": "assistant",
        "content": [thought, search, found, call],
    }
    assert bodies[2]["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
    Anthropic.params.validate_python(bodies[2])


RESULTS = [
    ({"weather": ["sunny", 21.5]}, {"weather": ["sunny", 21.5]}),
    ([1, 2], {"output": "[1,2]"}),
    ("sunny", {"output": "sunny"}),
    ("", {"output": ""}),
    ('{"a": NaN}', {"output": '{"a": NaN}'}),
    ('{"a": "' + "\\ud800" + '"}', {"output": '{"a": "' + "\\ud800" + '"}'}),
]


@pytest.mark.parametrize(("value", "data"), RESULTS, ids=repr)
def test_a_result_is_a_document_that_cohere_can_cite(connect, value, data):
    """A JSON object becomes the document; any other text becomes its only field."""

    def look():
        """Look."""
        return value

    connection = connect(Cohere, Turn(calls=(("look", {}),)), DONE)
    connection.ask(tools=look)

    (row,) = [row for row in connection.server.bodies[1]["messages"] if row["role"] == "tool"]
    assert row["content"] == [{"type": "document", "document": {"data": data}}]
