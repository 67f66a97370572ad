"""Health checks run concurrently, and a failing engine does not affect other engines."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool, catalog
from gatewayx_nb.errors import (
    EngineLoadError,
    EngineNotFoundError,
    ProviderError,
    TransportError,
    TruncatedError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.testing import ScriptedEngine, Send, Server, Stall, reply

END = Chunk(finish_reason="stop")

CANARY = "canary-5f0c1e7a9b3d"

GENERATE = "    async def generate(self, prompt, **kwargs):\n        return 'x'\n\n"
GENERATE_AND_CHECK = GENERATE + "    async def health_check(self):\n        "
HANGING_CHECKS = {
    "waiting": "import asyncio; await asyncio.sleep(60)",
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
    """The body of an engine's health check, and the expected error."""

    id: str
    check: str
    error: str


class WaitingEngine(ScriptedEngine):
    """Engine whose health check waits, and signals its start and its end."""

    def __init__(self, *scripts):
        super().__init__(*scripts)
        self.check_started = threading.Event()

    async def health_check(self):
        self.check_started.set()
        try:
            await asyncio.sleep(30)
        finally:
            self.ended.set()


FAILING_CHECKS = [
    Case("returns False", "return False", "`health_check` returned False."),
    Case(
        "ValueError",
        "raise ValueError('line one\\nline two')",
        "ValueError: line one line two in faulty_engine.py, line ",
    ),
    Case("SystemExit", "raise SystemExit(3)", "SystemExit: 3"),
    Case("KeyboardInterrupt", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    Case("CancelledError", "import asyncio; raise asyncio.CancelledError", "CancelledError"),
    Case(
        "ValueError with the key", "raise ValueError(f'bad {str(self.api_key)}')", "ValueError: bad"
    ),
    Case(
        "ProviderError with the key",
        "from gatewayx_nb.errors import ProviderError\n"
        "        raise ProviderError(f'bad {str(self.api_key)}')",
        "bad",
    ),
    Case("ZeroDivisionError", "return 1 // 0", "ZeroDivisionError"),
]


@pytest.mark.parametrize("case", FAILING_CHECKS, ids=lambda case: case.id)
def test_a_failing_health_check_is_reported_in_one_line(project, case):
    """A failed health check is reported in one line without the key; other engines are healthy."""
    project.engine("faulty", body=GENERATE_AND_CHECK + case.check + "\n")
    project.set_keys(f"GATEWAYX_FAULTY_API_KEY={CANARY}")

    with project.pool() as pool:
        rows = {row.engine: row for row in pool.health("mock", "faulty")}
        assert pool.ask("hi", model="faulty").text == "x"

    assert (rows["mock"].ok, rows["mock"].error) == (True, "")
    assert not rows["faulty"].ok
    assert case.error in rows["faulty"].error
    assert "\n" not in rows["faulty"].error
    assert CANARY not in repr(rows)


@pytest.fixture
def hanging_pool(project, monkeypatch):
    """Yield a pool of engines whose health checks hang, with a health timeout of 0.4 s."""
    monkeypatch.setattr(catalog, "HEALTH_TIMEOUT", 0.4)
    for name, check in HANGING_CHECKS.items():
        project.engine(name, body=GENERATE_AND_CHECK + check + "\n")
    pool = project.pool()
    yield pool
    pool.close()


def test_a_hanging_health_check_times_out(hanging_pool):
    """A check that waits, blocks its event loop or ignores cancellation ends at the timeout."""
    started = time.monotonic()
    rows = {row.engine: row for row in hanging_pool.health(*HANGING_CHECKS)}

    assert time.monotonic() - started < 40
    assert {name: rows[name].error for name in HANGING_CHECKS} == {
        name: f"{name!r} did not answer within 0.4 s. Try again." for name in HANGING_CHECKS
    }


def test_a_blocking_health_check_does_not_delay_others(project):
    """The check of one engine ends while that of an earlier one blocks its event loop."""
    ended = project.root / "ended"
    project.engine(
        "blocking",
        body=f"{GENERATE_AND_CHECK}import pathlib, time\n"
        f"        while not pathlib.Path({str(ended)!r}).exists():\n"
        "            time.sleep(0.01)\n"
        "        return True\n",
    )
    project.engine(
        "quick",
        body=f"{GENERATE_AND_CHECK}import pathlib\n"
        f"        pathlib.Path({str(ended)!r}).touch()\n"
        "        return True\n",
    )

    with project.pool() as pool:
        assert [row.error for row in pool.health("blocking", "quick")] == ["", ""]


def test_ahealth_does_not_block_the_event_loop(hanging_pool):
    """During `ahealth` the event loop runs other tasks."""

    async def count_turns():
        turns = 0
        task = asyncio.ensure_future(hanging_pool.ahealth("waiting", "mock"))
        while not task.done():
            turns += 1
            await asyncio.sleep(0.01)
        return await task, turns

    (mock, waiting), turns = asyncio.run(count_turns())

    assert (mock.engine, mock.ok, waiting.engine, waiting.ok) == ("mock", True, "waiting", False)
    assert turns > 10


def test_cancelling_ahealth_ends_the_checks(project):
    """Cancelling `ahealth` ends the checks, and the pool stays usable."""
    engine = WaitingEngine([END])
    with EnginePool(env={}, engines=[engine]) as pool:

        async def cancel():
            task = asyncio.ensure_future(pool.ahealth("waiting"))
            await asyncio.to_thread(engine.check_started.wait, 5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return task.cancelled()

        assert asyncio.run(cancel())
        assert engine.ended.wait(5)
        assert pool.ask("x", model="waiting").finish_reason == "stop"


def test_closing_the_pool_ends_health_checks_with_a_typed_error():
    """Closing the pool ends health checks with a typed error instead of a `CancelledError`."""
    engine = WaitingEngine([END])
    pool = EnginePool(env={}, engines=[engine])
    threading.Thread(target=lambda: engine.check_started.wait(5) and pool.close()).start()

    with pytest.raises(TransportError, match="the pool was closed"):
        pool.health("waiting")


def test_unusable_engine_files_and_missing_keys_are_reported(project):
    """Unusable engine files are reported; missing keys are reported only for named engines."""
    project.engine("broken", body="    oops\n")
    project.engine("unsafe", says="x").chmod(0o666)

    with project.pool() as pool:
        with pytest.raises(EngineLoadError):
            pool.ask("x", "broken")
        rows = {row.engine: row for row in pool.health()}
        (grok,) = pool.health("grok")

    assert "NameError" in rows["broken"].error
    assert "refused" in rows["unsafe"].error
    assert (grok.ok, grok.latency, "grok" in rows) == (False, None, False)
    assert "Set GATEWAYX_GROK_API_KEY" in grok.error


def test_a_projects_engine_is_checked_only_if_it_is_named(project, tmp_path):
    """Without names, no code of the project runs, and its servers receive no user key."""
    flag = tmp_path / "ran"
    touch = f"    __import__('pathlib').Path({str(flag)!r}).touch()\n"
    project.engine("coded", body=f"{touch}{GENERATE_AND_CHECK}return 1\n")
    with Server([Send(reply(b'{"data": [{"id": "m"}]}'))]) as server:
        row = f'[acme]\nbase_url = "{server.url}/v1"\nmodel = "m"\n'
        (project.root / "config" / "engines.toml").write_text(row)
        keys = {"GATEWAYX_ACME_API_KEY": CANARY, "GATEWAYX_CODED_API_KEY": CANARY}
        with EnginePool(home=project.root, env=keys) as pool:
            table = pool.health()
            pool.status()
            pool.models(live=True)
            assert not server.requests
            assert not flag.exists()

            named = {row.engine: row.ok for row in pool.health("acme", "coded")}

    assert {row.engine for row in table}.isdisjoint({"acme", "coded"})
    assert "Not checked, because this project defines them: acme, coded." in repr(table)
    assert named == {"acme": True, "coded": True}
    assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("choice", ["entry", "shipped entry", "settings", "key file"])
def test_a_local_server_that_the_project_chooses_is_called_only_if_it_is_named(
    project, tmp_path, choice
):
    """Its port, path and headers are the project's, so it is contacted only if it is named."""
    with Server([Send(reply(b'{"data": [{"id": "m"}]}'))]) as server:
        name = "acme" if choice == "entry" else "ollama"
        url = f"{server.url}/chosen"
        row = f'[{name}]\nbase_url = "{url}"\nmodel = "m"\nrequires_key = false\n'
        if "entry" in choice:
            (project.root / "config" / "engines.toml").write_text(row)
        elif choice == "settings":
            project.settings(f'[engines.ollama]\nbase_url = "{url}"\n')
        else:
            project.set_keys(f"GATEWAYX_OLLAMA_BASE_URL={url}\n")
        with EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(tmp_path)}) as pool:
            table = pool.health()
            states = {(row.name, row.state) for row in pool.status()}
            pool.models(live=True)
            assert not server.requests
            assert (name, "ready") in states
            assert f"this project defines them: {name}" in repr(table)
            pool.trust(pool.key_destinations(name))

            (allowed,) = (row for row in pool.health() if row.engine == name)

    assert allowed.ok
    assert server.requests


