"""Chat Completions with OpenAI's SDK: answers, streams, tools, schemas, images and errors."""

import base64
import json

import openai
import pydantic
import pytest

from gatewayx_nb.errors import (
    BudgetError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TransportError,
    UsageError,
)
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Usage
from gatewayx_nb.server.chat_completions_api import NEUTRAL_FIELDS
from gatewayx_nb.testing import ScriptedEngine
from tests.server.conftest import openai_client, post, serving

MESSAGES = [{"role": "user", "content": "Hi"}]
DONE = Chunk(finish_reason="stop", usage=Usage(10, 5, 4, None, 2))
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
PATH = "/v1/chat/completions"


@pytest.fixture
def engine():
    """Return an engine that answers "Hello." in two chunks."""
    return ScriptedEngine(["Hel", "lo.", DONE])


@pytest.fixture
def client(engine):
    """Yield a client of a server with the engine."""
    with serving(engine) as server, openai_client(server) as client:
        client.gateway = server
        yield client


def test_an_answer_has_all_that_clients_require(client):
    """A whole answer has the fields that the strictest client validates."""
    answer = client.chat.completions.create(model="scripted", messages=MESSAGES)
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello.")
    assert (choice.finish_reason, choice.index) == ("stop", 0)
    assert (answer.object, answer.model) == ("chat.completion", "scripted:script")
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_700_000_000
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (10, 5, 15)
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details.reasoning_tokens == 2


def test_a_stream_has_all_that_clients_require(client):
    """Each chunk has the ID and the model; the usage comes only if requested."""
    stream = list(client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True))
    assert len({(chunk.id, chunk.model, chunk.created, chunk.object) for chunk in stream}) == 1
    assert [chunk.choices[0].delta.content for chunk in stream] == ["", "Hel", "lo.", None]
    assert [chunk.choices[0].finish_reason for chunk in stream] == [None, None, None, "stop"]
    assert stream[0].choices[0].delta.role == "assistant"

    *_, last = client.chat.completions.create(
        model="scripted", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert (last.choices, last.usage.total_tokens) == ([], 15)


def test_the_stream_helper_of_the_sdk_works(client):
    """The helper, which checks the order of the chunks, has the whole answer."""
    with client.chat.completions.stream(model="scripted", messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello."


def test_the_options_reach_the_engine(client, engine):
    """Every option of the request is one of the call."""
    client.chat.completions.create(
        model="scripted",
        messages=[{"role": "developer", "content": "Be brief."}, *MESSAGES],
        temperature=0.2,
        top_p=0.9,
        max_completion_tokens=7,
        stop=["END"],
        seed=3,
        reasoning_effort="low",
        user="me",
        store=False,
        metadata={"a": "b"},
    )
    (request,) = engine.requests
    assert request.system == "Be brief."
    assert (request.temperature, request.top_p, request.max_tokens) == (0.2, 0.9, 7)
    assert (tuple(request.stop), request.seed, request.effort) == (("END",), 3, "low")


def test_images_reach_the_engine(client, engine):
    """An image in a data URL is a part of the message."""
    engine.features |= {"images"}
    pixel = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(32)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}}
    text = {"type": "text", "text": "What?"}
    client.chat.completions.create(
        model="scripted", messages=[{"role": "user", "content": [text, part]}]
    )
    (message,) = engine.requests[0].messages
    assert [type(part) for part in message.parts] == [str, Image]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_client_runs_its_tools(client, engine, streamed):
    """A tool call ends the answer, and its result is in the next request."""
    call = ToolCall("call_1", "weather", '{"city": "Rome"}')
    engine.scripts = [
        ["Let me see.", Chunk(tool_calls=(call,)), Chunk(finish_reason="tool_calls")],
        ["Sunny.", DONE],
    ]
    options = {"model": "scripted", "tools": [TOOL], "tool_choice": "auto"}
    if streamed:
        with client.chat.completions.stream(messages=MESSAGES, **options) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(messages=MESSAGES, **options)
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    assert choice.message.tool_calls[0].function.arguments == '{"city": "Rome"}'
    assert engine.requests[0].tools[0].parameters == TOOL["function"]["parameters"]

    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    message = choice.message.model_dump(
        exclude_none=True, include={"role", "content", "tool_calls"}
    )
    for called in message["tool_calls"]:
        called["function"].pop("parsed_arguments", None)
    final = client.chat.completions.create(messages=[*MESSAGES, message, result], **options)
    assert final.choices[0].message.content == "Sunny."
    *_, tool_message = engine.requests[1].messages
    assert tool_message.tool_results[0].content == "sunny"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("parallel", [None, True, False])
