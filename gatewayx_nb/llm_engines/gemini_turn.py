"""Assembles the parts of a Gemini answer, and its citations, images and log probabilities."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from gatewayx_nb.llm_engines.answer_details import citation, finite, image_of
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_list, as_str
from gatewayx_nb.replies import Details, Logprob
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.images import Image
    from gatewayx_nb.replies import Citation

DIALECT = "gemini"

_SOURCE_KINDS = ("web", "retrievedContext", "maps", "image")
"""The kinds of sources in grounding metadata."""


class PartAssembler:
    """Collects the parts and the metadata of one answer.

    Attributes:
        parts: The parts as they arrived.
        logprobs: The log probabilities so far.
    """

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.logprobs: list[Logprob] = []
        self._grounding: dict[str, Any] = {}
        self._recitation: dict[str, Any] = {}
        self._source_count = 0
        self._checked_count = 0
        self._images: list[Image] = []
        self._is_plain = True

    def add_metadata(self, candidate: dict[str, Any]) -> None:
        """Add the metadata of a candidate; later metadata replaces earlier metadata."""
        self._grounding = as_dict(candidate.get("groundingMetadata")) or self._grounding
        self._recitation = as_dict(candidate.get("citationMetadata")) or self._recitation
        self.logprobs += _logprobs(as_dict(candidate.get("logprobsResult")))
        rows = (*self._grounding.values(), *self._recitation.values())
        self._source_count = sum(len(as_list(row)) for row in rows)

    @property
    def size(self) -> int:
        """The number of content parts that `details` reads; text alone is read only once."""
        has_text_only = self._is_plain and not (self.logprobs or self._source_count)
        return 0 if has_text_only else len(self.parts) + len(self.logprobs) + self._source_count

    def details(self) -> Details:
        """Return the contents of the answer other than text and tool calls."""
        new_parts, self._checked_count = self.parts[self._checked_count :], len(self.parts)
        self._is_plain = self._is_plain and all(map(_is_plain, new_parts))
        self._images += (image for part in new_parts for image in _images(part))
        logprobs = tuple(self.logprobs)
        if self._is_plain and not (logprobs or self._grounding or self._recitation):
            return Details()  # a fast path, because some servers mark every event as the last
        return Details(tuple(self.citations()), tuple(self._images), logprobs, self.carried())

    def carried(self) -> dict[str, Any] | None:
        """Return the parts, or ``None`` if they are only text, or only thoughts.

        Thought signatures must be sent back with their parts. A call that Gemini sent without an ID
        must be sent back without an ID: https://ai.google.dev/gemini-api/docs/thought-signatures
        """
        if all(map(_is_plain, self.parts)) or not any(map(_is_answer, self.parts)):
            return None
        return {"dialect": DIALECT, "items": list(_merged_parts(self.parts))}

    def citations(self) -> Iterator[Citation]:
        """Yield the sources of the answer, with byte positions converted to characters."""
        texts = (as_str(part.get("text")) for part in self.parts if not part.get("thought"))
        positions = _Positions("".join(texts))
        chunks = as_dicts(self._grounding.get("groundingChunks"))
        supports = as_dicts(self._grounding.get("groundingSupports"))
        for support in supports:
            segment = as_dict(support.get("segment"))
            span = positions.span(segment)
            for index in as_list(support.get("groundingChunkIndices")):
                position = as_int(index)
                if position is not None and position < len(chunks):
                    yield _source(chunks[position], segment.get("text"), span)
        if not supports:
            yield from (_source(chunk, "", (None, None)) for chunk in chunks)
        # The Gemini API uses the first name, Vertex AI the second.
        rows = self._recitation.get("citationSources") or self._recitation.get("citations")
        for row in as_dicts(rows):
            yield citation("", row.get("title"), row.get("uri"), span=positions.span(row))


def _images(part: dict[str, Any]) -> Iterator[Image]:
    """Yield the image in a part, unless it is a thought."""
    inline_data = as_dict(part.get("inlineData"))
    mime = as_str(inline_data.get("mimeType"))
    if mime.startswith("image/") and not part.get("thought"):
        yield from image_of(inline_data.get("data"), mime)


def _merged_parts(parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield parts, with adjacent pieces of text joined; a part with a signature stays separate."""
    for kind, group in itertools.groupby(parts, key=_kind):
        if isinstance(kind, int):
            yield from group
        elif text := "".join(part["text"] for part in group):  # an empty part would be rejected
            yield {"text": text} | ({"thought": True} if kind == "thought" else {})


