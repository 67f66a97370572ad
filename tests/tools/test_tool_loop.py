"""Calls whose model calls functions: the loop, its bounds, its figures and its recording."""

import asyncio
import base64
import contextlib
import gc
import json
import pickle
import threading
import time
import weakref
from decimal import Decimal
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.background import Job
from gatewayx_nb.errors import (
    BudgetError,
    CassetteMissError,
    ProviderError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk, Details, Usage
from gatewayx_nb.testing import ScriptedEngine
from gatewayx_nb.tools import tool_run
from tests import canary

ROME = 'Ask.\ncall weather {"city": "Rome"}'


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


def now() -> str:
    """Return the time."""
    return "noon"


def _call(number, name="weather", arguments='{"city": "Rome"}'):
    return ToolCall(f"call{number:05}", name, arguments)


def _turn(*calls, text="", usage=None):
    return [Chunk(text=text, tool_calls=calls), Chunk(finish_reason="tool_calls", usage=usage)]


def _answer(text, usage=None):
    return [text, Chunk(finish_reason="stop", usage=usage)]


@pytest.fixture
def pool():
    """Yield a pool with the mock engine, which calls the tools that its prompt names."""
    with EnginePool(env={}) as pool:
        yield pool


def _scripted(*scripts):
    engine = ScriptedEngine(*scripts)
    return engine, EnginePool(env={}, engines=[engine])


def _outcome(reply):
    return [(step.call.name, step.sent, step.error, step.allowed_by) for step in reply.steps]


DONE = [("weather", "sunny in Rome", "", "tools")]


def test_a_function_is_called_and_its_result_is_sent(pool):
    """The reply is the answer to the result; the step has the call and the result."""
    reply = pool.ask(ROME, "mock", tools=weather)

    (step,) = reply.steps
    assert reply.text == "[mock] sunny in Rome"
    assert (reply.finish_reason, reply.tool_calls) == ("stop", ())
    assert (step.arguments, step.result) == ({"city": "Rome"}, "sunny in Rome")
    assert step.text.startswith("[mock] Ask.")
    assert step.seconds >= 0


def test_every_call_runs_tools(pool):
    """Whole, streamed, awaited and compared calls have the same steps."""
    stream = pool.stream(ROME, "mock", tools=weather)
    text = "".join(chunk.text for chunk in stream)

    assert text.endswith("[mock] sunny in Rome")
    assert _outcome(stream.reply) == DONE
    assert [_outcome(reply) for reply in pool.compare(ROME, ["mock", "mock"], tools=weather)] == [
        DONE,
        DONE,
    ]


@pytest.mark.parametrize("kind", ["aask", "astream", "acompare"])
def test_awaited_calls_run_functions_on_the_loops_thread(pool, kind):
    """A function runs where the caller awaits, so that it can use what belongs to this thread."""
    threads = []

    def where() -> str:
        """Say where it runs."""
        threads.append(threading.current_thread())
        return "here"

    async def run():
        if kind == "aask":
            return [await pool.aask("call where", "mock", tools=where)]
        if kind == "acompare":
            return await pool.acompare("call where", ["mock", "mock"], tools=where)
        stream = pool.astream("call where", "mock", tools=where)
        [chunk async for chunk in stream]
        return [stream.reply]

    replies = asyncio.run(run())

    assert all(reply.steps[0].result == "here" for reply in replies)
    assert set(threads) == {threading.current_thread()}


def test_the_values_of_a_reply_have_only_what_was_sent(pool):
    """`to_dict` omits results, which may contain more than the model received."""

    def report() -> str:
        """Return a long text."""
        return "x" * 30_000 + "the rest"

    reply = pool.ask("call report", "mock", tools=report)

    assert reply.steps[0].result.endswith("the rest")
    assert "the rest" not in json.dumps(reply.to_dict())


def test_functions_run_one_at_a_time_on_the_callers_thread(pool):
    """Three models side by side do not call a function at once."""
    running, most = 0, 0

    def slow() -> int:
        """Wait."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        running -= 1
        return threading.get_ident()

    replies = pool.compare("call slow", ["mock"] * 3, tools=slow)

    assert most == 1
    assert {reply.steps[0].result for reply in replies} == {threading.get_ident()}


def test_several_turns_and_parallel_calls_are_sent_back_in_order():
    """Each request has all earlier turns, with a result for each call."""
    engine, pool = _scripted(
        _turn(_call(1), _call(2, arguments='{"city": "Oslo"}'), text="I look."),
        _turn(_call(3, arguments='{"city": "Bern"}')),
        _answer("Done."),
    )
    with pool:
        reply = pool.ask("Where?", "scripted", tools=weather, system="Brief.", temperature=0)

    last = engine.requests[-1]
    assert reply.text == "Done."
    assert [step.sent for step in reply.steps] == [
        f"sunny in {c}" for c in ("Rome", "Oslo", "Bern")
    ]
    assert [step.text for step in reply.steps] == ["I look.", "", ""]
    assert [message.role for message in last.messages] == [
        *("user", "assistant", "tool", "assistant", "tool")
    ]
    assert last.messages[1].content == "I look."
    assert [result.id for result in last.messages[2].tool_results] == ["call00001", "call00002"]
    assert all((each.system, each.temperature) == ("Brief.", 0) for each in engine.requests)
    assert all(each.tools == engine.requests[0].tools for each in engine.requests)


def test_figures_are_sums_over_all_requests():
    """Usage, cost, latency and attempts are those of the whole call."""
    _, pool = _scripted(
        _turn(_call(1), usage=Usage(10, 5)), _answer("Done.", usage=Usage(20, 3, cached_tokens=8))
    )
    with pool:
        reply = pool.ask("Where?", "scripted", tools=weather)
        rows = pool.history(5)

    assert reply.usage == Usage(30, 8)  # a count that one request did not report is unknown
    assert reply.cost == Decimal("0.038")
    assert reply.attempts == 2
    assert len(rows) == 2  # each request is in the ledger


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("auto", []),
        ("required", ["now"]),
        ("weather", ["weather"]),
    ],
)
def test_mock_obeys_tool_choice(choice, names):
    """Without a call in the prompt, `mock` calls the first tool, or the one that is named."""
    with EnginePool(env={}) as pool:
        reply = pool.ask("Hi", "mock", tools=[now, weather], tool_choice=choice)
        assert [step.call.name for step in reply.steps] == names
        other = pool.ask(ROME, "mock", tools=[now, weather], tool_choice="now")
        assert [step.call.name for step in other.steps] == ["now"]


def test_the_first_request_may_force_a_tool_and_the_others_may_not():
    """Otherwise, the model could never answer."""
    engine, pool = _scripted(_turn(_call(1)), _answer("Done."))
    with pool:
        pool.ask("Where?", "scripted", tools=weather, tool_choice="weather")

    assert [request.tool_choice for request in engine.requests] == ["weather", "auto"]


def test_an_image_is_sent_with_the_prompt_only(pool):
    """The images of the call belong to the first message."""
    engine, pool = _scripted(_turn(_call(1)), _answer("Done."))
    engine.features |= {"images"}
    with pool:
        pool.ask("What?", "scripted", tools=weather, images=b"\x89PNG\r\n\x1a\n")

    assert [len(message.images) for message in engine.requests[-1].messages] == [1, 0, 0]


def test_the_loop_ends_at_max_turns_with_the_open_calls():
    """The reply says which calls have no result."""
    engine, pool = _scripted(_turn(_call(1)))
    with pool:
        reply = pool.ask("Where?", "scripted", tools=weather, max_turns=3)

    assert len(engine.requests) == 3
    assert len(reply.steps) == 2
    assert [call.name for call in reply.tool_calls] == ["weather"]
    assert reply.finish_reason == "tool_calls"


def test_a_thousand_calls_in_a_turn_are_cut():
    """Only the first hundred run, and each of the others has a result that says so."""
    count = 0

    def tick() -> None:
        """Count."""
        nonlocal count
        count += 1

    calls = [_call(number, "tick", "{}") for number in range(1000)]
    engine, pool = _scripted(_turn(*calls), _answer("Done."))
    with pool:
        reply = pool.ask("Go.", "scripted", tools=tick)

    results = engine.requests[-1].messages[-1].tool_results
    assert (count, len(results), len(reply.steps)) == (100, 1000, 1000)
    assert results[-1].is_error
    assert "only the first 100 calls" in results[-1].content


def test_errors_go_back_to_the_model_in_one_line_without_paths():
    """An exception, an unknown name and wrong arguments are results, not failures of the call."""

    def broken(path: str) -> str:
        """Fail."""
        raise FileNotFoundError(2, "No such file", f"/home/someone/secret/{path}")

    def leave() -> None:
        """Exit."""
        raise SystemExit(3)

    engine, pool = _scripted(
        _turn(
            _call(1, "broken", '{"path": "a.csv"}'),
            _call(2, "leave", "{}"),
            _call(3, "weathr"),
            _call(4, arguments='{"city": 5}'),
            _call(5, arguments="{'city'"),
        ),
        _answer("Done."),
    )
    with pool:
        reply = pool.ask("Go.", "scripted", tools=[broken, leave, weather])

    results = engine.requests[-1].messages[-1].tool_results
    texts = [result.content for result in results]
    assert all(result.is_error for result in results)
    assert texts[0] == "FileNotFoundError: [Errno 2] No such file: 'a.csv'"
    assert texts[1] == "SystemExit: 3"
    assert texts[2] == (
        "there is no tool 'weathr'. Did you mean 'weather'? The tools are broken, leave, weather."
    )
    assert "Expected `str`, got `int`" in texts[3]
    assert texts[4] == "the arguments must be a JSON object"
    assert not any("\n" in text for text in texts)
    assert [step.error for step in reply.steps] == texts
    # Providers that take objects would refuse the malformed arguments.
    assert engine.requests[-1].messages[1].tool_calls[-1].arguments == "{}"


def test_an_asynchronous_function_is_cancelled_at_the_timeout(project):
    """The model receives an error, and the call goes on."""
    cancelled = []

    async def sleep() -> None:
        """Sleep."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    project.settings("tools.timeout = 0.05")
    with project.pool() as pool:
        reply = pool.ask("call sleep", "mock", tools=sleep)

    assert reply.steps[0].error == "TimeoutError: the function took longer than 0.05 s"
    assert cancelled == [True]


def test_a_key_in_a_result_is_withheld_and_in_arguments_masked(project):
    """A key of the pool reaches no provider, step or cassette."""

    def read_key() -> str:
        """Return the key."""
        return f"the key is {canary.KEY}"

    def fail_with_key() -> None:
        """Fail."""
        raise ValueError(f"bad key {canary.KEY}")

    project.set_keys(f"GATEWAYX_OTHER_API_KEY='{canary.KEY}'\n")
    engine = ScriptedEngine(
        _turn(
            _call(1, "read_key", "{}"),
            _call(2, "fail_with_key", "{}"),
            _call(3, arguments=json.dumps({"city": canary.KEY[:20]})),
        ),
        _answer("Done."),
    )
    tools = [read_key, fail_with_key, weather]
    with project.pool(engines=[engine]) as pool, pool.cassette("c.jsonl"):
        reply = pool.ask("Go.", "scripted", tools=tools)

    assert reply.steps[0].sent == "the result contains a key and was withheld"
    assert "bad key" in reply.steps[1].sent
    assert canary.leaks(repr(reply.steps[:2])) == []
    assert canary.leaks(repr(engine.requests[-1].messages)) == []
    assert canary.leaks(Path("c.jsonl").read_bytes()) == []
    assert canary.leaks(reply._repr_mimebundle_()) == []


def test_a_conversation_keeps_the_whole_turn(pool):
    """The next call sends the calls and their results again."""
    chat = pool.chat()
    chat.ask(ROME, "mock", tools=weather)
    reply = chat.ask("And now?", "mock", tools=weather)

    (first, _) = chat.turns
    assert [message.role for message in first.messages] == ["user", "assistant", "tool"]
    assert first.reply.text == "[mock] sunny in Rome"
    assert reply.text == "[mock] And now?"
    assert len(chat) == 2


def test_a_schema_parses_the_last_answer_only(pool):
    """The text before a tool call need not match."""
    _, pool = _scripted(_turn(_call(1), text="I look."), _answer('{"answer": 21}'))
    with pool:
        reply = pool.ask("How warm?", "scripted", tools=weather, schema=int)

    assert reply.parsed == 21


def test_max_cost_bounds_all_requests_together():
    """The next request is not sent if it could exceed what is left."""
    engine, pool = _scripted(_turn(_call(1), usage=Usage(900, 99)), _answer("Done."))
    with pool, pytest.raises(BudgetError):
        pool.ask("Go.", "scripted", tools=weather, max_cost=1, max_tokens=10)

    assert len(engine.requests) == 1


def test_a_paused_turn_is_continued():
    """The provider goes on if its answer is the last message; nothing is run."""
    paused = Details(carried={"dialect": "messages", "items": [], "paused": True})
    engine, pool = _scripted(
        ["Searching … ", Chunk(finish_reason="pause", details=paused)], _answer("Found it.")
    )
    with pool:
        reply = pool.ask("Look.", "scripted", tools=weather)

    assert reply.text == "Searching … Found it."
    assert engine.requests[-1].messages[-1].role == "assistant"


def test_a_failed_request_raises_and_a_failed_tool_does_not():
    """The error of the second request is the error of the call."""
    _, pool = _scripted(_turn(_call(1)), [ProviderError("overloaded.", status=400)])
    with pool, pytest.raises(ProviderError, match="overloaded"):
        pool.ask("Go.", "scripted", tools=weather)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tool_choice": "auto"}, "tool_choice has no effect without `tools`"),
        ({"max_turns": 2}, "max_turns has no effect without `tools`"),
        ({"approve": "never"}, "approve has no effect without `tools`"),
        ({"tools": weather, "tool_choice": "weathr"}, "Did you mean 'weather'"),
        ({"tools": weather, "max_turns": 0}, "max_turns must be an int >= 1"),
        ({"tools": weather, "approve": "maybe"}, "approve must be 'ask', 'never', 'always'"),
        ({"tools": weather, "params": {"tools": []}}, "params must not contain 'tools'"),
        ({"tools": [weather, weather]}, "two tools have the name"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_sent(pool, options, message):
    """Nothing that is typed is ignored."""
    with pytest.raises(UsageError, match=message):
        pool.ask("Hi", "mock", **options)


def test_an_engine_without_tools_refuses_them(project):
    """The error names the option; nothing is sent."""
    project.engine("plain", says="no")
    with (
        project.pool() as pool,
        pytest.raises(UnsupportedFeatureError, match="does not support to"),
    ):
        pool.ask("Hi", "plain", tools=weather)


def test_a_replay_runs_no_function(pool, tmp_path):
    """The results come from the cassette, and the steps say so."""
    count = 0

    def next_number() -> int:
        """Return the next number."""
        nonlocal count
        count += 1
        return count

    path = tmp_path / "tools.jsonl"
    prompt = "call next_number\ncall next_number"
    replies = []
    for mode in ("auto", "replay", "auto"):
        with pool.cassette(path, mode=mode):
            replies.append(pool.ask(prompt, "mock", tools=next_number, tool_choice="required"))

    assert count == 2
    assert {reply.text for reply in replies} == {"[mock] 1\n\n2"}
    assert [step.allowed_by for step in replies[1].steps] == ["replay", "replay"]
    assert [step.sent for step in replies[1].steps] == ["1", "2"]
    assert replies[1].replayed


def test_tools_run_in_a_replay_if_requested(tmp_path):
    """A result that differs from the recorded one is a miss."""
    value = "sunny"

    def today() -> str:
        """Return the weather."""
        return value

    path = tmp_path / "tools.jsonl"
    with EnginePool(env={"GATEWAYX_CASSETTE_TOOLS": "run"}) as pool:
        with pool.cassette(path):
            pool.ask("call today", "mock", tools=today)
        with pool.cassette(path, mode="replay"):
            assert pool.ask("call today", "mock", tools=today).steps[0].allowed_by == "tools"
        value = "rainy"
        with pool.cassette(path, mode="replay"), pytest.raises(CassetteMissError):
            pool.ask("call today", "mock", tools=today)
    env = {"GATEWAYX_CASSETTE_TOOLS": "rnu"}
    with EnginePool(env=env) as pool, pytest.raises(UsageError, match="'rnu'"):
        pool.cassette(path)


def test_another_tool_is_another_request(pool, tmp_path):
    """The declaration of a tool is part of the recorded request."""

    def other(city: str) -> str:
        """Return something else."""
        return city

    path = tmp_path / "tools.jsonl"
    with pool.cassette(path):
        pool.ask("Hi", "mock", tools=weather)
    with pool.cassette(path, mode="replay"), pytest.raises(CassetteMissError):
        pool.ask("Hi", "mock", tools=other)


def test_a_reply_with_steps_is_a_plain_value(pool):
    """It can be pickled, compared and written as JSON."""
    reply = pool.ask(ROME, "mock", tools=weather)

    assert pickle.loads(pickle.dumps(reply)) == reply
    (values,) = reply.to_dict()["steps"]
    assert values["sent"] == "sunny in Rome"
    assert "result" not in values


def test_a_function_may_call_a_model(pool):
    """The call in the function does not wait for the call around it."""

    def ask_again(question: str) -> str:
        """Ask a model."""
        return pool.ask(question, "mock").text

    reply = pool.ask('call ask_again {"question": "why"}', "mock", tools=ask_again)

    assert reply.steps[0].result == "[mock] why"


def test_the_reply_shows_its_calls(pool):
    """In text and in HTML, one line for each call comes before the answer."""

    def bad(markup: str) -> str:
        """Fail."""
        raise ValueError(markup)

    prompt = f'{ROME}\ncall bad {{"markup": "<script>alert(1)</script>"}}'
    bundle = pool.ask(prompt, "mock", tools=[weather, bad])._repr_mimebundle_()

    assert "weather(city='Rome') → sunny in Rome\n" in bundle["text/plain"]
    assert "bad(markup='<script>alert(1)</script>') ✗ ValueError:" in bundle["text/plain"]
    assert (
        "<summary>weather(city=&#x27;Rome&#x27;) → sunny in Rome</summary>" in bundle["text/html"]
    )
    assert "<script" not in bundle["text/html"]


class _StrangeError(BaseException):
    """An exception that is not an `Exception`."""


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(),
        MemoryError(),
        BaseExceptionGroup("several", [_StrangeError()]),
        _StrangeError(),
    ],
    ids=repr,
)
def test_any_exception_of_a_function_is_a_result(pool, error, is_async):
    """Only Ctrl-C and Stop end the call."""

    def fail() -> None:
        """Fail."""
        raise error

    async def fail_later() -> None:
        """Fail."""
        raise error

    tool = fail_later if is_async else fail
    reply = pool.ask(f"call {tool.__name__}", "mock", tools=tool)

    assert reply.steps[0].error
    assert pool.ask("Hi", "mock").text == "[mock] Hi"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("several", [KeyboardInterrupt()])], ids=repr
)
def test_an_interrupt_in_a_function_ends_the_call(pool, error):
    """An event loop of the function may put it into a group."""

    def stop() -> None:
        """Stop."""
        raise error

    with pytest.raises(KeyboardInterrupt):
        pool.ask("call stop", "mock", tools=stop)


