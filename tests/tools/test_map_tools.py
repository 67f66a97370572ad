"""`map` with tools: what runs, what is refused, stored, asked again, bounded and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import gatewayx_nb as gx
from gatewayx_nb.concurrency import worker_threads
from gatewayx_nb.errors import (
    BudgetError,
    CassetteMissError,
    ProviderError,
    RateLimitError,
    TruncatedError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk, Usage
from tests import canary

PROMPT = "{{input}}"
QUIET = {"model": "calling", "progress": False}
CITIES = ["Rome", "Oslo", "Bonn"]


class CallingEngine(LLMEngine):
    """Calls the first tool with its prompt, as often as told, and answers with the last result.

    Attributes:
        asked: Number of requests by prompt.
        turns: Number of turns with calls before the answer, or a dict of them by prompt.
        refused: Number of requests that are refused because of a rate limit.
    """

    name, model_name, requires_key = "calling", "m", False
    features = frozenset({"system", "history", "tools", "max_tokens"})

    def __init__(self, turns=1):
        super().__init__("")
        self.asked, self.turns, self.refused = Counter(), turns, 0

    def get_cost_per_token(self):
        return 0.001

    async def stream(self, request):
        first, *_, last = request.messages[0], *request.messages
        prompt = first.content
        self.asked[prompt] += 1
        if self.refused:
            self.refused -= 1
            raise RateLimitError("slow down", retry_after=0.01)
        usage = Usage(input_tokens=3, output_tokens=2)
        number = sum(bool(message.tool_calls) for message in request.messages)
        if request.tools and number < (
            self.turns if isinstance(self.turns, int) else self.turns.get(prompt, 1)
        ):
            call = ToolCall(f"call{number:05}", request.tools[0].name, f'{{"city": "{prompt}"}}')
            yield Chunk(text="I look.", tool_calls=(call,))
            yield Chunk(finish_reason="tool_calls", usage=usage)
            return
        results = [result.content for result in last.tool_results]
        yield Chunk(text="; ".join(results) or prompt)
        yield Chunk(finish_reason="stop", usage=usage)


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


@gx.tool(ask=True)
def book(city: str) -> str:
    """Book a journey."""
    return f"booked {city}"


@pytest.fixture
def engine():
    """Return the engine."""
    return CallingEngine()


@pytest.fixture
def pool(project, engine):
    """Return a pool with the engine."""
    with project.pool(engines=engine) as pool:
        yield pool


def _map(pool, rows=CITIES, tools=weather, **options):
    return pool.map(rows, PROMPT, tools=tools, **QUIET, **options)


def _wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_model_calls_functions_for_each_row(pool):
    """A DataFrame has the answers; the replies have the steps and the totals of all requests."""
    frame = pool.map(pd.DataFrame({"city": CITIES}), "{{city}}", tools=weather, **QUIET)

    assert frame.answer.tolist() == [f"sunny in {city}" for city in CITIES]
    assert frame.gx_input_tokens.tolist() == [6] * 3
    assert frame.gx_cost.tolist() == pytest.approx([0.01] * 3)
    replies = pool.map(CITIES, "{{input}}", tools=weather, output="replies", **QUIET)
    (step,) = replies[1].steps
    assert (step.call.name, step.arguments, step.sent) == (
        "weather",
        {"city": "Oslo"},
        "sunny in Oslo",
    )
    assert (step.allowed_by, step.text, step.error) == ("tools", "I look.", "")
    assert replies[1].usage == Usage(input_tokens=6, output_tokens=4)


def test_every_kind_of_map_runs_tools(pool):
    """`amap`, `imap` and `aimap` run them, too."""

    async def run():
        mapped = await pool.amap(CITIES, PROMPT, tools=weather, **QUIET)
        return mapped, [item async for item in pool.aimap(CITIES, PROMPT, tools=weather, **QUIET)]

    mapped, pairs = asyncio.run(run())

    assert [reply.steps[0].sent for reply in mapped] == [f"sunny in {city}" for city in CITIES]
    assert len(list(pool.imap(CITIES, PROMPT, tools=weather, **QUIET))) == len(pairs) == 3


def test_functions_run_in_a_bounded_number_of_threads(pool):
    """32 run at a time, and never in the thread of the caller."""
    running, most, threads, lock = 0, 0, set(), threading.Lock()
    all_busy = threading.Event()

    def slow(city: str) -> str:
        """Wait."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            threads.add(threading.current_thread())
            if running >= 32:
                all_busy.set()
        all_busy.wait(60)
        time.sleep(0.1)  # another thread would start meanwhile
        with lock:
            running -= 1
        return city

    rows = [f"row {number}" for number in range(96)]
    replies = _map(pool, rows, slow)

    assert [reply.text for reply in replies] == rows
    assert most == 32
    assert threading.current_thread() not in threads


