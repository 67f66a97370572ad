"""The frame and the files of an evaluation, with rows and scores of any name and type."""

import csv
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.evaluation import Score, evaluate, load_evaluation
from tests.canary import KEY, leaks

from .conftest import make_evaluation


@pytest.mark.parametrize("name", ["id", "answer", "variant", "model", "error", "cost", "sample"])
def test_a_score_may_have_the_name_of_a_column(name):
    """The column of the answers remains, and the score has one of its own."""
    result = make_evaluation({"plain": [0.25] * 12}, name=name)
    frame, plain = result.to_frame(), make_evaluation({"plain": [0.25] * 12}).to_frame()
    assert frame[f"score_{name}"].tolist() == [0.25] * 12
    pd.testing.assert_series_equal(frame[name], plain[name])


def test_a_score_may_have_the_name_of_the_reason_of_another():
    result = make_evaluation({"plain": [Score(value=True, reason="why")] * 2}, name="ok")
    for cell in result.cells:
        cell.scores["ok_reason"] = Score(value=False)
    frame = result.to_frame()
    assert frame["ok_reason"].tolist() == ["why", "why"]
    assert frame["score_ok_reason"].tolist() == [False, False]


def test_no_column_of_the_rows_is_lost(pool):
    """Whatever the columns are called, each has one in the frame."""
    values = ["id", "input_id", "answer", "input_answer", "ok", 3, "3", ("a", "b"), "gx_error"]
    row = {"sum": "1+1", **{name: f"value of {name}" for name in values}}
    result = evaluate([row], "{{sum}}", "solver", {"ok": lambda row: len(row) > 1}, pool=pool)
    (record,) = result.to_frame().to_dict("records")
    assert {f"value of {name}" for name in values} <= {
        value for value in record.values() if isinstance(value, str)
    }


def test_nothing_in_a_csv_file_is_a_formula(pool, tmp_path):
    """Neither are the names of columns and scores, nor the text of an object."""
    row = {"sum": "1+1", "=1+1": "@x", "line": "\n=1", "object": pd.Period("2020", "Y")}
    scorers = {"=score": lambda text: "+label"}
    path = evaluate([row], "{{sum}}", "solver", scorers, pool=pool).save(tmp_path / "cells.csv")
    with path.open(newline="") as file:
        for cell in (cell for line in csv.reader(file) for cell in line):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@dataclasses.dataclass
class Point:
    """A value of a row."""

    x: int


@pytest.mark.parametrize(
    "value",
    [
        np.int64(3),
        {1: {(1, 2): 3}, "a": 4},
        "\ud800",
        {"\ud800": ["\udfff"]},
        b"\xff",
        Point(3),
        {1, 2},
        float("nan"),
        pd.Timestamp("2020-01-01"),
        10**30,
    ],
    ids=[
        *("numpy", "keys", "surrogate", "nested surrogates", "bytes", "dataclass", "set", "nan"),
        *("timestamp", "large"),
    ],
)
def test_a_row_of_any_type_is_the_same_after_loading(pool, sums, tmp_path, value):
    """A loaded evaluation and a baseline have the rows of the one that was saved."""
    rows = [{**row, "value": value} for row in sums]
    result = evaluate(rows, "{{sum}}", "solver", {"ok": lambda text: text != "x"}, pool=pool)
    loaded = load_evaluation(result.save(tmp_path / "result.json"))
    base = result.save_baseline(tmp_path / "base.json")
    result.check(no_worse_than=loaded)
    loaded.check(no_worse_than=base)
    assert len(result.to_frame()) == len(sums)


@dataclasses.dataclass
class Secret:
    """A value that does not show its key."""

    key: str = dataclasses.field(repr=False)


class Shown:
    """A value whose text alone has the key."""

    def __repr__(self):
        return f"Shown {KEY}"


@pytest.mark.parametrize(
    "value",
    [Secret(KEY), Shown(), KEY.encode(), {"a": (Secret(KEY), [KEY.encode()])}, pd.Series([KEY])],
    ids=["hidden field", "text", "bytes", "nested", "series"],
)
def test_no_key_is_in_a_value_of_any_type(project, tmp_path, value):
    """Also not in the widgets of the view."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY='{KEY}'\n")
    rows = [{"text": f"text {number}", "value": value} for number in range(3)]
    with project.pool() as pool:
        result = evaluate(rows, "{{text}}", "mock", {"ok": lambda row: "value" in row}, pool=pool)
        view = gx.evaluation_view(result)
        shown = [view._inputs.value, result.to_frame().to_csv(), repr(result.rows)]
        shown += [result.save(tmp_path / f"r.{kind}").read_text() for kind in ("json", "csv", "md")]
        view.close()
    assert not [found for text in shown for found in leaks(text)]


def test_a_value_without_a_key_keeps_its_type(pool):
    values = [Point(1), b"bytes", np.arange(2), {1, 2}]
    row = {"sum": "1+1", "values": values}
    result = evaluate([row], "{{sum}}", "solver", pool=pool)
    assert [type(each) for each in result.rows.inputs[0]["values"]] == list(map(type, values))


def test_a_long_label_is_shortened_in_a_table():
    result = make_evaluation({"plain": ["word " * 200] * 12})
    assert max(map(len, repr(result).splitlines())) < 140


def _paths(value, path=()):
    """Yield the path of every value in JSON data, of two items of each list."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:2]) if isinstance(value, list) else items
    for key, each in items:
        yield (*path, key)
        yield from _paths(each, (*path, key))


@pytest.mark.parametrize(
    "value",
    [None, -1, "x", [], {}, 1.5, True],
    ids=["null", "-1", "x", "list", "dict", "1.5", "true"],
)
def test_a_changed_value_in_a_file_is_one_error_or_none(pool, sums, tmp_path, value):
    """A file that can be loaded can be used: every value of another type is found at once."""
    rows = [{**row, "page": number % 2} for number, row in enumerate(sums)]
    result = evaluate(
        rows[:2], "{{sum}}", "solver", gx.scorers.equals, expected="result", cluster="page",
        pool=pool,
    )  # fmt: skip
    result.vote(0, "solver", value=True)
    path = result.save(tmp_path / "result.json")
    content = path.read_text()
    for *parents, last in _paths(json.loads(content)):
        changed = place = json.loads(content)
        for key in parents:
            place = place[key]
        place[last] = value
        path.write_text(json.dumps(changed))
        try:
            loaded = load_evaluation(path)
        except ConfigError:
            continue
        shown = [repr(loaded), loaded._repr_html_(), repr(loaded.failures())]
        assert all(shown)
        assert len(loaded.to_frame()) == len(loaded.cells)
