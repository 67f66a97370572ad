"""Waiting for a batch: polls, broken connections, and where results may come from."""

from __future__ import annotations

import threading

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import AuthenticationError, ConfigError, DeadlineError, GatewayError
from gatewayx_nb.testing import Send, Server, reply
from tests.batch.batch_provider import KEY
from tests.batch.provider_batches.conftest import (
    MODELS,
    ROWS,
    count_outcomes,
    errored,
    repr_after_look,
    results,
    submit,
)


def test_polls_are_ten_seconds_apart_and_then_twice_as_long(pool, model, provider, clock):
    provider.ends = False
    job = submit(pool, model)
    looks = lambda: sum(1 for method, path in provider.seen if path.endswith("batch_1"))  # noqa: E731

    def end_after_nine():
        provider.ends = looks() >= 9

    clock.on_wait = end_after_nine
    job.result()

    assert clock.waits == [10, 20, 40, 80, 160, 300, 300, 300, 300, 300]


def test_progress_asks_only_when_it_is_time_to(pool, model, provider, clock):
    provider.ends = False
    job = submit(pool, model)
    count = len(provider.seen)

    for _ in range(5):
        job.progress()
    assert len(provider.seen) == count
    clock.now += 10
    assert "in_progress" in job.progress().problem
    assert len(provider.seen) == count + 1


def test_while_another_process_collects_nothing_is_asked(pool, model, provider, clock):
    job = submit(pool, model, name="tickets")
    other = pool._maps.results.open_job(job._record.digest, name="tickets")
    assert other.try_drive()
    clock.now += 100
    count = len(provider.seen)

    assert job.progress().state in ("running", "submitted")
    assert not job.done()
    assert len(provider.seen) == count
    clock.on_wait = other.close
    assert list(job.result().answer) == ["A", "B", "C"]


def test_no_thread_is_left_behind(pool, model, provider):
    submit(pool, model, ROWS[:1]).result()
    before = set(threading.enumerate())
    provider.ends = False

    submit(pool, model).progress()

    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if not thread.name.startswith("asyncio_")] == []


def test_a_poll_that_fails_is_not_a_failed_batch(pool, model, provider):
    provider.fail = [500, 503, 429, 500]

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (404, GatewayError)])
def test_a_permanent_error_is_raised_and_the_batch_continues(pool, model, provider, status, kind):
    provider.fail = [status]
    job = submit(pool, model)

    with pytest.raises(kind):
        job.result()
    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_batch_that_the_provider_has_deleted_can_be_discarded(pool, model, provider):
    job = submit(pool, model)
    provider.fail = [404]

    with pytest.raises(GatewayError, match=r"discard\(\)"):
        job.result()
    job.discard()
    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]


def test_result_waits_at_most_its_timeout(pool, model, provider, clock):
    provider.ends = False
    job = submit(pool, model)

    with pytest.raises(DeadlineError, match="did not end within 15 s"):
        job.result(timeout=15)
    assert clock.now == 15
    provider.ends = True
    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_broken_download_is_read_again(pool, model, provider):
    cut = [2]

    def change(lines):
        cut[0] -= 1
        return lines if cut[0] < 0 else lines[: len(lines) - 2]

    results(provider, change)
    job = submit(pool, model)
    # The first download lacks rows that the provider counts as answered; so does the second.
    assert count_outcomes(job.result()) == {"answers": 1, "ProviderError": 2}
    cut[0] = 1
    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]


@pytest.mark.parametrize(
    "other", ["http://127.0.0.1:9/x", "//evil.test/x", "ftp://a", "http://[", ""]
)
def test_a_foreign_results_url_is_not_followed(reopen, provider, other):
    provider.results_url = other

    answers = submit(reopen(), MODELS["anthropic"]).result()

    assert list(answers.answer) == ["A", "B", "C"]


def test_the_key_is_sent_to_no_other_host(reopen, provider):
    with Server([Send(reply(b"{}"))]) as thief:
        own = provider.url.removeprefix("http://")
        for url in (
            f"{thief.url}/v1/messages/batches/batch_1/results",
            f"http://{own}@127.0.0.1:{thief.port}/x",
            f"http://127.0.0.1:{thief.port}\\@{own}/x",
            f"http://127.0.0.1:{thief.port}#{provider.url}",
        ):
            provider.results_url = url
            job = submit(reopen(), MODELS["anthropic"], fresh=True)
            assert list(job.result().answer) == ["A", "B", "C"]
        provider.results_url, provider.redirects = None, thief.url
        job = submit(reopen(), MODELS["anthropic"], fresh=True)
        assert "redirects are not followed" in repr_after_look(job)

        assert thief.requests == []
        assert thief.connections == 0
    provider.redirects = ""
    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_batch_is_looked_for_only_at_its_own_address(reopen, provider, project):
    provider.ends = False
    submit(reopen(), MODELS["anthropic"], name="tickets")
    env = {"GATEWAYX_ANTHROPIC_API_KEY": KEY, "GATEWAYX_ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    with (
        EnginePool(home=project.root, env=env) as other,
        pytest.raises(ConfigError, match="was submitted to"),
    ):
        other.job("tickets").result()


def test_a_key_that_the_provider_repeats_is_masked(pool, model, provider):
    provider.answer = lambda prompt: f"{prompt} {KEY}"
    results(provider, lambda lines: [*lines[:2], errored(lines[2], 400, "x", f"bad {KEY}")])

    answers = submit(pool, model).result()

    assert KEY not in answers.to_csv()
    assert KEY.encode() not in b"".join(
        path.read_bytes() for path in pool._maps.results.path.parent.iterdir() if path.is_file()
    )
