"""Kernels that are killed while a map is in a provider's batches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.batch import batch_job
from tests.batch.batch_provider import KEY, Provider

MODELS = {"chat": "openai:gpt-5", "anthropic": "anthropic:claude-sonnet-4-5"}
ROWS = pd.DataFrame({"text": ["a", "b", "c"]})

SCRIPT = """
import sys
import pandas as pd
from gatewayx_nb import EnginePool
from gatewayx_nb.batch import batch_job

clock = [0.0]
batch_job.clock.monotonic = lambda: clock[0]
def sleep(seconds):
    clock[0] += seconds
batch_job.clock.sleep = sleep
rows = pd.DataFrame({"text": ["a", "b", "c"]})
pool = EnginePool(home=sys.argv[1])
job = pool.map(rows, "{{text}}", sys.argv[2], batch=True, name="tickets")
job.result()
"""


@pytest.fixture
def provider():
    """Return the server of both providers."""
    with Provider() as provider:
        yield provider


@pytest.fixture
def environment(provider):
    """Return the variables with which a kernel finds the server."""
    return {
        "GATEWAYX_OPENAI_API_KEY": KEY,
        "GATEWAYX_OPENAI_BASE_URL": f"{provider.url}/v1",
        "GATEWAYX_ANTHROPIC_API_KEY": KEY,
        "GATEWAYX_ANTHROPIC_BASE_URL": provider.url,
    }


@pytest.fixture(params=MODELS)
def model(request):
    """Return the reference of a model of each provider."""
    return MODELS[request.param]


@pytest.fixture
def kernel(project, environment, model):
    """Return a function that runs the map in another process, which kills or ends itself."""
    started = []

    def run():
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(project.root), model],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
        )
        started.append(process)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors.decode()

    run.kill = lambda *_: started[-1].kill() or started[-1].wait()
    return run


@pytest.fixture
def pool(project, environment, monkeypatch):
    """Return a pool of this process, whose waits take no time."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(batch_job.clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(batch_job.clock, "sleep", sleep)
    with EnginePool(home=project.root, env=environment) as pool:
        yield pool


def run_again(pool, model):
    job = pool.map(ROWS, "{{text}}", model, batch=True, name="tickets")
    return list(job.result().answer)


def test_killed_between_the_intent_and_the_answer(provider, kernel, pool, model):
    provider.on_create = kernel.kill

    assert kernel()[0] == -signal.SIGKILL
    provider.on_create = lambda batch: None
    assert len(provider.batches) == 1

    assert run_again(pool, model) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


def test_killed_before_anything_was_created(provider, kernel, pool, model):
    def kill(request):
        if request.method == "POST":
            kernel.kill()

    provider.on_request = kill
    assert kernel()[0] == -signal.SIGKILL
    provider.on_request = lambda request: None
    provider.batches.clear()  # the provider has received nothing

    assert run_again(pool, model) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


def test_killed_between_the_answer_and_the_collection(provider, kernel, pool, model):
    provider.on_look = kernel.kill

    assert kernel()[0] == -signal.SIGKILL
    provider.on_look = lambda batch: None

    job = pool.job("tickets")
    assert job.progress().state == "done"  # it has ended, and was collected at once
    assert sorted(reply.text for reply in job.result()) == ["A", "B", "C"]
    assert run_again(pool, model) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


def test_killed_during_the_collection(provider, kernel, pool, model):
    def kill_after_the_first_line(lines):
        kernel.kill()
        return lines

    provider.change = kill_after_the_first_line
    assert kernel()[0] == -signal.SIGKILL
    provider.change = lambda lines: lines

    assert run_again(pool, model) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}
    status = pool.job("tickets").progress()
    assert (status.done, status.failed) == (3, 0)
