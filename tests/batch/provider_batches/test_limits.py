"""Engines without batches, prices, budgets and cassettes of batches."""

from __future__ import annotations

import json
from decimal import Decimal

import genai_prices
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import (
    BudgetError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import AnthropicMessagesEngine, OpenAIResponsesEngine
from tests.batch.batch_provider import KEY
from tests.batch.provider_batches.conftest import MODELS, ROWS, stored_parts, submit


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
