"""A map that is stopped, killed, followed or cancelled: nothing is lost, nothing is asked twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from gatewayx_nb.errors import GatewayError, UsageError
from tests.batch.conftest import CountingEngine

QUIET = {"model": "counting", "progress": False}

SCRIPT = """
import asyncio, os, sys
import gatewayx_nb as gx
from gatewayx_nb.llm_engines import LLMEngine

root, rows, wait = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

class CountingEngine(LLMEngine):
    name, model_name, requires_key = "counting", "m1", False
    async def generate(self, prompt, **keywords):
        with open(os.path.join(root, "asked"), "a") as file:
            file.write(prompt + "\\n")
        await asyncio.sleep(wait)
        with open(os.path.join(root, "answered"), "a") as file:
            file.write(prompt + "\\n")
        return prompt.upper()

pool = gx.EnginePool(home=root, engines=CountingEngine())
texts = [f"row {number}" for number in range(rows)]
if len(sys.argv) > 4:
    pool.map(texts, "{{input}}", "counting", concurrency=4, progress=False, name="shared")
for position, outcome in pool.imap(
    texts, "{{input}}", "counting", concurrency=4, progress=False, name="shared"
):
    with open(os.path.join(root, "handed"), "a") as file:
        file.write(texts[position] + "\\n")
pool.close()
"""


def lines(project, name):
    path = project.root / name
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def script(project):
    """Return a function that starts the script in its own process."""
    processes = []
    path = project.root / "script.py"
    path.write_text(SCRIPT)

    def start(rows, wait=0.0, *arguments):
        command = [sys.executable, str(path), str(project.root), str(rows), str(wait), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt_when(condition):
    """Send Ctrl-C to this process once a condition holds."""

    def watch():
        wait_for(condition)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_stop_returns_what_is_done_and_the_next_run_asks_for_the_rest(pool, engine):
    texts = [str(number) for number in range(20)]
    engine.slow = dict.fromkeys(texts[10:], 3600)
    rows = pd.DataFrame({"text": texts})
    watcher = interrupt_when(lambda: sum(engine.asked.values()) >= 12)

    answers = pool.map(rows, "{{text}}", concurrency=2, **QUIET)
    watcher.join()

    assert answers.answer.tolist()[:10] == texts[:10]
    assert answers.answer[10:].isna().all()
    assert answers.gx_error[19] == "not sent, because the map was stopped"
    engine.slow = {}
    again = pool.map(answers, "{{text}}", concurrency=2, **QUIET)
    assert again.answer.tolist() == texts
    assert [engine.asked[text] for text in texts[:10]] == [1] * 10


def test_a_second_stop_ends_at_once(pool, engine, monkeypatch):
    engine.slow = {"a": 3600}
    flushed = []

    def flush(*_):
        if engine.asked:
            flushed.append(True)
            raise KeyboardInterrupt

    watcher = interrupt_when(lambda: engine.asked)
    monkeypatch.setattr("gatewayx_nb.storage.JobResults.flush", flush)
    with pytest.raises(KeyboardInterrupt):
        pool.map(["a"], "{{input}}", **QUIET)
    watcher.join()
    monkeypatch.undo()
    assert flushed


def test_no_handed_row_is_lost_or_asked_again_after_a_kill(project, script):
    process = script(400, wait=0.002)
    wait_for(lambda: len(lines(project, "handed")) > 40)
    process.kill()
    process.wait()
    handed = set(lines(project, "handed"))
    asked_before = len(lines(project, "asked"))

    second = script(400)
    assert second.wait() == 0

    asked_again = lines(project, "asked")[asked_before:]
    assert not handed.intersection(asked_again)
    assert set(lines(project, "handed")) == {f"row {number}" for number in range(400)}


def test_sigterm_stores_what_is_done_and_ends_the_process(project, script):
    process = script(2_000, 0.01, "map")
    wait_for(lambda: len(lines(project, "answered")) > 20)
    process.terminate()

    assert process.wait() == -signal.SIGTERM
    assert project.pool().job("shared").state == "stopped"


def test_two_processes_ask_each_row_once(project, script):
    first, second = script(200, wait=0.005), script(200, wait=0.005)

    assert (first.wait(), second.wait()) == (0, 0)
    asked = lines(project, "asked")
    assert len(asked) == len(set(asked)) == 200
    assert sorted(lines(project, "handed")) == sorted(2 * [f"row {n}" for n in range(200)])


def test_a_job_can_be_followed_and_cancelled_from_another_process(project, script):
    process = script(2_000, wait=0.01)
    wait_for(lambda: lines(project, "handed"))
    with project.pool() as pool:
        job = pool.job("shared")
        assert job.state == "running"
        assert not job.done()
        assert "running" in repr(job)
        wait_for(lambda: job.progress().done > 0)
        assert job.progress().rows == 2_000
        with pytest.raises(UsageError, match="is running"):
            job.forget()
        with pytest.raises(GatewayError, match="still running"):
            job.result(timeout=0)

        assert job.cancel()
        assert process.wait() == 0
        assert job.state == "stopped"
        assert not job.cancel()
        answered = lines(project, "handed")
        assert len(answered) < 2_000
        frame = job.to_frame()
        # The last answers may be stored without being handed on.
        assert set(answered) <= set(frame.prompt) <= set(lines(project, "answered"))
        assert frame.answer[0] == frame.prompt[0].upper()
        job.forget()
        assert not pool.map_jobs()


def test_a_killed_job_is_called_killed(project, script):
    process = script(2_000, wait=0.01)
    wait_for(lambda: lines(project, "handed"))
    process.kill()
    process.wait()

    assert project.pool().job("shared").state == "killed"


def test_closing_the_pool_ends_the_map_with_an_error(pool, engine):
    engine.slow = {"a": 3600, "b": 3600}
    failures = []

    def run():
        try:
            pool.map(["a", "b"], "{{input}}", **QUIET)
        except GatewayError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: len(engine.asked) == 2)
    pool.close()
    thread.join()

    assert failures[0].code == "closed"


def test_maps_of_two_threads_do_not_mix(pool, engine):
    results = {}

    def run(name):
        results[name] = pool.map([f"{name}{n}" for n in range(50)], "{{input}}", **QUIET)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [reply.text for reply in results["a"]] == [f"A{n}" for n in range(50)]
    assert [reply.text for reply in results["b"]] == [f"B{n}" for n in range(50)]
    assert max(engine.asked.values()) == 1


def test_the_engine_in_another_process_may_differ(project, reopen):
    """A second kernel with another engine object resumes the same job."""
    first, second = CountingEngine(), CountingEngine()
    reopen(first).map(["a"], "{{input}}", **QUIET)
    reopen(second).map(["a"], "{{input}}", **QUIET)

    assert not second.asked


def test_a_process_that_waits_leaves_the_figures_alone_and_adds_to_them(project, script, pool):
    """The figures of a job are those of the process that drives it, and grow with the next one."""
    process = script(400, wait=0.02)
    wait_for(lambda: lines(project, "handed"))
    texts = [f"row {number}" for number in range(410)]

    watcher = interrupt_when(lambda: pool.job("shared").progress().done > 8)
    with pytest.raises(KeyboardInterrupt):
        pool.map(texts, "{{input}}", concurrency=4, **QUIET)
    watcher.join()
    assert pool.job("shared").state == "running"

    pool.map(texts, "{{input}}", concurrency=4, **QUIET)
    assert process.wait() == 0
    (record,) = pool._maps.results.jobs()
    assert (record.figures.done, record.figures.asked) == (410, 410)