class _Exiting:
    """An object whose code raises SystemExit."""

    def __getattr__(self, name):
        raise SystemExit


def _deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [_Exiting, _deep, lambda: {(1, 2): 3}, lambda: 10**5000],
    ids=["exiting", "deep", "keys", "digits"],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_result_that_cannot_be_sent_leaves_a_plain_reply(pool, make, is_async):
    """The reply can still be shown and written as JSON."""

    def build():
        """Build it."""
        return make()

    async def build_later():
        """Build it."""
        return make()

    tool = build_later if is_async else build
    reply = pool.ask(f"call {tool.__name__}", "mock", tools=tool)

    assert reply.steps[0].error
    assert reply.steps[0].result is None
    assert json.dumps(reply.to_dict())
    assert repr(reply.steps)


def test_a_function_may_change_its_arguments(pool):
    """The step has them as the model wrote them."""

    def clear(rows: list[int]) -> None:
        """Clear the rows."""
        rows.clear()

    reply = pool.ask('call clear {"rows": [1, 2]}', "mock", tools=clear)

    assert reply.steps[0].arguments == {"rows": [1, 2]}


def test_a_positional_parameter_after_an_omitted_one_is_passed(pool):
    """The default of the omitted one is passed with it."""

    def add(one: int = 1, other: int = 2, /) -> int:
        """Add."""
        return one + other

    assert pool.ask('call add {"other": 7}', "mock", tools=add).steps[0].result == 8


