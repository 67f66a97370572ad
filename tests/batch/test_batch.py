"""`map` with ``batch=True``: nothing is submitted twice, and each row is accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

import genai_prices
import pandas as pd
import pytest

from gatewayx_nb import EnginePool, bounded_json
from gatewayx_nb.batch import BatchJob, batch_job, part_files
from gatewayx_nb.errors import (
    AuthenticationError,
    BudgetError,
    ConfigError,
    DeadlineError,
    GatewayError,
    ProviderError,
    RateLimitError,
    TransportError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import AnthropicMessagesEngine, OpenAIResponsesEngine
from gatewayx_nb.testing import Send, Server, reply
from tests.batch.batch_provider import KEY, Provider

MODELS = {
    "chat": "openai:gpt-5",
    "responses": "openai:gpt-5",
    "anthropic": "anthropic:claude-sonnet-4-5",
}

ROWS = pd.DataFrame({"text": ["a", "b", "c"]}, index=[7, 8, 7])


class ManualClock:
    """A clock that stands still except while something waits.

    Attributes:
        waits: The lengths of the waits.
        on_wait: Called at each wait.
    """

    def __init__(self):
        self.now, self.waits, self.on_wait = 0.0, [], lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += max(seconds, 0.001)
        self.on_wait()
        assert len(self.waits) < 1000


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Replace the clock that is used for waiting."""
    clock = ManualClock()
    monkeypatch.setattr(batch_job.clock, "monotonic", clock.monotonic)
    monkeypatch.setattr(batch_job.clock, "sleep", clock.sleep)
    return clock


@pytest.fixture
def provider():
    """Return the server of both providers."""
    with Provider() as provider:
        yield provider


@pytest.fixture
def reopen(project, provider):
    """Return a function that opens the project, as another process would."""
    pools = []

    def open_again(dialect="anthropic", **settings):
        settings = {"retries": 0, **settings}
        limits = "".join(f"{name} = {value}\n" for name, value in settings.items())
        api = "responses" if dialect == "responses" else "chat"
        project.settings(f'[limits]\n{limits}[engines.openai]\napi = "{api}"\n')
        env = {
            "GATEWAYX_OPENAI_API_KEY": KEY,
            "GATEWAYX_OPENAI_BASE_URL": f"{provider.url}/v1",
            "GATEWAYX_ANTHROPIC_API_KEY": KEY,
            "GATEWAYX_ANTHROPIC_BASE_URL": provider.url,
        }
        pools.append(EnginePool(home=project.root, env=env))
        return pools[-1]

    yield open_again
    for pool in pools:
        pool.close()


@pytest.fixture(params=MODELS)
def dialect(request):
    """Return each dialect."""
    return request.param


@pytest.fixture
def model(dialect):
    """Return the reference of the dialect's model."""
    return MODELS[dialect]


@pytest.fixture
def pool(reopen, dialect):
    """Return a pool whose engines call the server."""
    return reopen(dialect)


def submit(pool, model, rows=ROWS, prompt="{{text}}", **keywords):
    return pool.map(rows, prompt, model, batch=True, **keywords)


def count_outcomes(frame):
    """Return how many rows have an answer, and how many an error of each class."""
    errors = (text.partition(":")[0] for text in frame.gx_error.dropna())
    return Counter(errors) + Counter(answers=int(frame.gx_error.isna().sum()))


# What comes back


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


def stored_parts(pool):
    """Return the parts in the file."""
    path = pool._maps.results.path
    with sqlite3.connect(path) as opened:
        opened.row_factory = sqlite3.Row
        rows = [dict(row) for row in opened.execute("SELECT * FROM parts ORDER BY number")]
    opened.close()
    return rows


# Parts


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
    assert "a batch may have" in answers.gx_error[2]
    assert len(provider.batches) >= 2