def test_a_shipped_local_server_is_checked_in_a_project_with_a_proxy(project):
    """A server on this machine is not reached through the project's proxy."""
    project.settings('[network]\nproxy = "http://127.0.0.1:9"\n')
    with project.pool() as pool:
        states = {row.name: row.state for row in pool.status()}

    assert states["ollama"] == "not running"


def test_a_health_check_sends_the_key_and_reports_its_rejection(project):
    """A check requests the list of models with the provider's key, which costs nothing."""

    def answer(request):
        is_valid = request.headers.get("authorization") == "Bearer good"
        return [
            Send(reply(b'{"data": [{"id": "m"}]}' if is_valid else b"{}", 200 if is_valid else 401))
        ]

    with Server(answer) as server, project.pool() as pool:
        settings = f"GATEWAYX_GROQ_BASE_URL={server.url}/v1\nGATEWAYX_GROQ_API_KEY="
        project.set_keys(settings + "good")
        (accepted,) = pool.health("groq")
        project.set_keys(settings + CANARY)
        (rejected,) = pool.health("groq")

    assert (accepted.ok, accepted.error, accepted.latency is None) == (True, "", False)
    assert (rejected.ok, "groq" in rejected.error, CANARY in rejected.error) == (False, True, False)
    assert {request.target for request in server.requests} == {"/v1/models"}


