"""One recorded call: what was asked, what was answered and when its pieces came.

Everything here is a value of msgspec's, so that reading a file is quick and runs nothing of it; the
garbage collector passes the values over, which hold no cycle and may be a million.
"""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Chunk, FinishReason, Reply, Role, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.cassettes.redaction import Redact
    from gatewayx_nb.messages import Message, Request

_TOGETHER = 0.05
"""Seconds within which pieces of an answer are kept as one."""


class Picture(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image of a prompt: its digest or its address, never its bytes."""

    mime: str
    sha256: str = ""
    url: str = ""


class Turn(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One message of a request."""

    role: Role
    content: str
    images: tuple[Picture, ...] = ()


class Body(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What was asked, whoever was asked; two calls are equal whose bodies are.

    Attributes:
        messages: The conversation; the last is the prompt.
        texts: The texts to embed, in the place of messages.
        fallback: The references that were to be asked if the first failed.
        schema: JSON Schema of the answer.
    """

    messages: tuple[Turn, ...] = ()
    texts: tuple[str, ...] = ()
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: dict[str, Any] | None = None
    params: dict[str, Any] = {}
    drop_unsupported: bool = False
    fallback: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """The last message's text, or the texts to embed."""
        return self.messages[-1].content if self.messages else "\n".join(self.texts)

    @property
    def digest(self) -> bytes:
        """What tells it from other bodies."""
        return hashlib.blake2b(_encode(self, sort=True), digest_size=16).digest()


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of an answer, and the seconds from the call until it came."""

    at: float
    text: str
    reasoning: str = ""


class Call(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call; see `messages.ToolCall`."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The figures of a reply; see `messages.Reply`. Its text is in the chunks."""

    engine: str
    model: str = ""
    finish_reason: FinishReason = "stop"
    usage: dict[str, int] = {}
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    fallback_from: str | None = None
    tool_calls: tuple[Call, ...] = ()
    dropped: tuple[str, ...] = ()


class Vectors(msgspec.Struct, frozen=True, gc=False):
    """Embeddings: float32, little-endian, one row after another, in base64."""

    rows: int
    dimensions: int
    float32: str


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One recorded call.

    Attributes:
        recorded: When, UTC, as an RFC 3339 date-time.
        engine: The engine that was asked.
        model: The model that was asked for; empty for the engine's own.
        request: What was asked.
        reference: The reference as it was typed; empty where the default model was meant.
        repeat: How many equal calls were made before it.
        chunks: The answer.
        reply: The answer's figures; ``None`` of an embedding.
        vectors: The embedding.
    """

    recorded: str
    engine: str
    model: str
    request: Body
    reference: str = ""
    repeat: int = 0
    chunks: tuple[Piece, ...] = ()
    reply: Answer | None = None
    vectors: Vectors | None = None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(piece.text for piece in self.chunks)

    @property
    def reasoning(self) -> str:
        """The whole reasoning."""
        return "".join(piece.reasoning for piece in self.chunks)

    def pieces(self) -> Iterator[tuple[float, Chunk]]:
        """Yield when each chunk came, and the chunk; the last tells why the answer ended."""
        answer = self.reply or Answer(self.engine)
        for piece in self.chunks:
            yield piece.at, Chunk(text=piece.text, reasoning=piece.reasoning)
        yield (
            answer.latency,
            Chunk(finish_reason=answer.finish_reason, usage=Usage(**_known(answer.usage))),
        )

    def played(self, parsed: Any = None) -> Reply:  # noqa: ANN401 - of the type asked for
        """Give the reply, with the figures as they were recorded."""
        answer = self.reply or Answer(self.engine)
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            engine=answer.engine,
            model=answer.model,
            finish_reason=answer.finish_reason,
            usage=Usage(**_known(answer.usage)),
            cost=answer.cost,
            latency=answer.latency,
            time_to_first=answer.time_to_first,
            attempts=answer.attempts,
            fallback_from=answer.fallback_from,
            parsed=parsed,
            tool_calls=tuple(
                ToolCall(call.id, call.name, call.arguments) for call in answer.tool_calls
            ),
            dropped=answer.dropped,
            replayed=True,
        )


def body_of(request: Request, fallback: Sequence[str], redact: Redact) -> Body:
    """Give the body of a request; its texts go through ``redact``.

    Raises:
        UsageError: A parameter is no JSON.
    """
    body = Body(
        messages=tuple(_turn(message, redact) for message in request.messages),
        system=None if request.system is None else redact(request.system),
        temperature=None if request.temperature is None else float(request.temperature),
        top_p=None if request.top_p is None else float(request.top_p),
        max_tokens=request.max_tokens,
        stop=request.stop,
        seed=request.seed,
        schema=None if request.schema is None else dict(request.schema),
        params=dict(request.params),
        drop_unsupported=request.drop_unsupported,
        fallback=tuple(fallback),
    )
    return _as_read(body)


def entry_of(
    body: Body, asked: Mapping[str, Any], reply: Reply, pieces: Iterable[Piece], redact: Redact
) -> Entry:
    """Give the entry of a call that was answered.

    Args:
        body: What was asked.
        asked: Whom, as the further fields of the entry.
        reply: The answer.
        pieces: The chunks as they came; where they are not the answer, as of one that was mended,
            the answer is kept in one piece.
        redact: What its texts go through.
    """
    kept = tuple(_merged(pieces))
    text, reasoning = redact(reply.text), redact(reply.reasoning)
    told = ("".join(piece.text for piece in kept), "".join(piece.reasoning for piece in kept))
    if told != (text, reasoning):
        at = _rounded(reply.latency if reply.time_to_first is None else reply.time_to_first)
        kept = (Piece(at, text, reasoning),) if text or reasoning else ()
    usage = {name: getattr(reply.usage, name) for name in Usage.__slots__}
    answer = Answer(
        engine=reply.engine,
        model=reply.model,
        finish_reason=reply.finish_reason,
        usage={name: count for name, count in usage.items() if count is not None},
        cost=reply.cost,
        latency=_rounded(reply.latency),
        time_to_first=None if reply.time_to_first is None else _rounded(reply.time_to_first),
        attempts=reply.attempts,
        fallback_from=reply.fallback_from,
        tool_calls=tuple(
            Call(call.id, call.name, redact(call.arguments)) for call in reply.tool_calls
        ),
        dropped=reply.dropped,
    )
    return Entry(request=body, chunks=kept, reply=answer, **asked)


def vectors_of(rows: int, dimensions: int, data: bytes) -> Vectors:
    """Give embeddings as they are kept; ``data`` is float32, little-endian."""
    return Vectors(rows, dimensions, base64.b64encode(data).decode("ascii"))


def encode(entry: Entry) -> bytes:
    """Give the line of an entry; a piece without reasoning is kept without a place for it."""
    built: dict[str, Any] = msgspec.to_builtins(entry)
    if "chunks" in built:
        built["chunks"] = [piece if piece[-1] else piece[:-1] for piece in built["chunks"]]
    return _encode(built)


def decode(line: bytes) -> Entry:
    """Read a line.

    Raises:
        ValueError: It is no entry.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    except msgspec.DecodeError:
        # msgspec takes no lone surrogate, which a prompt may hold; the json module does.
        try:
            return msgspec.convert(json.loads(line), Entry)
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None


_DECODER = msgspec.json.Decoder(Entry)


def _encode(value: object, *, sort: bool = False) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_refuse, order="sorted" if sort else None)
    except UnicodeEncodeError:
        built = msgspec.to_builtins(value)
        return json.dumps(built, sort_keys=sort, separators=(",", ":")).encode("ascii")


def _refuse(value: object) -> object:
    raise UsageError(
        f"a cassette holds JSON, and a parameter is a {type(value).__name__}.",
        mend="Give it as JSON, or ask past the cassette: `fresh=True` (`--fresh`).",
    )


def _as_read(body: Body) -> Body:
    """Give a body as it will be read from a file, so that both are equal."""
    return decode(_encode(Entry("", "", "", body))).request


def _turn(message: Message, redact: Redact) -> Turn:
    pictures = tuple(
        Picture(image.mime, url=image.url)
        if image.url
        else Picture(image.mime, hashlib.sha256(image.data).hexdigest())
        for image in message.images
    )
    return Turn(message.role, redact(message.content), pictures)


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Join pieces that came within `_TOGETHER` of the first of them."""
    held: list[Piece] = []
    for piece in pieces:
        if held and piece.at - held[0].at > _TOGETHER:
            yield _joined(held)
            held = []
        held.append(piece)
    if held:
        yield _joined(held)


def _joined(pieces: list[Piece]) -> Piece:
    return Piece(
        _rounded(pieces[0].at),
        "".join(piece.text for piece in pieces),
        "".join(piece.reasoning for piece in pieces),
    )


def _rounded(seconds: float) -> float:
    return round(float(seconds), 3)


def _known(usage: dict[str, int]) -> dict[str, int]:
    """Leave out what a file counts and we do not."""
    return {name: count for name, count in usage.items() if name in Usage.__slots__}
