"""The values that go in and come out of a call: frozen dataclasses, no behaviour beyond showing.

Floors above build them; engines read a `Request` and yield `Chunk`; a user holds a `Reply`.
"""

from __future__ import annotations

from base64 import b64encode
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
class Image:
    """A picture in a prompt: its bytes, or where the provider finds it.

    Attributes:
        mime: Its media type, ``image/png`` and the like.
        data: The bytes of the file; empty where ``url`` is set.
        url: An ``https`` address that the provider fetches itself.
    """

    mime: str
    data: bytes = b""
    url: str = ""

    @property
    def base64(self) -> str:
        """The bytes as text."""
        return b64encode(self.data).decode("ascii")

    @property
    def address(self) -> str:
        """The ``url``, or a ``data:`` URL of the bytes (RFC 2397)."""
        return self.url or f"data:{self.mime};base64,{self.base64}"

    @override
    def __repr__(self) -> str:
        return f"Image({self.mime!r}, {self.url or f'{len(self.data)} bytes'})"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called.

    Attributes:
        id: The provider's name for this call; empty where it gives none.
        name: The function.
        arguments: Its arguments, JSON as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What the provider's headers say is left; ``None`` where they do not.

    Attributes:
        requests: Requests allowed in the current window.
        requests_left: Requests left of them.
        requests_reset: Seconds until they are full again.
        tokens: Tokens allowed in the current window.
        tokens_left: Tokens left of them.
        tokens_reset: Seconds until they are full again.
    """

    requests: int | None = None
    requests_left: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_left: int | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        content: The text.
        images: Pictures that come with it.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()


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
        top_p: Share of the likeliest tokens that is sampled from.
        max_tokens: Most tokens the answer may have.
        stop: Texts that end the answer.
        seed: Seed of the sampling.
        schema: JSON Schema that the answer must satisfy.
        params: Further parameters, sent as they are under the provider's own names.
        drop_unsupported: Whether a parameter that the model rejects may be left out.
        streamed: Whether the caller reads the answer as it comes.
    """

    messages: tuple[Message, ...]
    model: str
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    drop_unsupported: bool = False
    streamed: bool = True

    @property
    def prompt(self) -> str:
        """The last message's text."""
        return self.messages[-1].content if self.messages else ""

    @property
    def images(self) -> tuple[Image, ...]:
        """All pictures of the conversation."""
        return tuple(image for message in self.messages for image in message.images)

    @property
    def _says_more_than_a_prompt(self) -> bool:
        return len(self.messages) > 1 or bool(self.images)

    def keywords(self) -> dict[str, Any]:
        """Give what the caller set, as `LLMEngine.generate` takes it; ``messages`` if several.

        One message with images counts as several.
        """
        named = {
            "system": self.system,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop) or None,
            "seed": self.seed,
            "schema": self.schema,
            "messages": list(self.messages) if self._says_more_than_a_prompt else None,
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

    Attributes:
        text: A piece of the answer.
        reasoning: A piece of what the model thinks aloud.
        finish_reason: Why it ended.
        usage: Tokens so far; the last one holds.
        model: The model that answers, as the provider spells it.
        request_id: The provider's name for the call.
        tool_calls: Functions that the model wants called, each one whole.
        rate_limits: What the provider's headers say is left.
        billed: Tokens to be paid, where they are not those of ``usage``.
        raw: The body of a whole answer.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    billed: Usage | None = None
    raw: Mapping[str, Any] | None = None


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
        replayed: Whether a cassette played it back; the figures are those of its recording.
        interrupted: Whether the caller stopped it; the text is what had arrived.
        fallback_from: The reference that was asked first, where another one answered.
        parsed: The answer as data, where a schema was asked for.
        tool_calls: Functions that the model wants called.
        rate_limits: What the provider's headers say is left.
        dropped: Parameters that the model rejected and that were left out, as was asked.
        request_id: The provider's name for the call.
        raw: The provider's body of a whole answer; ``None`` for a streamed one.
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
    replayed: bool = False
    interrupted: bool = False
    fallback_from: str | None = None
    parsed: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    dropped: tuple[str, ...] = ()
    request_id: str | None = None
    raw: Mapping[str, Any] | None = field(default=None, compare=False)

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
