"""Maps over Dask DataFrames: on the workers of a cluster, and in this process without one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, replace

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from gatewayx_nb import EnginePool
from gatewayx_nb.engine_pool import cluster_calls, cluster_worker
from gatewayx_nb.engine_pool.cluster_calls import run_spec
from gatewayx_nb.engine_pool.cluster_worker import Order, RowOrder, exchange, open_run
from gatewayx_nb.errors import AuthenticationError, ConfigError, UsageError
from tests.batch.dask_provider import KEY, CountingProvider
from tests.conftest import Project

MODEL = {"model": "openai:m", "progress": False}

PRICED = """
    def get_cost_per_token(self):
        return 0.001

    async def stream(self, request):
        from ..replies import Chunk, Usage
        usage = Usage(input_tokens=3, output_tokens=5)
        yield Chunk(text=request.prompt.upper(), finish_reason="stop", usage=usage)

    async def generate(self, prompt, **kwargs):
        raise AssertionError
"""


@dataclass
class Word:
    """A schema."""

    word: str
    size: int | None


def frame(count, partitions=4):
    """Return a Dask DataFrame whose index is not a range."""
    rows = {"text": [f"row {number}" for number in range(count)], "n": range(count)}
    return dd.from_pandas(pd.DataFrame(rows, index=range(100, 100 + count)), npartitions=partitions)


@pytest.fixture(scope="module")
def provider():
    """Return a provider for all tests of the module."""
    with CountingProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def processes(provider, tmp_path_factory):
    """Return a cluster of two processes with their own environment."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("workers-home")))
        for name, value in provider.environment.items():
            patch.setenv(name, value)
        cluster = local_cluster(n_workers=2, processes=True, host="127.0.0.1")
        yield stack.enter_context(cluster)


def local_cluster(**options):
    """Return a cluster on this machine, whose processes may start slowly."""
    # A shell of an earlier test may have replaced this module by one without the attribute, which
    # is read to start a process.
    sys.modules["__main__"].__spec__ = getattr(sys.modules["__main__"], "__spec__", None)
    timeouts = ("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp")
    dask.config.set(dict.fromkeys(timeouts, "10 minutes"))
    return LocalCluster(
        threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0, **options
    )


@pytest.fixture(autouse=True)
def environment(provider, monkeypatch):
    """Let this process find the provider, which has counted nothing."""
    provider.reset()
    for name, value in provider.environment.items():
        monkeypatch.setenv(name, value)
    yield
    for pool in cluster_worker._pools.values():
        pool.close()
    cluster_worker._pools.clear()


@pytest.fixture
def client(processes):
    """Return a client of the two processes."""
    with Client(processes) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture
def threads():
    """Return a client of two workers in this process."""
    with (
        local_cluster(n_workers=2, processes=False, protocol="tcp", host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def pool(project):
    """Return a pool as `gx.pool()` builds it."""
    project.settings("[limits]\nconcurrency = 6\n")
    with EnginePool(home=project.root) as pool:
        yield pool


@pytest.fixture
def other(tmp_path):
    """Return a pool of another project, which has the results of no other run."""
    project = Project(tmp_path / "other")
    with EnginePool(home=project.root) as pool:
        yield pool


SUFFIX = "!"


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "{{text}} {{n}}"},
        {"prompt": "{{text}}", "schema": Word},
        {"prompt": "{{text}}", "output": "columns", "system": "Row {{n}}."},
        {"prompt": lambda row: {"prompt": row.text + SUFFIX, "seed": row.n}},
    ],
    ids=["template", "schema", "columns", "function"],
)
def test_two_workers_answer_as_one_process_does(client, pool, other, provider, options):
    rows = frame(60)
    provider.statuses = dict.fromkeys(["row 7", "row 7 7", "row 7!"], 400)

    answers = pool.map(rows, **MODEL, **options)
    asked = provider.asked.copy()
    expected = other.map(rows.compute(), **MODEL, **options)

    assert isinstance(answers, dd.DataFrame)
    assert answers.divisions == rows.divisions
    assert set(asked.values()) == {1}
    assert len(asked) == 60
    computed = answers.compute()
    assert computed.gx_seconds.gt(0).sum() == 59
    drop = {"columns": "gx_seconds"}
    pd.testing.assert_frame_equal(computed.drop(**drop), expected.drop(**drop))
    assert computed.gx_error.notna().sum() == 1
    assert answers.dtypes.to_dict() == computed.dtypes.to_dict()


