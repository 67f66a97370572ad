import asyncio

import numpy as np
import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import GatewayError, ProviderError, UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import LLMEngine


class EmbeddingEngine(LLMEngine):
    """Engine that embeds each text as its length, in batches of two; optionally it fails."""

    requires_key = False
    embedding_model = "lengths"
    embedding_batch = 2

    def __init__(self, errors=(), *, omits_last=False):
        super().__init__()
        self.calls, self.errors, self.omits_last = [], list(errors), omits_last

    async def generate(self, prompt, **kwargs):
        return prompt

    async def embed(self, texts, model):
        self.calls.append((list(texts), model))
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop()
        vectors = [[len(text), index] for index, text in enumerate(texts)]
        return vectors[:-1] if self.omits_last else vectors


def _make_pool(engine):
    return EnginePool(env={}, engines=[engine])


def test_vectors_are_an_array_in_the_order_of_the_texts():
    """Vectors are a float32 array of shape (texts, dimensions), in the order of the texts.

    The texts are sent in batches of the engine's size.
    """
    engine = EmbeddingEngine()
    with _make_pool(engine) as pool:
        vectors = pool.embed((text for text in ["a", "bb", "ccc"]), model="embedding")
        single = asyncio.run(pool.aembed(["a"], model="embedding:other"))

    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 2))
    assert vectors[:, 0].tolist() == [1, 2, 3]
    assert engine.calls == [(["a", "bb"], "lengths"), (["ccc"], "lengths"), (["a"], "other")]
    assert single.shape == (1, 2)


def test_an_empty_list_of_texts_makes_no_call():
    """Embedding an empty list makes no call and returns an empty array."""
    engine = EmbeddingEngine()
    with _make_pool(engine) as pool:
        assert pool.embed([], model="embedding").size == 0
    assert engine.calls == []


def test_a_transient_error_is_retried():
    """After a transient error, only the failed batch is retried."""
    engine = EmbeddingEngine([ProviderError("busy", status=503)])
    with _make_pool(engine) as pool:
        assert pool.embed(["a"], model="embedding").shape == (1, 2)
    assert len(engine.calls) == 2


@pytest.mark.parametrize(
    ("engine", "texts", "kind", "message"),
    [
        (EmbeddingEngine([ProviderError("no", status=400)]), ["a"], ProviderError, "no"),
        (EmbeddingEngine(omits_last=True), ["a", "b"], ProviderError, "1 vectors for 2 texts"),
        (EmbeddingEngine(), ["a", ""], UsageError, "text 1 must be .*, got ''"),
        (EmbeddingEngine(), ["a", 3], UsageError, "text 1 must be .*, got 3"),
    ],
    ids=["final error", "missing vector", "empty text", "number"],
)
def test_failures_raise_typed_errors(engine, texts, kind, message):
    """Invalid texts, provider errors and missing vectors raise typed errors."""
    with _make_pool(engine) as pool, pytest.raises(kind, match=message):
        pool.embed(texts, model="embedding")


def test_an_engine_without_embeddings_raises_an_error(project):
    """If an engine does not support embeddings, the error names an engine that does."""
    with pytest.raises(UnsupportedFeatureError, match=r"mock.*openai"):
        project.pool().embed(["a"], model="mock")


@pytest.mark.parametrize("model", ["mock", "nobody"])
def test_a_failed_embedding_has_no_group_in_its_context(project, model):
    """IPython shows a whole traceback, and sends no error, if the context is an exception group."""
    with project.pool() as pool, pytest.raises(GatewayError) as caught:
        pool.embed(["a", "b"], model)

    error = caught.value
    while error is not None:
        assert not isinstance(error, BaseExceptionGroup)
        error = error.__context__
