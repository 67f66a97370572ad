import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.llm_engines import LLMEngine


class Echo(LLMEngine):
    """An engine that answers with the prompt and a suffix, which a test changes."""

    name, requires_key, suffix = "echo", False, ""

    async def generate(self, prompt, **_):
        """Return the prompt with the suffix."""
        return prompt + self.suffix


@pytest.fixture
def echo():
    """Return an engine."""
    return Echo()


@pytest.fixture
def pool(echo):
    """Yield a pool with the engine."""
    with EnginePool(env={}, engines=[echo]) as opened:
        yield opened
