"""Encodes entries as lines of a cassette file; decodes lines of the current and first format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gatewayx_nb.cassettes.entry import (
    CassetteEntry,
    RecordedAnswerImage,
    RecordedChunk,
    RecordedLogprob,
    RecordedMetadata,
    RecordedVectors,
    parsed_call,
    pieces_of,
)
from gatewayx_nb.cassettes.request_body import (
    RequestBody,
    RequestedToolCall,
    encode_json,
    number_tool_calls,
)
from gatewayx_nb.replies import FinishReason  # noqa: TC001 - msgspec evaluates annotations

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

VERSION = 2
"""Format version; files of a later version are rejected."""


class _Chunk1(msgspec.Struct, frozen=True, array_like=True, gc=False):
    at: float
    text: str
    reasoning: str = ""


class _Reply1(RecordedMetadata, frozen=True, omit_defaults=True, gc=False):
    """The metadata of a reply in format 1."""

    finish_reason: FinishReason = "stop"
    tool_calls: tuple[RequestedToolCall, ...] = ()
    dropped: tuple[str, ...] = ()
    citations: tuple[dict[str, Any], ...] = ()
    images: tuple[RecordedAnswerImage, ...] = ()
    logprobs: tuple[RecordedLogprob, ...] = ()
    carried: str = ""


class _Entry1(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An entry in format 1, which has the chunks of an answer instead of its text."""

    recorded: str
    engine: str
    model: str
    request: RequestBody
    reference: str = ""
    repeat: int = 0
    chunks: tuple[_Chunk1, ...] = ()
    reply: _Reply1 | None = None
    vectors: RecordedVectors | None = None


def encode(entry: CassetteEntry) -> bytes:
    """Return an entry as a line of JSON.

    The fields are in the order of `CassetteEntry`, so that a reviewer reads the request first. The
    keys within the fields are sorted.
    """
    fields: dict[str, Any] = msgspec.to_builtins(entry, order="sorted")
    if entry.pieces:
        fields["pieces"] = [piece if piece[-1] else piece[:-1] for piece in fields["pieces"]]
    if entry.tool_calls:  # keep the model's order of arguments
        for call_fields, call in zip(fields["tool_calls"], entry.tool_calls, strict=True):
            call_fields["arguments"] = call.arguments
    return encode_json({name: fields[name] for name in entry.__struct_fields__ if name in fields})


def decode(line: bytes, version: int = VERSION) -> CassetteEntry:
    """Parse a line.

    Args:
        line: A line of a cassette file.
        version: Version of the file's format, for a line that does not indicate its own version.

    Raises:
        ValueError: If the line is not a valid entry.
    """
    if line_version(line, version) > 1:
        return _decode(line, _DECODER.decode, CassetteEntry)
    return _from_format_1(_decode(line, _DECODER_1.decode, _Entry1))


def line_version(line: bytes, version: int = VERSION) -> int:
    """Return the version of a line, which its first field indicates; see `decode`.

    A file has lines of both versions if two branches were merged, and one of them had converted the
    file.
    """
    if line.startswith(_FIRST_FIELD_1):
        return 1
    return 2 if line.startswith(_FIRST_FIELDS_2) else version


_FIRST_FIELD_1 = b'{"recorded":'
_FIRST_FIELDS_2 = (b'{"request":', b'{"replaces":')

_DECODER = msgspec.json.Decoder(CassetteEntry)
_DECODER_1 = msgspec.json.Decoder(_Entry1)


def _decode(line: bytes, decode_line: Callable[[bytes], T], struct: type[T]) -> T:
    try:
        return decode_line(line)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    except msgspec.DecodeError:
        # msgspec rejects lone surrogates, which a prompt may contain; the json module does not.
        try:
            return msgspec.convert(json.loads(line), struct)
        except (ValueError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _from_format_1(old_entry: _Entry1) -> CassetteEntry:
    reply = old_entry.reply
    body = old_entry.request
    details: dict[str, Any] = {}
    if reply:
        metadata = {name: getattr(reply, name) for name in RecordedMetadata.__struct_fields__}
        names = ("finish_reason", "dropped", "citations", "images", "logprobs", "carried")
        details = {name: getattr(reply, name) for name in names}
        details["figures"] = RecordedMetadata(**metadata)
        details["tool_calls"] = tuple(
            parsed_call(call.id, call.name, call.arguments) for call in reply.tool_calls
        )
    return CassetteEntry(
        request=msgspec.structs.replace(body, messages=number_tool_calls(body.messages)),
        reference=old_entry.reference,
        engine=old_entry.engine,
        model=old_entry.model,
        repeat=old_entry.repeat,
        text="".join(chunk.text for chunk in old_entry.chunks),
        reasoning="".join(chunk.reasoning for chunk in old_entry.chunks),
        vectors=old_entry.vectors,
        pieces=tuple(
            pieces_of(
                RecordedChunk(chunk.at, chunk.text, chunk.reasoning) for chunk in old_entry.chunks
            )
        ),
        recorded=old_entry.recorded,
        **details,
    )
