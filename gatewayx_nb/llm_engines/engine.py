"""The interface between the pool and engine files."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gatewayx_nb.concurrency import run_in_thread
from gatewayx_nb.errors import ProviderError, UnsupportedFeatureError
from gatewayx_nb.json_schema import is_open, wrap_in_object
from gatewayx_nb.messages import Message, ModelInfo, Request
from gatewayx_nb.replies import Chunk, Details, Reply
from gatewayx_nb.secure_config import Network, Secret

if TYPE_CHECKING:
    import re
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gatewayx_nb.llm_engines.batches import BatchInterface

FEATURES = frozenset({"system", "history", "images", "schema", "tools", "embed"})
"""The valid values in ``features``."""

SAMPLING = frozenset({"temperature", "top_p", "max_tokens", "stop", "seed", "effort", "cache"})
"""Parameters of sampling, length, reasoning and caching, by their names in a `Request`."""

SchemaMode = Literal["strict", "json_object", "none"]
"""The format that an endpoint enforces: a strict schema, any JSON object, or nothing."""

ToolRules = Literal["openai", "mistral"]
"""The vendor whose rules for tool calls an endpoint follows.

Mistral accepts only IDs of nine characters, each a letter or a digit, and no user message right
after tool results: https://github.com/langchain-ai/langchain/pull/24668
"""

_REQUEST_FIELDS = (
    *("system", "temperature", "top_p", "max_tokens", "seed", "effort", "cache"),
    *("schema", "tool_choice"),
)
"""Keyword arguments of `LLMEngine.generate` that are fields of the same name in a `Request`."""

_FAILURE_PREFIX = "Error generating response:"
"""Beginning of the text with which some engines report a failure instead of raising an error."""


class LLMEngine:
    """Base class of engines, each for one provider; ``<name>_engine.py`` defines one subclass.

    An engine overrides `generate`, which returns the whole reply, or `stream`, which yields it in
    chunks; by default, each calls the other. All other methods are optional. An engine must not
    store the state of a call in its attributes, because one instance runs concurrent calls.

    Args:
        api_key: The engine's key; empty if it needs none.
        **kwargs: ``base_url``, ``model`` and the engine's own options, from ``[engines.<name>]`` or
            the variables ``GATEWAYX_<NAME>_BASE_URL`` and ``_MODEL``.

    Attributes:
        name: The engine's name, from its file name.
        base_url: Base URL of the provider's API.
        model_name: The default model, used if a reference names only the engine.
        requires_key: Whether the engine needs a key. This is read from the source text, so
            ``requires_key = False`` must appear there literally.
        features: What the engine supports beyond plain prompts: ``"system"``, ``"history"``,
            ``"images"``, ``"schema"`` (enforces a JSON Schema natively), ``"tools"`` (calls
            functions; see `generate`), ``"embed"``.
        unsupported_options: The parameters in `SAMPLING` that the provider does not support, such
            as ``"seed"``. A call that sets such a parameter is rejected before anything is sent.
        default_max_tokens: Maximum number of tokens in a reply if the call sets no ``max_tokens``;
            ``None`` if the engine adds no maximum.
        models_without_effort: Matches the names of models that do not reason, or whose effort
            cannot be set. A call to such a model with ``effort`` is rejected before anything is
            sent.
        params: The names that ``params`` may contain; ``None`` allows any name, because providers
            reject unknown parameters themselves.
        keywords: The options that ``[engines.<name>]`` may contain besides ``base_url``,
            ``model`` and the named parameters of ``__init__``; ``None`` allows any option.
        prices: The provider's name in genai-prices; empty if it is not listed there.
        embedding_model: The default model for embeddings.
        embedding_batch: Maximum number of texts in one embedding request.
        network: Proxy and certificates, for engines that open their own connections.
    """

    name: str = ""
    base_url: str = ""
    model_name: str = ""
    requires_key: ClassVar[bool] = True
    features: ClassVar[frozenset[str]] = frozenset({"system", "history"})
    unsupported_options: ClassVar[frozenset[str]] = frozenset()
    default_max_tokens: ClassVar[int | None] = None
    models_without_effort: ClassVar[re.Pattern[str] | None] = None
    params: ClassVar[frozenset[str] | None] = None
    keywords: ClassVar[frozenset[str] | None] = None
    prices: ClassVar[str] = ""
    embedding_model: ClassVar[str] = ""
    embedding_batch: ClassVar[int] = 96
    network: Network = Network()

    def __init__(self, api_key: str = "", **kwargs: Any) -> None:  # noqa: ANN401 - engine-specific
        self.api_key = Secret(api_key)
        self.options = kwargs
        self.base_url = kwargs.get("base_url") or self.base_url
        self.model_name = kwargs.get("model") or self.model_name

    async def generate(self, prompt: str, **kwargs: Any) -> str | Reply:  # noqa: ANN401
        """Return the whole reply to a prompt; an override may also be a plain ``def``.

        An engine with ``"tools"`` in ``features`` receives the functions that the model may call,
        and returns a `Reply` with ``tool_calls`` if the model calls any. The engine is then called
        again, with the calls and their results at the end of ``messages``.

        Args:
            prompt: The last message of the conversation.
            **kwargs: The options that the caller set: ``system``, ``messages`` (a list of
                `Message`; passed if there is more than one message or an image), ``images`` (if it
                is a named parameter), ``temperature``, ``top_p``, ``max_tokens``, ``stop``,
                ``seed``, ``effort``, ``cache``, ``schema``, ``tools`` (a list of `ToolDefinition`),
                ``tool_choice`` (``"auto"``, ``"none"``, ``"required"`` or the name of a tool) and
                the entries of ``params``.

        Returns:
            The text; a `Reply` if the model calls tools.
        """
        messages = kwargs.pop("messages", None) or [Message("user", prompt)]
        request_fields = {name: kwargs.pop(name) for name in _REQUEST_FIELDS if name in kwargs}
        request = Request(
            messages=tuple(messages),
            model=kwargs.pop("model", None) or self.model_name,
            stop=tuple(kwargs.pop("stop", ())),
            tools=tuple(kwargs.pop("tools", ())),
            # The named options have been removed above.
            params=kwargs,
            streamed=False,
            **request_fields,
        )
        chunks = [chunk async for chunk in self.stream(request)]
        text = "".join(chunk.text for chunk in chunks)
        calls = tuple(call for chunk in chunks for call in chunk.tool_calls)
        if not calls:
            return text
        return Reply(text, self.name, request.model, finish_reason="tool_calls", tool_calls=calls)

    async def generate_response(self, prompt: str, **kwargs: Any) -> str | Reply:  # noqa: ANN401
        """Return the whole reply; an alias of `generate`."""
        return await self.generate(prompt, **kwargs)

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield the reply in chunks; the last chunk has the finish reason and the usage.

        Raises:
            ProviderError: If `generate` returns neither a str nor a `Reply`, or its text starts
                with the prefix that some engines use to report a failure.
        """
        keywords = request.keywords()
        # The model is passed only if it differs, so that a simple engine need not accept `model`.
        if request.model and request.model != self.model_name:
            keywords["model"] = request.model
        # The images are in the messages; `generate` may also take them as a keyword.
        if request.images and "images" in inspect.signature(self.generate).parameters:
            keywords["images"] = list(request.images)
        answer = await call_generate(self, request.prompt, **keywords)
        if isinstance(answer, Reply):
            yield Chunk(
                text=answer.text,
                reasoning=answer.reasoning,
                tool_calls=answer.tool_calls,
                details=Details(
                    answer.citations,
                    answer.images,
                    answer.logprobs,
                    answer.carried.data if answer.carried else None,
                ),
            )
            yield Chunk(
                finish_reason=answer.finish_reason,
                usage=answer.usage,
                model=answer.model or None,
                request_id=answer.request_id,
            )
            return
        if not isinstance(answer, str):
            raise ProviderError(
                f"`generate` in engine {self.name!r} must return a str or a Reply, got"
                f" {type(answer).__name__}.",
                hint=f"Fix {self.name}_engine.py; it is reloaded on the next call.",
            )
        if answer.startswith(_FAILURE_PREFIX):
            raise ProviderError(
                f"engine {self.name!r} failed:{answer.removeprefix(_FAILURE_PREFIX)}",
                engine=self.name,
            )
        yield Chunk(text=answer)
        yield Chunk(finish_reason="stop")

    def may_write_cache(self, request: Request) -> bool:  # noqa: ARG002 - for subclasses
        """Return whether the provider may charge for writing the prompt to its cache."""
        return True

    def enforceable_schema(self, request: Request) -> Mapping[str, Any] | None:
        """Return the variant of a request's JSON Schema that the provider enforces.

        The variant replaces the request's ``schema``. By default, a value that is not an object is
        wrapped in an object, as the property ``answer``, and a schema for arbitrary objects is not
        enforced. This is called only if ``features`` contains ``"schema"``.

        Returns:
            The schema; an empty dict if only JSON objects are enforced, or ``None`` if nothing is.
            In the last two cases, the prompt itself asks for JSON that matches the schema.
        """
        return None if is_open(request.schema or {}) else wrap_in_object(request.schema or {})

    def batch_interface(self) -> BatchInterface | None:
        """Return the provider's batch API; ``None`` if the provider has none."""
        return None

    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:  # noqa: ARG002 - for subclasses
        """Return a vector for each text, in order.

        Args:
            texts: At most ``embedding_batch`` texts.
            model: Name of the model.

        Raises:
            UnsupportedFeatureError: If the engine does not support embeddings.
        """
        raise UnsupportedFeatureError(
            f"engine {self.name!r} does not support embeddings.",
            hint="Use an engine that does, such as `openai`.",
        )

    async def health_check(self) -> bool:
        """Return whether the provider answers, without using any tokens."""
        return True

    async def models(self) -> list[ModelInfo]:
        """Return the models, including at least the engine's default model."""
        return [ModelInfo(self.name, self.model_name)]

    async def count_tokens(self, request: Request) -> int | None:  # noqa: ARG002 - for subclasses
        """Return the number of input tokens in a request.

        Nothing is sent to a provider. The result is ``None`` if only the provider can count the
        tokens.
        """
        return None

    def get_cost_per_token(self) -> float | None:
        """Return US dollars per token, for input and output alike; ``None`` if unknown."""
        return None

    async def cleanup(self) -> None:
        """Close the engine's resources; called once, after the engine's last call."""


async def call_generate(engine: LLMEngine, prompt: str, **keywords: Any) -> object:  # noqa: ANN401
    """Call an engine's `generate`, whether it is ``async`` or not, and return its result."""
    if inspect.iscoroutinefunction(engine.generate):
        return await engine.generate(prompt, **keywords)
    # A plain function runs in a thread, so that it does not block other calls.
    answer: object = await run_in_thread(engine.generate, prompt, **keywords)
    return await answer if inspect.isawaitable(answer) else answer
