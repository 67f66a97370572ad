"""A recorded call: its request, its reply and the arrival times of the reply's chunks.

The classes are msgspec structs, so reading a file is fast and executes no code. The garbage
collector skips them, because they hold no cycles and there may be a million.
"""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal  # noqa: TC003 - msgspec evaluates annotations
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Carried, Role, ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, Citation, FinishReason, Logprob, Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.cassettes.redaction import Redact
    from gatewayx_nb.messages import Message, Part, Request

_MERGE_INTERVAL = 0.05
"""Chunks that arrive within this many seconds are stored as one.

The difference is not visible in a replay, and the file has far fewer chunks.
"""

_METADATA = (
    "engine",
    "model",
    "finish_reason",
    "cost",
    "attempts",
    "fallback_from",
    "token_cap",
    "context_limit",
    "dropped",
)
"""Fields of a reply that are recorded unchanged."""


class RecordedImage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image in a prompt: its digest or its URL, never its bytes."""

    mime: str
    sha256: str = ""
    url: str = ""
    detail: str = ""


class RecordedToolCall(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call; see `messages.ToolCall`."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class RecordedToolResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The result of a tool call; see `messages.ToolResult`."""

    id: str
    name: str = ""
    parts: tuple[RecordedPart, ...] = ()
    is_error: bool = False


