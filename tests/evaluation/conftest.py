"""An engine that counts what it is asked, and evaluations that were not asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gatewayx_nb.evaluation import Evaluation, GridCell, Score, Variant
from gatewayx_nb.evaluation.grid_cell import EvaluatedRows
from gatewayx_nb.llm_engines import LLMEngine


class Solver(LLMEngine):
    """Solves ``2+3``; the model ``bad`` is wrong about even sums.

    Attributes:
        asked: Number of calls by model and prompt.
        errors: Errors to raise, by prompt.
        answers: Other answers, by prompt; a list is answered in order.
        keywords: The options of each call.
    """

    name = "solver"
    model_name = "good"
    requires_key = False
    features = frozenset({"system", "temperature", "max_tokens", "schema", "history", "model"})

    def __init__(self, api_key="", **options):
        super().__init__(api_key, **options)
        self.asked, self.errors, self.keywords = Counter(), {}, []
        self.answers: dict[str, str | list[str]] = {}

    async def generate(self, prompt, **keywords):
        model = keywords.get("model") or self.model_name
        self.asked[model, prompt] += 1
        self.keywords.append(keywords)
        if prompt in self.errors:
            raise self.errors[prompt]
        answer = self.answers.get(prompt)
        if answer is not None:
            return answer if isinstance(answer, str) else answer.pop(0)
        total = sum(map(int, prompt.split()[-1].split("+")))
        return str(total + (model == "bad" and total % 2 == 0))


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests with asyncio."""
    return "asyncio"


@pytest.fixture
def engine():
    """Return the engine."""
    return Solver()


@pytest.fixture
def pool(project, engine):
    """Return a pool with the engine alone."""
    with project.pool(engines=engine) as pool:
        yield pool


@pytest.fixture
def sums():
    """Return twelve rows with a sum and its result."""
    return [{"sum": f"{number}+1", "result": str(number + 1)} for number in range(12)]


def make_evaluation(
    scores, *, name="score", clusters=None, lower_is_better=(), preferences=(), **fields
):
    """Return an evaluation with the scores of each variant, in the order of the rows.

    Args:
        scores: A list of scores, or of lists of the samples' scores, by name of the variant; a
            `Score` is taken as it is, and an exception is the error of a call.
        name: Name of the score.
        clusters: The cluster of each row.
        lower_is_better: As for `Evaluation`.
        preferences: As for `Evaluation`.
        **fields: Fields of each cell.
    """
    variants = [Variant(variant, variant, "mock") for variant in scores]
    count = max(map(len, scores.values()))
    rows = EvaluatedRows(
        tuple({"text": f"text {position}"} for position in range(count)),
        tuple(range(count)),
        clusters=None if clusters is None else tuple(clusters),
    )
    cells = []
    for variant in variants:
        for position, samples in enumerate(scores[variant.name]):
            for sample, value in enumerate(samples if isinstance(samples, list) else [samples]):
                cell = GridCell(position, position, variant, sample, answer="answer", model="mock")
                if isinstance(value, Exception):
                    cell.answer, cell.model, cell.error = "", "", str(value)
                elif value is not None:
                    cell.scores[name] = value if isinstance(value, Score) else Score(value)
                cells.append(replace(cell, **fields))
    return Evaluation(
        cells, rows, variants, lower_is_better=lower_is_better, preferences=preferences
    )