def limit_parts(monkeypatch, **limits):
    """Lower the limits of both providers."""
    from dataclasses import replace

    from gatewayx_nb.llm_engines.anthropic_batches import AnthropicBatches
    from gatewayx_nb.llm_engines.openai_batches import OpenAIBatches

    for interface in (AnthropicBatches, OpenAIBatches):
        monkeypatch.setattr(interface, "format", replace(interface.format, **limits))


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


# Intents, and submissions whose answers are lost


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


# Each row is accounted for


def results(provider, change):
    """Change the lines of the results."""
    provider.change = change


def test_the_order_of_the_results_does_not_matter(pool, model, provider):
    results(provider, lambda lines: lines[::-1])

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]


def test_a_row_without_a_result_is_an_error_and_is_asked_again(pool, model, provider):
    results(provider, lambda lines: lines[:1] + lines[2:])

    answers = submit(pool, model).result()

    assert count_outcomes(answers) == {"answers": 2, "ProviderError": 1}
    assert "no result for it" in answers.gx_error[8]
    again = pool.map(ROWS, "{{text}}", model, progress=False)
    assert list(again.answer) == ["A", "B", "C"]
    assert provider.live == {"b": 1}


def test_a_missing_row_has_the_code_missing(pool, model, provider):
    results(provider, lambda lines: lines[1:])

    outcomes = submit(pool, model, output="replies").result()

    assert outcomes[0].code == "missing"


def test_foreign_repeated_and_malformed_lines_change_nothing(pool, model, provider):
    def change(lines):
        other = json.loads(json.dumps(lines[0]).replace('"A"', '"OTHER"'))
        foreign = {**other, "custom_id": "r0-00000000"}
        return [foreign, b"", b"{", b"[1]", b"\xff\xfe", b'{"custom_id": 3}', *lines, other]

    results(provider, change)

    answers = submit(pool, model).result()

    assert list(answers.answer) == ["A", "B", "C"]
    assert pool.usage()[0].calls == 3


def test_a_huge_line_costs_only_its_row(pool, model, provider, monkeypatch):
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_LINE", 5_000)
    results(provider, lambda lines: [{**lines[0], "filler": "x" * 100_000}, *lines[1:]])

    answers = submit(pool, model).result()

    assert count_outcomes(answers) == {"answers": 2, "ProviderError": 1}
    assert "1 lines were unreadable" in answers.gx_error.iloc[0]


def test_a_line_with_too_many_values_costs_only_its_row(pool, model, provider, monkeypatch):
    """Empty lists take twenty times the memory of their text."""
    monkeypatch.setattr(bounded_json, "MAX_VALUES", 1_000)
    results(provider, lambda lines: [{**lines[0], "filler": [[]] * 2_000}, *lines[1:]])

    answers = submit(pool, model).result()

    assert count_outcomes(answers) == {"answers": 2, "ProviderError": 1}
    assert "1 lines were unreadable" in answers.gx_error.iloc[0]


def test_a_download_with_too_many_bytes_is_not_read_to_its_end(pool, model, provider, monkeypatch):
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_DOWNLOAD", 100)
    job = submit(pool, model)

    assert "exceeds 100 bytes" in repr_after_look(job)
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_DOWNLOAD", 10**9)
    assert list(job.result().answer) == ["A", "B", "C"]


def repr_after_look(job):
    """Return the representation after the provider has been asked once."""
    batch_job.clock.sleep(1000)
    job.progress()
    return repr(job)


def test_a_large_answer_is_parsed(pool, model, provider):
    provider.answer = lambda prompt: prompt * 400_000

    assert submit(pool, model).result().answer.str.len().tolist() == [400_000] * 3


def errored(line, status, kind, message="no"):
    """Return a line with an error of a row, in the form of its provider."""
    error = {"type": kind, "message": message}
    if "result" in line:
        return {**line, "result": {"type": "errored", "error": {"type": "error", "error": error}}}
    return {**line, "response": {"status_code": status, "body": {"error": error}}}


