"""Embeddings of many texts: stored as they arrive, and requested only once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from gatewayx_nb.batch import MANY_TEXTS, embedding
from gatewayx_nb.errors import ProviderError, UsageError
from tests.batch.conftest import CountingEngine

TEXTS = [f"text {number}" for number in range(MANY_TEXTS)]


class EmbeddingEngine(CountingEngine):
    """Returns the length of each text and its last character, and counts the texts."""

    embedding_model = "e1"
    embedding_batch = 10

    def __init__(self, api_key="", **options):
        super().__init__(api_key, **options)
        self.embedded = Counter()
        self.fails_at = ""

    async def embed(self, texts, model):
        if self.fails_at in texts:
            raise ProviderError("no", status=400)
        self.embedded.update(texts)
        return [[float(len(text)), float(ord(text[-1]))] for text in texts]


@pytest.fixture
def engine():
    return EmbeddingEngine()


def expected(texts):
    return np.array([[len(text), ord(text[-1])] for text in texts], dtype=np.float32)


@pytest.mark.parametrize("rows", [TEXTS, pd.Series(TEXTS), tuple(TEXTS), iter(list(TEXTS))])
def test_many_texts_are_embedded_in_order(pool, rows):
    vectors = pool.embed(rows, "counting")

    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(TEXTS))


def test_a_second_call_asks_only_for_new_texts(pool, engine, reopen):
    pool.embed(TEXTS, "counting")
    pool.close()
    other = EmbeddingEngine()

    vectors = reopen(other).embed([*reversed(TEXTS), "new"], "counting")

    assert other.embedded == {"new": 1}
    np.testing.assert_array_equal(vectors, expected([*reversed(TEXTS), "new"]))


def test_equal_texts_are_embedded_once(pool, engine):
    pool.embed(TEXTS * 2, "counting")

    assert set(engine.embedded.values()) == {1}


def test_what_was_embedded_before_an_error_is_kept(pool, engine, monkeypatch):
    monkeypatch.setattr(embedding, "_CHUNK_TEXTS", 40)
    engine.fails_at = TEXTS[90]
    with pytest.raises(ProviderError):
        pool.embed(TEXTS, "counting")
    engine.fails_at = ""

    vectors = pool.embed(TEXTS, "counting")

    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert max(engine.embedded[text] for text in TEXTS[:80]) == 1


def test_another_model_has_its_own_embeddings(pool, engine):
    pool.embed(TEXTS, "counting")
    pool.embed(TEXTS, "counting:e2")

    assert set(engine.embedded.values()) == {2}


def test_a_frame_is_refused(pool, engine):
    """Iterating over a frame yields the names of its columns."""
    with pytest.raises(UsageError, match="got a DataFrame"):
        pool.embed(pd.DataFrame({"text": TEXTS}), "counting")


def test_a_failed_embedding_is_called_failed(pool, engine):
    engine.fails_at = TEXTS[0]
    with pytest.raises(ProviderError):
        pool.embed(TEXTS, "counting")

    assert [status.state for status in pool.map_jobs()] == ["failed"]


def test_few_texts_are_not_stored(pool, engine):
    pool.embed(TEXTS[:3], "counting")

    assert not pool.map_jobs()


@pytest.mark.anyio
async def test_the_async_twin_does_the_same(pool, engine):
    await pool.aembed(TEXTS, "counting")
    vectors = await pool.aembed(TEXTS, "counting")

    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert set(engine.embedded.values()) == {1}


def test_a_recorded_call_replays_without_the_store(project, pool, engine):
    path = project.root / "vectors.jsonl"
    with pool.cassette(path):
        pool.embed(TEXTS, "counting")
    assert not pool.map_jobs()

    with project.pool() as other, other.cassette(path, "replay"):
        np.testing.assert_array_equal(other.embed(TEXTS, "counting"), expected(TEXTS))
