"""Defines recorded calls: their requests, answers and the arrival times of answers' pieces."""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal  # noqa: TC003 - msgspec evaluates annotations
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb import bounded_json
from gatewayx_nb.cassettes.request_body import RequestBody  # noqa: TC001 - as above
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Carried, ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, Citation, FinishReason, Logprob, Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatewayx_nb.cassettes.redaction import Redact
    from gatewayx_nb.cassettes.request_body import RecordedPart
    from gatewayx_nb.messages import Message

_MERGE_INTERVAL = 0.05
"""Chunks that arrive within this many seconds are stored as one piece.

The difference is not visible in a replay, and the file has far fewer pieces.
"""

_METADATA_FIELDS = (
    "engine",
    "model",
    "cost",
    "attempts",
    "fallback_from",
    "token_cap",
    "context_limit",
)
"""Fields of a reply that `RecordedMetadata` contains unchanged."""


class RecordedChunk(msgspec.Struct, frozen=True, gc=False):
    """A chunk of a reply, and its arrival time in seconds after the call began."""

    at: float
    text: str
    reasoning: str = ""


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A piece of an answer: its length and its arrival time.

    Attributes:
        at: Seconds after the call began.
        text: Number of characters of the text.
        reasoning: Number of characters of the reasoning.
    """

    at: float
    text: int
    reasoning: int = 0


class RecordedToolCall(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call in an answer; see `messages.ToolCall`.

    Attributes:
        id: The provider's ID.
        name: Name of the function.
        arguments: The parsed arguments, or their text if parsing would lose its exact form.
        spaced: Whether the text of parsed arguments has a space after each comma and colon.
    """

    id: str = ""
    name: str = ""
    arguments: dict[str, Any] | str = ""
    spaced: bool = False

    @property
    def arguments_text(self) -> str:
        """The arguments exactly as the model wrote them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return _dump_arguments(self.arguments, has_spaces=self.spaced)


MAX_RESULT_IMAGE_BYTES = 1 << 20
"""Maximum total size in bytes of the images in a request's tool results that are recorded."""


