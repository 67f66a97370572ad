"""An engine that counts what it is asked, and a pool that calls it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.replies import Chunk, Usage


class CountingEngine(LLMEngine):
    """Answers each prompt in capital letters, and counts the prompts.

    Attributes:
        asked: Number of calls by prompt.
        errors: Errors to raise, by prompt.
        answers: Other answers, by prompt.
        slow: Seconds that a call takes, by prompt.
    """

    name = "counting"
    model_name = "m1"
    requires_key = False
    features = frozenset({"system", "temperature", "max_tokens", "schema", "images", "history"})

    def __init__(self, api_key="", **options):
        super().__init__(api_key, **options)
        self.asked = Counter()
        self.errors: dict[str, GatewayError] = {}
        self.answers: dict[str, str] = {}
        self.slow: dict[str, float] = {}
        self.keywords: list[dict] = []
        self.most_at_once = self.at_once = 0

    async def generate(self, prompt, **keywords):
        self.asked[prompt] += 1
        self.keywords.append(keywords)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.slow.get(prompt, 0))
        finally:
            self.at_once -= 1
        if prompt in self.errors:
            raise self.errors[prompt]
        return self.answers.get(prompt, prompt.upper())


class PricedEngine(CountingEngine):
    """Costs a tenth of a cent for each token, and uses eight tokens for each answer."""

    def get_cost_per_token(self):
        return 0.001

    async def stream(self, request):
        text = await self.generate(request.prompt, **request.keywords())
        yield Chunk(text=text, finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=5))


@pytest.fixture
def anyio_backend():
    """Run asynchronous tests with asyncio."""
    return "asyncio"


@pytest.fixture
def engine():
    """Return the engine."""
    return CountingEngine()


@pytest.fixture
def pool(project, engine):
    """Return a pool with the counting engine alone."""
    with project.pool(engines=engine) as pool:
        yield pool


@pytest.fixture
def reopen(project):
    """Return a function that opens the project again, as another process would, with an engine."""
    pools = []

    def open_again(engine):
        pools.append(project.pool(engines=engine))
        return pools[-1]

    yield open_again
    for pool in pools:
        pool.close()
