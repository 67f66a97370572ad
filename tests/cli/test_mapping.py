"""`gatewayx map`: files, resumption and Ctrl-C."""

import csv
import json
import signal
import sys
import time

import pandas as pd
import pytest

PROMPT = ("--prompt", "Say {{city}}", "--model", "mock")


@pytest.fixture
def rows(project):
    """Write a file with two rows."""
    (project.root / "in.csv").write_text("city,id\nRome,007\nOslo,008\n")
    return project.root


def _read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_answers_are_written_beside_the_rows(run, rows):
    """A cell of the input stays as it is, such as `007`."""
    result = run("map", "in.csv", "out.csv", *PROMPT)
    assert (result.status, result.out) == (0, "")
    assert [(row["city"], row["id"], row["answer"]) for row in _read(rows / "out.csv")] == [
        ("Rome", "007", "[mock] Say Rome"),
        ("Oslo", "008", "[mock] Say Oslo"),
    ]


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_the_suffix_chooses_the_format(run, rows, suffix):
    """A file that was written can be read again."""
    assert run("map", "in.csv", f"out.{suffix}", *PROMPT).status == 0
    again = run(
        "map", f"out.{suffix}", "again.jsonl", "--prompt", "Again {{city}}", "--model", "mock"
    )
    assert again.status == 0
    lines = (rows / "again.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["answer"] == "[mock] Again Rome"
    assert json.loads(lines[0])["id"] == "007"


def test_the_same_command_asks_about_no_row_again(run, rows):
    """The answers are stored, also if the output was removed."""
    run("map", "in.csv", "out.csv", *PROMPT)
    (rows / "out.csv").unlink()
    result = run("map", "in.csv", "out.csv", *PROMPT)
    assert "0 asked" in result.err
    assert len(_read(rows / "out.csv")) == 2


def test_failed_rows_are_counted(run, rows):
    """The exit status is 1, and the file has the reason."""
    (rows / "in.csv").write_text('city\nRome\n""\n')
    result = run("map", "in.csv", "out.csv", *PROMPT)
    assert result.status == 1
    assert "1 of 2 rows failed" in result.err
    assert "is missing in this row" in _read(rows / "out.csv")[1]["gx_error"]
    assert run("map", "in.csv", "out.csv", *PROMPT, "--missing", "blank").status == 0


def test_incomplete_answers_are_counted(run, rows):
    """A row whose answer was cut is not a success."""
    result = run("map", "in.csv", "out.csv", "-q", *PROMPT, "-n", "1")
    assert result.status == 1
    assert result.err == "gatewayx: 2 of 2 answers are incomplete; see gx_finish_reason.\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,city\n1,Rome,x\n", "line 2 has 3 fields, but the header has 2"),
        ("id,city\n1\n", "line 2 has 1 fields, but the header has 2"),
        ("id,id,city\n1,2,Rome\n", "2 columns have the name 'id'"),
        ("id,,city\n1,2,Rome\n", "column 2 has no name in the header"),
        ("", "it has no header"),
        ('id,city\n1,"Rome\n', "unexpected end of data"),
    ],
)
def test_a_table_that_pandas_would_guess_at_is_refused(run, rows, text, message):
    """No cell is moved to another column, renamed or dropped."""
    (rows / "in.csv").write_text(text)
    result = run("map", "in.csv", "out.csv", *PROMPT)
    assert result.status == 2
    assert message in result.err


def test_rows_without_common_names_are_refused(run, rows):
    """A file of 10 MB would take all memory."""
    lines = (f'{{"city {number}": 1}}\n' for number in range(4_000))
    (rows / "in.jsonl").write_text("".join(lines))
    result = run("map", "in.jsonl", "out.jsonl", *PROMPT)
    assert result.status == 2
    assert "4,000 rows with 4,000 different names" in result.err