class RecordedPart(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A part of a message; the field that is set names its kind."""

    text: str = ""
    image: RecordedImage | None = None
    tool_call: RecordedToolCall | None = None
    tool_result: RecordedToolResult | None = None


class RecordedMessage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message of a request.

    Attributes:
        role: Who wrote it.
        content: The text, if the message is text alone or text followed by images.
        images: The images after the text.
        parts: The parts of any other message, whose ``content`` is empty.
    """

    role: Role
    content: str
    images: tuple[RecordedImage, ...] = ()
    parts: tuple[RecordedPart, ...] = ()

    @property
    def text(self) -> str:
        """The text, including that of tool results."""
        return "\n\n".join(_texts(self.parts)) if self.parts else self.content


class RequestBody(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A request, independent of its engine; calls with equal bodies count as the same call.

    Attributes:
        messages: The conversation; the last message is the prompt.
        texts: The texts to embed, instead of messages.
        fallback: References of the fallback engines.
        schema: JSON Schema of the reply.
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
    params: dict[str, Any] = {}  # msgspec makes a new dict for each instance
    drop_unsupported: bool = False
    fallback: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The text of the last message, or the texts to embed."""
        return self.messages[-1].text if self.messages else "\n".join(self.texts)

    @property
    def digest(self) -> bytes:
        """Digest that identifies the body."""
        # The keys are sorted, because the order of names in `params` or a schema does not matter.
        return hashlib.blake2b(_encode(self, sort=True), digest_size=16).digest()


class RecordedChunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a reply, and its arrival time in seconds after the call began."""

    at: float
    text: str
    reasoning: str = ""


class RecordedAnswerImage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image in a reply; see `images.Image`."""

    mime: str
    data: bytes = b""
    url: str = ""


class RecordedLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The log probability of a token; see `replies.Logprob`."""

    token: str
    logprob: float | None = None
    top: tuple[RecordedLogprob, ...] = ()

    def to_logprob(self) -> Logprob:
        """Return the log probability in the form that a reply has."""
        top = tuple(Logprob(other.token, other.logprob) for other in self.top)
        return Logprob(self.token, self.logprob, top)


class RecordedReply(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The metadata of a reply; see `replies.Reply`. Its text is in the chunks."""

    engine: str
    model: str = ""
    finish_reason: FinishReason = "stop"
    usage: dict[str, int] = {}
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    fallback_from: str | None = None
    tool_calls: tuple[RecordedToolCall, ...] = ()
    token_cap: int | None = None
    dropped: tuple[str, ...] = ()
    context_limit: int | None = None
    citations: tuple[dict[str, Any], ...] = ()
    images: tuple[RecordedAnswerImage, ...] = ()
    logprobs: tuple[RecordedLogprob, ...] = ()
    # This is JSON as text, because a provider may send any number and any character.
    carried: str = ""

    def details(self) -> dict[str, Any]:
        """Return the fields of a reply other than its text, tool calls and metadata."""
        known = Citation.__slots__
        return {
            "citations": tuple(
                Citation(**{name: value for name, value in row.items() if name in known})
                for row in self.citations
            ),
            "images": tuple(Image(image.mime, image.data, image.url) for image in self.images),
            "logprobs": tuple(logprob.to_logprob() for logprob in self.logprobs),
            "carried": self._carried(),
        }

    def _carried(self) -> Carried | None:
        """Return the carried turn of the reply; ``None`` if an edit of the file made it invalid."""
        try:
            data = json.loads(self.carried or "null")
        except (ValueError, RecursionError):
            return None
        return Carried(self.engine, data) if isinstance(data, dict) else None


class RecordedVectors(msgspec.Struct, frozen=True, gc=False):
    """Embeddings as base64 of little-endian float32, row by row."""

    rows: int
    dimensions: int
    float32: str


class CassetteEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A recorded call.

    Attributes:
        recorded: Time of the recording, as an RFC 3339 date-time in UTC.
        engine: The engine that was called.
        model: The requested model; empty for the engine's default.
        request: The request.
        reference: The reference as typed; empty for the default model.
        repeat: Number of equal calls before this one.
        chunks: The reply's chunks.
        reply: The reply's metadata; ``None`` for an embedding.
        vectors: The embeddings; ``None`` for a reply.
    """

    recorded: str
    engine: str
    model: str
    request: RequestBody
    reference: str = ""
    repeat: int = 0
    chunks: tuple[RecordedChunk, ...] = ()
    reply: RecordedReply | None = None
    vectors: RecordedVectors | None = None

    @property
    def text(self) -> str:
        """The full text of the reply."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def reasoning(self) -> str:
        """The full reasoning."""
        return "".join(chunk.reasoning for chunk in self.chunks)

    def pieces(self) -> Iterator[tuple[float, Chunk]]:
        """Yield each chunk with its arrival time; the last one carries the finish reason."""
        reply = self.reply or RecordedReply(self.engine)
        for chunk in self.chunks:
            yield chunk.at, Chunk(text=chunk.text, reasoning=chunk.reasoning)
        yield reply.latency, Chunk(finish_reason=reply.finish_reason, usage=_usage(reply.usage))

    def to_reply(self, parsed: Any = None) -> Reply:  # noqa: ANN401 - depends on the schema
        """Return the reply with its metrics as recorded."""
        reply = self.reply or RecordedReply(self.engine)
        calls = (ToolCall(call.id, call.name, call.arguments) for call in reply.tool_calls)
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            usage=_usage(reply.usage),
            latency=reply.latency,
            time_to_first=reply.time_to_first,
            parsed=parsed,
            tool_calls=tuple(calls),
            replayed=True,
            **reply.details(),
            **{name: getattr(reply, name) for name in _METADATA},
        )


def body_of(request: Request, fallback: Sequence[str], redact: Redact) -> RequestBody:
    """Return a request's body, with its text passed through ``redact``.

    Raises:
        UsageError: If a parameter is not valid JSON.
    """
    options = {
        name: option.to_recorded(value)
        for name, option in OPTIONS.items()
        if option.to_recorded and (value := getattr(request, name)) is not None
    }
    if request.system is not None:
        options["system"] = redact(request.system)
    body = RequestBody(
        messages=tuple(_recorded_message(message, redact) for message in request.messages),
        drop_unsupported=request.drop_unsupported,
        fallback=tuple(fallback),
        **options,
    )
    # After a round trip through JSON, a new body equals the stored one, for example in its tuples.
    return decode(_encode(CassetteEntry("", "", "", body))).request


def entry_of(
    body: RequestBody,
    identity: Mapping[str, Any],
    reply: Reply,
    chunks: Iterable[RecordedChunk],
    redact: Redact,
) -> CassetteEntry:
    """Return the entry for a call that succeeded.

    Args:
        body: The request.
        identity: The entry fields that identify the call; see `Cassette.fields`.
        reply: The reply.
        chunks: The chunks as they arrived. If they do not add up to the reply, for example after a
            schema correction, the reply is stored as one chunk.
        redact: Applied to the entry's text.
    """
    merged = tuple(_merge(chunks))
    text, reasoning = redact(reply.text), redact(reply.reasoning)
    entry = CassetteEntry(request=body, chunks=merged, **identity)
    if (entry.text, entry.reasoning) != (text, reasoning):
        at = _round(reply.latency if reply.time_to_first is None else reply.time_to_first)
        merged = (RecordedChunk(at, text, reasoning),) if text or reasoning else ()
    usage = {name: getattr(reply.usage, name) for name in Usage.__slots__}
    recorded = RecordedReply(
        usage={name: count for name, count in usage.items() if count is not None},
        latency=_round(reply.latency),
        time_to_first=None if reply.time_to_first is None else _round(reply.time_to_first),
        tool_calls=tuple(_recorded_call(call, redact) for call in reply.tool_calls),
        citations=tuple(_recorded_citation(citation, redact) for citation in reply.citations),
        images=tuple(
            RecordedAnswerImage(image.mime, image.data, image.url) for image in reply.images
        ),
        logprobs=tuple(_recorded_logprob(logprob, redact) for logprob in reply.logprobs),
        carried=_recorded_carried(reply.carried, redact),
        **{name: getattr(reply, name) for name in _METADATA},
    )
    return msgspec.structs.replace(entry, chunks=merged, reply=recorded)


def vectors_of(rows: int, dimensions: int, data: bytes) -> RecordedVectors:
    """Return embeddings in stored form; ``data`` is little-endian float32."""
    return RecordedVectors(rows, dimensions, base64.b64encode(data).decode("ascii"))


def encode(entry: CassetteEntry) -> bytes:
    """Return an entry as a line of JSON; chunks without reasoning omit that field."""
    built: dict[str, Any] = msgspec.to_builtins(entry)
    if "chunks" in built:
        built["chunks"] = [chunk if chunk[-1] else chunk[:-1] for chunk in built["chunks"]]
    return _encode(built)


def decode(line: bytes) -> CassetteEntry:
    """Parse a line.

    Raises:
        ValueError: If the line is not a valid entry.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    except msgspec.DecodeError:
        # msgspec rejects lone surrogates, which a prompt may contain; the json module does not.
        try:
            return msgspec.convert(json.loads(line), CassetteEntry)
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None


_DECODER = msgspec.json.Decoder(CassetteEntry)


def _encode(value: object, *, sort: bool = False) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_reject_type, order="sorted" if sort else None)
    except UnicodeEncodeError:
        # The value contains a lone surrogate, which only an ASCII escape can represent.
        built = msgspec.to_builtins(value)
        return json.dumps(built, sort_keys=sort, separators=(",", ":")).encode("ascii")


def _reject_type(value: object) -> object:
    raise UsageError(
        f"params must be JSON to be recorded in a cassette, got {type(value).__name__}.",
        hint=as_hint("Pass it as JSON.") | Hint("bypass_cassette"),
    )


def _recorded_message(message: Message, redact: Redact) -> RecordedMessage:
    match message.parts:
        # The first versions recorded every message in this form. Those recordings must still be
        # found.
        case [str(text), *images] if all(isinstance(part, Image) for part in images):
            return RecordedMessage(message.role, redact(text), _recorded_images(images))
        case images if all(isinstance(part, Image) for part in images):
            return RecordedMessage(message.role, "", _recorded_images(images))
        case parts:
            recorded = tuple(_recorded_part(part, redact) for part in parts)
            return RecordedMessage(message.role, "", parts=recorded)


def _recorded_part(part: Part, redact: Redact) -> RecordedPart:
    match part:
        case str():
            return RecordedPart(text=redact(part))
        case Image():
            return RecordedPart(image=_recorded_image(part))
        case ToolCall():
            return RecordedPart(tool_call=_recorded_call(part, redact))
        case ToolResult():
            parts = tuple(_recorded_part(inner, redact) for inner in part.parts)
            result = RecordedToolResult(part.id, part.name, parts, part.is_error)
            return RecordedPart(tool_result=result)


def _recorded_call(call: ToolCall, redact: Redact) -> RecordedToolCall:
    # The arguments may quote the prompt.
    return RecordedToolCall(call.id, call.name, redact(call.arguments))


def _recorded_citation(citation: Citation, redact: Redact) -> dict[str, Any]:
    values = {name: getattr(citation, name) for name in Citation.__slots__}
    kept = {name: value for name, value in values.items() if value not in ("", None)}
    return {
        name: redact(value) if isinstance(value, str) else value for name, value in kept.items()
    }


def _recorded_logprob(logprob: Logprob, redact: Redact) -> RecordedLogprob:
    top = tuple(RecordedLogprob(redact(other.token), other.logprob) for other in logprob.top)
    return RecordedLogprob(redact(logprob.token), logprob.logprob, top)


def _recorded_carried(carried: Carried | None, redact: Redact) -> str:
    """Return the carried turn as JSON, or an empty str if it contains private text or a key.

    It cannot be redacted instead, because a provider rejects a turn that has been changed.
    """
    text = json.dumps(carried.data, ensure_ascii=False) if carried else ""
    return text if redact(text) == text else ""


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


def _merge(chunks: Iterable[RecordedChunk]) -> Iterator[RecordedChunk]:
    """Join chunks that arrive within `_MERGE_INTERVAL` seconds of the first of them."""
    group: list[RecordedChunk] = []
    for chunk in chunks:
        if group and chunk.at - group[0].at > _MERGE_INTERVAL:
            yield _join(group)
            group = []
        group.append(chunk)
    if group:
        yield _join(group)


def _join(chunks: list[RecordedChunk]) -> RecordedChunk:
    text = "".join(chunk.text for chunk in chunks)
    reasoning = "".join(chunk.reasoning for chunk in chunks)
    return RecordedChunk(_round(chunks[0].at), text, reasoning)


def _round(seconds: float) -> float:
    return round(float(seconds), 3)  # milliseconds, to keep the lines of a file short


def _usage(counts: dict[str, int]) -> Usage:
    """Return recorded usage, ignoring counts that this version does not know."""
    return Usage(**{name: count for name, count in counts.items() if name in Usage.__slots__})