@pytest.mark.parametrize(
    "fault",
    [
        (400, "invalid_request_error", False),
        (429, "rate_limit_error", True),
        (500, "api_error", True),
        (529, "overloaded_error", True),
        (401, "authentication_error", True),
    ],
)
def test_row_errors(pool, model, provider, fault):
    status, kind, asked_again = fault
    results(provider, lambda lines: [errored(lines[0], status, kind), *lines[1:]])

    answers = submit(pool, model).result()
    assert count_outcomes(answers)["answers"] == 2
    results(provider, lambda lines: lines)
    again = submit(pool, model).result()

    assert provider.submitted["a"] == 1 + asked_again
    assert count_outcomes(again)["answers"] == 2 + asked_again


@pytest.mark.parametrize("kind", ["expired", "canceled"])
def test_rows_that_were_not_run_are_asked_again(pool, model, provider, kind):
    def change(lines):
        if "result" in lines[0]:
            return [{**lines[0], "result": {"type": kind}}, *lines[1:]]
        error = {"code": f"batch_{kind}", "message": "This request could not be executed"}
        return [{**lines[0], "response": None, "error": error}, *lines[1:]]

    results(provider, change)
    outcomes = submit(pool, model, output="replies").result()
    assert outcomes[0].code == {"expired": "expired", "canceled": "cancelled"}[kind]
    results(provider, lambda lines: lines)

    assert list(submit(pool, model).result().answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_finished_rows_of_a_batch_that_ended_early_are_kept(reopen, provider, status):
    provider.status = status
    results(provider, lambda lines: lines[:1])

    outcomes = submit(reopen("chat"), MODELS["chat"], output="replies").result()

    assert outcomes[0].text == "A"
    assert [each.code for each in outcomes[1:]] == [status, status]


def test_a_refused_batch_names_the_faulty_rows(reopen, provider):
    provider.status = "failed"
    provider.errors = [{"code": "invalid", "line": 2, "message": "bad row"}]
    pool = reopen("chat")
    job = submit(pool, MODELS["chat"], output="replies")

    with pytest.raises(ProviderError, match=r"it was refused: bad row\. All 3 rows failed"):
        job.result()
    provider.status = "completed"
    submit(pool, MODELS["chat"]).result()
    assert provider.submitted == {"a": 2, "b": 1, "c": 2}  # a row that is faulty stays so


def test_cancel_keeps_what_was_answered(pool, model, provider):
    provider.ends = False
    job = submit(pool, model, output="replies")

    assert job.cancel() is True
    provider.ends = True
    results(provider, lambda lines: lines[:1])
    outcomes = job.result()

    assert outcomes[0].text == "A"
    assert [each.code for each in outcomes[1:]] == ["cancelled", "cancelled"]
    assert job.cancel() is False


def test_a_row_that_cannot_be_rendered_is_not_submitted(pool, model, provider):
    answers = submit(pool, model, pd.DataFrame({"text": ["a", None]})).result()

    assert count_outcomes(answers) == {"answers": 1, "UsageError": 1}
    assert provider.submitted == {"a": 1}


def test_on_error_raise_raises_the_first_error(pool, model, provider):
    results(provider, lambda lines: lines[1:])

    with pytest.raises(ProviderError, match="no result"):
        submit(pool, model, on_error="raise").result()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_to_the_results_each_row_has_an_outcome(pool, model, provider, seed):
    import random

    texts = [f"row {number}" for number in range(60)]
    rng = random.Random(seed)

    def change(lines):
        kept = [line for line in lines if rng.random() < 0.8]
        kept = [errored(line, 500, "api_error") if rng.random() < 0.2 else line for line in kept]
        kept += rng.sample(kept, 5)
        kept += [b"x" * rng.randrange(200) for _ in range(5)]
        rng.shuffle(kept)
        return kept

    results(provider, change)
    answers = submit(pool, model, pd.DataFrame({"text": texts})).result()

    outcomes = count_outcomes(answers)
    assert outcomes.total() == 60
    assert (answers.answer.dropna() == answers.text[answers.answer.notna()].str.upper()).all()
    results(provider, lambda lines: lines)
    again = submit(pool, model, pd.DataFrame({"text": texts})).result()
    assert count_outcomes(again) == {"answers": 60}
    sent_again = {text for text, count in provider.submitted.items() if count == 2}
    assert sent_again == set(answers.text[answers.answer.isna()])


# Polls


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


# Hosts and keys


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


# Engines without batches


@pytest.mark.parametrize("name", ["grok", "mock"])
def test_an_engine_without_batches_says_what_to_do(project, name):
    env = {"GATEWAYX_GROK_API_KEY": KEY}
    with (
        EnginePool(home=project.root, env=env) as pool,
        pytest.raises(UnsupportedFeatureError, match="no batch API") as caught,
    ):
        submit(pool, name)
    assert "Omit `batch`" in str(caught.value)


def test_a_compatible_server_without_batches_says_what_to_do(pool, model, provider):
    provider.missing = True

    with pytest.raises(UnsupportedFeatureError, match="no batch API at") as caught:
        submit(pool, model)
    assert "Omit `batch`" in str(caught.value)
    assert stored_parts(pool) == []


def test_which_engines_have_batches():
    assert AnthropicMessagesEngine(KEY).batch_interface() is not None
    assert OpenAIResponsesEngine(KEY).batch_interface() is None


def test_fallback_and_batch_cannot_be_combined(pool, model, provider):
    with pytest.raises(UsageError, match="fallback and batch cannot be combined"):
        submit(pool, model, fallback="mock")
    assert provider.seen == []


def test_batch_must_be_a_bool_and_is_not_an_option_of_imap(pool, model):
    with pytest.raises(UsageError, match="batch must be a bool"):
        pool.map(ROWS, "{{text}}", model, batch=1)
    with pytest.raises((UsageError, TypeError)):
        pool.imap(ROWS, "{{text}}", model, batch=True)


# Costs


def test_rows_cost_half_the_normal_price(pool, model, provider):
    live = pool.map(ROWS, "{{text}}", model, progress=False)
    answers = submit(pool, model, fresh=True).result()

    assert list(answers.gx_cost) == pytest.approx([cost / 2 for cost in live.gx_cost])
    (row,) = pool.usage()
    assert row.calls == 6
    assert row.cost == pytest.approx(Decimal(str(live.gx_cost.sum() * 1.5)))
    assert pool.job(next(each.name for each in pool.map_jobs())).progress().cost == row.cost


@pytest.mark.parametrize("model", ["openai:gpt-5", "anthropic:claude-sonnet-4-5"])
def test_half_is_the_price_in_genai_prices(model):
    engine, name = model.split(":")
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=10)

    def price(**context):
        return genai_prices.calc_price(usage, name, provider_id=engine, **context).total_price

    assert price(price_context={"processing": "batch"}) * 2 == price()


