"""Answers that came with a repository are not used: somebody else may have written them."""

from __future__ import annotations

import subprocess

import pytest

from gatewayx_nb.errors import ConfigError
from tests.batch.conftest import CountingEngine

QUIET = {"model": "counting", "progress": False}


def git(project, *arguments):
    subprocess.run(["git", "-C", str(project.root), *arguments], check=True, capture_output=True)


def test_results_that_git_tracks_are_refused(project, pool, reopen):
    pool.map(["a"], "{{input}}", name="theirs", **QUIET)
    pool.close()
    git(project, "init", "-q")
    git(project, "add", "-f", ".gatewayx/results.sqlite")
    engine = CountingEngine()
    mine = reopen(engine)

    with pytest.raises(ConfigError, match="may be part of a repository"):
        mine.map(["a"], "{{input}}", **QUIET)
    with pytest.raises(ConfigError, match="may be part of a repository"):
        mine.job("theirs").result()
    assert not engine.asked

    git(project, "rm", "-q", "--cached", ".gatewayx/results.sqlite")
    assert reopen(engine).map(["a"], "{{input}}", **QUIET)[0].text == "A"


def test_results_beside_a_repository_are_used(project, pool, engine):
    git(project, "init", "-q")
    pool.map(["a"], "{{input}}", **QUIET)
    pool.map(["a"], "{{input}}", **QUIET)

    assert engine.asked == {"a": 1}


def test_batches_that_git_tracks_are_not_looked_at(project, pool, reopen):
    """Otherwise, `jobs NAME` would run an engine of the clone."""
    pool.map(["a"], "{{input}}", name="theirs", **QUIET)
    pool.close()
    git(project, "init", "-q")
    git(project, "add", "-f", ".gatewayx/results.sqlite")

    with pytest.raises(ConfigError, match="may be part of a repository"):
        reopen(CountingEngine()).job("theirs")


def test_results_in_a_repository_are_refused_if_git_does_not_answer(
    project, pool, reopen, monkeypatch, tmp_path
):
    """A kernel may not find git, or git may take too long; the answers may still be cloned."""
    pool.map(["a"], "{{input}}", **QUIET)
    pool.close()
    git(project, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match="may be part of a repository"):
        reopen(CountingEngine()).map(["a"], "{{input}}", **QUIET)
