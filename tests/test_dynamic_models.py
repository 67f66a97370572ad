"""The dynamic model system of the seed document: an engine is a file, its key is a line.

Run alone with ``python tests/test_dynamic_models.py``. Each part has its title from the document;
where the document restarts a server, the test calls `check`, as every cell does.
"""

import asyncio
import logging

import pytest

from gatewayx_nb.errors import EngineNotFoundError, MissingKeyError, ProviderError
from gatewayx_nb.testing import CHAT, Server

BUILT_IN = {"mock", "anthropic", "openai", "google", "cohere", "grok"}

YOUR_MODEL = '''\
"""
Your Model Engine
"""

import asyncio
import logging
from ..llm_engines import LLMEngine

logger = logging.getLogger(__name__)

class YourModelEngine(LLMEngine):
    """Your Model AI Engine"""

    def __init__(self, api_key: str, **kwargs):
        super().__init__(api_key, **kwargs)
        self.name = "your_model"
        self.base_url = "https://api.yourmodel.com/v1"
        self.model_name = "your-model-name"
        self.cost_per_token = 0.0001

    async def health_check(self) -> bool:
        """Check if engine is working"""
        try:
            # Your health check logic
            await asyncio.sleep(0.1)
            logger.info("✅ Your Model engine health check passed")
            return True
        except Exception as e:
            logger.error(f"❌ Your Model engine health check failed: {e}")
            return False

    async def generate(self, prompt: str, **kwargs) -> str:
        """Generate response using Your Model"""
        try:
            # Your API call logic
            await asyncio.sleep(0.5)
            response = f"[Your Model Response] {prompt[:50]}..."
            logger.info(f"✅ Your Model generated response")
            return response
        except Exception as e:
            logger.error(f"❌ Your Model generation failed: {e}")
            return f"Error generating response: {e}"

    async def generate_response(self, prompt: str, **kwargs) -> str:
        """Generate response (alias for compatibility)"""
        return await self.generate(prompt, **kwargs)

    def get_cost_per_token(self) -> float:
        """Get cost per token"""
        return self.cost_per_token

    async def cleanup(self):
        """Cleanup resources"""
        logger.info("🧹 Your Model engine cleanup completed")
'''

CAREFUL = """\
from ..llm_engines import LLMEngine

class CarefulEngine(LLMEngine):
    async def generate(self, prompt: str, **kwargs) -> str:
        try:
            return f"{sorted(kwargs)} {1 // (prompt != 'fail')}"
        except Exception as e:
            return f"Error generating response: {e}"
"""


def rows(pool):
    """Return the status of every engine by name."""
    return {row.name: row for row in pool.status()}


@pytest.fixture
def pool(project):
    """Yield a pool that is never restarted by the tests below."""
    with project.pool() as running:
        yield running


@pytest.fixture
def your_model(project, pool):
    """Add the document's engine, verbatim, and its key to the running pool."""
    (project.engines / "your_model_engine.py").write_text(YOUR_MODEL)
    project.set_keys("GATEWAYX_YOUR_MODEL_API_KEY=a_real_key\n")
    pool.refresh()
    return pool


# Engine registry


def test_the_registry_knows_the_models_that_are_built_in(pool):
    """Each built-in engine has a row, with or without a key, before its code is run."""
    known = rows(pool)

    assert set(known) >= BUILT_IN
    assert not any(row.loaded for row in known.values())
    assert known["mock"].state == "ready"


def test_the_registry_finds_the_file_of_an_engine(project, pool):
    """The registry finds an engine file by its name, `<name>_engine.py`, and ignores helpers."""
    (project.engines / "your_model_engine.py").write_text(YOUR_MODEL)
    (project.engines / "_helper.py").write_text("raise RuntimeError\n")

    assert rows(pool)["your_model"].source == "project: your_model_engine.py"
    assert not [name for name in rows(pool) if "helper" in name]


# Provider discovery


def test_a_provider_is_there_once_its_key_is_valid(project, pool):
    """A key in `config/secrets/.env.local` makes a provider available; a placeholder does not."""
    states = []
    for line in (
        "",
        "GATEWAYX_GROK_API_KEY=your_real_grok_key_here",
        "GATEWAYX_GROK_API_KEY=xai-1",
    ):
        project.set_keys(line)
        states.append((rows(pool)["grok"].key, rows(pool)["grok"].state))

    assert states == [("missing", "no key"), ("placeholder", "no key"), ("set", "ready")]


def test_only_providers_with_a_key_are_offered(project, pool):
    """Only providers with a key and keyless engines are offered."""
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1\nGATEWAYX_COHERE_API_KEY=your_key_here\n")

    offered = {model.engine for model in pool.models()}

    assert offered & BUILT_IN == {"grok", "mock"}
    with pytest.raises(MissingKeyError, match="placeholder"):
        pool.ask("hi", model="cohere")


def test_a_provider_without_a_key_is_never_run(project, pool):
    """The file of a provider without a key is not even imported."""
    ran = project.root / "ran"
    (project.engines / "other_engine.py").write_text(f"open({str(ran)!r}, 'w')\n{YOUR_MODEL}")
    pool.refresh()

    with pytest.raises(MissingKeyError):
        pool.ask("hi", model="other")
    pool.health()

    assert not ran.exists()


