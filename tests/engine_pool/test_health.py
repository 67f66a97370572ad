"""Health checks run concurrently, and a failing engine does not affect the others."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool, catalog
from gatewayx_nb.errors import EngineNotFoundError, TransportError, UsageError
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.testing import ScriptedEngine, Send, Server, Stall, reply

END = Chunk(finish_reason="stop")

CANARY = "canary-5f0c1e7a9b3d"

ANSWERS = "    async def generate(self, prompt, **kwargs):\n        return 'x'\n\n"
CHECK = ANSWERS + "    async def health_check(self):\n        "
HANGS = {
    "waiting": "import asyncio; await asyncio.sleep(30)",
    "blocking": "import time; time.sleep(1)",
    "stubborn": (
        "import asyncio, time\n        end = time.monotonic() + 3\n"
        "        while time.monotonic() < end:\n"
        "            try:\n                await asyncio.sleep(0.2)\n"
        "            except asyncio.CancelledError:\n                pass"
    ),
}


@dataclass(frozen=True)
class Case:
    """An engine's own health check, and its expected row."""

    id: str
    check: str
    error: str


class Waits(ScriptedEngine):
    """Engine whose health check blocks; it signals the start and the end of the check."""

    def __init__(self, *scripts):
        super().__init__(*scripts)
        self.queried = threading.Event()

    async def health_check(self):
        self.queried.set()
        try:
            await asyncio.sleep(30)
        finally:
            self.ended.set()


FAULTS = [
    Case("says no", "return False", "its own health check failed."),
    Case("raises", "raise ValueError('line one\\nline two')", "ValueError: line one line two."),
    Case("exits", "raise SystemExit(3)", "SystemExit: 3"),
    Case("interrupts", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    Case("cancels", "import asyncio; raise asyncio.CancelledError", "CancelledError"),
    Case("tells its key", "raise ValueError(f'bad {str(self.api_key)}')", "ValueError: bad"),
    Case(
        "quotes its key",
        "from gatewayx_nb.errors import ProviderError\n"
        "        raise ProviderError(f'bad {str(self.api_key)}')",
        "bad",
    ),
    Case("no coroutine", "return 1 // 0", "ZeroDivisionError"),
]


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.id)
def test_a_failing_engine_is_a_row_of_the_result(project, case):
    """A failed health check is a one-line row without the key; other engines are unaffected."""
    project.engine("ill", body=CHECK + case.check + "\n")
    project.set_keys(f"GATEWAYX_ILL_API_KEY={CANARY}")

    with project.pool() as pool:
        rows = {row.engine: row for row in pool.health()}
        assert pool.ask("still there", model="ill").text == "x"

    assert (rows["mock"].ok, rows["mock"].error) == (True, "")
    assert rows["mock"].latency < 1
    assert not rows["ill"].ok
    assert case.error in rows["ill"].error
    assert "\n" not in rows["ill"].error
    assert CANARY not in repr(rows)


@pytest.fixture
def hanging(project, monkeypatch):
    """Yield a pool whose engines hang in each way, with a health timeout of 1 s instead of 10 s."""
    monkeypatch.setattr(catalog, "HEALTH_TIMEOUT", 0.4)
    for name, check in HANGS.items():
        project.engine(name, body=CHECK + check + "\n")
    pool = project.pool()
    yield pool
    pool.close()


def test_a_hanging_engine_times_out_and_delays_no_other(hanging):
    """An engine that waits, blocks its loop or ignores cancellation is cut off at its deadline."""
    begun = time.monotonic()
    rows = {row.engine: row for row in hanging.health()}

    assert time.monotonic() - begun < 2
    assert {name: rows[name].error for name in HANGS} == {
        name: f"{name!r} did not answer in 0.4 s. Try again." for name in HANGS
    }
    assert rows["mock"].latency < 0.1


def test_ahealth_does_not_block_the_event_loop(hanging):
    """The async version leaves its event loop free for other tasks."""

    async def both():
        turns = 0
        task = asyncio.ensure_future(hanging.ahealth("waiting", "mock"))
        while not task.done():
            turns += 1
            await asyncio.sleep(0.01)
        return await task, turns

    (mock, waiting), turns = asyncio.run(both())

    assert (mock.engine, mock.ok, waiting.engine, waiting.ok) == ("mock", True, "waiting", False)
    assert turns > 10


