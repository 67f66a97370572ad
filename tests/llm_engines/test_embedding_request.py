from dataclasses import dataclass

import openai
import pytest
from google import genai
from google.genai import types

from gatewayx_nb.errors import ProviderError, RateLimitError, UnsupportedFeatureError
from tests.engines import engine_module
from tests.llm_engines.wire import KEY, Wire, body_script

VECTORS = [[1.0, 0.5], [0, -2.0]]
OPENAI_BODY = {
    "object": "list",
    "model": "m",
    "data": [
        {"object": "embedding", "index": index, "embedding": VECTORS[index]} for index in (1, 0)
    ],
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}
GOOGLE_BODY = {"embeddings": [{"values": vector} for vector in VECTORS]}


@dataclass(frozen=True)
class Provider:
    """A provider with embeddings: its engine and an example response."""

    name: str
    path: str
    model: str
    batch: int
    body: dict


PROVIDERS = [
    Provider("openai", "/v1", "text-embedding-3-small", 256, OPENAI_BODY),
    Provider("google", "", "gemini-embedding-001", 100, GOOGLE_BODY),
]


@pytest.fixture(scope="module", params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request):
    """Return a provider; tests run once for each."""
    return request.param


@pytest.fixture(scope="module")
def wire(tmp_path_factory, provider):
    """Yield the provider's engine, connected to a local server."""
    folder = tmp_path_factory.mktemp(provider.name) / "project"
    with Wire(folder, provider.name, provider.path) as wire:
        yield wire


def _embed(wire, texts=("a", "b")):
    return wire.run(lambda engine: engine.embed(texts, engine.embedding_model))


def _embed_with_sdk(wire, provider):
    if provider.name == "google":
        options = types.HttpOptions(base_url=wire.server.url, api_version="v1beta")
        with genai.Client(api_key=KEY, http_options=options) as sdk:
            sdk.models.embed_content(model=provider.model, contents=["a", "b"])
        return
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1") as sdk:
        sdk.embeddings.create(model=provider.model, input=["a", "b"], encoding_format="float")


def test_vectors_have_the_order_of_the_texts(wire, provider):
    """There is one vector for each text, in the order of the texts."""
    wire.respond_with(body_script(provider.body))

    assert _embed(wire) == VECTORS


def test_requests_equal_those_of_the_sdk(wire, provider):
    """The request equals the SDK's and uses the engine file's default model."""
    wire.respond_with(body_script(provider.body))
    _embed(wire)
    engine_request, engine_body = wire.last_request, wire.request_body
    _embed_with_sdk(wire, provider)

    assert engine_request.target == wire.last_request.target
    assert engine_body == wire.request_body


def test_the_engine_declares_its_model_and_batch_size(wire, provider):
    """The engine declares a default embedding model and the number of texts per request."""
    engine = wire.run(_return_engine)

    assert (engine.embedding_model, engine.embedding_batch) == (provider.model, provider.batch)
    assert "embed" in engine.features


async def _return_engine(engine):
    return engine


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": {"message": "slow"}}, 429, RateLimitError),
        ({"error": {"message": "slow", "code": 429}}, 200, RateLimitError),
        ("<html>", 200, ProviderError),
        ({}, 200, ProviderError),
        ({"data": [{"embedding": [1]}], "embeddings": [{"values": [1]}]}, 200, ProviderError),
        ({"data": [{"embedding": ["1"]}, 3], "embeddings": [{}, 3]}, 200, ProviderError),
    ],
)
def test_errors_and_invalid_vectors_raise_typed_errors(wire, body, status, kind):
    """Error responses, missing vectors and invalid vectors raise typed errors."""
    wire.respond_with(body_script(body, status))
    with pytest.raises(kind) as caught:
        _embed(wire)

    assert caught.value.engine in {wire.name, None}


def test_an_engine_without_embeddings_refuses_the_call(tmp_path):
    """If an engine has no embeddings, the call raises an error and nothing is sent."""
    assert "embed" not in engine_module("grok").GrokEngine.features
    with Wire(tmp_path / "project", "grok", "/v1") as wire:
        with pytest.raises(UnsupportedFeatureError, match="does not support embeddings"):
            _embed(wire)
        assert not wire.server.requests
