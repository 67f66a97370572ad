"""Embeddings with OpenAI's SDK and with raw requests."""

import base64
import struct
import threading

import pytest

from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.server import embeddings_api
from gatewayx_nb.server.uvicorn_settings import THREAD
from tests.server.conftest import openai_client, post, serving


class Embedder(LLMEngine):
    """An engine whose embedding of a text is its length and its number of spaces."""

    requires_key = False
    model_name = embedding_model = "lengths"
    features = frozenset({"embed"})

    async def generate(self, prompt, **_):
        """Return the prompt."""
        return prompt

    async def embed(self, texts, model):
        """Return a vector for each text."""
        return [[len(text), text.count(" ")] for text in texts]


@pytest.fixture(scope="module")
def server():
    """Yield a server with the engine."""
    with serving(Embedder()) as server:
        yield server


def test_embeddings_have_the_order_of_the_texts(server):
    """The SDK, which asks for base64 by default, receives the vectors of the texts."""
    with openai_client(server) as client:
        for options in ({}, {"encoding_format": "float"}):
            answer = client.embeddings.create(model="embedder", input=["a b", "abc d e"], **options)
            assert [item.embedding for item in answer.data] == [[3.0, 1.0], [7.0, 2.0]]
            assert [item.index for item in answer.data] == [0, 1]
        assert client.embeddings.create(model="embedder", input="xy").data[0].embedding == [2, 0]


def test_base64_is_little_endian(server):
    """Each embedding is the bytes of its numbers, as little-endian float32."""
    body = {"model": "embedder", "input": "a b", "encoding_format": "base64"}
    (item,) = post(server, "/v1/embeddings", body).json()["data"]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == (3.0, 1.0)


class Slashes(Embedder):
    """An engine whose embeddings begin with a slash in base64."""

    name = "slashes"

    async def embed(self, texts, model):
        """Return vectors whose first byte is 255."""
        return [[struct.unpack("<f", b"\xff\xff\xff\x3f")[0]] * 8 for _ in texts]


def test_base64_that_looks_like_a_path_is_unchanged():
    """An answer is not searched for the folders that errors must not name."""
    with serving(Slashes()) as server:
        body = {"model": "slashes", "input": "a", "encoding_format": "base64"}
        (item,) = post(server, "/v1/embeddings", body).json()["data"]
        assert item["embedding"].startswith("//")
        assert len(base64.b64decode(item["embedding"])) == 32


class Infinite(Embedder):
    """An engine whose embeddings are not numbers."""

    name = "infinite"

    async def embed(self, texts, model):
        """Return vectors that JSON cannot represent."""
        return [[float("nan"), float("inf")] for _ in texts]


def test_an_embedding_without_finite_numbers_is_an_error():
    """NaN and Infinity are not JSON, and no distance to them is a number."""
    with serving(Infinite()) as server:
        response = post(server, "/v1/embeddings", {"model": "infinite", "input": "a"})
        assert response.status_code == 502
        assert "not a finite number" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 3]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * 2_049}, "input"),
        ({"input": "a", "dimensions": 5}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "model": None}, "model"),
    ],
)
def test_an_invalid_field_is_named(server, fields, field):
    """The error names the field."""
    response = post(server, "/v1/embeddings", {"model": "embedder"} | fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(field)
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_a_way_out(server, tokens):
    """LangChain sends token IDs by default; the error names its option."""
    response = post(server, "/v1/embeddings", {"model": "embedder", "input": tokens})
    assert response.status_code == 400
    assert "check_embedding_ctx_length=False" in response.json()["error"]["message"]


def test_an_engine_without_embeddings_is_an_error(server):
    """The error is that of the pool, and names the engine."""
    response = post(server, "/v1/embeddings", {"model": "mock", "input": "a"})
    assert response.status_code in (400, 404)
    assert "mock" in response.json()["error"]["message"]


class LongEmbedder(Embedder):
    """An engine whose embeddings are long."""

    name = "long"

    async def embed(self, texts, model):
        """Return vectors of 3,000 numbers."""
        return [[0.5] * 3_000 for _ in texts]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_large_embeddings_are_encoded_in_another_thread(encoding, monkeypatch):
    """Encoding 2,048 embeddings takes seconds, in which the server would answer nothing else."""
    threads = []
    encode = embeddings_api._encode

    def noted(*args):
        threads.append(threading.current_thread().name)
        return encode(*args)

    monkeypatch.setattr(embeddings_api, "_encode", noted)
    with serving(LongEmbedder()) as server:
        for texts in (["a"] * 3, "a"):
            body = {"model": "long", "input": texts, "encoding_format": encoding}
            assert len(post(server, "/v1/embeddings", body).json()["data"]) == len(texts)
    assert all(name != THREAD for name in threads)