def test_an_object_with_an_asynchronous_call_is_awaited(pool):
    """A class may implement a function with a state."""

    class Count:
        async def __call__(self) -> int:
            """Count."""
            return 1

    reply = pool.ask("call count", "mock", tools=gx.tool(name="count")(Count()))

    assert reply.steps[0].result == 1


def test_a_function_that_ignores_its_cancellation_leaves_no_thread(project, monkeypatch):
    """The thread of its event loop ends soon after the call."""
    monkeypatch.setattr(tool_run, "_CANCEL_TIMEOUT", 0.05)

    async def ignore() -> None:
        """Run until the process ends."""
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    project.settings("tools.timeout = 0.05")
    with project.pool() as pool:
        pool.ask("call ignore", "mock", tools=ignore)
        threads = [each for each in threading.enumerate() if each.name == "gatewayx tools"]
        for thread in threads:
            thread.join(5)

    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    "make",
    [
        canary.KEY.encode,
        lambda: {(canary.KEY,): 1},
        lambda: b"\x89PNG\r\n\x1a\n" + canary.KEY.encode(),
        lambda: b"\x89PNG\r\n\x1a\n" + b"\xff\0A" * 9_999 + canary.KEY.encode()[4:16] + b"\0" * 9,
        lambda: "x" * 19_980 + canary.KEY,
        lambda: base64.b64encode(canary.KEY.encode()).decode(),
    ],
    ids=["bytes", "dict", "image", "part in an image", "cut", "base64"],
)
def test_a_key_is_withheld_in_any_form(make):
    """It is neither sent nor part of the step, even if the result cannot be sent."""

    def build():
        """Build it."""
        return make()

    engine = ScriptedEngine(_turn(_call(1, "build", "{}")), _answer("Done."))
    engine.features |= {"images"}
    env = {"GATEWAYX_OTHER_API_KEY": canary.KEY}
    with EnginePool(env=env, engines=[engine]) as pool:
        reply = pool.ask("Go.", "scripted", tools=build)

    assert reply.steps[0].error
    assert canary.leaks(repr(engine.requests[-1].messages)) == []
    assert canary.leaks(repr(reply.steps)) == []
    assert canary.leaks(json.dumps(reply.to_dict())) == []


