"""Finds the recorded call nearest to a missing call, and the differences between them."""

from __future__ import annotations

import difflib
import heapq
import os.path
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes.request_body import RecordedMessage, RequestBody
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.cassettes.entry import CassetteEntry

_MAX_COMPARED_CALLS = 100
"""Maximum number of calls to compare character by character."""

_PREFIX_LENGTH = 400
"""Number of characters to compare at the start of a prompt."""

_CONTEXT_CHARS = 16
"""Number of characters to show on each side of the first difference."""

_MAX_DIFFERENCES = 4
"""Maximum number of differences to report."""

_PLURALS = ("messages", "texts", "params")
"""The fields of a request whose names are plurals."""

_UNSET_VALUES: tuple[object, ...] = (None, (), {})
"""The default values of fields, which count as unset."""


def nearest(
    entries: Iterable[CassetteEntry], engine: str, body: RequestBody
) -> CassetteEntry | None:
    """Return the recorded call most similar to a request; ``None`` if nothing is recorded."""
    # All entries are first compared cheaply, because difflib takes quadratic time.
    candidates = heapq.nlargest(
        _MAX_COMPARED_CALLS, entries, key=lambda entry: _rough_similarity(entry, engine, body)
    )
    return max(candidates, key=lambda entry: _similarity(entry, engine, body), default=None)


def describe_differences(entry: CassetteEntry, engine: str, model: str, body: RequestBody) -> str:
    """Describe the differences in one line, with short excerpts from long text."""
    parts = list(_differences(entry, engine, model, body))
    omitted_note = (
        [f"and {len(parts) - _MAX_DIFFERENCES} more"] if len(parts) > _MAX_DIFFERENCES else []
    )
    return "; ".join([*parts[:_MAX_DIFFERENCES], *omitted_note])


def _rough_similarity(entry: CassetteEntry, engine: str, body: RequestBody) -> float:
    if entry.request.digests:
        return _equal_digests(entry, body) + (entry.engine == engine)
    requested_prompt, recorded_prompt = body.prompt, entry.request.prompt
    pairs = zip(requested_prompt[:_PREFIX_LENGTH], recorded_prompt[:_PREFIX_LENGTH], strict=False)
    equal_count = sum(
        recorded_character == requested_character
        for recorded_character, requested_character in pairs
    )
    longer_length = max(len(requested_prompt), len(recorded_prompt), 1)
    score = (
        equal_count / _PREFIX_LENGTH
        - abs(len(requested_prompt) - len(recorded_prompt)) / longer_length
    )
    return score + (entry.engine == engine)


def _similarity(entry: CassetteEntry, engine: str, body: RequestBody) -> float:
    if entry.request.digests:
        return _equal_digests(entry, body) + (entry.engine == engine)
    requested_prefix, recorded_prefix = (
        body.prompt[:_PREFIX_LENGTH],
        entry.request.prompt[:_PREFIX_LENGTH],
    )
    # autojunk would ignore characters that are frequent in long text.
    ratio = difflib.SequenceMatcher(None, requested_prefix, recorded_prefix, autojunk=False).ratio()
    fields = RequestBody.__struct_fields__
    equal_count = sum(getattr(entry.request, name) == getattr(body, name) for name in fields)
    score: float = 2 * ratio + equal_count / len(fields) + (entry.engine == engine)
    return score


def _equal_digests(entry: CassetteEntry, body: RequestBody) -> float:
    """Return the number of equal fields if the entry contains only digests."""
    return len(entry.request.field_digests().items() & body.field_digests().items())


