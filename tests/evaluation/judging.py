"""Cells and rows for the tests of judges, and an engine that judges."""

from __future__ import annotations

import json

from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Variant
from gatewayx_nb.llm_engines import Chunk, LLMEngine

BASE = Variant("base", "short", "mock")
OTHER = Variant("other", "long", "mock")


class JudgingEngine(LLMEngine):
    """Answers each request with the verdict that a function returns for it."""

    name = "judging"
    model_name = "judge-1"
    requires_key = False
    features = frozenset({"system", "history", "schema", "images"})

    def __init__(self, decide):
        super().__init__()
        self.decide = decide
        self.requests = []

    async def stream(self, request):
        self.requests.append(request)
        verdict = self.decide(request.prompt)
        text = json.dumps({"reason": f"It is {verdict}.", "verdict": verdict})
        yield Chunk(text=text, finish_reason="stop")


def cell(answer="Rome.", variant=BASE, position=0, **values):
    """Return a cell whose model has answered."""
    values = {"prompt": "The capital of Italy?", "model": "m", **values}
    return GridCell(position, position, variant, answer=answer, **values)


def rows(*values, expected=None):
    """Return the rows of an evaluation."""
    return EvaluatedRows(values or ({},), tuple(range(len(values) or 1)), expected)


def run(pool, scorer, cells, all_rows=None, **options):
    """Return the scores of cells, as an evaluation finds them."""
    questions = scorer.questions(cells, all_rows or rows(), BASE.name)
    requests = [question.request for question in questions]
    session = pool.plan_requests(
        requests, "judge", schema=scorer.schema, **{"progress": False, **options}
    )
    outcomes = session.collect("replies")
    by_id = scorer.scores(list(zip(questions, outcomes, strict=True)))
    return [by_id.get(id(each)) for each in cells]


def request_of(scorer, *cells, all_rows=None):
    """Return the request about the last cell."""
    return scorer.questions(cells, all_rows or rows(), BASE.name)[-1].request
