import asyncio

import numpy as np
import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ProviderError, UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import LLMEngine


class Embedding(LLMEngine):
    """Engine that embeds each text as its length, in batches of two, and can be made to fail."""

    requires_key = False
    embedding_model = "lengths"
    embedding_batch = 2

    def __init__(self, faults=(), *, short=False):
        super().__init__()
        self.calls, self.faults, self.short = [], list(faults), short

    async def generate(self, prompt, **kwargs):
        return prompt

    async def embed(self, texts, model):
        self.calls.append((list(texts), model))
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop()
        vectors = [[len(text), index] for index, text in enumerate(texts)]
        return vectors[:-1] if self.short else vectors


def _pool(engine):
    return EnginePool(env={}, engines=[engine])


def test_vectors_are_an_array_in_the_order_of_the_texts():
    """Vectors are a float32 array of shape (texts, dimensions), in the order of the texts.

    The texts are sent in batches of the engine's size.
    """
    engine = Embedding()
    with _pool(engine) as pool:
        array = pool.embed((text for text in ["a", "bb", "ccc"]), model="embedding")
        again = asyncio.run(pool.aembed(["a"], model="embedding:other"))

    assert (array.dtype, array.shape) == (np.float32, (3, 2))
    assert array[:, 0].tolist() == [1, 2, 3]
    assert engine.calls == [(["a", "bb"], "lengths"), (["ccc"], "lengths"), (["a"], "other")]
    assert again.shape == (1, 2)


def test_without_texts_no_call_is_made():
    """Without texts no call is made and the array is empty."""
    engine = Embedding()
    with _pool(engine) as pool:
        assert pool.embed([], model="embedding").size == 0
    assert engine.calls == []


def test_a_transient_error_is_retried(monkeypatch):
    """After a transient error only the failed batch is retried."""
    engine = Embedding([ProviderError("busy", status=503)])
    with _pool(engine) as pool:
        assert pool.embed(["a"], model="embedding").shape == (1, 2)
    assert len(engine.calls) == 2


@pytest.mark.parametrize(
    ("engine", "texts", "kind", "message"),
    [
        (Embedding([ProviderError("no", status=400)]), ["a"], ProviderError, "no"),
        (Embedding(short=True), ["a", "b"], ProviderError, "1 vectors for 2 texts"),
        (Embedding(), ["a", ""], UsageError, "text 1 must be .*, got ''"),
        (Embedding(), ["a", 3], UsageError, "text 1 must be .*, got 3"),
    ],
    ids=["final", "short", "empty", "number"],
)
def test_failures_raise_typed_errors(engine, texts, kind, message):
    """Failures raise typed errors; an incomplete array is never returned."""
    with _pool(engine) as pool, pytest.raises(kind, match=message):
        pool.embed(texts, model="embedding")


def test_an_engine_without_embeddings_raises_an_error(project):
    """If an engine has no embeddings, the error names one that has."""
    with pytest.raises(UnsupportedFeatureError, match=r"mock.*openai"):
        project.pool().embed(["a"], model="mock")