def test_a_key_in_the_name_of_a_tool_is_masked():
    """A model that has read a key must not write it to the notebook."""
    engine = ScriptedEngine(_turn(_call(1, canary.KEY, "{}")), _answer("Done."))
    env = {"GATEWAYX_OTHER_API_KEY": canary.KEY}
    with EnginePool(env=env, engines=[engine]) as pool:
        reply = pool.ask("Go.", "scripted", tools=weather)

    assert canary.leaks(repr(engine.requests[-1].messages)) == []
    assert canary.leaks(repr(reply.steps)) == []


def test_a_preview_has_the_declarations_and_runs_nothing(pool):
    """They are counted, and shown as JSON."""
    preview = pool.preview(ROME, "mock", tools=weather)
    without = pool.preview(ROME, "mock")

    assert '"description": "Return the weather in a city."' in repr(preview)
    assert preview.input_tokens.high > without.input_tokens.high


def test_equal_calls_replay_their_own_results(pool, tmp_path):
    """Two equal calls whose functions returned different values are replayed in order."""
    numbers = iter(range(10))

    def next_number() -> int:
        """Return the next number."""
        return next(numbers)

    path = tmp_path / "tools.jsonl"
    texts = []
    for mode in ("record", "replay", "auto"):
        with pool.cassette(path, mode=mode):
            replies = [pool.ask("call next_number", "mock", tools=next_number) for _ in range(2)]
            texts.append([reply.text for reply in replies])

    assert texts == [["[mock] 0", "[mock] 1"]] * 3