@pytest.mark.no_cover
def test_thousands_of_rows(pool, engine):
    """A map makes two requests for each distinct row."""
    rows = [f"row {number % 2500}" for number in range(5000)]
    replies = _map(pool, rows)

    assert [reply.text for reply in replies] == [f"sunny in {row}" for row in rows]
    assert set(engine.asked.values()) == {2}
    assert len(engine.asked) == 2500


def test_a_call_that_needs_permission_is_refused(pool):
    """In a map, a call that needs permission is refused, and the model learns why."""
    replies = _map(pool, tools=book, approve="never")

    refusal = "calls that need permission are not allowed here"
    assert {reply.steps[0].error for reply in replies} == {refusal}
    assert {reply.steps[0].allowed_by for reply in replies} == {""}
    assert refusal in replies[0].text


def _only_rome(step):
    return step.arguments["city"] == "Rome"


@pytest.mark.parametrize(
    ("approve", "booked"), [("never", []), ("always", CITIES), (_only_rome, ["Rome"])]
)
def test_approve_decides_for_each_row(pool, approve, booked):
    """Calls that need permission run if `approve` is "always" or a function that permits them."""
    replies = _map(pool, tools=book, approve=approve)

    assert [reply.text for reply in replies if "booked" in reply.text] == [
        f"booked {city}" for city in booked
    ]


def test_another_permission_asks_again(pool, engine):
    """Rows are asked again if `approve` changes what is refused."""
    _map(pool, tools=book, approve="never")
    assert set(engine.asked.values()) == {2}

    engine.asked.clear()
    assert _map(pool, tools=book, approve="always")[0].text == "booked Rome"
    engine.asked.clear()
    assert _map(pool, tools=book, approve=_only_rome)[0].text == "booked Rome"
    assert set(engine.asked.values()) == {2}


@pytest.mark.parametrize("approve", [lambda step: "no", lambda step: 1 / 0], ids=["text", "error"])
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
def test_a_broken_function_approve_fails_its_row(pool, approve, is_async):
    """An exception of `approve` fails its row only."""

    @gx.tool(ask=True)
    async def later(city: str) -> str:
        """Book."""
        return city

    with pytest.raises(UsageError, match=r"approve.*(must return|raised ZeroDivisionError)"):
        _map(pool, tools=later if is_async else book, approve=approve)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_whatever_a_function_raises_goes_to_the_model(pool, engine, error):
    """No exception of a function stops a map; only the user does."""

    def fail(city: str) -> str:
        """Fail."""
        if city == "Oslo":
            raise error
        return city

    async def fail_later(city: str) -> str:
        """Fail."""
        return fail(city)

    for function in (fail, fail_later):
        replies = _map(pool, tools=function)
        assert [reply.steps[0].error != "" for reply in replies] == [False, True, False]
        assert replies[1].steps[0].error.startswith(type(error).__name__)
        engine.asked.clear()


def test_an_asynchronous_function_is_cancelled_at_the_timeout(project, engine):
    """An asynchronous function is cancelled after `[tools] timeout`."""
    project.settings("[tools]\ntimeout = 0.05\n")
    cancelled = []

    async def endless(city: str) -> str:
        """Wait."""
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(city)
            raise
        return city

    with project.pool(engines=engine) as pool:
        replies = _map(pool, tools=endless)

    assert sorted(cancelled) == sorted(CITIES)
    assert {reply.steps[0].error for reply in replies} == {
        "TimeoutError: the function took longer than 0.05 s"
    }


def test_functions_that_never_return_leave_a_bounded_number_of_threads(
    project, engine, monkeypatch
):
    """While too many functions are overdue, no other function is called."""
    monkeypatch.setattr(worker_threads, "_MAX_OVERDUE_FUNCTIONS", 3)
    project.settings("[tools]\ntimeout = 0.05\n")
    release, started = threading.Event(), []

    def hang(city: str) -> str:
        """Hang."""
        started.append(city)
        release.wait()
        return city

    rows = [f"row {number}" for number in range(200)]
    try:
        with project.pool(engines=engine) as pool:
            replies = _map(pool, rows, hang, concurrency=4)
    finally:
        release.set()

    errors = Counter(reply.steps[0].error for reply in replies)
    assert len(started) <= 3 + 4
    assert errors["the function took longer than 0.05 s"] == len(started)
    assert errors.total() == 200
    assert any(
        "functions that took longer than 0.05 s are still running" in text for text in errors
    )