def test_a_client_may_allow_only_one_call(client, engine, streamed, parallel):
    """The calls after the first are omitted, since the pool has no option for this."""
    calls = [ToolCall(f"call_{number}", "weather", "{}") for number in range(3)]
    engine.scripts = [[Chunk(tool_calls=(*calls[:2],)), Chunk(tool_calls=(calls[2],)), DONE]]
    options = {} if parallel is None else {"parallel_tool_calls": parallel}
    options |= {"model": "scripted", "messages": MESSAGES, "tools": [TOOL]}
    if streamed:
        with client.chat.completions.stream(**options) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(**options)
    choice = answer.choices[0]
    expected = calls[:1] if parallel is False else calls
    assert [call.id for call in choice.message.tool_calls] == [call.id for call in expected]
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("streamed", [False, True])
def test_each_call_has_its_own_id(client, engine, streamed):
    """A missing or repeated ID is replaced, because results are returned by ID."""
    calls = [ToolCall(call_id, "weather", "{}") for call_id in ("a", "a", "", "b")]
    engine.scripts = [[*(Chunk(tool_calls=(call,)) for call in calls), DONE]]
    options = {"model": "scripted", "messages": MESSAGES, "tools": [TOOL]}
    if streamed:
        with client.chat.completions.stream(**options) as stream:
            answer = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(**options)
    first, second, third, last = (call.id for call in answer.choices[0].message.tool_calls)
    assert (first, last) == ("a", "b")
    assert len({first, second, third, last}) == 4
    assert second.startswith("call_")
    assert third.startswith("call_")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        ("none", "none"),
        ({"type": "function", "function": {"name": "weather"}}, "weather"),
    ],
)
def test_the_tool_choice_reaches_the_engine(client, engine, choice, expected):
    """A choice is passed on in each of its forms."""
    client.chat.completions.create(
        model="scripted", messages=MESSAGES, tools=[TOOL], tool_choice=choice
    )
    assert engine.requests[0].tool_choice == expected


class City(pydantic.BaseModel):
    """A city."""

    name: str


@pytest.mark.parametrize("text", ['{"name": "Rome"}', '```json\n{"name": "Rome"}\n```'])
def test_an_answer_with_a_schema_is_json_alone(client, engine, text):
    """The schema reaches the engine, and the answer has no fence around it."""
    engine.scripts = [[text, DONE]]
    answer = client.chat.completions.parse(
        model="scripted", messages=MESSAGES, response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="Rome")
    assert json.loads(answer.choices[0].message.content) == {"name": "Rome"}
    assert engine.requests[0].schema["properties"]["name"]["type"] == "string"


def test_an_answer_that_does_not_fit_is_corrected_before_it_is_streamed(client, engine):
    """A stream with a schema contains only the answer that fits."""
    engine.scripts = [["nonsense", DONE], ['{"name": "Rome"}', DONE]]
    schema = {"name": "City", "schema": City.model_json_schema()}
    stream = client.chat.completions.create(
        model="scripted",
        messages=MESSAGES,
        stream=True,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert json.loads("".join(texts)) == {"name": "Rome"}
    assert len(engine.requests) == 2


def test_a_json_object_may_have_any_properties(client, engine):
    """The format `json_object` accepts every object."""
    engine.scripts = [['Here: {"a": [1]}', DONE]]
    answer = client.chat.completions.create(
        model="scripted", messages=MESSAGES, response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content) == {"a": [1]}


@pytest.mark.parametrize("reason", ["content_filter", "pause", "other"])
def test_an_unusual_end_is_not_reported_as_stop(client, engine, reason):
    """Clients take `content_filter` for the end of an incomplete answer."""
    engine.scripts = [["Hel", Chunk(finish_reason=reason)]]
    answer = client.chat.completions.create(model="scripted", messages=MESSAGES)
    assert answer.choices[0].finish_reason == "content_filter"


def test_the_headers_contain_engine_attempts_and_cost(client):
    """The headers of an answer say who made it and what it cost."""
    response = post(client.gateway, PATH, {"model": "scripted", "messages": MESSAGES})
    assert response.headers["x-gatewayx-engine"] == "scripted"
    assert response.headers["x-gatewayx-attempts"] == "1"
    assert float(response.headers["x-gatewayx-cost"]) == pytest.approx(0.015)


FAILURES = [
    (UsageError("the option is wrong."), 400, openai.BadRequestError),
    (BudgetError("too expensive."), 402, openai.APIStatusError),
    (RateLimitError("slow down.", retry_after=0.01), 429, openai.RateLimitError),
    (QuotaError("no credit."), 429, openai.RateLimitError),
    (ProviderError("broken."), 502, openai.InternalServerError),
    (TransportError("no network."), 502, openai.InternalServerError),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "kind"), FAILURES, ids=lambda value: getattr(type(value), "__name__", "")
)
def test_a_failure_before_the_answer_is_an_http_error(failure, status, kind, streamed):
    """The SDK raises the error of the status, and does not call again."""
    engine = ScriptedEngine([failure])
    with serving(engine) as server, openai_client(server) as client:
        with pytest.raises(kind, match=r"option|expensive|slow|credit|broken|network") as caught:
            client.chat.completions.create(model="scripted", messages=MESSAGES, stream=streamed)
        calls = len(engine.requests)
    assert caught.value.status_code == status
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert calls <= 3  # the pool's own attempts