def test_the_calls_in_flight_are_bounded_for_all_workers_together(client, project, provider):
    project.settings("[limits]\nconcurrency = 5\n")
    provider.latency = 0.1
    with EnginePool(home=project.root) as pool:
        answers = pool.map(frame(100), "{{text}}", **MODEL).compute()

    assert list(answers.answer) == [f"ROW {number}" for number in range(100)]
    assert 1 < provider.most_at_once <= 5
    assert set(provider.asked.values()) == {1}


def test_the_rate_is_bounded_for_all_workers_together(client, project, provider):
    project.settings("[engines.openai]\nrequests_per_minute = 900\n")
    provider.limit = 900
    with EnginePool(home=project.root) as pool:
        answers = pool.map(frame(90), "{{text}}", **MODEL).compute()

    assert list(answers.answer) == [f"ROW {number}" for number in range(90)]
    assert provider.refused == 0


def test_a_killed_worker_loses_no_reported_row(client, pool, provider):
    provider.latency = 0.05
    pids = list(client.run(os.getpid).values())
    answered, reported = {}, {}
    for position, reply in pool.imap(frame(300), "{{text}}", **MODEL):
        answered[position] = reply
        if len(answered) == 80:
            reported = dict(answered)
            os.kill(pids[0], signal.SIGKILL)

    assert {position: reply.text for position, reply in answered.items()} == {
        position: f"ROW {position}" for position in range(300)
    }
    assert all(provider.asked[f"row {position}"] == 1 for position in reported)
    provider.reset()
    pool.map(frame(301), "{{text}}", **MODEL)
    assert provider.asked == {"row 300": 1}


def test_a_second_run_asks_what_is_missing_and_equal_rows_are_asked_once(threads, pool, provider):
    rows = dd.from_pandas(pd.DataFrame({"text": ["a", "b", "a", "c"] * 5}), npartitions=4)

    first = pool.map(rows, "{{text}}", **MODEL)
    again = pool.map(rows, "{{text}}", **MODEL)
    here = pool.map(rows.compute(), "{{text}}", **MODEL)

    assert provider.asked == {"a": 1, "b": 1, "c": 1}
    assert list(first.compute().answer) == list("ABAC" * 5)
    pd.testing.assert_frame_equal(again.compute(), here)
    assert [(row.done, row.state) for row in pool.map_jobs()] == [(20, "done")]
    (usage,) = pool.usage()
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (3, 9, 15)
    assert sum(entry.rows for entry in pool.history()) == 3


def test_keys_do_not_travel(client, pool, provider, monkeypatch):
    monkeypatch.setenv("GATEWAYX_OPENAI_API_KEY", "sk-another-key-of-the-client-0123456789")
    pool.refresh()

    pool.map(frame(4), "{{text}}", **MODEL)

    assert provider.keys == {f"Bearer {KEY}"}


def test_one_pool_answers_all_maps_of_a_process(client, pool):
    pool.map(frame(4), "{{text}}", **MODEL)
    pool.map(frame(4), "{{n}}", **MODEL)

    counts = client.run(
        lambda folder: list(cluster_worker._pools).count(folder), str(pool.config.project.root)
    )

    assert list(counts.values()) == [1, 1]


def test_stop_cancels_the_calls_and_keeps_what_is_done(threads, pool, provider):
    provider.latency = 0.05
    with contextlib.closing(pool.imap(frame(400), "{{text}}", **MODEL)) as outcomes:
        for _ in range(20):
            next(outcomes)

    asked = sum(provider.asked.values())
    deadline = time.monotonic() + 60
    while provider.at_once and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sum(provider.asked.values()) == asked < 400
    (job,) = pool.map_jobs()
    assert (job.state, job.done >= 20) == ("stopped", True)
    pool.map(frame(400), "{{text}}", **MODEL)
    assert sum(provider.asked.values()) <= 400 + asked - job.done