def test_ctrl_c_ends_a_map_whose_function_never_returns(pool, engine):
    """Ctrl-C keeps the finished rows, and the next run asks about the others."""
    release, started = threading.Event(), threading.Event()

    def hang(city: str) -> str:
        """Hang for one city."""
        if city == "Oslo":
            started.set()
            release.wait()
        return city

    def press_stop():
        started.wait(120)
        _wait_for(lambda: engine.asked["Bonn"] == 2)
        time.sleep(0.2)  # until the answer is stored
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    watcher = threading.Thread(target=press_stop)
    watcher.start()
    rows = pd.DataFrame({"city": CITIES})
    frame = pool.map(rows, "{{city}}", tools=hang, concurrency=2, **QUIET)
    watcher.join()
    release.set()

    assert frame.answer.fillna("").tolist() == ["Rome", "", "Bonn"]
    assert frame.gx_error[1] == "not sent, because the map was stopped"
    assert pool.map(frame, "{{city}}", tools=hang, **QUIET).answer[1] == "Oslo"
    assert [engine.asked[city] for city in ("Rome", "Bonn")] == [2, 2]


def test_a_connection_of_another_thread_is_refused_by_sqlite(pool):
    """A function runs in a worker thread, so it must open its own connection."""
    with sqlite3.connect(":memory:") as connection:

        def query(city: str) -> int:
            """Query."""
            return connection.execute("select 1").fetchone()[0]

        errors = {reply.steps[0].error for reply in _map(pool, tools=query)}
    connection.close()

    assert all("created in a thread" in error for error in errors)


# What a row without an answer is.


def test_a_row_without_an_answer_fails(pool, engine):
    """A row without an answer after `max_turns` requests fails, and the next run asks again."""
    engine.turns = 2
    rows = pd.DataFrame({"city": CITIES})

    with pytest.raises(TruncatedError, match=r"requested tool calls in the last of 2 requests"):
        pool.map(rows, "{{city}}", tools=weather, max_turns=2, on_error="raise", **QUIET)
    engine.asked.clear()
    frame = pool.map(rows, "{{city}}", tools=weather, max_turns=3, **QUIET)
    assert frame.gx_error.isna().all()
    assert set(engine.asked.values()) == {3}


def test_the_error_of_a_row_without_an_answer_has_a_hint(pool, engine):
    """The error of a row has a hint, and the other rows are answered."""
    engine.turns = {"Rome": 2}

    replies = _map(pool, max_turns=2)

    assert isinstance(replies[0], TruncatedError)
    assert "max_turns" in str(replies[0].hint)
    assert replies[0].partial == "I look."
    assert replies[0].help == "no-answer-after-calls"
    assert replies[1].text == "sunny in Oslo"


def test_a_call_that_is_cut_fails_its_row(pool, engine):
    """An answer that is truncated within a tool call fails its row."""
    engine.turns = 0

    async def cut(request):
        call = ToolCall("call00001", "weather", '{"ci')
        yield Chunk(tool_calls=(call,), finish_reason="length")

    engine.stream = cut
    with pytest.raises(TruncatedError, match="ended at its maximum length, within a tool call"):
        _map(pool)


# What is stored.


def test_steps_are_stored_and_a_second_run_sends_nothing(project, pool, engine):
    """The store keeps the text of each result, not the object that the function returned."""
    first = _map(pool)
    with project.pool(engines=CallingEngine()) as other:
        again = _map(other)

    assert engine.asked.total() == 6
    assert [reply.text for reply in again] == [reply.text for reply in first]
    for reply, known in zip(again, first, strict=True):
        (step,), (known_step,) = reply.steps, known.steps
        assert known_step.result is step.result is None  # rows by the thousand have no objects
        assert (step.sent, step.arguments, step.text, step.allowed_by) == (
            *(known_step.sent, known_step.arguments, known_step.text, known_step.allowed_by),
        )


def test_results_are_not_stored_where_prompts_are_not(project, engine):
    """Results are stored only if prompts are, because they may contain the same data."""
    project.settings("[cassettes]\nprompts = 'digest'\n")
    with project.pool(engines=engine) as pool:
        _map(pool)
    with project.pool(engines=CallingEngine()) as pool:
        assert {reply.steps[0].sent for reply in _map(pool)} == {""}