@pytest.mark.parametrize("options", [{"mode": "record"}, {"renew": True}], ids=["record", "renew"])
def test_a_changed_result_replaces_the_recorded_one(pool, tmp_path, options):
    """A replay has what the function returned when it was recorded last."""
    value = "sunny"

    def today() -> str:
        """Return the weather."""
        return value

    path = tmp_path / "tools.jsonl"
    mode = options.pop("mode", "auto")
    with pool.cassette(path):
        pool.ask("call today", "mock", tools=today)
    value = "rainy"
    with pool.cassette(path, mode=mode):
        pool.ask("call today", "mock", tools=today, **options)
    with pool.cassette(path, mode="replay"):
        reply = pool.ask("call today", "mock", tools=today)

    assert reply.text == "[mock] rainy"
    assert "sunny" not in path.read_text("utf-8")


def test_each_model_replays_its_own_results(tmp_path):
    """Two models may call the same function, which returns another value each time."""
    numbers = iter(range(10))

    def next_number() -> int:
        """Return the next number."""
        return next(numbers)

    script = [_turn(_call(1, "next_number", "{}")), _answer("Done.")]
    engine, models = ScriptedEngine(*script, *script), ("scripted:one", "scripted:other")
    path = tmp_path / "tools.jsonl"
    sent = []
    with EnginePool(env={}, engines=[engine]) as pool:
        for mode in ("record", "replay"):
            with pool.cassette(path, mode=mode):
                replies = [pool.ask("Go.", model, tools=next_number) for model in models]
                sent.append([reply.steps[0].sent for reply in replies])

    assert sent == [["0", "1"], ["0", "1"]]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_edited_cassette_with_another_number_of_results_is_a_miss(pool, tmp_path, count):
    """Each call needs one result, and a replay runs no function."""
    ran = []

    def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    path = tmp_path / "tools.jsonl"
    with pool.cassette(path):
        pool.ask("call look\ncall look", "mock", tools=look)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    parts = lines[-1]["request"]["messages"][-1]["parts"]
    parts[:] = (parts * 2)[:count]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    with pool.cassette(path, mode="replay"), pytest.raises(CassetteMissError):
        pool.ask("call look\ncall look", "mock", tools=look)

    assert ran == ["look", "look"]


