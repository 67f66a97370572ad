"""`jobs` and `cancel`, and `gx.job`: maps are listed, described, exported and forgotten."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pandas as pd
import pytest

from gatewayx_nb import background
from gatewayx_nb.commands import run
from gatewayx_nb.errors import ConfigError, ContentFilterError, UsageError
from gatewayx_nb.llm_engines import LLMEngine


class Engine(LLMEngine):
    """Answers in capital letters, and refuses the word "bad"."""

    name, model_name, requires_key = "capital", "m1", False
    features = frozenset({"schema"})

    async def generate(self, prompt, **options):
        if prompt == "bad":
            raise ContentFilterError("refused")
        return '{"name": "Rome"}' if "schema" in options else prompt.upper()


@dataclass
class City:
    """A schema."""

    name: str


@pytest.fixture
def session(project, session_of):
    """Return a session in a project with two maps: a finished one, and one that has failed."""
    with project.pool(engines=Engine()) as pool:
        texts = ["good", "bad", "line\nbreak"]
        pool.map(texts, "{{input}}", "capital", name="tickets", progress=False)
        pool.map(["a"], "City {{input}}", "capital", name="cities", schema=City, progress=False)
        made = session_of(pool)
        made.jobs = background.JobList()
        yield made


def test_the_list_has_a_row_for_each_map(session):
    table = run(session, "jobs")

    cells = [row[:5] for row in table.cells()]
    assert cells == [
        ["cities", "capital:m1", "done", "1", ""],
        ["tickets", "capital:m1", "done", "3", "1"],
    ]
    assert not table.notes


def test_the_list_says_how_to_begin(project, session_of):
    with project.pool() as pool:
        session = session_of(pool)
        session.jobs = background.JobList()
        assert "--map FRAME" in repr(run(session, "jobs"))


@pytest.mark.parametrize("line", ["jobs tickets", "jobs list tickets", "jobs tick"])
def test_a_job_is_described(session, line):
    text = repr(run(session, line))

    for part in ("tickets", "done", "capital:m1", "{{input}}", "jobs export tickets FILE"):
        assert part in text


def test_csv_and_json_lines_hold_every_answer(session, project):
    path = project.root / "answers.csv"
    note = run(session, f"jobs export tickets {path}")
    frame = pd.read_csv(path)

    assert "answers.csv" in repr(note)
    assert dict(zip(frame.prompt, frame.answer.fillna(""), strict=True)) == {
        "good": "GOOD",
        "bad": "",
        "line\nbreak": "LINE\nBREAK",
    }
    path = project.root / "answers.JSONL"
    run(session, f"jobs export tickets {path}")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["prompt"]: line.get("text") for line in lines}["good"] == "GOOD"
    assert {line["prompt"]: line.get("error") for line in lines}["bad"] == "ContentFilterError"


def test_fields_of_a_schema_are_columns(session, project):
    frame = session.pool.job("cities").to_frame()

    assert list(frame.columns[:2]) == ["prompt", "name"]
    assert frame.name[0] == "Rome"
    assert session.pool.job("cities").result()[0].parsed == {"name": "Rome"}


def test_parquet_without_its_package_leaves_no_file(session, project, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    path = project.root / "answers.parquet"

    with pytest.raises(UsageError, match="needs pyarrow"):
        run(session, f"jobs export tickets {path}")

    assert not path.exists()


def test_an_existing_file_is_not_replaced(session, project):
    path = project.root / "answers.csv"
    path.write_text("mine")

    with pytest.raises(ConfigError, match="exists"):
        run(session, f"jobs export tickets {path}")

    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("answers.xlsx", "must end with .parquet, .csv or .jsonl, got 'answers.xlsx'"),
        ("answers", "must end with"),
        ("missing/answers.csv", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_an_error(session, project, file, message, monkeypatch):
    monkeypatch.chdir(project.root)

    with pytest.raises((UsageError, ConfigError), match=message):
        run(session, f"jobs export tickets {file}")


def test_the_last_map_with_a_name_is_forgotten_and_earlier_ones_are_named(session):
    session.pool.map(["x"], "edited {{input}}", "capital", name="tickets", progress=False)

    assert "1 earlier job with this name remains" in repr(run(session, "jobs forget tickets"))
    assert "remain" not in repr(run(session, "jobs forget tickets"))
    assert [row.name for row in run(session, "jobs")] == ["cities"]


def test_only_a_whole_name_is_forgotten(session):
    with pytest.raises(UsageError, match="Did you mean 'tickets'"):
        run(session, "jobs forget tick")
    assert len(run(session, "jobs")) == 2


def test_old_maps_are_forgotten(session):
    assert "0 maps are forgotten" in repr(run(session, "jobs forget --older 30d"))
    assert "2 maps are forgotten" in repr(run(session, "jobs forget --older 0s"))
    assert not run(session, "jobs")


def test_a_finished_job_cannot_be_cancelled(session):
    assert "has already ended: done" in repr(run(session, "cancel tickets"))


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            "jobs exporrt tickets a.csv",
            "must be list, forget or export, got 'exporrt'",
            "help jobs",
        ),
        ("jobs frget", "got 'frget'. Did you mean 'forget'?", "help jobs"),
        (
            "jobs ticketz",
            "there is no job 'ticketz'. Did you mean 'tickets'?",
            "gatewayx_nb.jobs()",
        ),
        (
            "cancel ticketz",
            "there is no job 'ticketz'. Did you mean 'tickets'?",
            "gatewayx_nb.jobs()",
        ),
        ("jobs export tickets", "needs a job and a file", "jobs export tickets answers.csv"),
        ("jobs forget", "needs a job, or `--older`", "jobs forget --older 30d"),
        ("jobs forget tickets a.csv", "`jobs forget` takes no file", "jobs export tickets a.csv"),
        ("jobs --older 3d", "`--older` is only for `jobs forget`", "jobs forget --older 30d"),
        ("jobs forget --older soon", "a string such as '30d'", "got 'soon'"),
    ],
)
def test_mistakes_are_named(session, line, message, hint):
    with pytest.raises(UsageError) as caught:
        run(session, line)

    assert message in caught.value.message
    assert hint in str(caught.value)


def test_an_ambiguous_beginning_names_the_jobs(session):
    for number in range(7):
        session.pool.map(["x"], f"{number} {{{{input}}}}", "capital", progress=False)

    with pytest.raises(UsageError, match=r"7 jobs begin with 'map-': 'map-\w{6}', .*, …"):
        session.pool.job("map-")


def test_a_background_job_is_not_stored(session):
    session.jobs.start("trip", lambda: session.pool.plan_comparison("hi", models=["mock"]))

    assert "'trip'" in repr(run(session, "jobs trip"))
    with pytest.raises(UsageError, match="is not stored"):
        run(session, "jobs export trip a.csv")
    session.jobs.close()


def test_maps_without_a_project_are_found_again(project, session_of, monkeypatch):
    """Without a project folder, the answers are in the user's own folder."""
    import gatewayx_nb

    (project.root / "config" / "gatewayx.toml").unlink(missing_ok=True)
    with gatewayx_nb.EnginePool(engines=Engine()) as pool:
        pool.map(["a"], "{{input}}", "capital", name="alone", progress=False)
    with gatewayx_nb.EnginePool(engines=Engine()) as pool:
        assert pool.job("alone").result()[0].text == "A"


def test_while_a_cassette_is_replayed_no_stored_answers_are_read(session, project):
    path = project.root / "tape.jsonl"
    with session.pool.cassette(path):
        session.pool.map(["good"], "{{input}}", "capital", name="tickets", progress=False)
    with session.pool.cassette(path, mode="replay"):
        assert not session.pool.map_jobs()
        with pytest.raises(UsageError, match="while a cassette is being replayed"):
            session.pool.job("tickets")
