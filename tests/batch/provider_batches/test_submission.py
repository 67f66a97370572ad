"""Submitting a batch: nothing is sent twice, and a lost submission is found again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
from dataclasses import dataclass

import pandas as pd
import pytest

from gatewayx_nb.batch import BatchJob, part_files
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    ProviderError,
    RateLimitError,
    TransportError,
    UsageError,
)
from tests.batch.provider_batches.conftest import (
    MODELS,
    ROWS,
    count_outcomes,
    limit_parts,
    stored_parts,
    submit,
)


def test_a_job_is_returned_at_once_and_its_result_equals_that_of_map(pool, model, provider):
    job = submit(pool, model)

    assert isinstance(job, BatchJob)
    assert [method for method, path in provider.seen if "content" in path] == []
    assert repr(job) == f"{job.name}: submitted, 0 of 3 rows, $0"

    answers = job.result()

    assert list(answers.index) == [7, 8, 7]
    assert list(answers.answer) == ["A", "B", "C"]
    assert list(answers.gx_finish_reason) == ["stop"] * 3
    assert list(answers.gx_input_tokens) == [10] * 3
    assert repr(job).startswith(f"{job.name}: done, 3 rows, $")
    assert provider.live == {}


def test_other_kinds_of_rows(pool, model):
    assert [each.text for each in submit(pool, model, ["a", "b"], "{{input}}").result()] == [
        "A",
        "B",
    ]
    assert [each.text for each in submit(pool, model, iter(["c"]), "{{input}}").result()] == ["C"]
    columns = submit(pool, model, ROWS, output="columns").result()
    assert "text" not in columns
    assert submit(pool, model, ROWS, output="replies").result()[0].text == "A"


def test_amap_submits_too(pool, model):
    job = asyncio.run(pool.amap(ROWS, "{{text}}", model, batch=True))

    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_schema_gives_columns(pool, model, provider):
    @dataclass
    class City:
        name: str
        people: int

    provider.answer = lambda prompt: json.dumps({"name": prompt, "people": 3})
    answers = submit(pool, model, schema=City).result()

    assert list(answers.name) == ["a", "b", "c"]
    assert list(answers.people) == [3, 3, 3]


def test_an_answer_that_does_not_match_its_schema_is_an_error_of_its_row(pool, model, provider):
    provider.answer = lambda prompt: '{"n": 1}' if prompt == "a" else "no"
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    answers = submit(pool, model, schema=schema).result()

    assert count_outcomes(answers) == {"answers": 1, "ProviderError": 2}


def test_rows_answered_live_are_not_submitted_and_vice_versa(pool, model, provider):
    pool.map(ROWS[:1], "{{text}}", model, progress=False)
    answers = submit(pool, model).result()
    again = pool.map(ROWS, "{{text}}", model, progress=False)

    assert list(answers.answer) == list(again.answer) == ["A", "B", "C"]
    assert provider.live == {"a": 1}
    assert provider.submitted == {"b": 1, "c": 1}


def test_equal_rows_are_submitted_once_and_counted_as_rows(pool, model, provider):
    job = submit(pool, model, pd.DataFrame({"text": ["a", "b", "a"]}))

    assert list(job.result().answer) == ["A", "B", "A"]
    assert provider.submitted == {"a": 1, "b": 1}
    assert job.progress().done == 3


@pytest.mark.parametrize("repeats", ["[1]", '{"x": 1, "0": "many", "99": 2}', "null"])
def test_edited_counts_of_equal_rows_count_nothing(pool, model, project, repeats):
    job = submit(pool, model, pd.DataFrame({"text": ["a", "b", "a"]}))
    path = project.root / ".gatewayx" / "results.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE parts SET info = json_set(info, '$.repeats', json(?))", (repeats,))

    assert list(job.result().answer) == ["A", "B", "A"]
    assert job.progress().done == 2


def test_running_the_cell_again_submits_nothing_and_gives_the_rows(
    reopen, dialect, model, provider
):
    provider.ends = False
    first = submit(reopen(dialect), model, name="tickets")
    provider.ends = True
    second = submit(reopen(dialect), model, name="tickets")

    assert list(second.result().answer) == ["A", "B", "C"]
    assert list(first.result().answer) == ["A", "B", "C"]
    assert list(submit(reopen(dialect), model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


def test_fresh_submits_again_but_not_what_is_in_an_open_batch(pool, model, provider):
    provider.ends = False
    submit(pool, model, fresh=True)
    job = submit(pool, model, fresh=True)
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}

    provider.ends = True
    job.result()
    submit(pool, model, fresh=True).result()
    assert provider.submitted == {"a": 2, "b": 2, "c": 2}


def test_rows_in_an_open_batch_are_not_asked_live(pool, model, provider):
    provider.ends = False
    job = submit(pool, model)

    with pytest.raises(UsageError, match=r"3 rows of .* are already in a provider's batch"):
        pool.map(ROWS, "{{text}}", model, progress=False)
    assert provider.live == {}
    provider.ends = True
    job.result()
    assert list(pool.map(ROWS, "{{text}}", model, progress=False).answer) == ["A", "B", "C"]


def test_a_job_is_found_by_name_in_another_kernel(reopen, dialect, model, provider):
    provider.ends = False
    submit(reopen(dialect), model, name="tickets").progress()
    other = reopen(dialect)
    job = other.job("tickets")

    assert (job.progress().state, job.done()) == ("submitted", False)
    assert [each.state for each in other.map_jobs()] == ["submitted"]
    provider.ends = True
    assert sorted(each.text for each in job.result()) == ["A", "B", "C"]
    assert sorted(job.to_frame().prompt) == ["a", "b", "c"]
    assert (job.progress().state, job.progress().done, job.done()) == ("done", 3, True)


def test_prompts_are_not_stored_if_the_settings_say_so(reopen, project, provider):
    pool = reopen("anthropic")
    project.settings('[cassettes]\nprompts = "digest"\n')
    pool.refresh()
    submit(pool, MODELS["anthropic"], pd.DataFrame({"text": ["secretive"]}))

    (part,) = stored_parts(pool)
    assert part["prompts"] is None


def test_rows_are_submitted_in_parts(pool, model, dialect, provider, monkeypatch):
    limit_parts(monkeypatch, max_rows=2)

    answers = submit(pool, model, pd.DataFrame({"text": list("abcde")})).result()

    assert [len(batch["rows"]) for batch in provider.batches] == [2, 2, 1]
    assert list(answers.answer) == list("ABCDE")


def test_parts_have_a_maximum_of_bytes(pool, model, provider, monkeypatch):
    limit_parts(monkeypatch, max_bytes=3000)
    texts = ["x" * 1500, "y" * 1500, "z" * 4000, "a"]

    answers = submit(pool, model, pd.DataFrame({"text": texts})).result()

    assert count_outcomes(answers) == {"answers": 3, "UsageError": 1}
    assert "a batch accepts" in answers.gx_error[2]
    assert len(provider.batches) >= 2


def test_a_file_has_one_endpoint_and_one_model(reopen, provider):
    pool = reopen("responses")
    options = {"a": {}, "b": {"seed": 1}, "c": {"model": "openai:gpt-4o"}}

    job = submit(pool, "openai:gpt-5", ROWS, lambda row: {"prompt": row.text, **options[row.text]})

    assert list(job.result().answer) == ["A", "B", "C"]
    groups = {(each["endpoint"], each["rows"][0]["body"]["model"]) for each in provider.batches}
    assert groups == {
        ("/v1/responses", "gpt-5"),
        ("/v1/chat/completions", "gpt-5"),
        ("/v1/responses", "gpt-4o"),
    }


def test_rows_do_not_ask_for_what_only_some_models_have(reopen, provider):
    submit(reopen("responses"), "openai:gpt-4o", ["a"], "{{input}}")

    assert "include" not in provider.batches[0]["rows"][0]["body"]


def test_row_names_fit_and_reveal_nothing(pool, model, provider):
    submit(pool, model, pd.DataFrame({"text": ["secret words"]}))

    (row,) = provider.batches[0]["rows"]
    assert "secret" not in row["custom_id"]
    assert len(row["custom_id"]) <= 64


@pytest.mark.parametrize("position", [0, 35, 36, 49_999])
def test_a_row_is_found_by_its_name(position):
    name = part_files.row_name(position, "0123456789ab")

    assert part_files.row_position(name, "0123456789ab", 50_000) == position
    assert part_files.row_position(name, "f123456789ab", 50_000) is None
    assert part_files.row_position(name, "0123456789ab", position) is None


@pytest.mark.parametrize("name", ["", "r", "r0", "0-01234567", "r-1-01234567", "r٣-01234567"])
def test_a_foreign_name_is_not_a_row(name):
    assert part_files.row_position(name, "0123456789ab", 10) is None


def test_the_intent_is_durable_before_anything_is_sent(pool, model, provider):
    stored = []
    provider.on_create = lambda batch: stored.extend(stored_parts(pool))

    submit(pool, model)

    (part,) = stored
    assert (part["state"], part["batch"], len(part["keys"])) == ("submitting", "", 3 * 8)
    assert [part["state"] for part in stored_parts(pool)] == ["submitted"]


def test_nothing_is_sent_if_the_intent_cannot_be_stored(pool, model, provider, monkeypatch):
    job = submit(pool, model, ROWS[:1])
    job.result()
    count = len(provider.seen)
    monkeypatch.setattr(
        "gatewayx_nb.storage.job_parts.open_to_write", raise_(OSError("the disk is full"))
    )

    with pytest.raises(ConfigError, match="the disk is full"):
        submit(pool, model)
    assert len(provider.seen) == count


def raise_(error):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.parametrize("fault", ["after", "busy"])
def test_a_submission_whose_answer_is_lost_is_found_again(pool, model, provider, fault):
    provider.lose = [fault]

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("fault", ["after", "busy"])
def test_a_submission_is_not_repeated_like_a_call(reopen, dialect, model, provider, fault):
    provider.lose = [fault]

    job = submit(reopen(dialect, retries=2), model)

    assert provider.submitted == {"a": 1, "b": 1, "c": 1}
    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_submission_that_was_lost_is_sent_again_after_a_minute(pool, model, provider, clock):
    provider.lose = ["before"]

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}
    assert clock.waits[:12] == [5.0] * 12


def test_a_submission_that_is_lost_twice_fails_and_leaves_nothing_open(pool, model, provider):
    provider.lose = ["before", "before"]

    with pytest.raises(TransportError, match="nothing was submitted"):
        submit(pool, model)
    assert stored_parts(pool) == []
    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]


def test_other_batches_are_not_mistaken_for_a_lost_one(reopen, provider):
    pool = reopen("chat")
    provider._create([row("x"), row("y"), row("z")], {}, "/v1/chat/completions")
    provider.lose = ["after"]

    answers = submit(pool, MODELS["chat"]).result()

    assert list(answers.answer) == ["A", "B", "C"]


def test_a_lost_batch_is_found_on_a_later_page(pool, model, dialect, provider):
    provider.page = 2
    endpoint = "" if dialect == "anthropic" else "/v1/chat/completions"

    def add_others(_):
        provider.on_create = lambda batch: None
        for _ in range(5):
            provider._create([row("x")], {}, endpoint)

    provider.on_create = add_others
    provider.lose = ["after"]

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted["a"] == 1


@pytest.mark.parametrize("page", ["that repeats", "without end"])
def test_an_endless_batch_list_is_not_read_forever(pool, dialect, model, provider, page):
    """Reading on would take memory until the kernel is killed."""
    created_at = "2999-01-01T00:00:00Z" if dialect == "anthropic" else 4e10
    numbers = itertools.count() if page == "without end" else itertools.repeat(1)
    provider.listing = lambda: [
        {"id": f"b{next(numbers)}", "created_at": created_at} for _ in range(3)
    ]
    provider.lose = ["after"]

    with pytest.raises(ProviderError, match="has no end"):
        submit(pool, model)
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}


def row(prompt, name="other"):
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": f"{name}-{prompt}", "body": body}


def test_the_person_is_asked_if_two_batches_may_be_the_lost_one(reopen, provider):
    pool = reopen("anthropic")
    provider.on_create = lambda batch: provider.batches.append(
        {**batch, "id": "batch_x", "rows": [row(each) for each in "xyz"]}
    )
    provider.lose = ["after"]

    with pytest.raises(TransportError, match="2 batches may contain it") as caught:
        submit(pool, MODELS["anthropic"], name="tickets")
    provider.on_create = lambda batch: None
    assert caught.value.code == "unclear"
    assert "discard()" in str(caught.value)
    with pytest.raises(TransportError, match="2 batches may contain it"):
        submit(pool, MODELS["anthropic"], name="tickets")
    with pytest.raises(TransportError, match="2 batches may contain it"):
        pool.job("tickets").result()
    assert provider.submitted["a"] == 1

    assert pool.job("tickets").discard() == 1
    assert list(submit(pool, MODELS["anthropic"]).result().answer) == ["A", "B", "C"]
    assert provider.submitted["a"] == 2  # the person has said so


def test_answers_from_another_batch_are_never_used(reopen, provider):
    pool = reopen("anthropic")
    provider._create([row("x"), row("y"), row("z")], {}, "")
    provider.lose = ["before"]
    job = submit(pool, MODELS["anthropic"])

    with pytest.raises(TransportError, match="has different rows"):
        job.result()
    answers = submit(pool, MODELS["anthropic"]).result()

    assert list(answers.answer) == ["A", "B", "C"]
    assert provider.submitted["a"] == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(400, ProviderError), (401, AuthenticationError), (429, RateLimitError)]
)
def test_a_refused_submission_raises_and_leaves_nothing_open(pool, model, provider, status, kind):
    provider.refused = status

    with pytest.raises(kind):
        submit(pool, model)
    assert stored_parts(pool) == []
    provider.refused = None
    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]


def test_the_parts_before_a_refused_one_stay_submitted(pool, model, provider, monkeypatch):
    limit_parts(monkeypatch, max_rows=2)
    provider.on_create = lambda batch: setattr(provider, "refused", 400)

    with pytest.raises(ProviderError, match="Already submitted: 1 part"):
        submit(pool, model)
    provider.refused = None
    provider.on_create = lambda batch: None

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}