def test_a_stopped_map_returns_the_rows_that_it_has_not_read(threads, pool, provider, monkeypatch):
    provider.latency = 0.05
    session = pool.plan_map(frame(200, 8), "{{text}}", "openai:m")

    class Interrupting:
        def show(self, figures):
            if figures.done >= 10:
                raise KeyboardInterrupt

        def close(self, figures):
            pass

    session.view = Interrupting()
    answers = session.collect("same").compute()

    assert list(answers.index) == list(range(100, 300))
    done = answers.gx_error.isna()
    assert 10 <= done.sum() < 200
    assert set(answers.gx_error[~done]) == {"not sent, because the map was stopped"}


def test_worker_errors_reach_the_caller(threads, pool, provider):
    provider.status = 401
    with pytest.raises(AuthenticationError):
        pool.map(frame(8), "{{text}}", **MODEL)

    with pytest.raises(UsageError, match="no column 'missing'"):
        pool.map(frame(8), "{{missing}}", **MODEL)

    failing = frame(8).map_partitions(
        lambda part: part.assign(n=1 / 0), meta={"text": str, "n": int}
    )
    with pytest.raises(ZeroDivisionError):
        pool.map(failing, "{{text}}", **MODEL)


def test_a_worker_with_other_settings_is_refused(client, pool, monkeypatch):
    monkeypatch.setenv("GATEWAYX_OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    pool.refresh()

    with pytest.raises(ConfigError, match=r"must call openai:m at http://127\.0\.0\.1:1/v1, got"):
        pool.map(frame(4), "{{text}}", **MODEL)


@pytest.mark.parametrize("name", ["env=", "engines="])
def test_a_pool_that_workers_cannot_make_is_refused(threads, project, engine, name):
    pool = project.pool() if name == "env=" else EnginePool(project.root, engines=engine)

    with pool, pytest.raises(UsageError, match=f"a pool with {name} cannot call from the workers"):
        pool.map(frame(4), "{{text}}", "local" if name == "env=" else "counting")


def test_workers_share_a_cost_limit(threads, pool, project):
    project.engine("priced", body=PRICED)
    pool.refresh()
    answers = pool.map(
        frame(40), "{{text}}", "priced", max_tokens=10, max_cost=0.3, progress=False
    ).compute()

    stopped = answers.gx_error.str.startswith("BudgetError: the job has used").eq(other=True)
    assert 0 < stopped.sum() < 40
    assert pool.map_jobs()[0].cost <= 0.3


def test_a_worker_that_joins_gets_rows_and_a_share(pool, provider):
    provider.latency = 0.05
    options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    runs = set()
    with local_cluster(n_workers=1, **options) as cluster, Client(cluster):
        for position, _ in pool.imap(frame(400), "{{text}}", **MODEL):
            if position == 10:
                cluster.scale(2)
            runs |= {run for run in list(cluster_worker._runs.values()) if run._block_count}

    assert len(runs) == 2
    assert set(provider.asked.values()) == {1}
    assert provider.most_at_once <= 6


def test_a_cluster_without_workers_fails_the_map(pool, monkeypatch):
    monkeypatch.setattr(cluster_calls, "_WORKER_TIMEOUT", 0.5)
    options = {"processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with local_cluster(n_workers=1, **options) as cluster, Client(cluster) as client:
        rows = client.persist(frame(4))
        monkeypatch.setattr(type(client), "nthreads", no_workers)
        with pytest.raises(ConfigError, match="has had no worker"):
            pool.map(rows, "{{text}}", **MODEL)


async def no_workers(client):
    return {}


def test_a_worker_ends_the_calls_of_a_client_that_is_gone(threads, pool, provider, monkeypatch):
    provider.latency = 3
    monkeypatch.setattr(cluster_worker, "_CLIENT_TIMEOUT", 0.5)
    folder, identity = str(pool.config.project.root), pool._maps.job_identity("openai:m")
    spec = replace(run_spec(folder, identity, {"model": "openai:m"}, 4), id="a run")
    worker = next(iter(threads.nthreads()))
    threads.run(open_run, spec, EnginePool, workers=[worker])
    (run,) = cluster_worker._runs.values()
    order = Order("a run", [RowOrder(0, "hello", {})], 0, 1, 1, 0)
    threads.run(exchange, order, workers=[worker])

    deadline = time.monotonic() + 60
    while not provider.at_once or (run._block_count or not run._is_over):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not cluster_worker._runs
    assert sum(lane.running for lane in run._lanes.values()) == 0


def test_an_asynchronous_client_needs_amap(pool, provider):
    import asyncio

    async def run():
        async with (
            local_cluster(
                n_workers=2, processes=False, protocol="tcp", host="127.0.0.1", asynchronous=True
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            with pytest.raises(UsageError, match="event loop of Dask's client"):
                pool.map(frame(20), "{{text}}", **MODEL)
            answers = await pool.amap(frame(20), "{{text}}", **MODEL)
            return await client.compute(answers)

    answers = asyncio.run(run())

    assert list(answers.answer) == [f"ROW {number}" for number in range(20)]
    assert set(provider.asked.values()) == {1}


def test_without_a_cluster_the_partitions_are_mapped_here_one_by_one(project, engine):
    computed = []
    rows = frame(12).map_partitions(
        lambda part: computed.append(len(part)) or part, meta=frame(1)._meta
    )
    computed.clear()
    with project.pool(engines=engine) as pool:
        answers = pool.map(rows, "{{text}}", "counting", progress=False)

    assert computed == [3, 3, 3, 3]
    assert set(engine.asked.values()) == {1}
    expected = frame(12).compute()
    computed_answers = answers.compute()
    assert list(computed_answers.answer) == [text.upper() for text in expected.text]
    assert list(computed_answers.index) == list(expected.index)


@pytest.mark.parametrize("where", ["here", "threads"])
def test_every_output_and_a_series(request, pool, where):
    if where == "threads":
        request.getfixturevalue("threads")
    rows = frame(6)

    series = pool.map(rows.text, "{{input}}", **MODEL).compute()
    columns = pool.map(rows, "{{text}}", **MODEL, output="columns").compute()
    replies = pool.map(rows, "{{text}}", **MODEL, output="replies")
    replaced = pool.map(pool.map(rows, "{{text}}", **MODEL), "{{text}}", **MODEL).compute()
    preview = pool.preview_map(rows, "{{text}}", "openai:m")

    expected = [f"ROW {number}" for number in range(6)]
    assert list(series.answer) == list(columns.answer) == list(replaced.answer) == expected
    assert list(series.index) == list(rows.compute().index)
    assert "text" not in columns.columns
    assert [reply.text for reply in replies] == expected
    assert list(replaced.columns[:3]) == ["text", "n", "answer"]
    assert (preview.rows, preview.to_ask) == (6, 0)


def test_a_batch_of_a_dask_frame_is_refused(pool):
    with pytest.raises(UsageError, match="batch and the rows of a Dask DataFrame"):
        pool.map(frame(4), "{{text}}", **MODEL, batch=True)


def _weather(city: str) -> str:
    """Return the weather."""
    return f"sunny in {city}"


def _ask_with_tools(pool):
    rows = dd.from_pandas(pd.DataFrame({"city": ["Rome", "Oslo"]}), npartitions=2)
    prompt = 'call _weather {"city": "{{city}}"}'
    return pool.map(rows, prompt, "mock", tools=_weather, progress=False)


def test_tools_are_refused_on_a_cluster(threads, pool):
    """Tools are refused on a cluster, because workers lack the notebook's functions."""
    with pytest.raises(UsageError, match="tools cannot be called from the workers"):
        _ask_with_tools(pool)


def test_tools_are_called_in_this_process_without_a_cluster(pool):
    """Without a cluster, each partition is mapped in this process."""
    answers = _ask_with_tools(pool).compute()

    assert answers.answer.tolist() == ["[mock] sunny in Rome", "[mock] sunny in Oslo"]


def test_an_open_cassette_records_and_replays_here(threads, pool, provider, tmp_path):
    with pool.cassette(tmp_path / "c.jsonl"):
        pool.map(frame(4), "{{text}}", **MODEL)
    with pool.cassette(tmp_path / "c.jsonl", mode="replay"):
        answers = pool.map(frame(4), "{{text}}", **MODEL).compute()

    assert list(answers.answer) == ["ROW 0", "ROW 1", "ROW 2", "ROW 3"]
    assert set(provider.asked.values()) == {1}


def test_a_worker_uses_its_own_folder_if_the_clients_does_not_exist(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="does not exist where a worker runs"):
        cluster_worker._folder(str(tmp_path / "missing"))

    monkeypatch.setenv("GATEWAYX_HOME", str(tmp_path))
    assert cluster_worker._folder(str(tmp_path / "missing")) is None
    assert cluster_worker._folder(str(tmp_path)) == str(tmp_path)
