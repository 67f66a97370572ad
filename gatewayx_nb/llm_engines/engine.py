"""The contract between the pool and an engine file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from gatewayx_nb.errors import ProviderError, UnsupportedFeatureError
from gatewayx_nb.messages import Chunk, Message, ModelInfo, Reply, Request
from gatewayx_nb.secure_config import Network, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

FEATURES = frozenset({"system", "history", "images", "schema", "embed"})
"""The words that ``features`` may hold."""

SAMPLING = frozenset({"temperature", "top_p", "max_tokens", "stop", "seed"})
"""How an answer is sampled and bounded, under the names of a `Request`."""

_FAILURE_PREFIX = "Error generating response:"


class LLMEngine:
    """Talks to one provider. A file ``<name>_engine.py`` holds one subclass.

    An engine overrides `generate`, which returns the whole answer, or `stream`, which yields it
    piece by piece; the other one follows from it. Everything else has a default. An engine keeps
    no state of a call on itself: several run at once on one instance.

    Args:
        api_key: The engine's key; empty where it needs none.
        **kwargs: What ``[engines.<name>]`` of the settings and ``GATEWAYX_<NAME>_BASE_URL`` and
            ``_MODEL`` say: ``base_url``, ``model`` and any keyword of the engine's own.

    Attributes:
        name: The engine's name, from its file.
        base_url: Where the provider answers.
        model_name: The model that the engine's bare name calls.
        requires_key: Whether it can answer only with a key. Read from the source text, so that
            ``requires_key = False`` must stand there literally.
        features: What it can do beyond text: ``"system"``, ``"history"``, ``"images"``,
            ``"schema"`` (holds an answer to a JSON Schema by itself), ``"embed"``.
        lacks: What of `SAMPLING` the provider does not have, such as ``"seed"``. An HTTP engine
            refuses a call that sets it before anything is sent.
        keywords: What ``[engines.<name>]`` may hold beside ``base_url``, ``model`` and the named
            parameters of ``__init__``; ``None`` where it may hold anything.
        prices: Its provider's name in genai-prices; empty where it is none of them.
        embedding_model: The model that makes embeddings where none is named.
        embedding_batch: Most texts that one request may embed.
        network: Proxy and certificates, for engines that open connections of their own.
    """

    name: str = ""
    base_url: str = ""
    model_name: str = ""
    requires_key: ClassVar[bool] = True
    features: ClassVar[frozenset[str]] = frozenset({"system", "history"})
    lacks: ClassVar[frozenset[str]] = frozenset()
    keywords: ClassVar[frozenset[str] | None] = None
    prices: ClassVar[str] = ""
    embedding_model: ClassVar[str] = ""
    embedding_batch: ClassVar[int] = 96
    network: Network = Network()

    def __init__(self, api_key: str = "", **kwargs: Any) -> None:  # noqa: ANN401 - the engine's own
        self.api_key = Secret(api_key)
        self.options = kwargs
        self.base_url = kwargs.get("base_url") or self.base_url
        self.model_name = kwargs.get("model") or self.model_name

    async def generate(self, prompt: str, **kwargs: Any) -> str | Reply:  # noqa: ANN401
        """Give the whole answer to a prompt.

        Args:
            prompt: The last message of the conversation.
            **kwargs: Only what the caller set: ``system``, ``messages`` (where there are several),
                ``temperature``, ``top_p``, ``max_tokens``, ``stop``, ``seed``, ``schema`` and what
                the caller gave as ``params``.
        """
        messages = kwargs.pop("messages", None) or [Message("user", prompt)]
        known = {
            name: kwargs.pop(name)
            for name in ("system", "temperature", "top_p", "max_tokens", "seed", "schema")
            if name in kwargs
        }
        request = Request(
            messages=tuple(messages),
            model=kwargs.pop("model", None) or self.model_name,
            stop=tuple(kwargs.pop("stop", ())),
            params=kwargs,
            streamed=False,
            **known,
        )
        return "".join([chunk.text async for chunk in self.stream(request)])

    async def generate_response(self, prompt: str, **kwargs: Any) -> str | Reply:  # noqa: ANN401
        """Give the whole answer; another name of `generate`."""
        return await self.generate(prompt, **kwargs)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the answer piece by piece; the last chunk says why it ended and what it used.

        Raises:
            ProviderError: What `generate` returned begins as a failure does in engines that
                report one as text.
        """
        keywords = request.keywords()
        if request.model and request.model != self.model_name:
            keywords["model"] = request.model
        answer = await self.generate(request.prompt, **keywords)
        if isinstance(answer, Reply):
            yield Chunk(text=answer.text, reasoning=answer.reasoning)
            yield Chunk(
                finish_reason=answer.finish_reason,
                usage=answer.usage,
                model=answer.model or None,
                request_id=answer.request_id,
            )
            return
        if not isinstance(answer, str):
            raise ProviderError(
                f"`generate` of engine {self.name!r} gave {type(answer).__name__}; expected str.",
                mend=f"Mend {self.name}_engine.py; the next call loads it again.",
            )
        if answer.startswith(_FAILURE_PREFIX):
            raise ProviderError(
                f"engine {self.name!r} failed:{answer.removeprefix(_FAILURE_PREFIX)}",
                engine=self.name,
            )
        yield Chunk(text=answer)
        yield Chunk(finish_reason="stop")

    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        """Give a vector for each text, in their order.

        Args:
            texts: At most ``embedding_batch`` of them.
            model: Name of the model.

        Raises:
            UnsupportedFeatureError: The engine makes no embeddings.
        """
        raise UnsupportedFeatureError(
            f"engine {self.name!r} makes no embeddings ({len(texts)} texts for {model!r}).",
            mend="Ask an engine that does, for instance `openai`.",
        )

    async def health_check(self) -> bool:
        """Tell whether the provider answers, without spending a token."""
        return True

    async def models(self) -> list[ModelInfo]:
        """List the models; at least the one that the engine's bare name calls."""
        return [ModelInfo(self.name, self.model_name)]

    def get_cost_per_token(self) -> float | None:
        """Give US dollars a token, in and out alike; ``None`` where the price is not known."""
        return None

    async def cleanup(self) -> None:
        """Close what the engine holds open. Called once, after its last call."""