def test_other_tools_are_another_job(pool, engine):
    """The declaration and the code of a function identify a job."""

    def changed(city: str) -> str:
        """Return the weather in a city."""
        return f"rainy in {city}"

    changed.__name__ = "weather"

    def described(city: str) -> str:
        """Return the weather."""
        return f"sunny in {city}"

    described.__name__ = "weather"

    _map(pool)
    for function in (changed, described):
        engine.asked.clear()
        assert _map(pool, tools=function)[0].text == function("Rome")
        assert set(engine.asked.values()) == {2}
    engine.asked.clear()
    assert _map(pool, max_turns=3)[0].text == "sunny in Rome"  # not another job
    assert not engine.asked


class Service:
    """Has a function that a model may call."""

    def __init__(self):
        self.opened = object()

    def weather(self, city: str) -> str:
        """Return the weather."""
        return city


def test_what_a_function_belongs_to_and_captures_is_not_part_of_the_job(pool, engine):
    """Captured values do not identify a job, because calls may change them."""
    called = []

    def note(city: str) -> str:
        """Return the weather."""
        called.append(city)
        return city

    for _ in range(2):
        _map(pool, tools=[note, Service().weather])
    assert set(engine.asked.values()) == {2}
    assert len(called) == 3


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
import gatewayx_nb as gx
from tests.tools.test_map_tools import CallingEngine

root = sys.argv[1]

def weather(city: str) -> str:
    '''Return the weather.'''
    with open(os.path.join(root, "called"), "a") as file:
        file.write(city + "\\n")
    return city

pool = gx.EnginePool(home=root, engines=CallingEngine())
rows = [f"row {number}" for number in range(400)]
for position, reply in pool.imap(
    rows, "{{input}}", "calling", tools=weather, concurrency=4, progress=False
):
    with open(os.path.join(root, "handed"), "a") as file:
        file.write(rows[position] + "\\n")
pool.close()
print("done", reply.steps[0].sent)
"""


def test_a_killed_map_asks_only_for_the_missing_rows(project):
    """A row whose reply was returned is not asked again, and its functions are not called again."""
    path = project.root / "killed.py"
    path.write_text(KILLED)
    command = [sys.executable, str(path), str(project.root), str(Path(__file__).parents[2])]

    def lines(name):
        file = project.root / name
        return file.read_text().splitlines() if file.exists() else []

    process = subprocess.Popen(command, env=os.environ)
    try:
        _wait_for(lambda: len(lines("handed")) >= 50)
    finally:
        process.kill()
        process.wait()
    handed, called = lines("handed"), len(lines("called"))
    assert called < 400
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)

    assert result.stdout.startswith("done row")
    calls = Counter(lines("called"))
    assert set(calls) == {f"row {number}" for number in range(400)}
    assert {calls[row] for row in handed} == {1}


# Costs and limits.


def test_the_cost_of_a_job_counts_every_request(pool, engine):
    """`max_cost` stops rows before a request that could exceed it."""
    rows = [f"row {number}" for number in range(200)]
    replies = _map(pool, rows, max_cost=1, max_tokens=2, concurrency=1)

    answered = [reply for reply in replies if not isinstance(reply, BudgetError)]
    assert 3 <= len(answered) < 200
    spent = sum(entry.cost for entry in pool.history(100))
    assert spent <= 1
    assert sum(reply.cost for reply in answered) <= spent


def test_a_rate_limit_is_waited_out_in_any_request(pool, engine):
    """A rate-limited request is sent again, but not the earlier requests of its row."""
    engine.refused = 5

    replies = _map(pool, concurrency=1)

    assert [reply.text for reply in replies] == [f"sunny in {city}" for city in CITIES]
    assert engine.asked.total() == 6 + 5


def test_a_key_in_a_result_reaches_neither_the_model_nor_the_store(project, engine):
    """A result that contains a key is withheld from the model and the store."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY={canary.KEY}")

    def leak(city: str) -> str:
        """Return a secret."""
        return canary.KEY

    with project.pool(engines=engine) as pool:
        replies = _map(pool, tools=leak)

    assert {reply.text for reply in replies} == {"the result contains a key and was withheld"}
    stores = [path for path in project.root.rglob("*.sqlite*") if path.is_file()]
    assert stores
    assert not any(canary.KEY.encode() in path.read_bytes() for path in stores)