def _kind(part: dict[str, Any]) -> str | int:
    """Return the kind of a piece of text; for any other part, return a unique value."""
    if part.keys() <= {"text", "thought"} and isinstance(part.get("text"), str):
        return "thought" if part.get("thought") else "text"
    return id(part)


def _is_answer(part: dict[str, Any]) -> bool:
    return not part.get("thought") and any(
        value for name, value in part.items() if name != "thoughtSignature"
    )


def _is_plain(part: dict[str, Any]) -> bool:
    return part.keys() <= {"text", "thought"}


class _Positions:
    """Converts positions in the bytes of a string to positions in its characters.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self._encoded_text = text.encode(errors="replace")
        blocks = (
            self._encoded_text[start : start + _BLOCK_SIZE]
            for start in range(0, len(self._encoded_text), _BLOCK_SIZE)
        )
        self._character_counts = [0, *itertools.accumulate(map(_count_characters, blocks))]

    def span(self, segment: dict[str, Any]) -> tuple[int | None, int | None]:
        """Return the position of a segment in characters; the start defaults to 0."""
        start, end = as_int(segment.get("startIndex")) or 0, as_int(segment.get("endIndex"))
        return (None, None) if end is None else (self._position(start), self._position(end))

    def _position(self, offset: int) -> int:
        offset = min(max(0, offset), len(self._encoded_text))
        block_start = offset - offset % _BLOCK_SIZE
        character_count = self._character_counts[block_start // _BLOCK_SIZE] + _count_characters(
            self._encoded_text[block_start:offset]
        )
        next_byte = self._encoded_text[offset : offset + 1]
        is_cut = next_byte and not _count_characters(next_byte)  # the offset is within a character
        return character_count - bool(is_cut)


def _count_characters(utf8_bytes: bytes) -> int:
    """Return the number of characters that begin in a piece of UTF-8."""
    return len(utf8_bytes.translate(None, _CONTINUATION_BYTES))


_BLOCK_SIZE = 4096
"""Number of bytes between two positions whose character counts are stored."""

_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that do not begin a character."""


def _source(
    chunk: dict[str, Any], passage: object, span: tuple[int | None, int | None]
) -> Citation:
    source = next((as_dict(chunk[kind]) for kind in _SOURCE_KINDS if chunk.get(kind)), {})
    rag_chunk = as_dict(source.get("ragChunk"))
    page = source.get("pageNumber") or as_dict(rag_chunk.get("pageSpan")).get("firstPage")
    text = source.get("text") or passage
    return citation(text, source.get("title"), source.get("uri"), page, span)


def _logprobs(result: dict[str, Any]) -> Iterator[Logprob]:
    chosen_rows = as_dicts(result.get("chosenCandidates"))
    top_candidates = as_dicts(result.get("topCandidates"))
    for number, row in enumerate(chosen_rows):
        top_candidate = top_candidates[number] if number < len(top_candidates) else {}
        alternatives = tuple(map(_logprob, as_dicts(top_candidate.get("candidates"))))
        yield Logprob(_token(row), finite(row.get("logProbability")), alternatives)


def _logprob(row: dict[str, Any]) -> Logprob:
    return Logprob(_token(row), finite(row.get("logProbability")))


def _token(row: dict[str, Any]) -> str:
    return well_formed(as_str(row.get("token")))