def test_an_asynchronous_function_cannot_interrupt_a_comparison(pool):
    """Its KeyboardInterrupt is not that of the user, and each column ends."""

    async def stop() -> None:
        """Stop."""
        raise KeyboardInterrupt

    comparison = pool.compare("call stop", ["mock", "mock"], tools=stop)

    assert [reply.steps[0].error for reply in comparison] == ["KeyboardInterrupt"] * 2


def test_a_stopped_function_ends_its_job(pool):
    """The job has the steps so far."""

    def stop() -> None:
        """Stop."""
        raise KeyboardInterrupt

    job = Job("stopped", pool.plan_comparison("call stop", ["mock"], tools=stop))
    with pytest.raises(KeyboardInterrupt):
        job.result()

    reply = job.result(timeout=10)
    assert reply.interrupted
    assert [step.call.name for step in reply.steps] == ["stop"]


def test_the_part_of_a_result_that_is_not_sent_is_not_shown():
    """It may be large, or contain a key that nobody has looked for."""

    def read() -> str:
        """Read a long file."""
        return "x" * 30_000 + canary.KEY

    env = {"GATEWAYX_OTHER_API_KEY": canary.KEY}
    with EnginePool(env=env) as pool:
        reply = pool.ask("call read", "mock", tools=read)

    assert reply.steps[0].result.endswith(canary.KEY)
    assert canary.leaks(repr(reply.steps)) == []


def test_a_dropped_stream_runs_no_function(pool):
    """Its call is cancelled, and nothing keeps it alive."""
    ran = []

    def look() -> None:
        """Look."""
        ran.append("look")

    stream = pool.stream("call look", "mock", tools=look)
    next(stream)
    dropped = weakref.ref(stream)
    del stream
    gc.collect()

    assert dropped() is None
    assert pool.ask("Hi", "mock").text == "[mock] Hi"
    assert ran == []


def test_a_call_with_tools_leaves_no_thread_and_no_cycle(pool):
    """A thousand calls must not fill the memory of a kernel."""

    def look() -> int:
        """Look."""
        return 1

    async def look_later() -> int:
        """Look."""
        return 1

    def run():
        for tool in (look, look_later):
            pool.ask(f"call {tool.__name__}", "mock", tools=tool)

    run()
    gc.collect()
    gc.disable()
    try:
        run()
        garbage = gc.collect()
    finally:
        gc.enable()
    for thread in threading.enumerate():
        if thread.name == "gatewayx tools":
            thread.join(5)

    assert garbage < 50
    assert "gatewayx tools" not in [thread.name for thread in threading.enumerate()]