def test_cancelling_ahealth_ends_the_queries(project):
    """Cancelling the async version ends the checks, and the pool stays usable."""
    engine = Waits([END])
    with EnginePool(env={}, engines=[engine]) as pool:

        async def cancelled():
            task = asyncio.ensure_future(pool.ahealth("waits"))
            await asyncio.to_thread(engine.queried.wait, 5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return task.cancelled()

        assert asyncio.run(cancelled())
        assert engine.ended.wait(5)
        assert pool.ask("x", model="waits").finish_reason == "stop"


def test_closing_the_pool_ends_health_checks_with_a_typed_error():
    """Closing the pool ends the checks with a typed error instead of a bare cancellation."""
    engine = Waits([END])
    pool = EnginePool(env={}, engines=[engine])
    threading.Thread(target=lambda: engine.queried.wait(5) and pool.close()).start()

    with pytest.raises(TransportError, match="the pool was closed"):
        pool.health("waits")


def test_unusable_files_and_keys_are_rows(project):
    """Broken and insecure engine files are rows; a missing key is one if its engine is named."""
    project.engine("broken", body="    oops\n")
    project.engine("open", says="x").chmod(0o666)

    with project.pool() as pool:
        every = {row.engine: row for row in pool.health()}
        (grok,) = pool.health("grok")

    assert "NameError" in every["broken"].error
    assert "refused" in every["open"].error
    assert (grok.ok, grok.latency, "grok" in every) == (False, None, False)
    assert "Set GATEWAYX_GROK_API_KEY" in grok.error


def test_a_health_check_sends_the_key_and_reports_its_rejection(project):
    """A provider is checked with its key through its list of models, which costs nothing."""

    def answer(seen):
        fine = seen.headers.get("authorization") == "Bearer good"
        return [Send(reply(b'{"data": [{"id": "m"}]}' if fine else b"{}", 200 if fine else 401))]

    with Server(answer) as server, project.pool() as pool:
        text = f"GATEWAYX_GROQ_BASE_URL={server.url}/v1\nGATEWAYX_GROQ_API_KEY="
        project.set_keys(text + "good")
        (good,) = pool.health("groq")
        project.set_keys(text + CANARY)
        (bad,) = pool.health("groq")

    assert (good.ok, good.error, good.latency is None) == (True, "", False)
    assert (bad.ok, "groq" in bad.error, CANARY in bad.error) == (False, True, False)
    assert {seen.target for seen in server.requests} == {"/v1/models"}


def test_only_listening_local_servers_are_checked(project, monkeypatch):
    """A local server that listens but does not answer is a row; one that is not running is not."""
    monkeypatch.setattr(catalog, "HEALTH_TIMEOUT", 0.3)
    with Server([Stall()]) as silent, project.pool() as pool:
        project.set_keys(f"GATEWAYX_VLLM_BASE_URL={silent.url}/v1\n")
        every = {row.engine: row for row in pool.health()}
        (absent,) = pool.health("lmstudio")

    assert "did not answer" in every["vllm"].error
    assert "lmstudio" not in every
    assert not absent.ok


def test_a_health_check_uses_no_slot_and_creates_no_instance(project):
    """A health check works while calls hold all slots of an engine, and does not restart it."""
    project.settings("limits.concurrency = 2")
    engine = ScriptedEngine(["a", 30.0])
    with project.pool(engines=[engine]) as pool:
        streams = [pool.stream("x", model="scripted") for _ in range(2)]
        for stream in streams:
            next(iter(stream))

        (row,) = pool.health("scripted")

        for stream in streams:
            stream.close()
        assert engine.ended.wait(5)
        assert (row.ok, pool.health("scripted")[0].ok, engine.cleanups) == (True, True, 0)


def test_an_unknown_name_raises_an_error_before_any_check(project):
    """An unknown name raises an error with the nearest name before any engine is checked."""
    with project.pool() as pool, pytest.raises(EngineNotFoundError, match="'mock'"):
        pool.health("mock", "mokc")


def test_an_engine_cannot_check_its_own_pool():
    """A blocking health check inside an engine raises an error: it would deadlock."""

    class Curious(ScriptedEngine):
        async def health_check(self):
            try:
                pool.health()
            except UsageError as error:
                return "ahealth" in str(error)
            return False

    with EnginePool(env={}, engines=[Curious([END])]) as pool:
        assert [row.ok for row in pool.health("curious")] == [True]
