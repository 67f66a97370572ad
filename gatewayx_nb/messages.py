"""The input of a call: messages, images, references to models and the `Request`."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a prompt: its bytes, or a URL that the provider fetches.

    Attributes:
        mime: The media type, such as ``image/png``.
        data: The bytes of the file; empty if ``url`` is set.
        url: An ``https`` URL that the provider fetches; empty if ``data`` is set.
    """

    mime: str
    data: bytes = b""
    url: str = ""

    @property
    def base64(self) -> str:
        """The bytes, encoded as Base64."""
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
    """A function call that the model requests.

    Attributes:
        id: The provider's ID of the call; empty if it sends none.
        name: Name of the function.
        arguments: The arguments, as the JSON text that the model wrote.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: Who wrote it.
        content: The text.
        images: Images attached to it.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as text: of a list of messages, the text of the last one."""
    if isinstance(prompt, str):
        return prompt
    last = prompt[-1] if prompt else ""
    return last.content if isinstance(last, Message) else str(last)


if TYPE_CHECKING:
    Messages = Sequence[Message | Mapping[str, Any]]
    """A conversation: `Message` objects, or dicts in OpenAI's format."""
    Prompt = str | Messages
    """The prompt of a call: a text, or a conversation whose last message is the prompt."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A reference to an engine and optionally one of its models."""

    engine: str
    model: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Parse ``"engine"`` or ``"engine:model"``; only the first colon counts.

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
        default: Whether the engine uses it if no model is named.
    """

    engine: str
    model: str
    default: bool = True

    @override
    def __str__(self) -> str:
        return f"{self.engine}:{self.model}"


@dataclass(frozen=True, slots=True)
class Request:
    """The input of an engine; for every field, ``None`` or an empty value means "not set".

    Attributes:
        messages: The conversation, oldest message first; the last one is the prompt.
        model: Name of the model, as the provider spells it.
        system: System prompt.
        temperature: Sampling temperature.
        top_p: Cumulative probability for nucleus sampling.
        max_tokens: Maximum tokens in the reply.
        stop: Stop sequences.
        seed: Sampling seed.
        schema: JSON Schema that the reply must satisfy.
        params: Further parameters, sent unchanged under the provider's own names.
        drop_unsupported: Whether parameters that the model rejects may be dropped.
        streamed: Whether the caller reads the reply as a stream.
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
        """The text of the last message."""
        return self.messages[-1].content if self.messages else ""

    @property
    def images(self) -> tuple[Image, ...]:
        """All images in the conversation."""
        return tuple(image for message in self.messages for image in message.images)

    def keywords(self) -> dict[str, Any]:
        """Return the options that are set, as keyword arguments of `LLMEngine.generate`.

        ``messages`` is included only if there are several messages, or images.
        """
        options = {
            "system": self.system,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop) or None,
            "seed": self.seed,
            "schema": self.schema,
            # Only if the prompt alone does not say it all, so that a simple engine need not read
            # messages.
            "messages": list(self.messages) if len(self.messages) > 1 or self.images else None,
        }
        set_options = {name: value for name, value in options.items() if value is not None}
        return set_options | dict(self.params)