def test_local_servers_that_do_not_listen_are_omitted(project, monkeypatch):
    """A local server is checked if it listens on its port, or if its engine is named."""
    monkeypatch.setattr(catalog, "HEALTH_TIMEOUT", 0.3)
    with Server([Stall()]) as stalled_server:
        env = {"GATEWAYX_VLLM_BASE_URL": f"{stalled_server.url}/v1"}
        with EnginePool(home=project.root, env=env) as pool:
            rows = {row.engine: row for row in pool.health()}
            (stopped,) = pool.health("lmstudio")

    assert "did not answer" in rows["vllm"].error
    assert "lmstudio" not in rows
    assert not stopped.ok


def test_a_health_check_uses_no_slot_and_creates_no_instance(project):
    """A health check works while calls use all slots of an engine, and does not restart it."""
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

    class Recursive(ScriptedEngine):
        async def health_check(self):
            try:
                pool.health()
            except UsageError as error:
                return "ahealth" in str(error)
            return False

    with EnginePool(env={}, engines=[Recursive([END])]) as pool:
        assert [row.ok for row in pool.health("recursive")] == [True]


@pytest.mark.parametrize("finish_reason", ["length", "stop"])
def test_an_answer_that_does_not_match_the_schema_is_no_failure_of_its_engine(finish_reason):
    """An engine works if its last answer was truncated at `max_tokens` or fails the schema."""
    script = ['{"a": ', Chunk(finish_reason=finish_reason)]
    with EnginePool(env={}, engines=[ScriptedEngine(script, script)]) as pool:
        with pytest.raises((TruncatedError, ProviderError)):
            pool.ask("x", model="scripted", schema=dict[str, int])

        assert [row.ok for row in pool.health("scripted")] == [True]