def test_an_unknown_price_stays_unknown(reopen, provider):
    answers = submit(reopen("chat"), "openai:unheard-of", ["a"], "{{input}}")
    provider.change = lambda lines: [
        json.loads(json.dumps(line).replace("gpt-5", "unheard-of")) for line in lines
    ]

    (reply,) = answers.result()

    assert reply.cost is None
    assert answers.progress().unpriced == 1


def test_an_answer_without_token_counts_is_unpriced(reopen, provider):
    answers = submit(reopen("chat"), "openai", ["a"], "{{input}}")
    provider.change = lambda lines: [
        json.loads(json.dumps(line).replace('"usage"', '"unused"')) for line in lines
    ]

    (reply,) = answers.result()

    assert (reply.cost, reply.usage.input_tokens) == (None, None)
    assert answers.progress().unpriced == 1


def test_max_cost_refuses_before_anything_is_submitted(pool, model, provider):
    with pytest.raises(BudgetError, match=r"3 rows may cost up to \$\d.*nothing was submitted"):
        submit(pool, model, max_cost=0.001)
    assert provider.seen == []
    assert stored_parts(pool) == []


def test_max_cost_allows_what_fits_with_max_tokens(pool, model, provider):
    answers = submit(pool, model, max_cost=0.01, max_tokens=50).result()

    assert list(answers.answer) == ["A", "B", "C"]


