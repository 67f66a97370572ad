"""The input of a call: messages and their parts, references to models, and `Request`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from typing_extensions import override

from gatewayx_nb import bounded_json, images
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.images import Image
from gatewayx_nb.text import short_repr, well_formed

if TYPE_CHECKING:
    from gatewayx_nb.images import ImageSource

P = TypeVar("P")

Effort = Literal["none", "low", "medium", "high", "max"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

Role = Literal["system", "user", "assistant", "tool"]

ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call that the model requests.

    Attributes:
        id: The provider's ID of the call; empty if the provider sends none.
        name: Name of the function.
        arguments: The arguments, as the JSON text that the model wrote.

    Lone surrogates, which UTF-8 cannot encode, become U+FFFD.

    Raises:
        UsageError: If one of the attributes is not a str.
    """

    id: str
    name: str
    arguments: str

    def __post_init__(self) -> None:
        for name in ("id", "name", "arguments"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise UsageError(
                    f"the {name} of a tool call must be a str, got {short_repr(value)}.",
                    hint="Use `json.dumps` for the arguments." if name == "arguments" else None,
                )
            object.__setattr__(self, name, well_formed(value))

    def parsed_arguments(self) -> dict[str, Any]:
        """Return the arguments as a dict; empty if they are not a JSON object."""
        try:
            values = bounded_json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A function that the model may call, as it is described to the model.

    Attributes:
        name: 1 to 64 ASCII letters, digits, ``_`` and ``-``, not beginning with a digit.
        description: What the function does.
        parameters: JSON Schema of the arguments, which are an object.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True, init=False)
