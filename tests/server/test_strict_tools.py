"""A call of a strict tool has arguments that match its schema, or is an error."""

import pytest

from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.testing import ScriptedEngine
from tests.server.conftest import post, serving

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
END = Chunk(finish_reason="tool_calls", usage=Usage(1, 1))
QUESTION = [{"role": "user", "content": "The weather?"}]


def bodies(parameters, strict):
    """Return the request with a tool to each path, and the place of its parameters."""
    function = {"name": "weather", "parameters": parameters, "strict": strict}
    chat = {"messages": QUESTION, "tools": [{"type": "function", "function": function}]}
    responses = {"input": "The weather?", "tools": [{"type": "function", **function}]}
    return {
        "/v1/chat/completions": (chat, "tools[0].function.parameters"),
        "/v1/responses": (responses, "tools[0].parameters"),
    }


PATHS = list(bodies({}, strict=False))


def ask(path, arguments, *, strict=True, parameters=PARAMETERS, **fields):
    """Return the response with a call of the tool, and the requests to the engine."""
    call = Chunk(tool_calls=(ToolCall("call_1", "weather", arguments),))
    engine = ScriptedEngine([call, END])
    body = {"model": "scripted", **bodies(parameters, strict)[path][0], **fields}
    with serving(engine) as server:
        return post(server, path, body), engine.requests


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_wrong_arguments_of_a_strict_tool_are_an_error(path, streamed):
    """Not every engine has strict tools, so that the server compares the arguments."""
    response, _ = ask(path, '{"town": "Rome"}', stream=streamed)
    assert "Object missing required field `city`" in response.text
    assert '"town' not in response.text
    assert "[DONE]" not in response.text
    assert "response.completed" not in response.text
    if not streamed:
        assert response.status_code == 502


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("arguments", "strict"), [('{"city": "Rome"}', True), ('{"town": "Rome"}', False)]
)
def test_other_arguments_are_sent(path, arguments, strict):
    """A tool that is not strict may be called with any arguments."""
    response, _ = ask(path, arguments, strict=strict)
    assert response.status_code == 200
    assert "Rome" in response.text


@pytest.mark.parametrize("path", PATHS)
def test_a_strict_tool_needs_a_schema_that_can_be_compared(path):
    parameters = {"properties": {"city": {"$ref": "https://example.com/city"}}}
    response, requests = ask(path, "{}", parameters=parameters)
    error = response.json()["error"]
    assert (response.status_code, requests) == (400, [])
    assert error["param"] == bodies({}, strict=True)[path][1]
