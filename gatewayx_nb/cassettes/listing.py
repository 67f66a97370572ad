"""Formats cassettes as readable text, in which a line changes only if its entry changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb.cassettes import cassette_lines, guard
from gatewayx_nb.cassettes.request_body import RequestBody
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.cassettes.entry import CassetteEntry, RecordedMetadata
    from gatewayx_nb.cassettes.request_body import RecordedImage, RecordedMessage, RecordedPart

_INDENT = "    "

_NOT_OPTIONS = ("messages", "texts", "system", "digests")
"""The fields of a request that are not its options."""


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a cassette's text.

    Control characters are removed and apparent keys are masked. A file with merge conflict markers
    can be listed; the markers are shown in their places.

    Raises:
        ConfigError: If the file is not a cassette or cannot be read.
    """
    content = cassette_lines.read(path, allow_markers=True)
    markers = list(content.markers)
    for line in content.lines:
        while markers and markers[0][0] < line.number:
            yield plain(markers.pop(0)[1])
        yield from _mask_all([*map(plain, _entry_lines(line.entry))])
        yield ""
    yield from (plain(text) for _, text in markers)
    if content.problem:
        yield plain(content.problem)


def _mask_all(texts: list[str]) -> list[str]:
    """Mask apparent keys; all strings are first searched at once, because most have no key."""
    return list(map(guard.mask, texts)) if guard.find_key("\0".join(texts), {}) else texts


def _entry_lines(entry: CassetteEntry) -> Iterator[str]:
    yield f"# {_title(entry)}"
    body = entry.request
    if body.system is not None:
        yield from _section_lines("system", body.system)
    for message in body.messages:
        yield from _section_lines(message.role, _message_text(message))
    for text in body.texts:
        yield from _section_lines("text", text)
    for name, digest in body.digests.items():
        yield f"{name}: digest {digest}"
    for name in RequestBody.__struct_fields__:
        value = getattr(body, name)
        if name not in _NOT_OPTIONS and value not in (None, (), {}, False):
            yield f"{name}: {_json(value)}"
    yield from _answer_lines(entry)
    if entry.figures:
        yield from _metadata_lines(entry.figures)
    yield f"recorded: {entry.recorded}"


def _title(entry: CassetteEntry) -> str:
    title = f"{entry.engine}:{entry.model}".rstrip(":")
    if entry.reference != title:
        title += f", asked as {entry.reference}" if entry.reference else ", the default model"
    if entry.resolved and entry.resolved != entry.model:
        title += f", {entry.resolved}"
    return f"{title}, repeat {entry.repeat}" if entry.repeat else title


def _answer_lines(entry: CassetteEntry) -> Iterator[str]:
    if entry.reasoning:
        yield from _section_lines("reasoning", entry.reasoning)
    if entry.vectors:
        yield f"vectors: {entry.vectors.rows} of {entry.vectors.dimensions} numbers"
    elif entry.text or not (entry.tool_calls or entry.images):
        yield from _section_lines("answer", entry.text)
    for call in entry.tool_calls:
        yield f"tool call {call.name}: {call.arguments_text}"
    for citation in entry.citations:
        yield f"citation: {_json(citation)}"
    for image in entry.images:
        yield f"image: {image.mime}, {image.url or f'{len(image.data):,} bytes'}"
    if entry.finish_reason != "stop":
        yield f"finish reason: {entry.finish_reason}"
    for name in entry.dropped:
        yield f"dropped: {name}"


def _metadata_lines(metadata: RecordedMetadata) -> Iterator[str]:
    counts = [f"{name} {count}" for name, count in sorted(metadata.usage.items())]
    cost = [] if metadata.cost is None else [f"${metadata.cost.normalize():f}"]
    model = f"{metadata.engine}:{metadata.model}".rstrip(":")
    yield f"figures: {', '.join([model, f'{metadata.latency:g} s', *counts, *cost])}"
    if metadata.attempts > 1:
        yield f"attempts: {metadata.attempts}"
    if metadata.fallback_from:
        yield f"instead of: {metadata.fallback_from}"


def _section_lines(label: str, text: str) -> Iterator[str]:
    """Yield a label and a string, indented so that no line of the string looks like a label.

    The text is yielded as one item, because an encoded key may be split over several lines.
    """
    yield f"{label}:"
    yield "\n".join(f"{_INDENT}{line}".rstrip() for line in plain(text).split("\n"))


def _message_text(message: RecordedMessage) -> str:
    if message.parts:
        return "\n".join(map(_part_text, message.parts))
    return "\n".join([*filter(None, [message.content]), *map(_image_text, message.images)])


def _part_text(part: RecordedPart) -> str:
    if part.image:
        return _image_text(part.image)
    if part.tool_call:
        return f"[tool call {part.tool_call.name}: {part.tool_call.arguments}]"
    if part.tool_result:
        failed_note = " failed" if part.tool_result.is_error else ""
        inner = "\n".join(map(_part_text, part.tool_result.parts))
        return f"[result of {part.tool_result.name}{failed_note}]\n{inner}"
    return part.text


def _image_text(image: RecordedImage) -> str:
    return f"[image {image.mime} {image.url or image.sha256}]"


def _json(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
