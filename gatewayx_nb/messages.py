"""The values that go in and come out of a call: frozen dataclasses, no behaviour beyond showing.

Floors above build them; engines read a `Request` and yield `Chunk`; a user holds a `Reply`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from gatewayx_nb import rendering

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Names an engine, and a model of it unless the engine's default is meant."""

    engine: str
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read ``"engine"`` or ``"engine:model"``; only the first colon counts.

        >>> ModelRef.parse("ollama:llama3:8b")
        ModelRef(engine='ollama', model='llama3:8b')
        """
        engine, _, model = text.strip().partition(":")
        return cls(engine, model or None)

    @override
    def __str__(self) -> str:
        return f"{self.engine}:{self.model}" if self.model else self.engine


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that can be called now.

    Attributes:
        engine: Name of the engine.
        model: Name of the model, as the provider spells it.
        default: Whether it is the one that the engine's bare name calls.
    """

    engine: str
    model: str
    default: bool = True

    @override
    def __str__(self) -> str:
        return f"{self.engine}:{self.model}"


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked. ``None`` and empty mean that the caller set nothing.

    Attributes:
        messages: The conversation, oldest first; the last is the prompt.
        model: Name of the model, as the provider spells it.
        system: System prompt.
        temperature: Sampling temperature.
        max_tokens: Most tokens the answer may have.
        stop: Texts that end the answer.
        seed: Seed of the sampling.
        schema: JSON Schema that the answer must satisfy.
        params: Further parameters, sent as they are under the provider's own names.
        streamed: Whether the caller reads the answer as it comes.
    """

    messages: tuple[Message, ...]
    model: str
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = True

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return self.messages[-1].content if self.messages else ""

    def keywords(self) -> dict[str, Any]:
        """Give what the caller set, as `LLMEngine.generate` takes it; ``messages`` if several."""
        named = {
            "system": self.system,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop) or None,
            "seed": self.seed,
            "schema": self.schema,
            "messages": list(self.messages) if len(self.messages) > 1 else None,
        }
        return {name: value for name, value in named.items() if value is not None} | dict(
            self.params
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; ``None`` where the provider did not say, never 0 for unknown.

    Attributes:
        input_tokens: All tokens read, the cached ones included.
        output_tokens: All tokens written, the reasoning included.
        cached_tokens: Of the input, those read from the provider's cache.
        cache_write_tokens: Of the input, those written to the provider's cache.
        reasoning_tokens: Of the output, those of the reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer: one for each text event of the provider.

    The last ones carry no text but the ``finish_reason``, the ``usage`` or both.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished answer. ``str(reply)`` is its text.

    Attributes:
        text: The answer.
        reasoning: What the model thought aloud, apart from the answer.
        engine: Name of the engine.
        model: Name of the model, as the provider reported it.
        finish_reason: Why it ended; ``"length"`` means that it was cut at ``max_tokens``.
        usage: Tokens.
        cost: US dollars, or ``None`` where the price is not known.
        latency: Seconds from the call to the end.
        time_to_first: Seconds from the call to the first chunk.
        attempts: How often it was sent.
        interrupted: Whether the caller stopped it; the text is what had arrived.
        parsed: The answer as data, where a schema was asked for.
        request_id: The provider's name for the call.
    """

    text: str
    engine: str
    model: str
    reasoning: str = ""
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    interrupted: bool = False
    parsed: Any = None
    request_id: str | None = None

    @override
    def __str__(self) -> str:
        return self.text

    @override
    def __repr__(self) -> str:
        text = rendering.shorten(self.text, 60)
        return f"Reply({text!r}, engine={self.engine!r}, model={self.model!r})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Give the text, and safe HTML of it: never ``text/markdown``, which pages trust."""
        return {"text/plain": self.text, "text/html": rendering.to_html(self.text)}
