"""The calls of one turn that run at the same time, and those that do not."""

import asyncio
import threading

import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk
from gatewayx_nb.testing import ScriptedEngine
from tests.conftest import Project


class Counter:
    """Counts how many functions run at the same time."""

    def __init__(self):
        self.running = self.most = 0
        self.log = []

    async def run(self, name):
        self.running += 1
        self.most = max(self.most, self.running)
        self.log.append(f"begin {name}")
        await asyncio.sleep(0.05)
        self.log.append(f"end {name}")
        self.running -= 1
        return name


@pytest.fixture
def counter():
    """Return a counter."""
    return Counter()


def _ask(calls, tools, **options):
    """Return the reply to a turn with these calls, and the results that the model received."""
    turn = [
        Chunk(
            tool_calls=tuple(
                ToolCall(f"call{number:05}", *call) for number, call in enumerate(calls)
            )
        ),
        Chunk(finish_reason="tool_calls"),
    ]
    engine = ScriptedEngine(turn, ["Done.", Chunk(finish_reason="stop")])
    with EnginePool(env={}, engines=[engine]) as pool:
        reply = pool.ask("Go.", "scripted", tools=tools, **options)
    results = engine.requests[-1].messages[-1].tool_results
    assert [result.id for result in results] == [f"call{n:05}" for n in range(len(calls))]
    return reply, [result.content for result in results]


def test_asynchronous_functions_of_one_turn_run_at_the_same_time():
    """Asynchronous functions run at the same time, and the results have the order of the calls."""
    barrier = asyncio.Barrier(3)

    async def meet(name: str) -> str:
        """Wait for the others."""
        await barrier.wait()
        if name == "a":
            await asyncio.sleep(0.05)  # the first one ends last
        return name

    calls = [("meet", f'{{"name": "{name}"}}') for name in "abc"]
    reply, results = _ask(calls, meet)

    assert results == ["a", "b", "c"]
    assert [(step.result, step.arguments) for step in reply.steps] == [
        (name, {"name": name}) for name in "abc"
    ]


def test_a_failed_function_does_not_end_the_others():
    """If a function fails, the others still return their results."""

    async def work(name: str) -> str:
        """Work."""
        if name == "b":
            raise SystemExit(3)
        await asyncio.sleep(0.02)
        return name

    calls = [("work", f'{{"name": "{name}"}}') for name in "abc"]
    reply, results = _ask([*calls, ("work", "{}"), ("walk", "{}")], work)

    assert (results[0], results[2]) == ("a", "c")
    assert results[1] == "SystemExit: 3"
    assert "name" in results[3]
    assert "there is no tool 'walk'" in results[4]
    assert [bool(step.error) for step in reply.steps] == [False, True, False, True, True]


def test_each_has_its_own_timeout(tmp_path):
    """A function that takes too long is cancelled, and the others are not."""
    project = Project(tmp_path)
    project.settings("[tools]\ntimeout = 0.2\n")

    async def wait(seconds: float) -> str:
        """Wait."""
        await asyncio.sleep(seconds)
        return "done"

    arguments = ['{"seconds": 3600}', '{"seconds": 0.01}', '{"seconds": 3600}']
    turn = [
        Chunk(tool_calls=tuple(ToolCall(str(n), "wait", text) for n, text in enumerate(arguments))),
        Chunk(finish_reason="tool_calls"),
    ]
    engine = ScriptedEngine(turn, ["Done.", Chunk(finish_reason="stop")])
    with project.pool(engines=engine) as pool:
        reply = pool.ask("Go.", "scripted", tools=wait)

    late = "TimeoutError: the function took longer than 0.2 s"
    assert [step.sent for step in reply.steps] == [late, "done", late]


def test_a_plain_function_runs_between_them(counter):
    """A plain function between asynchronous ones runs alone, in the order of the calls."""

    async def work(name: str) -> str:
        """Work."""
        return await counter.run(name)

    def note() -> int:
        """Note how many run."""
        counter.log.append("note")
        return counter.running

    calls = [("work", f'{{"name": "{name}"}}') for name in "abc"]
    _, results = _ask([*calls[:2], ("note", "{}"), calls[2]], [work, note])

    assert results == ["a", "b", "0", "c"]
    assert counter.most == 2
    assert counter.log.index("note") == 4
    assert counter.log[5:] == ["begin c", "end c"]


def test_calls_that_need_permission_run_alone(counter):
    """Permission is requested when the earlier calls have ended."""

    @gx.tool(ask=True)
    async def send(name: str) -> str:
        """Send."""
        return await counter.run(name)

    asked = []

    def approve(step):
        asked.append((step.arguments["name"], counter.running, threading.current_thread()))
        return True

    calls = [("send", f'{{"name": "{name}"}}') for name in "ab"]
    _, results = _ask(calls, send, approve=approve)

    assert results == ["a", "b"]
    assert counter.most == 1
    assert asked == [("a", 0, threading.main_thread()), ("b", 0, threading.main_thread())]


def test_after_a_result_from_outside_only_read_only_functions_run_with_it(counter):
    """A function that is not read-only waits for the outside result, and then needs permission."""

    @gx.tool(outside=True, read_only=True)
    async def page(name: str) -> str:
        """Read a page."""
        return await counter.run(name)

    @gx.tool(read_only=True)
    async def look(name: str) -> str:
        """Look."""
        return await counter.run(name)

    async def change(name: str) -> str:
        """Change something."""
        return await counter.run(name)

    calls = [("page", '{"name": "a"}'), ("look", '{"name": "b"}'), ("change", '{"name": "c"}')]
    reply, results = _ask(calls, [page, look, change], approve="never")

    assert results[:2] == ["a", "b"]
    assert counter.most == 2
    assert reply.steps[2].error == "calls that need permission are not allowed here"
    assert "begin c" not in counter.log


def test_stop_cancels_all_of_them():
    """Stop marks each running call as stopped, and the pool works afterwards."""
    begun, cancelled = [], []

    async def wait(name: str) -> None:
        """Wait."""
        begun.append(name)
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.append(name)

    calls = tuple(ToolCall(name, "wait", f'{{"name": "{name}"}}') for name in "abc")
    engine = ScriptedEngine(
        [Chunk(tool_calls=calls), Chunk(finish_reason="tool_calls")],
        ["Done.", Chunk(finish_reason="stop")],
    )

    async def run(pool):
        task = asyncio.create_task(_read(pool.astream("Go.", "scripted", tools=wait)))
        while len(begun) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        return await task

    async def _read(stream):
        try:
            [chunk async for chunk in stream]
        except asyncio.CancelledError:
            return stream.reply

    with EnginePool(env={}, engines=[engine]) as pool:
        reply = asyncio.run(run(pool))
        assert pool.ask("Hi", "scripted").text == "Done."
        for _ in range(500):
            if len(cancelled) == 3:
                break
            threading.Event().wait(0.01)

    assert sorted(cancelled) == ["a", "b", "c"]
    assert [step.error for step in reply.steps] == ["stopped"] * 3
    assert all(step.seconds for step in reply.steps)