# What is refused before anything is sent.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tools": [weather, book]},
            "so all calls of the tool 'book' would be refused",
        ),
        ({"tools": book, "approve": "ask"}, "a map cannot ask"),
        ({"batch": True}, "tools and batch cannot be combined"),
        (
            {"tools": [weather, gx.mcp("uvx mcp-server-time")]},
            "all calls of the MCP server 'mcp-server-time' would be refused",
        ),
        ({"tool_choice": "weather2"}, r"got 'weather2'. Did you mean 'weather'\?"),
        ({"tools": (), "max_turns": 2}, "max_turns has no effect without `tools`"),
        ({"tools": [weather, weather]}, "two tools have the name 'weather'"),
        ({"tools": "weather"}, "tools must be functions or MCP servers"),
        ({"max_turns": 0}, "max_turns must be"),
        ({"approve": "yes"}, "approve must be"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_sent(pool, engine, options, message):
    """The error names the invalid option."""
    with pytest.raises(UsageError, match=message):
        pool.map(CITIES, PROMPT, **{"tools": weather, **QUIET, **options})
    assert not engine.asked
    assert not pool.map_jobs()


def test_settings_that_refuse_calls_cannot_be_overruled(project, engine):
    """A map cannot permit what the settings forbid."""
    project.settings("[tools]\napprove = 'never'\n")
    with project.pool(engines=engine) as pool, pytest.raises(UsageError, match="cannot be set"):
        _map(pool, approve="always")
    assert not engine.asked


def test_an_engine_without_tools_is_refused(project, engine):
    """An engine without tools raises an error before anything is sent."""
    engine.features = frozenset({"history"})
    with project.pool(engines=engine) as pool, pytest.raises(UnsupportedFeatureError):
        _map(pool)
    assert not engine.asked


def test_a_row_cannot_choose_its_tools(pool):
    """All rows have the same tools, so a function of the row cannot set them."""
    with pytest.raises(UsageError, match="not a per-row option"):
        pool.map(CITIES, lambda city: {"prompt": city, "tools": weather}, **QUIET)


def test_a_preview_says_that_rows_may_need_more_requests(pool, engine):
    """The figures of a preview are those of the first request of each row."""
    preview = pool.preview_map(CITIES, PROMPT, "calling", tools=weather, max_turns=3, max_tokens=2)
    plain = pool.preview_map(CITIES, PROMPT, "calling", max_tokens=2)

    assert (preview.max_turns, plain.max_turns) == (3, 1)
    assert "up to 2 more requests" in repr(preview)
    assert "more request" not in repr(plain)
    assert preview.lowest_cost > plain.lowest_cost  # the declarations are part of each request
    assert not engine.asked
    assert pool.preview_map(CITIES, PROMPT, "calling", tools=weather).max_turns == 8


# Recording.


def test_a_map_with_tools_is_recorded_and_replayed(project, engine, tmp_path):
    """Each request is an entry; a replay runs no function and refuses different results."""
    called = []

    def note(city: str) -> str:
        """Return the weather."""
        called.append(city)
        return f"sunny in {city}"

    path = tmp_path / "map.jsonl"
    with project.pool(engines=engine) as pool:
        with pool.cassette(path, "record"):
            _map(pool, tools=note)
        assert len(path.read_text().splitlines()) >= 6
        called.clear()
        with pool.cassette(path, "replay"):
            replies = _map(pool, tools=note)
            with pytest.raises(CassetteMissError):
                _map(pool, ["Paris"], note)

    assert not called
    assert {reply.steps[0].allowed_by for reply in replies} == {"replay"}
    assert [reply.text for reply in replies] == [f"sunny in {city}" for city in CITIES]


def test_a_cassette_records_rows_that_an_earlier_run_answered(pool, engine, tmp_path):
    """A stored reply is that of the whole row, so its requests are made again to be recorded."""
    _map(pool)
    engine.asked.clear()
    with pool.cassette(tmp_path / "map.jsonl", "record"):
        _map(pool)
    assert set(engine.asked.values()) == {2}
    with pool.cassette(tmp_path / "map.jsonl", "replay"):
        assert [reply.text for reply in _map(pool)] == [f"sunny in {city}" for city in CITIES]


def test_an_unexpected_exception_of_a_call_fails_its_row(pool, monkeypatch):
    """A row fails on an unexpected exception; otherwise, the map would wait forever."""
    from gatewayx_nb.tools import ToolLoop

    async def broken(self, emit=None):
        raise RuntimeError("unexpected")

    monkeypatch.setattr(ToolLoop, "run", broken)
    with pytest.raises(ProviderError, match="the call raised RuntimeError"):
        _map(pool)
