"""The seed document's engine, word for word, dropped into a project."""

import os
import re
from pathlib import Path

import pytest

from gatewayx_nb.errors import ProviderError

HERE = Path(os.environ.get("GATEWAYX_SEED", Path(__file__).parents[2] / "shared" / "reference"))
SEED = HERE / "seed-dynamic-model-system.md"

SAME_CONTRACT = '''
"""
Another Model Engine, to the contract of the seed document
"""

import asyncio
import logging
from ..llm_engines import LLMEngine

logger = logging.getLogger(__name__)

class AnotherEngine(LLMEngine):
    def __init__(self, api_key: str, **kwargs):
        super().__init__(api_key, **kwargs)
        self.name = "something_else"
        self.base_url = "https://api.example.invalid/v1"
        self.model_name = "another-1"
        self.cost_per_token = 0.0001

    async def health_check(self) -> bool:
        return True

    async def generate(self, prompt: str, **kwargs) -> str:
        try:
            await asyncio.sleep(0)
            return f"[{sorted(kwargs)}] {1 // (prompt != 'fail')}"
        except Exception as e:
            return f"Error generating response: {e}"

    async def generate_response(self, prompt: str, **kwargs) -> str:
        return await self.generate(prompt, **kwargs)

    def get_cost_per_token(self) -> float:
        return self.cost_per_token

    async def cleanup(self):
        logger.info("cleaned")
'''


@pytest.mark.skipif(not SEED.is_file(), reason="the seed document is not part of this repository")
def test_the_documents_own_engine_answers(project):
    """Found by its file and its key, unchanged."""
    (source,) = re.findall(
        r"```python\n(\"\"\"\nYour Model Engine.*?)```", SEED.read_text(), re.DOTALL
    )
    (project.engines / "your_model_engine.py").write_text(source)
    project.set_keys("GATEWAYX_YOUR_MODEL_API_KEY=a_real_key\n")

    reply = project.pool().ask("Why is the sky blue?")

    assert reply.text == "[Your Model Response] Why is the sky blue?..."
    assert (reply.engine, reply.model) == ("your_model", "your-model-name")


@pytest.fixture
def another(project):
    """Give a pool with an engine to the same contract."""
    (project.engines / "another_engine.py").write_text(SAME_CONTRACT)
    project.set_keys("GATEWAYX_ANOTHER_API_KEY=k1\n")
    return project.pool()


def test_an_engine_to_the_contract_is_the_default_by_its_key(another):
    """It needs no other word; its name is its file's."""
    reply = another.ask("hi")

    assert (reply.text, reply.engine, reply.model) == ("[[]] 1", "another", "another-1")
    assert (reply.usage.input_tokens, reply.cost) == (None, None)


def test_it_is_passed_only_what_the_caller_set(another):
    """Keywords, no more."""
    assert another.ask("hi", system="s", temperature=0).text == "[['system', 'temperature']] 1"


def test_its_failure_text_is_raised(another):
    """An error that comes as a text is an error."""
    with pytest.raises(ProviderError, match="division"):
        another.ask("fail")


def test_it_streams_as_one_chunk(another):
    """An engine that only generates is wrapped."""
    stream = another.stream("hi")

    assert [chunk.text for chunk in stream] == ["[[]] 1", ""]
    assert stream.reply.finish_reason == "stop"