def test_a_failure_in_the_answer_ends_the_stream_with_an_error(client, engine):
    """The SDK raises an error, and the stream has neither a finish reason nor its end mark."""
    engine.scripts = [["Hel", ProviderError("the provider is gone.")]]
    stream = client.chat.completions.create(model="scripted", messages=MESSAGES, stream=True)
    received = []
    with pytest.raises(openai.APIError, match="the provider is gone"):
        received += [chunk.choices[0].delta.content for chunk in stream]
    raw = post(
        client.gateway, PATH, {"model": "scripted", "messages": MESSAGES, "stream": True}
    ).text
    assert "Hel" in raw
    assert "[DONE]" not in raw
    assert '"finish_reason":"' not in raw


@pytest.mark.parametrize("name", NEUTRAL_FIELDS)
def test_fields_without_effect_are_accepted(client, name):
    """A field that is not supported may have the value that changes nothing."""
    for value in NEUTRAL_FIELDS[name]:
        body = {"model": "scripted", "messages": MESSAGES, name: value}
        assert post(client.gateway, PATH, body).status_code == 200


REFUSED = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "frequency_penalty": 0.5,
    "parallel_tool_calls": "no",
    "store": True,
    "audio": {"voice": "alloy"},
    "functions": [],
    "web_search_options": {},
    "temprature": 0,
    "temperature": "hot",
    "max_tokens": 1.5,
    "stream": "yes",
    "model": 7,
    "messages": "Hi",
    "tools": [{"type": "web_search"}],
    "tool_choice": 7,
    "response_format": {"type": "xml"},
    "stream_options": {"every": 1},
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_fields_are_refused_by_name(client, engine, name):
    """No field is silently ignored: the error names it, and nothing is sent."""
    response = post(
        client.gateway, PATH, {"model": "scripted", "messages": MESSAGES, name: REFUSED[name]}
    )
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["param"].startswith(name)
    assert error["message"].startswith(error["param"])
    assert engine.requests == []


BODIES = {
    b"": "not valid JSON",
    b"{": "not valid JSON",
    b"[]": "must be a JSON object",
    b"null": "must be a JSON object",
    b"\xff\xfe": "not valid JSON",
    b"[" * 100_000: "nested too deeply",
    b'{"a": NaN}': "not valid JSON",
    b'{"a": 1e999}': "not valid JSON",
    b'{"a": {"b": 1, "b": 2}}': "a duplicate key",
    b'{"a": [' + b"[]," * 1_000_001 + b"0]}": "more than 1,000,000 JSON values",
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:10]))
def test_the_error_for_a_malformed_body_is_one_line(client, body):
    """The error says what is wrong with a body, and does not quote it."""
    response = post(client.gateway, PATH, body)
    assert response.status_code == 400
    assert BODIES[body] in response.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(client):
    """More than 32 MiB are refused with 413, with and without a length."""
    body = b'{"a": "' + b"x" * (32 << 20) + b'"}'
    assert post(client.gateway, PATH, body).status_code == 413


def test_an_unknown_model_names_the_nearest(client):
    """A misspelt model is a 404 that suggests the right one."""
    with pytest.raises(openai.NotFoundError, match="Did you mean 'scripted'"):
        client.chat.completions.create(model="scriptd", messages=MESSAGES)
    with pytest.raises(openai.NotFoundError, match="Did you mean 'scripted'"):
        client.models.retrieve("scriptd")


def test_the_models_are_listed_in_both_formats(client):
    """The list has engines and references, for either SDK."""
    assert {"mock", "scripted", "scripted:script"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("scripted:script").owned_by == "scripted"
    headers = {"anthropic-version": "2023-06-01", "x-api-key": str(client.gateway.token)}
    answer = client._client.get(f"{client.gateway.url}/v1/models", headers=headers).json()
    assert answer["has_more"] is False
    assert {model["type"] for model in answer["data"]} == {"model"}
    assert {"mock", "scripted"} <= {model["id"] for model in answer["data"]}
