"""The arguments and the results of `generate`, of custom engines and of the base class."""

import asyncio

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.llm_engines import Chunk, LLMEngine, Reply, ToolCall, ToolDefinition
from gatewayx_nb.testing import ScriptedEngine


@pytest.mark.parametrize(
    ("parameters", "received"),
    [
        ("prompt, images=(), **kwargs", "1 image"),
        ("prompt, **kwargs", "in messages"),
    ],
)
def test_images_are_passed_by_name_to_an_engine_that_names_them(project, parameters, received):
    """An engine may name `images`; they are also in its messages."""
    body = (
        "    features = {'images'}\n\n"
        f"    async def generate(self, {parameters}):\n"
        "        if 'images' in locals():\n"
        "            return f'{len(images)} image'\n"
        "        return 'in messages' if kwargs['messages'][0].images else 'none'\n"
    )
    project.engine("seeing", body=body)
    png = bytes.fromhex("89504e470d0a1a0a")

    with project.pool() as pool:
        assert pool.ask("What is it?", "seeing", images=png).text == received


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


CALL = ToolCall("c1", "weather", '{"city": "Rome"}')


@pytest.mark.parametrize("call_id", ["c1", ""], ids=["with an ID", "without an ID"])
def test_an_engine_may_return_a_reply_with_calls(call_id):
    """It receives definitions, and is called again with the results at the end of `messages`."""
    received = []

    class CallingEngine(LLMEngine):
        name, requires_key = "calling", False
        features = LLMEngine.features | {"tools"}

        async def generate(self, prompt, **kwargs):
            received.append(kwargs)
            if len(received) == 1:
                call = ToolCall(call_id, CALL.name, CALL.arguments)
                return Reply("I look.", self.name, "m", tool_calls=(call,))
            return f"It is {prompt}."

    with EnginePool(env={}, engines=[CallingEngine()]) as pool:
        reply = pool.ask("Hi", "calling", tools=weather, tool_choice="required", cache="auto")

    first, second = received
    assert reply.text == "It is sunny in Rome."
    assert [tool.name for tool in first["tools"]] == ["weather"]
    assert isinstance(first["tools"][0], ToolDefinition)
    assert (first["tool_choice"], second["tool_choice"]) == ("required", "auto")
    assert [message.role for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][2].tool_results[0].id == second["messages"][1].tool_calls[0].id != ""


def test_generate_of_an_engine_that_streams_passes_everything_on():
    """`generate` of the base class makes a request of its arguments, and returns the calls."""
    engine = ScriptedEngine(["I look.", Chunk(tool_calls=(CALL,))], ["Sunny."])
    engine.name = "scripted"
    tools = [ToolDefinition("weather", "", {"type": "object", "properties": {}})]
    options = {"tools": tools, "tool_choice": "weather", "cache": "auto", "other": 1}

    reply = asyncio.run(engine.generate("Hi", **options))
    text = asyncio.run(engine.generate("Hi"))

    (request, _) = engine.requests
    assert (request.tools, request.tool_choice, request.cache) == (tuple(tools), "weather", "auto")
    assert request.params == {"other": 1}
    assert (reply.text, reply.tool_calls, reply.finish_reason) == (
        *("I look.", (CALL,), "tool_calls"),
    )
    assert text == "Sunny."