def _differences(entry: CassetteEntry, engine: str, model: str, body: RequestBody) -> Iterator[str]:
    recorded_model = f"{entry.engine}:{entry.model}".rstrip(":")
    requested_model = f"{engine}:{model}".rstrip(":")
    if requested_model and requested_model != recorded_model:
        yield f"its model is {recorded_model!r}, not {requested_model!r}"
    if entry.request.digests:
        recorded_digests, requested_digests = entry.request.field_digests(), body.field_digests()
        names = [
            name
            for name in RequestBody.__struct_fields__
            if recorded_digests.get(name) != requested_digests.get(name)
        ]
        yield from (f"its {name} {_differ_verb(name)}" for name in names)
        return
    for name in RequestBody.__struct_fields__:
        recorded_value, requested_value = getattr(entry.request, name), getattr(body, name)
        if recorded_value == requested_value:
            continue
        if name == "messages":
            yield from _message_differences(recorded_value, requested_value)
        elif isinstance(recorded_value, str) and isinstance(requested_value, str):
            yield _text_difference(name, recorded_value, requested_value)
        else:
            yield _value_difference(name, recorded_value, requested_value)


def _message_differences(
    recorded_messages: tuple[RecordedMessage, ...], requested_messages: tuple[RecordedMessage, ...]
) -> Iterator[str]:
    if len(recorded_messages) != len(requested_messages):
        counts = len(recorded_messages), len(requested_messages)
        yield f"its conversation has {counts[0]} messages, not {counts[1]}"
        return
    for number, messages in enumerate(
        zip(recorded_messages, requested_messages, strict=True), start=1
    ):
        name = "prompt" if number == len(requested_messages) else f"message {number}"
        results = [list(_named_results(message)) for message in messages]
        if results[0] and len(results[0]) == len(results[1]):
            yield from _result_differences(*results)
            continue
        for part in ("role", "text", "images", "parts"):
            texts = [str(getattr(message, part)) for message in messages]
            if texts[0] != texts[1]:
                yield _text_difference(name if part == "text" else f"{part} of {name}", *texts)
                if part == "text":  # the parts contain the text, too
                    break


def _named_results(message: RecordedMessage) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each tool result in a message, for a comparison."""
    for part in message.parts:
        if (result := part.tool_result) is not None:
            text = RecordedMessage(message.role, "", parts=result.parts).text
            images = [inner.image for inner in result.parts if inner.image is not None]
            result_text = f"{text} {images}" if images else text
            yield result.name, f"error: {result_text}" if result.is_error else result_text


def _result_differences(
    recorded_results: list[tuple[str, str]], requested_results: list[tuple[str, str]]
) -> Iterator[str]:
    for (name, recorded_text), (_, requested_text) in zip(
        recorded_results, requested_results, strict=True
    ):
        if recorded_text != requested_text:
            yield _text_difference(
                f"result of {name!r}" if name else "tool result", recorded_text, requested_text
            )


def _value_difference(name: str, recorded_value: object, requested_value: object) -> str:
    """Describe the difference between two values of an option; one of them may be unset."""
    values = [
        repr(value) if value not in _UNSET_VALUES else "unset"
        for value in (recorded_value, requested_value)
    ]
    if "unset" not in values and max(map(len, values)) > 2 * _CONTEXT_CHARS:
        return _text_difference(name, *values)
    excerpts = [shorten(value, 2 * _CONTEXT_CHARS) for value in values]
    return f"its {name} {'are' if name in _PLURALS else 'is'} {excerpts[0]}, not {excerpts[1]}"


def _differ_verb(name: str) -> str:
    return "differ" if name in _PLURALS else "differs"


def _text_difference(name: str, recorded_text: str, requested_text: str) -> str:
    """Describe the first difference between two strings."""
    if max(len(recorded_text), len(requested_text)) <= 2 * _CONTEXT_CHARS:
        return f"its {name} is {recorded_text!r}, not {requested_text!r}"
    index = len(os.path.commonprefix([recorded_text, requested_text]))  # noqa: RUF071 - text, not paths
    start = max(0, index - _CONTEXT_CHARS)
    parts = [text[start : index + _CONTEXT_CHARS] for text in (recorded_text, requested_text)]
    difference = f"{_differ_verb(name)} starting at character {index + 1}"
    return f"its {name} {difference}: …{parts[0]!r}, not …{parts[1]!r}"
