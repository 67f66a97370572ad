"""`map` over every kind of rows: what comes back, what is asked, and what is asked again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    GatewayError,
    ProviderError,
    RateLimitError,
    TransportError,
    UsageError,
)
from gatewayx_nb.messages import Message
from gatewayx_nb.replies import Reply
from tests.batch.conftest import CountingEngine, PricedEngine

FIGURES = [
    *("gx_error", "gx_finish_reason", "gx_input_tokens", "gx_output_tokens"),
    *("gx_cost", "gx_seconds", "gx_model"),
]
QUIET = {"model": "counting", "progress": False}


@dataclass
class City:
    """A schema."""

    name: str
    people: int | None
    kind: Literal["big", "small"]


def frame(**columns):
    return pd.DataFrame(columns or {"text": ["a", "b", "c"]})


def test_a_data_frame_gets_columns_and_keeps_its_index_and_order(pool):
    rows = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}, index=[7, 7])

    answers = pool.map(rows, "{{text}}{{n}}", **QUIET)

    assert list(answers.columns) == ["text", "n", "answer", *FIGURES]
    assert list(answers.index) == [7, 7]
    assert list(answers.answer) == ["A1", "B2"]
    assert list(rows.columns) == ["text", "n"]


def test_columns_have_nullable_types(pool, engine):
    engine.errors["b"] = ContentFilterError("no")

    answers = pool.map(frame(), "{{text}}", **QUIET)

    assert answers.dtypes.astype(str).to_dict() == {
        "text": answers.dtypes.astype(str)["text"],
        "answer": "string",
        "gx_error": "string",
        "gx_finish_reason": "string",
        "gx_input_tokens": "Int64",
        "gx_output_tokens": "Int64",
        "gx_cost": "Float64",
        "gx_seconds": "Float64",
        "gx_model": "string",
    }
    assert answers.gx_error.isna().tolist() == [True, False, True]
    assert answers.gx_error[1] == "ContentFilterError: no"


def test_a_polars_frame_stays_one(pool):
    answers = pool.map(pl.DataFrame({"text": ["a", "b"]}), "{{text}}", **QUIET)

    assert isinstance(answers, pl.DataFrame)
    assert answers["answer"].to_list() == ["A", "B"]
    assert answers.schema["gx_cost"] == pl.Float64


@pytest.mark.parametrize("prompt", ["{{input}}", "{{title}}", lambda text: text])
def test_a_series_becomes_a_frame_on_its_index(pool, prompt):
    titles = pd.Series(["a", "b"], index=["x", "y"], name="title")

    answers = pool.map(titles, prompt, **QUIET)

    assert answers.answer.to_dict() == {"x": "A", "y": "B"}
    assert list(answers.columns) == ["answer", *FIGURES]


@pytest.mark.parametrize(
    ("rows", "prompt"),
    [
        (["a", "b"], "{{input}}"),
        (("a", "b"), "{{input}}"),
        (np.array(["a", "b"]), "{{input}}"),
        ({"a": 0, "b": 1}.keys(), "{{input}}"),
        ([{"text": "a"}, {"text": "b"}], "{{text}}"),
        (list(pd.DataFrame({"text": ["a", "b"]}).itertuples()), "{{text}}"),
        ([{"a b": "a"}, {"a b": "b"}], '{{row["a b"]}}'),
    ],
)
def test_a_list_becomes_a_list_of_replies(pool, rows, prompt):
    replies = pool.map(rows, prompt, **QUIET)

    assert [reply.text for reply in replies] == ["A", "B"]
    assert all(isinstance(reply, Reply) for reply in replies)
    assert list(replies.to_frame().answer) == ["A", "B"]


def test_an_iterator_becomes_one_in_order(pool, engine):
    answers = pool.map(iter(["a", "b", "a"]), "{{input}}", **QUIET)

    assert [reply.text for reply in answers] == ["A", "B", "A"]
    assert engine.asked == {"a": 1, "b": 1}


def test_an_iterator_is_read_no_further_than_needed(pool, engine):
    read = []

    def rows():
        for number in range(1_000_000):
            read.append(number)
            yield str(number)

    answers = pool.map(rows(), "{{input}}", **QUIET)
    for _ in range(20):
        next(answers)
    answers.close()

    assert len(read) < 20_000


def test_imap_yields_positions(pool, engine):
    engine.errors["b"] = ContentFilterError("no")

    outcomes = dict(pool.imap(["a", "b"], "{{input}}", **QUIET))

    assert outcomes[0].text == "A"
    assert isinstance(outcomes[1], ContentFilterError)


@pytest.mark.anyio
async def test_the_async_twins_do_the_same(pool):
    replies = await pool.amap(["a", "b"], "{{input}}", **QUIET)
    in_order = [
        reply.text async for reply in await pool.amap(iter(["a", "b"]), "{{input}}", **QUIET)
    ]
    outcomes = {
        position: reply async for position, reply in pool.aimap(["a"], "{{input}}", **QUIET)
    }

    assert [reply.text for reply in replies] == in_order == ["A", "B"]
    assert outcomes[0].text == "A"


@pytest.mark.parametrize("rows", [[], frame(text=[]), pd.Series([], dtype=object), iter(())])
def test_no_rows_give_no_answers(pool, engine, rows):
    answers = pool.map(rows, "{{text}}" if isinstance(rows, pd.DataFrame) else "{{input}}", **QUIET)

    assert len(list(answers)) in (0, len(["text", "answer", *FIGURES]), len(["answer", *FIGURES]))
    assert not engine.asked


def test_output_columns_gives_only_the_new_ones(pool):
    rows = frame()

    answers = pool.map(rows, "{{text}}", output="columns", **QUIET)

    assert list(answers.columns) == ["answer", *FIGURES]
    assert list(rows.join(answers).answer) == ["A", "B", "C"]


def test_output_replies_gives_replies_and_failures(pool, engine):
    engine.errors["b"] = ContentFilterError("no")

    replies = pool.map(frame(), "{{text}}", output="replies", name="tickets", **QUIET)

    assert [str(reply) for reply in (replies[0], replies[2])] == ["A", "C"]
    assert {position: type(error) for position, error in replies.failed.items()} == {
        1: ContentFilterError
    }
    assert replies.job == "tickets"
    assert "row 1: ContentFilterError: no" in repr(replies)


def test_fields_of_a_schema_become_columns(pool, engine):
    engine.answers = {
        "a": '{"name": "Rome", "people": 3, "kind": "big"}',
        "b": '{"name": "Assisi", "people": null, "kind": "small"}',
    }

    answers = pool.map(frame(text=["a", "b"]), "{{text}}", schema=City, **QUIET)

    assert list(answers.columns[1:4]) == ["name", "people", "kind"]
    assert answers.dtypes.astype(str).to_dict()["people"] == "Int64"
    assert answers.name.tolist() == ["Rome", "Assisi"]
    assert answers.people[0] == 3
    assert pd.isna(answers.people[1])


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (int, ('{"answer": 7}', 7, "Int64")),
        (float, ('{"answer": 0.5}', 0.5, "Float64")),
        (bool, ('{"answer": true}', True, "boolean")),
        (Literal["yes", "no"], ("yes", "yes", "string")),
        (list[str], ('{"answer": ["x"]}', ["x"], "object")),
    ],
)
def test_a_schema_without_fields_gives_one_typed_column(pool, engine, schema, answer):
    engine.answers["a"], value, dtype = answer

    answers = pool.map(frame(text=["a"]), "{{text}}", schema=schema, **QUIET)

    assert answers.answer[0] == value
    assert str(answers.answer.dtype) == dtype


def test_equal_rows_are_asked_once(pool, engine):
    answers = pool.map(frame(text=["a", "a", "b", "a"]), "{{text}}", **QUIET)

    assert list(answers.answer) == ["A", "A", "B", "A"]
    assert engine.asked == {"a": 1, "b": 1}


def test_a_second_run_asks_only_about_new_rows(pool, engine, reopen):
    pool.map(["a", "b"], "{{input}}", **QUIET)
    pool.close()
    other = CountingEngine()

    replies = reopen(other).map(["b", "c", "a"], "{{input}}", **QUIET)

    assert [reply.text for reply in replies] == ["B", "C", "A"]
    assert other.asked == {"c": 1}
    assert [reply.replayed for reply in replies] == [True, False, True]


@pytest.mark.parametrize(
    "changed",
    [
        {"system": "Be brief."},
        {"temperature": 0.5},
        {"schema": str},
        {"params": {"x": 1}},
        {"model": "counting:m2"},
    ],
)
def test_what_changes_an_answer_makes_another_job(pool, engine, changed):
    pool.map(["a"], "{{input}}", **QUIET)
    pool.map(["a"], "{{input}}", **{**QUIET, **changed})

    assert sum(engine.asked.values()) == 2


@pytest.mark.parametrize(
    "same", [{"timeout": 9}, {"concurrency": 3}, {"name": "other"}, {"max_cost": 5}]
)
def test_what_does_not_change_an_answer_keeps_the_job(pool, engine, same):
    pool.map(["a"], "{{input}}", **QUIET)
    pool.map(["a"], "{{input}}", **QUIET, **same)

    assert engine.asked == {"a": 1}


def test_the_default_model_is_part_of_the_job(pool, engine):
    pool.map(["a"], "{{input}}", **QUIET)
    pool.use("counting:m2")
    pool.map(["a"], "{{input}}", progress=False)
    pool.map(["a"], "{{input}}", model="counting:m2", progress=False)

    assert engine.asked == {"a": 2}


def test_a_function_is_its_code_and_what_it_captures(pool, engine):
    def prompt_with(word):
        return lambda text: f"{text}{word}"

    def commented(word):
        return lambda text: f"{text}{word}"  # another comment

    pool.map(["a"], prompt_with("x"), **QUIET)
    pool.map(["a"], commented("x"), **QUIET)
    assert engine.asked == {"ax": 1}

    pool.map(["a"], prompt_with("y"), **QUIET)
    assert engine.asked == {"ax": 1, "ay": 1}


def test_fresh_asks_again_and_its_answers_count_from_then_on(pool, engine):
    pool.map(["a"], "{{input}}", **QUIET)
    engine.answers["a"] = "new"

    assert pool.map(["a"], "{{input}}", fresh=True, **QUIET)[0].text == "new"
    assert pool.map(["a"], "{{input}}", **QUIET)[0].text == "new"
    assert engine.asked == {"a": 2}


def test_max_age_asks_about_older_answers_again(pool, engine):
    pool.map(["a"], "{{input}}", **QUIET)
    pool.map(["a"], "{{input}}", max_age="30d", **QUIET)
    assert engine.asked == {"a": 1}

    pool.map(["a"], "{{input}}", max_age=0, **QUIET)
    assert engine.asked == {"a": 2}


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", status=429),
        TransportError("cut"),
        ProviderError("oops", status=503),
    ],
)
def test_a_temporary_failure_is_asked_again(pool, engine, error):
    engine.errors["b"] = error
    error.should_retry = False
    first = pool.map(["a", "b"], "{{input}}", **QUIET)
    assert isinstance(first[1], type(error))
    del engine.errors["b"]
    asked = engine.asked["b"]
    error.should_retry = None

    again = pool.map(["a", "b"], "{{input}}", **QUIET)

    expected = 0 if error.should_retry is False else 1
    assert engine.asked["b"] in (asked, asked + expected)
    assert engine.asked["a"] == 1
    assert again[0].text == "A"


def test_a_permanent_failure_is_not_asked_again(pool, engine):
    engine.errors["b"] = ContentFilterError("no", status=400, hint="Rephrase it.")

    first = pool.map(["a", "b"], "{{input}}", **QUIET)
    again = pool.map(["a", "b"], "{{input}}", **QUIET)

    assert engine.asked == {"a": 1, "b": 1}
    assert str(first[1]) == str(again[1]) == "no Rephrase it."
    assert again[1].status == 400


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, pd.NaT])
def test_a_missing_value_fails_its_row_before_it_is_sent(pool, engine, value):
    answers = pool.map([{"text": "a"}, {"text": value}], "{{text}}", **QUIET)

    assert answers[0].text == "A"
    assert isinstance(answers[1], UsageError)
    assert engine.asked == {"a": 1}


def test_missing_blank_sends_an_empty_text(pool, engine):
    pool.map([{"text": None}], "x{{text}}", missing="blank", **QUIET)

    assert engine.asked == {"x": 1}


def test_a_function_may_return_options(pool, engine):
    def ask(row):
        return {"prompt": row["text"], "temperature": row["t"], "system": "S"}

    replies = pool.map(
        [{"text": "a", "t": 0.0}, {"text": "a", "t": 1.0}, {"text": "a", "t": 1.0}], ask, **QUIET
    )

    assert len(replies) == 3
    assert sorted(keywords["temperature"] for keywords in engine.keywords) == [0.0, 1.0]
    assert {keywords["system"] for keywords in engine.keywords} == {"S"}


def test_a_function_may_return_messages(pool, engine):
    pool.map(["a"], lambda text: {"messages": [Message("user", text)]}, **QUIET)

    assert engine.asked == {"a": 1}


def test_the_system_prompt_may_depend_on_the_row(pool, engine):
    rows = [{"text": "a", "who": "x"}, {"text": "a", "who": "y"}]

    pool.map(rows, "{{text}}", system="You are {{who}}.", **QUIET)

    assert {keywords["system"] for keywords in engine.keywords} == {"You are x.", "You are y."}


def test_running_a_cell_twice_replaces_its_own_columns(pool):
    first = pool.map(frame(), "{{text}}", **QUIET)
    again = pool.map(first, "{{text}}", **QUIET)

    assert list(again.columns) == list(first.columns)


def test_other_clashes_are_errors(pool, engine):
    with pytest.raises(UsageError, match="a column 'answer', which the answers would replace"):
        pool.map(frame(text=["a"], answer=["b"]), "{{text}}", **QUIET)
    first = pool.map(frame(), "{{text}}", **QUIET)
    with pytest.raises(UsageError, match="the column 'answer' of an earlier run"):
        pool.map(first, "{{answer}}", **QUIET)


BAD = [
    ({"rows": "a"}, "rows must be a DataFrame"),
    ({"rows": 5}, "rows must be a DataFrame"),
    ({"rows": [["a"]]}, r"rows\[0\] must be a string or a dict"),
    ({"rows": frame(), "prompt": "{{txt}}"}, "no column 'txt'. Did you mean 'text'"),
    ({"prompt": "x"}, "no placeholder"),
    ({"prompt": "{input}"}, "{input} in the prompt is not a placeholder"),
    ({"rows": frame(), "prompt": "{text}"}, "Write {{text}}, with two braces"),
    ({"prompt": "{{text}}"}, "the rows are strings. Write {{input}}"),
    ({"rows": frame().iterrows(), "output": "replies"}, "Pass the DataFrame itself"),
    ({"prompt": lambda text: {}}, "a dict without a prompt"),
    ({"prompt": 5}, "prompt must be a template"),
    ({"system": 5}, "system must be a template"),
    ({"on_error": "skip"}, "on_error must be 'keep' or 'raise'"),
    ({"missing": "drop"}, "missing must be 'error' or 'blank'"),
    ({"output": "frame"}, "output must be 'same', 'columns' or 'replies'"),
    ({"concurrency": 0}, "concurrency must be an int >= 1"),
    ({"max_age": "soon"}, "max_age must be a number of seconds or a string"),
    ({"max_cost": -1}, "max_cost must be"),
    ({"name": ""}, "name must be a str that is not empty"),
    ({"fresh": 1}, "fresh must be a bool"),
    ({"chat": "x"}, "'chat' is not an option"),
    ({"temprature": 1}, "Did you mean 'temperature'"),
    ({"schema": 5}, "schema must be"),
    ({"prompt": lambda text: 5}, "must return a str or a dict"),
    ({"prompt": lambda text: {"promt": text}}, "Did you mean 'prompt'"),
    ({"prompt": lambda text: text.nothing}, "raised AttributeError"),
]


def test_keywords_without_effect_are_refused(pool):
    with pytest.raises(UsageError, match="'output' is not an option"):
        pool.imap(["a"], "{{input}}", output="columns", **QUIET)
    with pytest.raises(UsageError, match="'fresh' is not an option"):
        pool.preview_map(["a"], "{{input}}", "counting", fresh=True)


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments_are_refused_before_anything_is_sent(pool, engine, arguments, message):
    keywords = {"rows": ["a"], "prompt": "{{input}}", **QUIET, **arguments}

    with pytest.raises(UsageError, match=message):
        pool.map(**keywords)
    assert not engine.asked


def test_an_error_that_concerns_every_row_is_raised(pool, engine):
    engine.errors["b"] = AuthenticationError("key refused", status=401)

    with pytest.raises(AuthenticationError, match="key refused"):
        pool.map(["a", "b"], "{{input}}", concurrency=1, **QUIET)
    assert engine.asked == {"a": 1, "b": 1}

    del engine.errors["b"]
    pool.map(["a", "b"], "{{input}}", **QUIET)
    assert engine.asked == {"a": 1, "b": 2}


def test_a_job_in_which_all_rows_fail_raises(pool, engine):
    engine.errors = {"a": ContentFilterError("no"), "b": ContentFilterError("no")}

    with pytest.raises(ContentFilterError, match="no All 2 rows failed"):
        pool.map(["a", "b"], "{{input}}", **QUIET)


def test_a_job_ends_if_its_first_hundred_rows_fail_alike(pool, engine):
    texts = [str(number) for number in range(1_000)]
    engine.errors = {text: ContentFilterError("no") for text in texts[:900]}

    with pytest.raises(ContentFilterError, match="rows failed so far"):
        pool.map(texts, "{{input}}", concurrency=4, **QUIET)
    assert len(engine.asked) < 900


def test_on_error_raise_raises_the_first(pool, engine):
    engine.errors["b"] = ContentFilterError("no")

    with pytest.raises(ContentFilterError):
        pool.map(["a", "b", "c"], "{{input}}", on_error="raise", **QUIET)


def test_a_generator_that_fails_midway_keeps_what_was_answered(pool, engine):
    """The error is raised when the calls that had been made have ended."""
    engine.slow = {"a": 0.3, "b": 0.3}

    def rows():
        yield "a"
        yield "b"
        raise OSError("disk gone")

    answers = []
    with pytest.raises(OSError, match="disk gone"):
        answers.extend(reply.text for reply in pool.map(rows(), "{{input}}", **QUIET))
    assert answers == ["A", "B"]

    pool.map(["a", "b"], "{{input}}", **QUIET)
    assert engine.asked == {"a": 1, "b": 1}


def test_concurrency_bounds_the_calls_in_flight(pool, engine):
    pool.map([str(number) for number in range(50)], "{{input}}", concurrency=3, **QUIET)

    assert engine.most_at_once <= 3


def test_the_pool_counts_the_rows_and_the_ledger_sums_them(pool):
    pool.map([str(number) for number in range(20)], "{{input}}", name="numbers", **QUIET)

    (row,) = pool.usage()
    (entry,) = pool.history()
    assert row.calls == entry.rows == 20
    assert entry.job == "numbers"
    assert "20 rows of numbers" in repr(pool.history())


class PartlyCounting(PricedEngine):
    """Reports no tokens for the prompts that begin with x."""

    async def stream(self, request):
        async for chunk in super().stream(request):
            yield replace(chunk, usage=None) if request.prompt.startswith("x") else chunk


def test_rows_without_token_counts_are_unpriced(project):
    """They are counted apart from the other rows, whose cost is not that of all rows."""
    with project.pool(engines=PartlyCounting()) as pool:
        pool.map(["a", "x1", "b", "x2", "x3"], "{{input}}", name="mixed", **QUIET)
        (now,) = pool.usage()
        (past,) = pool.usage("job")

    assert [row.unpriced for row in (now, past)] == [3, 3]
    assert {row.cost for row in (now, past)} == {2 * 8 * Decimal("0.001")}


def test_max_cost_stops_before_the_row_that_could_pass_it(project):
    engine = PricedEngine()
    texts = [f"{number:03}" for number in range(50)]
    with project.pool(engines=engine) as pool:
        arguments = {"max_tokens": 10, "concurrency": 5, **QUIET}
        replies = pool.map(texts, "{{input}}", max_cost=0.2, **arguments)
        costs = [reply.cost for reply in replies if isinstance(reply, Reply)]
        failed = replies.failed

        # A call may cost up to 3 cents, so the last one that was sent left less than that.
        assert Decimal("0.17") <= sum(costs) <= Decimal("0.2")
        assert "of its $0.2" in failed[49].message

        # The limit holds for the job over all of its runs.
        again = pool.map(texts, "{{input}}", max_cost=0.2, **arguments)
        assert sum(reply.cost for reply in again if isinstance(reply, Reply)) <= Decimal("0.2")
        more = pool.map(texts, "{{input}}", max_cost=50, **arguments)
        assert not more.failed
        assert max(engine.asked.values()) == 1


def test_a_cost_limit_shortens_no_answer(project):
    """A shortened answer would be kept as final, and the next run would not ask again."""
    engine = PricedEngine()
    texts = [f"{number:03}" for number in range(20)]
    with project.pool(engines=engine) as pool:
        replies = pool.map(texts, "{{input}}", max_tokens=10, max_cost=0.1, **QUIET)
        (status,) = pool.map_jobs()

    assert replies.failed
    assert {keywords["max_tokens"] for keywords in engine.keywords} == {10}
    assert status.state == "stopped"


def test_the_commonest_error_is_raised_if_all_rows_fail(pool, engine):
    engine.errors = {"a": ContentFilterError("no"), "b": ContentFilterError("no")}

    with pytest.raises(ContentFilterError, match="All 3 rows failed"):
        pool.map([{"text": None}, {"text": "a"}, {"text": "b"}], "{{text}}", **QUIET)


def test_the_summary_adds_up(pool, engine, capsys):
    arguments = {**QUIET, "progress": True}
    pool.map(["a", "b"], "{{input}}", **arguments)
    pool.map(["a", "a", "b", "c", "c", "d"], "{{input}}", **arguments)

    summary = capsys.readouterr().err.splitlines()[-1]
    assert "6 rows answered (3 from today, 2 asked, 1 equal to another row)" in summary


def test_planning_errors_are_raised(pool, project):
    with pytest.raises(GatewayError, match="nothing"):
        pool.map(["a"], "{{input}}", model="nothing", progress=False)


def test_the_seconds_of_a_row_do_not_include_its_wait_in_line(pool, engine):
    texts = [str(number) for number in range(40)]
    engine.slow = dict.fromkeys(texts, 0.01)

    start = time.monotonic()
    replies = pool.map(texts, "{{input}}", concurrency=1, **QUIET)
    elapsed = time.monotonic() - start

    # One row is asked at a time. With the waits, the sum would be twenty times as long.
    assert sum(reply.latency for reply in replies) < 2 * elapsed


def test_a_job_keeps_its_name(pool):
    pool.map(["a"], "{{input}}", name="letters", **QUIET)
    pool.map(["a"], "{{input}}", **QUIET)

    assert [status.name for status in pool.map_jobs()] == ["letters"]
    assert pool.job("letters").result()[0].text == "A"


def test_status_says_where_the_answers_are(pool):
    assert pool.describe_results() is None
    pool.map(["a"], "{{input}}", **QUIET)

    description = pool.describe_results()
    assert description.path.name == "results.sqlite"
    assert description.size > 0
    assert description.journal.mode == "wal"
