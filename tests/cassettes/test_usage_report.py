"""The report in which one process tells another which entries are unused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayx_nb.cassettes import finish_all, read_usage

REPOSITORY = Path(__file__).parents[2]
PROMPTS = ("One", "Two", "Three")


@pytest.fixture
def path(project, tmp_path):
    """Return a cassette with three entries."""
    path = tmp_path / "a.jsonl"
    ask_with_cassette(project, path, *PROMPTS)
    return path


@pytest.fixture
def report(path, tmp_path, monkeypatch):
    """Return the path in GATEWAYX_CASSETTE_REPORT, to which the report is written."""
    report = tmp_path / "report.jsonl"
    monkeypatch.setenv("GATEWAYX_CASSETTE_REPORT", str(report))
    return report


def ask_with_cassette(project, path, *prompts, mode="auto"):
    """Make calls with a cassette."""
    with project.pool() as pool, pool.cassette(path, mode):
        for prompt in prompts:
            pool.ask(prompt, model="mock")


def test_a_closed_cassette_appends_a_line(project, path, report):
    """The line contains the path, the number of entries and the unused entries, but no prompts."""
    ask_with_cassette(project, path, "Two", mode="replay")
    line = json.loads(report.read_text())

    assert (line["path"], line["entries"], len(line["unused"])) == (str(path), 3, 2)
    assert not any(prompt in report.read_text() for prompt in PROMPTS)


def test_an_entry_used_in_any_session_is_not_reported(project, path, report):
    """If a file is opened several times, an entry is unused only if it was never used."""
    ask_with_cassette(project, path, "One")
    ask_with_cassette(project, path, "Two")
    ((reported, usage),) = read_usage(report).items()

    assert (reported, usage.entries, len(usage.unused)) == (path, 3, 1)


def test_an_open_cassette_is_reported_when_all_are_finished(project, path, report):
    """finish_all() reports open cassettes, because a kernel may be killed before it closes them."""
    with project.pool() as pool, pool.cassette(path):
        pool.ask("One", model="mock")
        finish_all()
        assert len(read_usage(report)[path].unused) == 2


def test_an_open_cassette_is_reported_when_python_exits(path, report):
    script = (
        "import gatewayx_nb as gx;"
        f"gx.cassette({str(path)!r}, 'replay'); print(gx.ask('One', model='mock'))"
    )
    subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip

    assert len(read_usage(report)[path].unused) == 2


def test_a_cassette_that_is_off_is_not_reported(project, path, report):
    ask_with_cassette(project, path, "One", mode="off")

    assert not report.exists()


def test_without_the_variable_nothing_is_written(project, path, tmp_path):
    ask_with_cassette(project, path, "One")

    assert sorted(child.name for child in tmp_path.iterdir()) == [".gatewayx", "a.jsonl", "project"]


def test_a_report_that_cannot_be_written_logs_a_warning(project, path, report, caplog):
    report.mkdir()
    ask_with_cassette(project, path, "One")

    assert "GATEWAYX_CASSETTE_REPORT" in caplog.text
