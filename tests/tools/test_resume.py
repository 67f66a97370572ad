"""Calls that ended with open tool calls, and are continued."""

import pickle

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk, Usage
from gatewayx_nb.testing import ScriptedEngine


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def _turn(*cities, usage=None):
    calls = tuple(ToolCall(f"call{city}", "weather", f'{{"city": "{city}"}}') for city in cities)
    return [Chunk(text="I look.", tool_calls=calls), Chunk(finish_reason="tool_calls", usage=usage)]


def _answer(text, usage=None):
    return [text, Chunk(finish_reason="stop", usage=usage)]


def _open_reply(*cities, answer="Done.", **options):
    engine = ScriptedEngine(_turn(*cities, usage=Usage(10, 5)), _answer(answer, usage=Usage(20, 2)))
    pool = EnginePool(env={}, engines=[engine])
    options = {"tools": weather, "max_turns": 1, "system": "Brief."} | options
    return engine, pool, pool.ask("Where?", "scripted", **options)


def test_resume_runs_the_open_calls_and_goes_on():
    """The reply has the steps and the figures of all requests."""
    engine, pool, first = _open_reply("Rome", "Oslo")
    with pool:
        reply = pool.resume(pickle.loads(pickle.dumps(first)))

    assert first.steps == ()
    assert reply.text == "Done."
    assert [step.sent for step in reply.steps] == ["sunny in Rome", "sunny in Oslo"]
    assert reply.steps[0].text == "I look."
    assert (reply.usage, reply.attempts) == (Usage(30, 7), 2)
    assert reply.open_turn is None
    assert [message.role for message in engine.requests[-1].messages] == [
        *("user", "assistant", "tool")
    ]
    assert engine.requests[-1].system == "Brief."
    assert engine.requests[-1].tools == engine.requests[0].tools


def test_submit_sends_the_results_of_the_caller():
    """One value answers one call; a dict answers several by their IDs."""
    engine, pool, first = _open_reply("Rome")
    with pool:
        reply = pool.submit(first, {"warm": True})
    assert engine.requests[-1].messages[-1].tool_results[0].content == '{"warm":true}'
    assert (reply.text, reply.steps[0].allowed_by) == ("Done.", "you")

    engine, pool, first = _open_reply("Rome", "Oslo")
    with pool:
        reply = pool.submit(first, {"callOslo": "cold", "callRome": "warm"})
    assert [step.sent for step in reply.steps] == ["warm", "cold"]


async def _both(pool, first):
    return await pool.aresume(first), await pool.asubmit(first, "warm")


@pytest.mark.parametrize("turns", [1, 2])
def test_a_continued_call_may_end_open_again(turns):
    """`max_turns` counts the further requests."""
    engine = ScriptedEngine(_turn("Rome"))
    with EnginePool(env={}, engines=[engine]) as pool:
        reply = pool.ask("Where?", "scripted", tools=weather, max_turns=1)
        for _ in range(3):
            reply = pool.resume(reply, max_turns=turns)

    assert len(engine.requests) == 1 + 3 * turns
    assert len(reply.steps) == 3 * turns
    assert reply.tool_calls


def test_continued_calls_are_replayed(tmp_path):
    """A replay runs no function, and sends nothing."""
    ran = []

    def look(city: str) -> str:
        """Look."""
        ran.append(city)
        return "seen"

    path = tmp_path / "resumed.jsonl"
    texts = []
    with EnginePool(env={}) as pool:
        for mode in ("auto", "replay"):
            with pool.cassette(path, mode=mode):
                prompt = 'call look {"city": "Rome"}'
                first = pool.ask(prompt, "mock", tools=look, max_turns=1)
                texts.append((pool.resume(first).text, pool.submit(first, "warm").text))

    assert texts == [("[mock] seen", "[mock] warm")] * 2
    assert ran == ["Rome"]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("warm", "2 open tool calls, so result must be a dict"),
        ({"callRome": "warm"}, "the result of tool call 'callOslo' is missing"),
        ({"callrome": "warm", "callOslo": "cold"}, "Did you mean 'callRome'"),
    ],
)
def test_results_must_answer_each_call(result, message):
    """The error lists the open calls."""
    _, pool, first = _open_reply("Rome", "Oslo")
    with pool, pytest.raises(UsageError, match=message):
        pool.submit(first, result)


def test_a_finished_reply_and_unknown_functions_are_refused():
    """A reply is a plain value: in another process, the functions must be passed."""
    _, pool, first = _open_reply("Rome")
    with pool:
        with pytest.raises(UsageError, match="has no open tool calls"):
            pool.resume(pool.ask("Hi", "mock"))
        with pytest.raises(UsageError, match="has no open tool calls"):
            pool.submit(None, "x")
        with pytest.raises(UsageError, match="'model' is not an option"):
            pool.resume(first, model="mock")
    engine = ScriptedEngine(_answer("Done."))
    with EnginePool(env={}, engines=[engine]) as other:
        with pytest.raises(UsageError, match="'weather' is not known in this process"):
            other.resume(first)
        assert other.resume(first, tools=weather).text == "Done."