# Dynamic engine creation


def test_the_documents_own_engine_answers(your_model):
    """The document's engine has the name of its file and, with the only key, is the default."""
    reply = your_model.ask("Why is the sky blue?")

    assert reply.text == "[Your Model Response] Why is the sky blue?..."
    assert (reply.engine, reply.model) == ("your_model", "your-model-name")
    assert (reply.usage.input_tokens, reply.cost) == (None, None)


def test_it_is_asked_for_its_health_by_its_own_check(your_model, caplog):
    """The engine's own health check is called, which logs a line."""
    caplog.set_level(logging.INFO)

    (row,) = your_model.health("your_model")

    assert (row.ok, row.latency >= 0.1) == (True, True)
    assert "Your Model engine health check passed" in caplog.text


def test_it_streams_and_awaits_as_every_engine_does(your_model):
    """An engine with only `generate` is wrapped: it streams its answer as one chunk."""
    stream = your_model.stream("hi")
    chunks = [chunk.text for chunk in stream]
    awaited = asyncio.run(your_model.aask("hi"))

    assert chunks == ["[Your Model Response] hi...", ""]
    assert (stream.reply.finish_reason, awaited.text) == ("stop", chunks[0])


def test_it_is_cleaned_up(your_model, caplog):
    """Closing the pool cleans up the engine once."""
    caplog.set_level(logging.INFO)
    your_model.ask("hi")

    your_model.close()

    assert caplog.text.count("Your Model engine cleanup completed") == 1


def test_an_engine_is_passed_only_what_the_caller_set(project, pool):
    """An engine receives only the keywords that the caller set."""
    (project.engines / "careful_engine.py").write_text(CAREFUL)
    project.set_keys("GATEWAYX_CAREFUL_API_KEY=k1\n")
    pool.refresh()

    assert pool.ask("hi").text == "[] 1"
    assert pool.ask("hi", system="s", temperature=0).text == "['system', 'temperature'] 1"


def test_a_failure_that_comes_as_a_text_is_raised(project, pool):
    """A returned text `Error generating response: …`, the document's contract, is raised."""
    (project.engines / "careful_engine.py").write_text(CAREFUL)
    project.set_keys("GATEWAYX_CAREFUL_API_KEY=k1\n")
    pool.refresh()

    with pytest.raises(ProviderError, match="division"):
        pool.ask("fail")


# New model addition


def test_a_new_model_takes_a_file_and_a_key_and_no_restart(project, pool):
    """Each step of the document, in its order, applies to the next call."""
    with pytest.raises(EngineNotFoundError):
        pool.ask("hi", model="your_model")

    (project.engines / "your_model_engine.py").write_text(YOUR_MODEL)  # step 1
    pool.refresh()
    with pytest.raises(MissingKeyError, match="GATEWAYX_YOUR_MODEL_API_KEY"):
        pool.ask("hi", model="your_model")

    project.set_keys(
        "GATEWAYX_YOUR_MODEL_API_KEY=your_real_api_key_here\n"
    )  # step 2, with the placeholder
    pool.refresh()
    with pytest.raises(MissingKeyError, match="placeholder"):
        pool.ask("hi", model="your_model")

    project.set_keys("GATEWAYX_YOUR_MODEL_API_KEY=a_real_key\n")
    pool.refresh()
    assert pool.ask("hi", model="your_model").text == "[Your Model Response] hi..."


def test_the_package_file_of_the_document_is_not_needed_and_does_no_harm(project, your_model):
    """Step 3, an `engines/__init__.py` with a list of engines, is harmless: it is never run."""
    (project.engines / "__init__.py").write_text("raise RuntimeError('run')\n")
    your_model.refresh()

    assert your_model.ask("hi").text == "[Your Model Response] hi..."


def test_adding_grok_takes_its_key_alone(project, pool):
    """The shipped grok engine needs only a key; a local server stands in for the provider."""
    with Server(CHAT.answer) as server:
        key = "GATEWAYX_GROK_API_KEY=sk-grok-1"
        project.set_keys(f"{key}\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n")
        pool.refresh()
        reply = pool.ask("hi")

    assert reply.engine == "grok"
    assert reply.text
    assert server.requests[0].headers["authorization"] == "Bearer sk-grok-1"


# Removing models


def test_without_its_key_a_model_is_no_longer_used(project, your_model):
    """Without its key a model is unavailable from the next call on; its row names the key."""
    assert your_model.ask("hi").engine == "your_model"

    project.set_keys("")
    your_model.refresh()

    with pytest.raises(MissingKeyError):
        your_model.ask("hi", model="your_model")
    assert rows(your_model)["your_model"].state == "no key"
    assert "your_model" not in {model.engine for model in your_model.models()}


def test_without_its_file_a_model_is_gone(project, your_model):
    """Without its file a model is gone, even if its key is still set."""
    assert your_model.ask("hi").engine == "your_model"

    (project.engines / "your_model_engine.py").unlink()
    your_model.refresh()

    with pytest.raises(EngineNotFoundError, match=r"no file your_model_engine\.py"):
        your_model.ask("hi", model="your_model")
    assert "your_model" not in rows(your_model)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
