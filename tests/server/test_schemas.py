"""An answer that does not match the JSON Schema of a client is an error in each API."""

import pytest

from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.testing import ScriptedEngine
from tests.server.conftest import post, serving

END = Chunk(finish_reason="stop", usage=Usage(1, 1))
CITY = {"type": "object", "properties": {"people": {"type": "integer"}}, "required": ["people"]}
QUESTION = [{"role": "user", "content": "The largest city?"}]


def bodies(schema):
    """Return the request with a schema to each path, and the place of the schema in it."""
    chat = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    responses = {"format": {"type": "json_schema", "name": "city", "schema": schema}}
    messages = {"format": {"type": "json_schema", "schema": schema}}
    return {
        "/v1/chat/completions": (
            {"messages": QUESTION, "response_format": chat},
            "response_format.json_schema.schema",
        ),
        "/v1/responses": ({"input": "The city?", "text": responses}, "text.format.schema"),
        "/v1/messages": (
            {"messages": QUESTION, "max_tokens": 50, "output_config": messages},
            "output_config.format.schema",
        ),
    }


PATHS = list(bodies(CITY))


def ask(path, schema, *answers, **fields):
    """Return the response to a request with a schema, and the requests to the engine."""
    engine = ScriptedEngine(*([answer, END] for answer in answers))
    body = {"model": "scripted", **bodies(schema)[path][0], **fields}
    with serving(engine) as server:
        return post(server, path, body), engine.requests


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_does_not_match_is_an_error(path, streamed):
    """The model may correct it once; no part of a wrong answer is sent."""
    wrong = '{"people": "Rome has many"}'
    response, requests = ask(path, CITY, wrong, wrong, stream=streamed)

    message = response.json()["error"]["message"]
    assert response.status_code == 502
    assert "Expected `integer`, got `string` - at `$.people`" in message
    assert "many" not in response.text
    assert len(requests) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_corrected_answer_is_sent(path):
    response, _ = ask(path, CITY, '{"people": "many"}', '{"people": 3}')
    assert response.status_code == 200
    assert "many" not in response.text


INVALID = {
    "minimum": ({"type": "integer", "minimum": "3"}, "Expected `number`"),
    "url": ({"$ref": "http://127.0.0.1:9/city"}, "nothing is downloaded"),
    "pattern": ({"type": "string", "pattern": "(a"}, "cannot be compared"),
    "kind": ({"type": "text"}, "must be one of"),
}


@pytest.mark.parametrize("kind", INVALID)
@pytest.mark.parametrize("path", PATHS)
def test_an_invalid_schema_is_refused_by_name(path, kind):
    """The error names the field, and nothing is sent."""
    schema, problem = INVALID[kind]
    response, requests = ask(path, schema, "{}")

    error = response.json()["error"]
    assert (response.status_code, requests) == (400, [])
    assert error["message"].startswith(bodies(schema)[path][1])
    assert problem in error["message"]
    if path != "/v1/messages":
        assert error["param"] == bodies(schema)[path][1]


@pytest.mark.parametrize("path", PATHS)
def test_a_pattern_that_backtracks_does_not_stop_the_server(path):
    """`re` would take years, in which the server would answer no other request."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}
    wrong = f'{{"a": "{"a" * 60}b"}}'
    response, _ = ask(path, schema, wrong, wrong)
    assert response.status_code == 502
