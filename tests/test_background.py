"""Background jobs, run with scripted engines."""

import pytest

from gatewayx_nb.background import JobList
from gatewayx_nb.errors import DeadlineError, ProviderError, UsageError
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop")


@pytest.fixture
def jobs(project):
    """Yield a list of jobs, and a function that starts a job with a scripted engine."""
    pools, jobs = [], JobList()

    def start(name, *script, models=("scripted",)):
        pools.append(project.pool(engines=[ScriptedEngine(list(script))]))
        return jobs.start(name, lambda: pools[-1].plan_comparison("hi", models=models))

    yield jobs, start
    jobs.close()
    for pool in pools:
        pool.close()


def test_the_result_is_a_reply_or_a_comparison(jobs):
    """The result is a reply for one model and a comparison for several models."""
    _, start = jobs
    reply_job = start("single", "a", END)
    comparison_job = start("comparison", "a", END, models=("scripted", "mock"))

    assert reply_job.result().text == "a"
    assert (reply_job.state, reply_job.done()) == ("done", True)
    assert [reply.text for reply in comparison_job.result()] == ["a", "[mock] hi"]
    assert repr(comparison_job) == "Job('comparison', scripted mock, done)"


def test_the_error_of_a_job_is_raised_by_result(jobs):
    """The error of a failed job is raised by `result`."""
    _, start = jobs
    job = start("bad", ValueError("oh"))

    with pytest.raises(ProviderError, match="ValueError: oh"):
        job.result()
    assert job.state == "failed"


def test_a_cancelled_job_returns_its_partial_reply(jobs):
    """A cancelled job returns its partial reply and closes its connection.

    Cancelling it again has no effect.
    """
    _, start = jobs
    job = start("long", "half", 60, "never", END)
    while not job._run.columns[0].partial.has_begun:
        job._run.join(0.01)

    assert (job.cancel(), job.cancel()) == (True, False)
    assert (job.result().text, job.result().interrupted, job.state) == ("half", True, "cancelled")


def test_a_timeout_of_result_does_not_end_the_job(jobs):
    """If `result` times out, it raises an error and the job continues."""
    _, start = jobs
    job = start("slow", 60, END)

    with pytest.raises(DeadlineError, match="'slow' is still running"):
        job.result(timeout=0)
    assert job.state == "running"


def test_the_name_of_a_running_job_cannot_be_reused(jobs):
    """The name of a running job cannot be reused; the name of an ended job can be."""
    job_list, start = jobs
    job = start("same", 60, END)
    with pytest.raises(UsageError, match="'same' is still running") as error:
        start("same", "a", END)
    assert "gatewayx_nb.job('same').cancel()" in str(error.value.hint)
    job.cancel()

    assert start("same", "b", END).result().text == "b"
    assert start(None, "c", END).name == "job2"
    with pytest.raises(UsageError, match="Did you mean 'same'"):
        job_list.require("samee")