class ToolResult:
    """The result of a tool call.

    >>> ToolResult("call_1", "12 °C")
    ToolResult('call_1', '12 °C')

    Args:
        id: ID of the tool call; if the call has none, ``name`` identifies it.
        content: The text, or a list of strings and images.
        name: Name of the function; if omitted, the call's function name is used.
        is_error: Whether the call failed; the content is then the error message.

    Raises:
        UsageError: If the ID or the content is invalid.

    Attributes:
        parts: The strings and images, without empty strings.
    """

    id: str
    parts: tuple[str | Image, ...]
    name: str
    is_error: bool

    def __init__(
        self,
        id: str,  # noqa: A002 - as in `ToolCall`
        content: str | Sequence[str | ImageSource],
        name: str = "",
        is_error: bool = False,  # noqa: FBT001, FBT002 - mostly passed by name
    ) -> None:
        if not isinstance(id, str) or not isinstance(name, str):
            raise UsageError(
                f"the id and name of a tool result must be strings, got {short_repr(id)} and"
                f" {short_repr(name)}."
            )
        parts = _read_parts(content)
        _check_part_types(parts, (str, Image), "a tool result")
        _set_fields(self, id=id, parts=parts, name=name, is_error=bool(is_error))

    @property
    def content(self) -> str:
        """The text; blank lines separate the strings."""
        return "\n\n".join(_parts_of_type(self.parts, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images."""
        return _parts_of_type(self.parts, Image)

    @override
    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name else ""
        error = ", is_error=True" if self.is_error else ""
        return f"ToolResult({self.id!r}, {_shown_parts(self.parts)}{name}{error})"


Part = str | Image | ToolCall | ToolResult
"""A part of a message: a str, an image, a tool call or a tool result."""

_PART_NAMES: Mapping[type, str] = {
    str: "text",
    Image: "an image",
    ToolCall: "a tool call",
    ToolResult: "a tool result",
}

_PART_TYPES_BY_ROLE: Mapping[Role, tuple[type, ...]] = {
    "system": (str,),
    "user": (str, Image),
    "assistant": (str, Image, ToolCall),
    "tool": (ToolResult,),
}
"""The parts that the messages of each role may have."""


@dataclass(frozen=True, slots=True)
class Carried:
    """An answer as its provider sent it, carried along in the conversation.

    The answer may contain signed or encrypted reasoning, without which a provider may refuse the
    conversation. It is sent only to the engine that made the answer, and only if the message's text
    and tool calls are unchanged.

    Attributes:
        engine: Name of the engine that made the answer.
        data: The answer as JSON, in the format of the engine's API.
    """

    engine: str
    data: Mapping[str, Any] = field(hash=False)

    @classmethod
    def of(cls, engine: str, data: Mapping[str, Any], message: Message) -> Carried:
        """Return the carried answer, with a digest of the message's text and tool calls."""
        return cls(engine, {**data, "turn": _digest(message)})

    @property
    def is_paused(self) -> bool:
        """Whether the provider paused; it resumes if this answer is the last message."""
        return bool(self.data.get("paused"))

    @property
    def has_calls(self) -> bool:
        """Whether ``data`` has the whole answer with its tool calls, not only additional fields."""
        return "items" in self.data

    def fits(self, message: Message) -> bool:
        """Return whether a message has the same text and tool calls as the answer."""
        return self.data.get("turn") == _digest(message)

    @override
    def __repr__(self) -> str:
        return f"Carried({self.engine!r}, {short_repr(self.data)})"


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """One turn of a conversation.

    >>> Message("user", ["What is this?", Image("image/png", url="https://example.com/a.png")])
    Message('user', ['What is this?', Image('image/png', https://example.com/a.png)])

    Args:
        role: The author of the message: ``"user"``, ``"assistant"``, ``"tool"`` (the results of
            tool calls) or ``"system"``.
        content: The text, or a list of parts: strings, images (also as bytes, a `Path` or a
            figure), `ToolCall` and `ToolResult`.
        carried: For an assistant's message, the answer as its provider sent it; see
            `Reply.message`.

    Raises:
        UsageError: If the role is unknown or does not allow one of the parts or ``carried``.

    Attributes:
        parts: The parts, without empty strings.
    """

    role: Role
    parts: tuple[Part, ...]
    carried: Carried | None

    def __init__(
        self,
        role: Role,
        content: str | Sequence[Part | ImageSource],
        *,
        carried: Carried | None = None,
    ) -> None:
        if role not in ROLES:
            raise UsageError(
                f"role must be {_joined_with_or(map(repr, ROLES))}, got {short_repr(role)}."
                f"{did_you_mean(role, ROLES) if isinstance(role, str) else ''}"
            )
        parts = _read_parts(content)
        _check_part_types(
            parts, _PART_TYPES_BY_ROLE[role], f"{'an' if role[0] == 'a' else 'a'} {role} message"
        )
        _check_carried(carried, role)
        _set_fields(self, role=role, parts=parts, carried=carried)

    @property
    def content(self) -> str:
        """The text, including the text of tool results; blank lines separate the strings."""
        match self.parts:
            case (str(text),):  # nearly every message
                return text
        texts = (part.content if isinstance(part, ToolResult) else part for part in self.parts)
        return "\n\n".join(_parts_of_type(texts, str))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, including those in tool results."""
        if self.role != "tool":
            return _parts_of_type(self.parts, Image)
        return tuple(image for result in self.tool_results for image in result.images)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls."""
        return _parts_of_type(self.parts, ToolCall) if self.role == "assistant" else ()

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The tool results."""
        return _parts_of_type(self.parts, ToolResult) if self.role == "tool" else ()

    @override
    def __repr__(self) -> str:
        carried_text = f", carried={self.carried!r}" if self.carried else ""
        return f"Message({self.role!r}, {_shown_parts(self.parts)}{carried_text})"


def _read_parts(content: object) -> tuple[Part, ...]:
    """Return the parts of a message or a tool result, with every image loaded."""
    if isinstance(content, str):
        return (content,) if content else ()
    if isinstance(content, (ToolCall, ToolResult)):
        return (content,)
    # Do not check whether a list or tuple is a figure, because the check is slow.
    if type(content) not in (list, tuple) and images.is_source(content):
        return (images.load(content),)
    if not isinstance(content, Sequence):
        raise UsageError(f"content must be a str or a list of parts, got {short_repr(content)}.")
    parts = (_read_part(part, number) for number, part in enumerate(content))
    return tuple(part for part in parts if part != "")


def _read_part(part: object, number: int) -> Part:
    if isinstance(part, (str, ToolCall, ToolResult)):
        return part
    if images.is_source(part):
        return images.load(part)
    raise UsageError(
        f"content[{number}] must be {_joined_with_or(_PART_NAMES.values())}, got"
        f" {short_repr(part)}."
    )


def _check_part_types(parts: tuple[Part, ...], allowed_types: tuple[type, ...], owner: str) -> None:
    for part in parts:
        if not isinstance(part, allowed_types):
            allowed_names = _joined_with_or(_PART_NAMES[part_type] for part_type in allowed_types)
            hint = None
            if ToolResult in allowed_types:
                hint = 'Use `Message("tool", [ToolResult(call.id, "…")])`.'
            raise UsageError(
                f"the content of {owner} must be {allowed_names}, got {_PART_NAMES[type(part)]}.",
                hint=hint,
            )


def _check_carried(carried: object, role: Role) -> None:
    if carried is not None and (role != "assistant" or not isinstance(carried, Carried)):
        raise UsageError(
            "carried must come from a reply, and only an assistant message can have it, got"
            f" {short_repr(carried)} in {'an' if role[0] == 'a' else 'a'} {role} message.",
            hint="Use `reply.message`.",
        )


def _digest(message: Message) -> str:
    """Return a digest of a message's text and tool calls, without the calls' IDs."""
    calls = [(call.name, call.arguments) for call in message.tool_calls]
    content = repr((message.content, calls)).encode(errors="replace")
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _joined_with_or(names: Iterable[str]) -> str:
    *other_names, last_name = names
    return f"{', '.join(other_names)} or {last_name}" if other_names else last_name


def _parts_of_type(values: Iterable[object], part_type: type[P]) -> tuple[P, ...]:
    return tuple([value for value in values if isinstance(value, part_type)])


def _shown_parts(parts: tuple[object, ...]) -> str:
    is_text = len(parts) <= 1 and all(isinstance(part, str) for part in parts)
    return repr(parts[0] if parts else "") if is_text else repr(list(parts))


def _set_fields(instance: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)  # the class is frozen


if TYPE_CHECKING:
    Messages = Sequence[Message | Mapping[str, Any]]
    """A conversation: `Message` objects, or dicts in OpenAI's format."""
    Prompt = str | Message | Messages
    """The prompt of a call: a str, a message, or a conversation; its last message is answered."""


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
        default: Whether the engine uses the model if no model is named.
        size: Total size of the model's files in bytes, if it is on this machine.
    """

    engine: str
    model: str
    default: bool = True
    size: int | None = None

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
        effort: How much the model reasons before it answers.
        cache: ``"auto"`` to have the provider cache the beginning of the prompt.
        schema: JSON Schema that the reply must satisfy.
        tools: The functions that the model may call.
        tool_choice: ``"auto"``, ``"none"``, ``"required"`` or the name of the function to call.
        params: Further parameters, sent unchanged under the provider's own names.
        drop_unsupported: Whether to drop parameters that the model rejects.
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
    effort: Effort | None = None
    cache: Literal["auto"] | None = None
    schema: Mapping[str, Any] | None = None
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: str | None = None
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
            "effort": self.effort,
            "cache": self.cache,
            "schema": self.schema,
            "tools": list(self.tools) or None,
            "tool_choice": self.tool_choice,
            # Omit the messages if the prompt contains everything, so that a simple engine need not
            # read them.
            "messages": list(self.messages) if len(self.messages) > 1 or self.images else None,
        }
        set_options = {name: value for name, value in options.items() if value is not None}
        return set_options | dict(self.params)