def test_max_cost_is_compared_with_a_batchs_price(reopen, provider):
    # Answers of 50 tokens cost up to $0.0015 at the normal price of $10 for a million.
    job = submit(reopen("chat"), MODELS["chat"], max_cost=0.0011, max_tokens=50)

    assert list(job.result().answer) == ["A", "B", "C"]


def test_max_cost_counts_what_is_in_open_batches(pool, model, provider):
    provider.ends = False
    submit(pool, model, ROWS[:1], max_cost=0.0012, max_tokens=100)

    with pytest.raises(BudgetError):
        submit(pool, model, max_cost=0.0012, max_tokens=100)
    assert provider.submitted == {"a": 1}


def test_max_cost_refuses_an_unknown_price(reopen, provider):
    with pytest.raises(BudgetError, match="price of openai:unheard-of is unknown"):
        submit(reopen("chat"), "openai:unheard-of", max_cost=1)
    assert provider.seen == []


def test_the_session_limit_holds(reopen, provider):
    with pytest.raises(BudgetError, match="nothing was submitted"):
        submit(reopen("chat", max_cost=0.001), MODELS["chat"])
    assert provider.seen == []


def test_the_daily_limit_holds(reopen, provider):
    with pytest.raises(BudgetError, match="nothing was sent"):
        submit(reopen("chat", max_cost_per_day=0.001), MODELS["chat"])
    assert provider.seen == []


def test_the_session_limit_counts_other_jobs_open_batches(reopen, provider):
    provider.ends = False
    pool = reopen("chat", max_cost=0.0012)
    submit(pool, MODELS["chat"], ROWS[:2], max_tokens=100)

    with pytest.raises(BudgetError, match="the open batches may cost up to"):
        submit(pool, MODELS["chat"], ROWS[2:], max_tokens=100, system="Another job.")
    assert provider.submitted == {"a": 1, "b": 1}


def test_a_live_map_that_was_created_before_a_batch_asks_nothing(pool, model, provider):
    provider.ends = False
    created = pool.imap(ROWS, "{{text}}", model, progress=False)
    submit(pool, model)

    with pytest.raises(UsageError, match="you would pay for them twice"):
        next(created)


# Cassettes


def test_a_replayed_cassette_answers_without_a_submission(reopen, dialect, model, provider):
    pool = reopen(dialect)
    with pool.cassette("rows.jsonl", "record"):
        pool.map(ROWS, "{{text}}", model, progress=False)
    provider.seen.clear()
    with pool.cassette("rows.jsonl", "replay"):
        job = submit(pool, model)

        assert list(job.result().answer) == ["A", "B", "C"]
        assert (job.done(), job.cancel(), job.progress().state) == (True, False, "done")
        assert job.name
    assert provider.seen == []


def test_with_another_mode_the_rows_are_submitted_and_a_live_map_records_them(
    reopen, dialect, model, provider
):
    pool = reopen(dialect)
    with pool.cassette("rows.jsonl", "auto"):
        submit(pool, model).result()
        pool.map(ROWS, "{{text}}", model, progress=False)
    with pool.cassette("rows.jsonl", "replay"):
        assert list(pool.map(ROWS, "{{text}}", model, progress=False).answer) == ["A", "B", "C"]
    assert provider.submitted == {"a": 1, "b": 1, "c": 1}
    assert provider.live == {}


# Forgetting


def test_a_job_in_an_open_batch_is_not_forgotten(pool, model, provider):
    provider.ends = False
    job = submit(pool, model)

    assert pool.forget_jobs(older=-1) == 0
    with pytest.raises(UsageError, match="is running"):
        job.forget()
    provider.ends = True
    job.result()
    job.forget()
    assert pool.map_jobs() == []
    assert stored_parts(pool) == []
