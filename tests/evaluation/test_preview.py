"""`preview_evaluation`: what an evaluation would ask, without sending anything."""

import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation import evaluate, judge, prefer, preview_evaluation

PROMPTS = {"plain": "{{sum}}", "kind": "Please: {{sum}}"}


def test_the_cells_are_counted_and_nothing_is_sent(pool, sums):
    """Answers of an earlier evaluation are not asked again, and scorers do not run."""
    ran = []

    def scorer(text):
        ran.append(text)

    preview = preview_evaluation(sums, PROMPTS, "solver", scorer, samples=2, pool=pool)
    assert (preview.rows, preview.to_ask, preview.done) == (48, 48, 0)
    assert "cells" in repr(preview)
    assert "not included" not in repr(preview)
    assert not ran
    evaluate(sums, PROMPTS["plain"], "solver", pool=pool)
    later = preview_evaluation(sums, PROMPTS, "solver", pool=pool)
    assert (later.rows, later.done, later.to_ask) == (24, 12, 12)


def test_questions_of_judges_are_counted(pool, sums):
    scorers = [judge("Is it kind?", "solver", name="kind"), prefer(model="solver", name="prefer")]
    preview = preview_evaluation(sums, PROMPTS, "solver", scorers, pool=pool)
    assert preview.excluded == "up to 24 questions of kind, up to 24 questions of prefer"
    assert preview.excluded in repr(preview)


def test_invalid_arguments_are_found(pool, sums):
    with pytest.raises(UsageError, match="expcted"):
        preview_evaluation(sums, PROMPTS, "solver", pool=pool, expcted="result")
