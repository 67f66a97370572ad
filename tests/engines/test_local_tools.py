"""Calls with tools to the local model."""

import json

import pytest

from gatewayx_nb import weights
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import UnsupportedFeatureError
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import (
    Message,
    Request,
    ToolCall,
    ToolCallAssembler,
    ToolDefinition,
    ToolResult,
)
from tests.engines import engine_module
from tests.engines.test_local_engine import WEIGHTS_PATH, make_engine, needs_weights
from tests.weights.gguf_files import CHATML, TOOLS, metadata, with_template

local_module = engine_module("local")


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


CALL = ToolCall("1", "weather", '{"city": "Rome"}')
QUESTION = Message("user", "Weather in Rome?")
CONVERSATION = [
    *[QUESTION, Message("assistant", [CALL]), Message("tool", [ToolResult("1", "sunny")])] * 4,
    QUESTION,
]
"""A conversation after which SmolLM2 calls the function again."""

DEFINITIONS = tuple(
    ToolDefinition(name, "", {"type": "object", "properties": {}}) for name in ("weather", "now")
)


@pytest.fixture(scope="module")
def tool_weights(tmp_path_factory):
    """Return SmolLM2 with a chat template that supports tools."""
    if WEIGHTS_PATH is None:
        pytest.skip("needs the weights")
    path = tmp_path_factory.mktemp("weights") / "tools.gguf"
    path.write_bytes(with_template(WEIGHTS_PATH.read_bytes(), TOOLS))
    return path


@pytest.fixture(scope="module")
def pool(tool_weights):
    """Yield a pool with that model."""
    with EnginePool(engines=[make_engine(model_path=str(tool_weights))]) as pool:
        yield pool


@needs_weights
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_the_local_model_calls_a_function(pool, is_streamed):
    """The model receives its call and the result, and answers."""
    options = {"tools": weather, "max_turns": 2, "temperature": 0, "max_tokens": 40}
    if is_streamed:
        stream = pool.stream(messages=CONVERSATION, model="local", **options)
        list(stream)
        reply = stream.reply
    else:
        reply = pool.ask(messages=CONVERSATION, model="local", **options)

    step = reply.steps[0]
    assert (step.call.name, step.arguments, step.sent) == (
        "weather",
        {"city": "Rome"},
        "sunny in Rome",
    )
    assert reply.usage.input_tokens > 400  # of both requests


@needs_weights
def test_the_tools_are_counted(pool, tool_weights):
    """A preview counts the declarations, which are part of the prompt."""
    plain, declared = (
        pool.preview(messages=CONVERSATION, model="local", **options).input_tokens
        for options in ({}, {"tools": weather})
    )

    assert declared.low > plain.low + 20


@pytest.fixture
def unable(tmp_path):
    """Yield a pool with weights that cannot be loaded, and whose template has no tools."""
    path = tmp_path / "plain.gguf"
    path.write_bytes(metadata(default=CHATML))
    with EnginePool(engines=[make_engine(model_path=str(path))]) as pool:
        yield pool


@pytest.mark.parametrize("method", ["ask", "preview"])
def test_weights_without_tools_refuse_them_before_they_are_loaded(unable, method):
    """The error names a model to pull."""
    with pytest.raises(UnsupportedFeatureError, match="'plain' does not call functions") as caught:
        getattr(unable, method)("Weather?", "local", tools=weather)

    assert caught.value.hint == Hint("pull", model="hf:Qwen/Qwen3-0.6B-GGUF") | Hint(
        "omit_option", option="tools"
    )


@needs_weights
def test_the_shipped_model_takes_no_tools(project):
    """Neither the status nor the features of the shipped model include tools."""
    path = weights.catalogue()["smollm2"].path
    path.parent.mkdir(parents=True)
    path.symlink_to(WEIGHTS_PATH)
    with project.pool() as pool:
        (row,) = [row for row in pool.status() if row.name == "local"]
        assert (row.state, "tools" in row.features) == ("ready", False)
        assert "tools" not in pool.features("local")
        with pytest.raises(UnsupportedFeatureError, match="does not call functions"):
            pool.ask("Weather?", "local", tools=weather)


def test_the_status_shows_what_the_weights_take(project, tmp_path):
    """The status reads the chat template without loading the model."""
    path = tmp_path / "able.gguf"
    path.write_bytes(metadata(default=TOOLS))
    with EnginePool(home=project.root, env={"GATEWAYX_LOCAL_MODEL": str(path)}) as pool:
        (row,) = [row for row in pool.status() if row.name == "local"]
        features = pool.features("local")

    assert "tools" in row.features
    assert "tools" in features


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        (None, ["weather", "now"], None),
        ("auto", ["weather", "now"], "auto"),
        ("none", ["weather", "now"], "none"),
        ("required", ["weather", "now"], "required"),
        ("now", ["now"], "required"),
    ],
)
def test_the_choice_is_sent_in_the_words_of_llama_cpp(choice, names, sent):
    """llama.cpp cannot name a tool, so only that one is declared."""
    request = Request((QUESTION,), "m", tools=DEFINITIONS, tool_choice=choice)
    body = local_module._body(request, takes_tools=True)

    assert [tool["function"]["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == sent


def test_a_template_with_tools_receives_the_calls_as_such():
    """Calls are sent as calls if the template supports tools, and otherwise as text."""
    request = Request((QUESTION, Message("assistant", ["I look.", CALL])), "m")
    rows = [
        local_module._body(request, takes_tools=takes_tools)["messages"][1]
        for takes_tools in (True, False)
    ]

    function = {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert rows[0]["tool_calls"] == [{"id": "1", "type": "function", "function": function}]
    assert rows[0]["content"] == "I look."
    assert "tool_calls" not in rows[1]


def test_calls_are_assembled_from_their_pieces():
    """The pieces of two parallel calls may alternate; the finish reason follows the calls."""

    def event(reason=None, **delta):
        return {
            "id": "c",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }

    def piece(index, arguments, **start):
        function = {"arguments": arguments, **({"name": start.pop("name")} if start else {})}
        return event(tool_calls=[{"index": index, "function": function, **start}])

    calls = ToolCallAssembler()
    events = [
        event(role="assistant", content=None),
        piece(0, "{", id="a", name="weather"),
        piece(0, '"city": "Ro'),
        piece(0, 'me"}'),
        piece(1, "", id="b", name="now"),
        event("tool_calls"),
    ]
    chunks = [chunk for each in events for chunk in local_module._chunks(each, "m", calls)]

    assert chunks[0].tool_calls == (
        ToolCall("a", "weather", json.dumps({"city": "Rome"})),
        ToolCall("b", "now", "{}"),
    )
    assert chunks[1].finish_reason == "tool_calls"


def test_a_schema_is_requested_in_the_prompt_beside_tools():
    """llama.cpp takes no grammar in a request with tools."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    engine = make_engine()

    assert engine.enforceable_schema(Request((QUESTION,), "m", schema=schema)) == schema
    request = Request((QUESTION,), "m", schema=schema, tools=DEFINITIONS)
    assert engine.enforceable_schema(request) is None
