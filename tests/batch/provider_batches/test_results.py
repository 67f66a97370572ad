"""Results of a batch: each row has exactly one outcome, whatever the provider returns."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import ProviderError
from tests.batch.provider_batches.conftest import (
    MODELS,
    ROWS,
    count_outcomes,
    errored,
    repr_after_look,
    results,
    submit,
)


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
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_LINE_BYTES", 5_000)
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
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_DOWNLOAD_BYTES", 100)
    job = submit(pool, model)

    assert "exceeds 100 bytes" in repr_after_look(job)
    monkeypatch.setattr("gatewayx_nb.llm_engines.batches.MAX_DOWNLOAD_BYTES", 10**9)
    assert list(job.result().answer) == ["A", "B", "C"]


def test_a_large_answer_is_parsed(pool, model, provider):
    provider.answer = lambda prompt: prompt * 400_000

    assert submit(pool, model).result().answer.str.len().tolist() == [400_000] * 3


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