class RecordedAnswerImage(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image in a reply or in a tool result; see `images.Image`."""

    mime: str
    data: bytes = b""
    url: str = ""


class RecordedLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The log probability of a token; see `replies.Logprob`."""

    token: str
    logprob: float | None = None
    top: tuple[RecordedLogprob, ...] = ()

    def to_logprob(self) -> Logprob:
        """Return the log probability as a reply contains it."""
        top = tuple(Logprob(alternative.token, alternative.logprob) for alternative in self.top)
        return Logprob(self.token, self.logprob, top)


class RecordedMetadata(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The engine, model, usage, cost and times of a reply; see `replies.Reply`."""

    engine: str
    model: str = ""
    usage: dict[str, int] = {}  # msgspec creates a new dict for each instance
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    fallback_from: str | None = None
    token_cap: int | None = None
    context_limit: int | None = None


class RecordedVectors(msgspec.Struct, frozen=True, gc=False):
    """Embeddings as base64 of little-endian float32, row by row."""

    rows: int
    dimensions: int
    float32: str


class CassetteEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A recorded call. The order of the fields is their order in the file.

    Attributes:
        replaces: Digest of the line that this line replaces; empty in a file that is in order.
        request: The request.
        reference: The reference as typed; empty for the default model.
        engine: The engine that was called.
        model: The requested model; empty for the engine's default.
        resolved: The model that the reference named when the call was recorded; empty if unknown.
        repeat: Number of identical calls before this call.
        result_images: The images in the tool results at the end of the request, of which the
            request has only digests; empty if they exceed `MAX_RESULT_IMAGE_BYTES`.
        text: The text of the answer.
        reasoning: The reasoning.
        tool_calls: The tool calls that the model requested.
        finish_reason: Why the model stopped.
        carried: The provider's answer as received, which the next request must repeat. It is JSON
            text, so that any number or character survives unchanged.
        vectors: The embeddings; ``None`` for a reply.
        pieces: The pieces in which the answer arrived.
        figures: The reply's metadata; ``None`` for an embedding.
        recorded: Time of the recording, as an RFC 3339 date-time in UTC.
    """

    replaces: str = ""
    request: RequestBody
    reference: str = ""
    engine: str
    model: str = ""
    resolved: str = ""
    repeat: int = 0
    result_images: tuple[RecordedAnswerImage, ...] = ()
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[RecordedToolCall, ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    images: tuple[RecordedAnswerImage, ...] = ()
    finish_reason: FinishReason = "stop"
    dropped: tuple[str, ...] = ()
    logprobs: tuple[RecordedLogprob, ...] = ()
    carried: str = ""
    vectors: RecordedVectors | None = None
    pieces: tuple[Piece, ...] = ()
    figures: RecordedMetadata | None = None
    recorded: str = ""

    def chunks(self) -> Iterator[tuple[float, Chunk]]:
        """Yield each chunk with its arrival time; the last chunk has the finish reason."""
        metadata = self.figures or RecordedMetadata(self.engine)
        piece_ends = zip(
            accumulate(piece.text for piece in self.pieces),
            accumulate(piece.reasoning for piece in self.pieces),
            strict=True,
        )
        text = reasoning = 0
        for piece, (text_end, reasoning_end) in zip(self.pieces, piece_ends, strict=True):
            yield (
                piece.at,
                Chunk(
                    text=self.text[text:text_end], reasoning=self.reasoning[reasoning:reasoning_end]
                ),
            )
            text, reasoning = text_end, reasoning_end
        # An answer that was edited in the file may be longer than its pieces.
        remaining_chunk = Chunk(text=self.text[text:], reasoning=self.reasoning[reasoning:])
        if remaining_chunk.text or remaining_chunk.reasoning:
            yield metadata.latency, remaining_chunk
        yield (
            metadata.latency,
            Chunk(finish_reason=self.finish_reason, usage=_usage(metadata.usage)),
        )

    @property
    def lists_tools(self) -> bool:
        """Whether the entry is the list of an MCP server's tools instead of a model's answer."""
        return self.engine == "mcp" and self.reference == f"mcp:{self.model}"

    def to_reply(self, parsed: Any = None) -> Reply:  # noqa: ANN401 - depends on the schema
        """Return the reply with its recorded metadata."""
        metadata = self.figures or RecordedMetadata(self.engine)
        return Reply(
            text=self.text,
            reasoning=self.reasoning,
            finish_reason=self.finish_reason,
            usage=_usage(metadata.usage),
            latency=metadata.latency,
            time_to_first=metadata.time_to_first,
            dropped=self.dropped,
            parsed=parsed,
            tool_calls=tuple(
                ToolCall(call.id, call.name, call.arguments_text) for call in self.tool_calls
            ),
            citations=tuple(map(_citation, self.citations)),
            images=tuple(Image(image.mime, image.data, image.url) for image in self.images),
            logprobs=tuple(logprob.to_logprob() for logprob in self.logprobs),
            carried=self._carried(),
            replayed=True,
            **{name: getattr(metadata, name) for name in _METADATA_FIELDS},
        )

    def tool_results(self) -> tuple[ToolResult, ...] | None:
        """Return the tool results at the end of the request.

        Return ``None`` if one of them contains an image that is not recorded.
        """
        images = {hashlib.sha256(image.data).hexdigest(): image for image in self.result_images}
        try:
            return tuple(
                ToolResult(
                    result.id,
                    [_result_part(part, images) for part in result.parts],
                    result.name,
                    result.is_error,
                )
                for result in self.request.last_tool_results
            )
        except KeyError:
            return None

    def has_same_answer(self, other: CassetteEntry) -> bool:
        """Return whether another entry of the same call has the same answer.

        Dates, times, token counts, costs, log probabilities and the provider's IDs and signatures
        may differ, because they differ between any two calls.
        """
        return self._answer() == other._answer()

    def _answer(self) -> tuple[object, ...]:
        metadata = self.figures
        return (
            self.resolved,
            self.result_images,  # empty in entries of older versions
            self.text,
            self.reasoning,
            tuple((call.name, call.arguments_text) for call in self.tool_calls),
            self.citations,
            self.images,
            self.finish_reason,
            self.dropped,
            self.vectors,
            metadata and (metadata.engine, metadata.model, metadata.fallback_from),
        )

    def _carried(self) -> Carried | None:
        """Return the carried answer; ``None`` if there is none, or an edit has made it invalid."""
        try:
            data = json.loads(self.carried or "null")
        except (ValueError, RecursionError):
            return None
        engine = self.figures.engine if self.figures else self.engine
        return Carried(engine, data) if isinstance(data, dict) else None


def _result_part(part: RecordedPart, images: Mapping[str, RecordedAnswerImage]) -> str | Image:
    """Return a part of a recorded tool result.

    Args:
        part: A part of the result.
        images: The recorded images, by digest.

    Raises:
        KeyError: If the part is an image that is not recorded.
    """
    image = part.image
    if image is None:
        return part.text
    data = b"" if image.url else images[image.sha256].data
    return Image(image.mime, data, image.url, image.detail)


def result_images_of(message: Message) -> tuple[RecordedAnswerImage, ...]:
    """Return the images in a tool message; none if they exceed `MAX_RESULT_IMAGE_BYTES`."""
    images = message.images if message.role == "tool" else ()
    if sum(len(image.data) for image in images) > MAX_RESULT_IMAGE_BYTES:
        return ()
    return tuple(RecordedAnswerImage(image.mime, image.data) for image in images if image.data)


def entry_of(
    body: RequestBody,
    identity: Mapping[str, Any],
    reply: Reply,
    chunks: Iterable[RecordedChunk],
    redact: Redact,
) -> CassetteEntry:
    """Return the entry for a successful call.

    Args:
        body: The request.
        identity: The entry fields that identify the call; see `Cassette.fields`.
        reply: The reply.
        chunks: The chunks as they arrived. If they do not add up to the reply, for example after a
            schema correction, the reply is stored as one piece.
        redact: Applied to the entry's text.
    """
    text, reasoning = redact(reply.text), redact(reply.reasoning)
    merged_chunks = list(_merge_chunks(chunks))
    if (
        "".join(chunk.text for chunk in merged_chunks),
        "".join(chunk.reasoning for chunk in merged_chunks),
    ) != (
        text,
        reasoning,
    ):
        seconds = reply.latency if reply.time_to_first is None else reply.time_to_first
        merged_chunks = (
            [RecordedChunk(_round_seconds(seconds), text, reasoning)] if text or reasoning else []
        )
    return CassetteEntry(
        request=body,
        text=text,
        reasoning=reasoning,
        tool_calls=tuple(_recorded_call(call, redact) for call in reply.tool_calls),
        citations=tuple(_recorded_citation(citation, redact) for citation in reply.citations),
        images=tuple(
            RecordedAnswerImage(image.mime, image.data, image.url) for image in reply.images
        ),
        finish_reason=reply.finish_reason,
        dropped=reply.dropped,
        logprobs=tuple(_recorded_logprob(logprob, redact) for logprob in reply.logprobs),
        carried=_recorded_carried(reply.carried, redact),
        pieces=tuple(pieces_of(merged_chunks)),
        figures=_metadata_of(reply),
        **identity,
    )


def pieces_of(chunks: Iterable[RecordedChunk]) -> Iterator[Piece]:
    """Yield a `Piece` with the lengths of each chunk."""
    for chunk in chunks:
        yield Piece(chunk.at, len(chunk.text), len(chunk.reasoning))


def vectors_of(rows: int, dimensions: int, data: bytes) -> RecordedVectors:
    """Return embeddings in stored form; ``data`` is little-endian float32."""
    return RecordedVectors(rows, dimensions, base64.b64encode(data).decode("ascii"))


def parsed_call(call_id: str, name: str, arguments: str) -> RecordedToolCall:
    """Return a tool call; its arguments are parsed if their exact text can then be restored."""
    try:
        bounded_json.check_values(arguments)
        parsed_arguments = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, ValueError, RecursionError):
        parsed_arguments = None
    if isinstance(parsed_arguments, dict):
        for has_spaces in (False, True):
            if _dump_arguments(parsed_arguments, has_spaces=has_spaces) == arguments:
                return RecordedToolCall(call_id, name, parsed_arguments, has_spaces)
    return RecordedToolCall(call_id, name, arguments)


def _dump_arguments(arguments: dict[str, Any], *, has_spaces: bool) -> str:
    separators = (", ", ": ") if has_spaces else (",", ":")
    return json.dumps(arguments, ensure_ascii=False, separators=separators)


def _metadata_of(reply: Reply) -> RecordedMetadata:
    counts = {name: getattr(reply.usage, name) for name in Usage.__slots__}
    return RecordedMetadata(
        usage={name: count for name, count in counts.items() if count is not None},
        latency=_round_seconds(reply.latency),
        time_to_first=None if reply.time_to_first is None else _round_seconds(reply.time_to_first),
        **{name: getattr(reply, name) for name in _METADATA_FIELDS},
    )


def _recorded_call(call: ToolCall, redact: Redact) -> RecordedToolCall:
    # The arguments may quote the prompt.
    return parsed_call(call.id, call.name, redact(call.arguments))


def _citation(recorded: dict[str, Any]) -> Citation:
    known_fields = {name: value for name, value in recorded.items() if name in Citation.__slots__}
    return Citation(**known_fields)


def _recorded_citation(citation: Citation, redact: Redact) -> dict[str, Any]:
    values = {name: getattr(citation, name) for name in Citation.__slots__}
    nonempty_values = {name: value for name, value in values.items() if value not in ("", None)}
    return {
        name: redact(value) if isinstance(value, str) else value
        for name, value in nonempty_values.items()
    }


def _recorded_logprob(logprob: Logprob, redact: Redact) -> RecordedLogprob:
    top = tuple(
        RecordedLogprob(redact(alternative.token), alternative.logprob)
        for alternative in logprob.top
    )
    return RecordedLogprob(redact(logprob.token), logprob.logprob, top)


def _recorded_carried(carried: Carried | None, redact: Redact) -> str:
    """Return the carried answer as JSON, or an empty str if it contains private text or a key.

    The answer cannot be redacted, because a provider rejects a changed answer.
    """
    text = json.dumps(carried.data, ensure_ascii=False) if carried else ""
    return text if redact(text) == text else ""


def _merge_chunks(chunks: Iterable[RecordedChunk]) -> Iterator[RecordedChunk]:
    """Join chunks that arrive within `_MERGE_INTERVAL` seconds of the first of them."""
    group: list[RecordedChunk] = []
    for chunk in chunks:
        if group and chunk.at - group[0].at > _MERGE_INTERVAL:
            yield _join_chunks(group)
            group = []
        group.append(chunk)
    if group:
        yield _join_chunks(group)


def _join_chunks(chunks: list[RecordedChunk]) -> RecordedChunk:
    text = "".join(chunk.text for chunk in chunks)
    reasoning = "".join(chunk.reasoning for chunk in chunks)
    return RecordedChunk(_round_seconds(chunks[0].at), text, reasoning)


def _round_seconds(seconds: float) -> float:
    return round(float(seconds), 3)  # milliseconds, to keep the lines of a file short


def _usage(counts: dict[str, int]) -> Usage:
    """Return recorded usage; counts that this version does not know are ignored."""
    return Usage(**{name: count for name, count in counts.items() if name in Usage.__slots__})