def test_texts_survive_a_round_trip(run, rows):
    """Also those with line breaks, quotation marks, carriage returns and a byte order mark."""
    cells = ["a\rb", 'say "hi"', "x\ny", "\u2028", "007", "NA", " spaces "]
    with (rows / "in.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["city", "id"], *([cell, "1"] for cell in cells)])
    assert run("map", "in.csv", "out.csv", *PROMPT).status == 0
    assert run("map", "in.csv", "out.jsonl", *PROMPT).status == 0
    assert run("map", "in.csv", "out.jsonl", *PROMPT).status == 0  # its own output can be read
    assert [row["city"] for row in _read(rows / "out.csv")] == cells
    lines = (rows / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["city"] for line in lines] == cells


def test_json_values_are_kept(run, rows):
    """Large integers stay integers, and a missing value stays missing."""
    texts = ['{"city":"Rome","n":12345678901234567,"x":0.1234567890123456}', '{"city":"Oslo"}']
    (rows / "in.jsonl").write_text("\n".join(texts))
    assert run("map", "in.jsonl", "out.jsonl", *PROMPT).status == 0
    first, second = map(json.loads, (rows / "out.jsonl").read_text().splitlines())
    assert (first["n"], first["x"]) == (12345678901234567, 0.1234567890123456)
    assert "n" not in second


def test_rows_that_have_no_form_as_parquet_keep_their_answers(run, rows):
    """The error names a format that can hold them."""
    (rows / "in.jsonl").write_text('{"city":"Rome","x":1}\n{"city":"Oslo","x":"a"}\n')
    result = run("map", "in.jsonl", "out.parquet", *PROMPT)
    assert result.status == 3
    assert "The answers are stored" in result.err
    assert "0 asked" in run("map", "in.jsonl", "out.jsonl", *PROMPT).err


def test_a_link_stays_a_link(run, rows):
    """The file to which it points is replaced, and other kinds of files are refused."""
    (rows / "real").mkdir()
    (rows / "link.csv").symlink_to(rows / "real" / "out.csv")
    assert run("map", "in.csv", "link.csv", *PROMPT).status == 0
    assert (rows / "link.csv").is_symlink()
    assert len(_read(rows / "real" / "out.csv")) == 2
    (rows / "folder.csv").mkdir()
    result = run("map", "in.csv", "folder.csv", *PROMPT, "--force")
    assert result.status == 2
    assert "is not a regular file" in result.err


REFUSED = [
    (["in.csv"], "needs two files"),
    (["in.csv", "a.csv", "b.csv"], "needs two files"),
    (["no.csv", "out.csv"], "the file 'no.csv' does not exist"),
    (["in.csv", "out.xlsx"], "the format of 'out.xlsx' is unknown"),
    (["in.csv", "in.csv"], "OUT must not be the same file as IN"),
    (["in.csv", "no/out.csv"], "there is no folder 'no'"),
    (["in.csv", "other.csv"], "is not the output of a map"),
    (["bad.jsonl", "out.csv"], "'bad.jsonl' cannot be read"),
]


@pytest.mark.parametrize(("files", "message"), REFUSED)
def test_files_are_checked_before_anything_is_sent(run, rows, files, message):
    """No file that the user may need is replaced."""
    (rows / "other.csv").write_text("a\n1\n")
    (rows / "bad.jsonl").write_text("{")
    result = run("map", *files, *PROMPT)
    assert result.status == 2
    assert message in result.err
    assert (rows / "other.csv").read_text() == "a\n1\n"
    assert run("map", "in.csv", "other.csv", *PROMPT, "--force").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "mock"], "needs `--prompt TEXT`"),
        (["--prompt", "{{citi}}", "--model", "mock"], "Did you mean 'city'?"),
        (["--prompt", "{{city}}", "--model", "mok"], "Did you mean 'mock'?"),
        (["--prompt", "x", "--concurrency", "0"], "concurrency must be"),
        (["--prompt", "x", "--dry-run", "--max-cost", "1"], "`--max-cost` has no effect with"),
        (["--prompt", "x", "--missing", "no"], "must be one of error, blank"),
    ],
)
def test_an_invalid_option_is_refused(run, rows, words, message):
    """The error is one line, and no file is written."""
    result = run("map", "in.csv", "out.csv", *words)
    assert result.status == 2
    assert message in result.err
    assert not (rows / "out.csv").exists()


def test_a_dry_run_writes_nothing(run, rows):
    """The preview needs no output file."""
    result = run("map", "in.csv", *PROMPT, "--dry-run")
    assert result.status == 0
    assert "to ask" in result.out


def test_pandas_is_optional(run, rows, monkeypatch):
    """Without pandas, the error names the extra."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    result = run("map", "in.csv", "out.csv", *PROMPT)
    assert result.status == 3
    assert 'pip install "gatewayx-nb[data]"' in result.err


def test_ctrl_c_writes_the_rows_that_are_done(start, run, project):
    """The same command continues, and the answers that were paid for are not asked again."""
    count = 400
    pd.DataFrame({"n": range(count)}).to_csv(project.root / "in.csv", index=False)
    words = (
        "map",
        "in.csv",
        "out.csv",
        "--prompt",
        "{{n}}",
        "--model",
        "mock",
        "-p",
        "latency=0.2",
    )
    process = start(*words, "--concurrency", "4")
    store = project.root / ".gatewayx" / "results.sqlite"
    log = store.with_name("results.sqlite-wal")
    deadline = time.monotonic() + 120
    while not (log.exists() and b"[mock] " in log.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"rows are in out.csv." in err
    done = [row for row in _read(project.root / "out.csv") if row["answer"]]
    assert 0 < len(done) < count
    assert {row["answer"] for row in _read(project.root / "out.csv")} - {""} == {
        f"[mock] {row['n']}" for row in done
    }
