"""Normalizes the request of a call, so that a cassette finds the recorded call again.

The classes are msgspec structs, so that reading a file is fast and executes no code. The garbage
collector skips the objects, because they contain no cycles and there may be a million of them.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Role, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.cassettes.redaction import Redact
    from gatewayx_nb.messages import Message, Part, Request

_WHOLE_REQUEST = "request"
"""The key of the whole request's digest in `RequestBody.digests`."""


class RecordedImage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image in a prompt: its digest or its URL, never its bytes."""

    mime: str
    sha256: str = ""
    url: str = ""
    detail: str = ""


class RequestedToolCall(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call in a conversation; see `messages.ToolCall`."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class RequestedToolResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of a tool call; see `messages.ToolResult`."""

    id: str
    name: str = ""
    parts: tuple[RecordedPart, ...] = ()
    is_error: bool = False


class RecordedPart(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A part of a message; its kind is the name of the field that is set."""

    text: str = ""
    image: RecordedImage | None = None
    tool_call: RequestedToolCall | None = None
    tool_result: RequestedToolResult | None = None


class RecordedMessage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message of a request.

    Attributes:
        role: The author of the message.
        content: The text, if the message is only text or text followed by images.
        images: The images after the text.
        parts: The parts of a message of any other form; its ``content`` is then empty.
    """

    role: Role
    content: str
    images: tuple[RecordedImage, ...] = ()
    parts: tuple[RecordedPart, ...] = ()

    @property
    def text(self) -> str:
        """The text, including the text of tool results."""
        return "\n\n".join(_texts(self.parts)) if self.parts else self.content


class RequestBody(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A request, independent of its engine; calls with equal bodies count as the same call.

    Attributes:
        messages: The conversation; the last message is the prompt.
        texts: The texts to embed, instead of messages.
        fallback: References of the fallback engines.
        schema: JSON Schema of the reply.
        tools: The name, description and parameters of each tool.
        tool_choice: Which tool the model must call, if any.
        digests: The digests of the fields, by name, and of the whole request, if only digests are
            stored; the other fields are then absent.
    """

    messages: tuple[RecordedMessage, ...] = ()
    texts: tuple[str, ...] = ()
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    effort: str | None = None
    schema: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] = ()
    tool_choice: str | None = None
    params: dict[str, Any] = {}  # msgspec makes a new dict for each instance
    drop_unsupported: bool = False
    fallback: tuple[str, ...] = ()
    digests: dict[str, str] = {}

    @property
    def prompt(self) -> str:
        """The text of the last message, or the texts to embed."""
        return self.messages[-1].text if self.messages else "\n".join(self.texts)

    @property
    def last_tool_results(self) -> tuple[RequestedToolResult, ...]:
        """The tool results of the last message."""
        parts = self.messages[-1].parts if self.messages else ()
        return tuple(part.tool_result for part in parts if part.tool_result is not None)

    @property
    def digest(self) -> bytes:
        """The 16-byte digest that identifies the body."""
        if whole_digest := self.digests.get(_WHOLE_REQUEST):
            return whole_digest.encode()
        return _digest(self).encode()

    def field_digests(self) -> Mapping[str, str]:
        """Return the digest of each field that is set, by name."""
        if self.digests:
            return {name: value for name, value in self.digests.items() if name != _WHOLE_REQUEST}
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {
            name: _digest(value) for name, value in values if value not in (None, (), {}, False)
        }

    def as_digests(self) -> RequestBody:
        """Return the body with digests only, so that nobody can read the prompt."""
        if self.digests:
            return self
        return RequestBody(digests={_WHOLE_REQUEST: self.digest.decode(), **self.field_digests()})


def body_of(request: Request, fallback: Sequence[str], redact: Redact) -> RequestBody:
    """Return a request's body, after redacting its text.

    Raises:
        UsageError: If a parameter is not valid JSON, such as NaN.
    """
    options = {
        name: option.to_recorded(value)
        for name, option in OPTIONS.items()
        if option.to_recorded and (value := getattr(request, name)) is not None
    }
    _check_finite(request.params)
    if request.system is not None:
        options["system"] = redact(request.system)
    messages = tuple(_recorded_message(message, redact) for message in request.messages)
    body = RequestBody(
        messages=number_tool_calls(messages),
        drop_unsupported=request.drop_unsupported,
        fallback=tuple(fallback),
        **options,
    )
    # A round trip through JSON makes a new body equal to a stored body, even if it has tuples.
    data = encode_json(body)
    try:
        return msgspec.json.decode(data, type=RequestBody)
    except msgspec.DecodeError:  # lone surrogates
        return msgspec.convert(json.loads(data), RequestBody)


def listing_body(only: Iterable[str]) -> RequestBody:
    """Return the request body under which the list of an MCP server's tools is recorded.

    Args:
        only: The names of the tools that the call selects; empty for all tools.
    """
    prompt = RecordedMessage("user", "tools/list")
    return RequestBody(messages=(prompt,), params={"only": sorted(only)} if only else {})


def number_tool_calls(messages: tuple[RecordedMessage, ...]) -> tuple[RecordedMessage, ...]:
    """Return messages with ``1``, ``2``, … as the IDs of tool calls.

    Providers choose different IDs each time, so calls would otherwise never be found again.
    """
    if not any(message.parts for message in messages):
        return messages
    numbers: dict[str, str] = {}
    return tuple(
        msgspec.structs.replace(message, parts=_numbered_parts(message.parts, numbers))
        for message in messages
    )


def _numbered_parts(
    parts: tuple[RecordedPart, ...], numbers: dict[str, str]
) -> tuple[RecordedPart, ...]:
    replace = msgspec.structs.replace
    numbered_parts = []
    for part in parts:
        for name in ("tool_call", "tool_result"):
            value = getattr(part, name)
            if value and value.id:
                number = numbers.setdefault(value.id, str(len(numbers) + 1))
                part = replace(part, **{name: replace(value, id=number)})  # noqa: PLW2901
        numbered_parts.append(part)
    return tuple(numbered_parts)


def encode_json(value: object, *, sorts_keys: bool = False) -> bytes:
    """Return a value as JSON; a lone surrogate becomes an escape.

    Raises:
        UsageError: If a value cannot be represented as JSON.
    """
    try:
        return msgspec.json.encode(
            value, enc_hook=_reject_type, order="sorted" if sorts_keys else None
        )
    except UnicodeEncodeError:
        # The value contains a lone surrogate, which only an ASCII escape can represent.
        fields = msgspec.to_builtins(value)
        return json.dumps(fields, sort_keys=sorts_keys, separators=(",", ":")).encode("ascii")


def _digest(value: object) -> str:
    # The keys are sorted, because the order of names in `params` or a schema does not matter.
    return hashlib.blake2b(encode_json(value, sorts_keys=True), digest_size=16).hexdigest()


def _reject_type(value: object) -> object:
    raise _not_json_error(type(value).__name__)


def _check_finite(value: object) -> None:
    """Check that a value contains neither NaN nor an infinity, which would become null."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_json_error(repr(value))
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_finite(item)


def _not_json_error(description: str) -> UsageError:
    return UsageError(
        f"params must be JSON to be recorded in a cassette, got {description}.",
        hint=as_hint("Pass a JSON value.") | Hint("bypass_cassette"),
    )


def _recorded_message(message: Message, redact: Redact) -> RecordedMessage:
    match message.parts:
        # The first versions recorded every message in this form, and their recordings must still be
        # found.
        case [str(text), *images] if all(isinstance(part, Image) for part in images):
            return RecordedMessage(message.role, redact(text), _recorded_images(images))
        case images if all(isinstance(part, Image) for part in images):
            return RecordedMessage(message.role, "", _recorded_images(images))
        case parts:
            recorded_parts = tuple(_recorded_part(part, redact) for part in parts)
            return RecordedMessage(message.role, "", parts=recorded_parts)


def _recorded_part(part: Part, redact: Redact) -> RecordedPart:
    match part:
        case str():
            return RecordedPart(text=redact(part))
        case Image():
            return RecordedPart(image=_recorded_image(part))
        case ToolCall():
            # The arguments may quote the prompt.
            call = RequestedToolCall(part.id, part.name, redact(part.arguments))
            return RecordedPart(tool_call=call)
        case ToolResult():
            parts = tuple(_recorded_part(inner, redact) for inner in part.parts)
            result = RequestedToolResult(part.id, part.name, parts, part.is_error)
            return RecordedPart(tool_result=result)


def _recorded_images(images: Iterable[Part]) -> tuple[RecordedImage, ...]:
    return tuple(_recorded_image(image) for image in images if isinstance(image, Image))


def _recorded_image(image: Image) -> RecordedImage:
    if image.url:
        return RecordedImage(image.mime, url=image.url, detail=image.detail)
    digest = hashlib.sha256(image.data).hexdigest()
    return RecordedImage(image.mime, digest, detail=image.detail)


def _texts(parts: Iterable[RecordedPart]) -> Iterator[str]:
    for part in parts:
        if part.text:
            yield part.text
        elif part.tool_result:
            yield from _texts(part.tool_result.parts)
