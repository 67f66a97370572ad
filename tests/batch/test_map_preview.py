"""`preview_map`: what a map would ask and cost, without sending anything."""

from __future__ import annotations

import re
from decimal import Decimal

import pandas as pd
import pytest

from gatewayx_nb.errors import UsageError
from tests.batch.conftest import PricedEngine

QUIET = {"model": "counting", "progress": False}


def test_a_preview_counts_rows_and_sends_nothing(pool, engine):
    rows = pd.DataFrame({"text": ["a", "a", "b", None]})

    preview = pool.preview_map(rows, "{{text}}", "counting")

    assert (preview.rows, preview.invalid, preview.distinct) == (4, 1, 2)
    assert (preview.done, preview.to_ask) == (0, 2)
    assert "is missing" in preview.first_problem
    assert not engine.asked
    assert not pool.map_jobs()


def test_a_trial_on_a_few_rows_is_not_asked_again(pool, engine):
    rows = pd.DataFrame({"text": list("abcdefgh")})
    pool.map(rows.head(3), "{{text}}", **QUIET)

    preview = pool.preview_map(rows, "{{text}}", "counting")
    assert (preview.done, preview.to_ask) == (3, 5)

    pool.map(rows, "{{text}}", **QUIET)
    assert set(engine.asked.values()) == {1}
    assert pool.preview_map(rows, "{{text}}", "counting").to_ask == 0


def test_a_preview_bounds_the_cost_of_the_run(project):
    engine = PricedEngine()
    texts = [f"row {number}" for number in range(600)]
    with project.pool(engines=engine) as pool:
        preview = pool.preview_map(texts, "{{input}}", "counting", max_tokens=5)
        replies = pool.map(texts, "{{input}}", max_tokens=5, **QUIET)

    cost = sum(reply.cost for reply in replies)
    assert preview.lowest_cost <= cost <= preview.highest_cost
    low, high = preview.input_tokens
    assert low <= 600 * 3 <= high


@pytest.mark.parametrize(
    ("options", "text"),
    [({"max_tokens": 5}, r"\$0\.\d+ to \$\d"), ({}, "answers, which have no max_tokens")],
)
def test_a_preview_says_the_cost(project, options, text):
    with project.pool(engines=PricedEngine()) as pool:
        preview = pool.preview_map(["a"], "{{input}}", "counting", **options)

    assert re.search(text, repr(preview))
    assert preview.lowest_cost > Decimal(0)


def test_an_unknown_price_is_unpriced(pool):
    preview = pool.preview_map(["a"], "{{input}}", "counting")

    assert preview.lowest_cost is None
    assert "unpriced" in repr(preview)


def test_a_rate_limit_bounds_the_time(project, engine):
    project.settings("[engines.counting]\nrequests_per_minute = 30\n")
    with project.pool(engines=engine) as pool:
        preview = pool.preview_map([str(n) for n in range(60)], "{{input}}", "counting")

    assert preview.seconds == pytest.approx(120, rel=0.2)
    assert preview.bound_by == "requests per minute"


def test_an_iterator_is_refused_before_it_is_read(pool):
    rows = iter(["a"])

    with pytest.raises(UsageError, match="would be used up by a preview"):
        pool.preview_map(rows, "{{input}}", "counting")
    assert next(rows) == "a"
