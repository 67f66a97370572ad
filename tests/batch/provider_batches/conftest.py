"""Fixtures of the tests of provider batches, and functions that submit them."""

from __future__ import annotations

import sqlite3
from collections import Counter

import pandas as pd
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.batch import batch_job
from tests.batch.batch_provider import KEY, Provider

MODELS = {
    "chat": "openai:gpt-5",
    "responses": "openai:gpt-5",
    "anthropic": "anthropic:claude-sonnet-4-5",
}

ROWS = pd.DataFrame({"text": ["a", "b", "c"]}, index=[7, 8, 7])


class ManualClock:
    """A clock that stands still except while something waits.

    Attributes:
        waits: The lengths of the waits.
        on_wait: Called at each wait.
    """

    def __init__(self):
        self.now, self.waits, self.on_wait = 0.0, [], lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += max(seconds, 0.001)
        self.on_wait()
        assert len(self.waits) < 1000


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Replace the clock that is used for waiting."""
    clock = ManualClock()
    monkeypatch.setattr(batch_job.clock, "monotonic", clock.monotonic)
    monkeypatch.setattr(batch_job.clock, "sleep", clock.sleep)
    return clock


@pytest.fixture
def provider():
    """Return the server of both providers."""
    with Provider() as provider:
        yield provider


@pytest.fixture
def reopen(project, provider):
    """Return a function that opens the project, as another process would."""
    pools = []

    def open_again(dialect="anthropic", **settings):
        settings = {"retries": 0, **settings}
        limits = "".join(f"{name} = {value}\n" for name, value in settings.items())
        api = "responses" if dialect == "responses" else "chat"
        project.settings(f'[limits]\n{limits}[engines.openai]\napi = "{api}"\n')
        env = {
            "GATEWAYX_OPENAI_API_KEY": KEY,
            "GATEWAYX_OPENAI_BASE_URL": f"{provider.url}/v1",
            "GATEWAYX_ANTHROPIC_API_KEY": KEY,
            "GATEWAYX_ANTHROPIC_BASE_URL": provider.url,
        }
        pools.append(EnginePool(home=project.root, env=env))
        return pools[-1]

    yield open_again
    for pool in pools:
        pool.close()


@pytest.fixture(params=MODELS)
def dialect(request):
    """Return each dialect."""
    return request.param


@pytest.fixture
def model(dialect):
    """Return the reference of the dialect's model."""
    return MODELS[dialect]


@pytest.fixture
def pool(reopen, dialect):
    """Return a pool whose engines call the server."""
    return reopen(dialect)


def submit(pool, model, rows=ROWS, prompt="{{text}}", **keywords):
    return pool.map(rows, prompt, model, batch=True, **keywords)


def count_outcomes(frame):
    """Return how many rows have an answer, and how many an error of each class."""
    errors = (text.partition(":")[0] for text in frame.gx_error.dropna())
    return Counter(errors) + Counter(answers=int(frame.gx_error.isna().sum()))


def stored_parts(pool):
    """Return the parts in the file."""
    path = pool._maps.results.path
    with sqlite3.connect(path) as opened:
        opened.row_factory = sqlite3.Row
        rows = [dict(row) for row in opened.execute("SELECT * FROM parts ORDER BY number")]
    opened.close()
    return rows


def limit_parts(monkeypatch, **limits):
    """Lower the limits of both providers."""
    from dataclasses import replace

    from gatewayx_nb.llm_engines.anthropic_batches import AnthropicBatches
    from gatewayx_nb.llm_engines.openai_batches import OpenAIBatches

    for interface in (AnthropicBatches, OpenAIBatches):
        monkeypatch.setattr(interface, "format", replace(interface.format, **limits))


def results(provider, change):
    """Change the lines of the results."""
    provider.change = change


def repr_after_look(job):
    """Return the representation after the provider has been asked once."""
    batch_job.clock.sleep(1000)
    job.progress()
    return repr(job)


def errored(line, status, kind, message="no"):
    """Return a line with an error of a row, in the form of its provider."""
    error = {"type": kind, "message": message}
    if "result" in line:
        return {**line, "result": {"type": "errored", "error": {"type": "error", "error": error}}}
    return {**line, "response": {"status_code": status, "body": {"error": error}}}
