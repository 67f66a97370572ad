"""Contents of Chat Completions answers other than text and tool calls; many are extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.llm_engines.answer_details import (
    NewDetails,
    citation,
    details_chunk,
    image_of,
    openai_citations,
    openai_logprobs,
    parallel_logprobs,
)
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_list, as_str
from gatewayx_nb.llm_engines.message_parts import carried_data
from gatewayx_nb.replies import Details

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Message
    from gatewayx_nb.replies import Chunk, Citation, Logprob

_DIALECT = "chat"

_DETAIL_FIELDS = ("reasoning_details", "annotations", "images", "tool_calls")

_JOINED_FIELDS = ("text", "summary", "data")
"""Fields of OpenRouter's reasoning details that a stream sends in pieces."""


class ExtraFields:
    """Collects the fields of one answer other than its text and tool calls.

    Args:
        errors: Creates the errors.
        reasoning_field: Name of the field with the reasoning that must be sent back; empty if
            there is none.
    """

    def __init__(self, errors: ProviderErrors, reasoning_field: str = "") -> None:
        self._reasoning_field = reasoning_field
        self._names = (*_DETAIL_FIELDS, reasoning_field)
        self._reasoning: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._text_pieces: dict[str, list[str]] = {}  # the pieces of the last detail's texts
        self._extra_content_by_call: dict[str, dict[str, Any]] = {}
        self._has_sources = False
        self._new_details = NewDetails(errors)
        self._has_new_fields = False

    def add(self, choice: dict[str, Any], part: dict[str, Any]) -> Iterable[Chunk]:
        """Return the details of a message or a delta; store the fields that must be sent back."""
        # Some servers write all fields in every chunk, most of them null.
        if choice.get("logprobs") or any(map(part.get, self._names)):
            return self._add(choice, part)
        return ()

    def _add(self, choice: dict[str, Any], part: dict[str, Any]) -> Iterator[Chunk]:
        self._has_new_fields = True
        for detail in as_dicts(part.get("reasoning_details")):
            self._add_reasoning(detail)
        if self._reasoning_field:
            self._reasoning.append(as_str(part.get(self._reasoning_field)))
        for call in as_dicts(part.get("tool_calls")):
            # Google's endpoint: https://ai.google.dev/gemini-api/docs/thought-signatures
            if extra_content := as_dict(call.get("extra_content")):
                self._extra_content_by_call[as_str(call.get("id"))] = {
                    "extra_content": extra_content
                }
        urls = [as_dict(row.get("image_url")).get("url") for row in as_dicts(part.get("images"))]
        yield from details_chunk(
            citations=openai_citations(part.get("annotations")),
            images=[image for url in urls for image in image_of(url)],
            logprobs=_logprobs(as_dict(choice.get("logprobs"))),
        )

    def _add_reasoning(self, detail: dict[str, Any]) -> None:
        """Append a piece of OpenRouter's reasoning, or merge it into the piece that it continues.

        https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks
        """
        last_detail = self._details[-1] if self._details else {}
        key = (detail.get("type"), detail.get("index"))
        if detail.get("index") is None or key != (
            last_detail.get("type"),
            last_detail.get("index"),
        ):
            self._join_texts()
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _JOINED_FIELDS:
                self._text_pieces.setdefault(name, [as_str(last_detail.get(name))]).append(
                    as_str(value)
                )
            elif value is not None:
                last_detail[name] = value

    def _join_texts(self) -> None:
        """Join the pieces of the last detail's texts."""
        for name, pieces in self._text_pieces.items():
            self._details[-1][name] = "".join(pieces)
        self._text_pieces = {}

    def carried(self) -> Iterator[Chunk]:
        """Yield the fields that must be sent back, unless they have already been yielded."""
        if not self._has_new_fields:
            return
        self._has_new_fields = False
        self._join_texts()
        reasoning = "".join(self._reasoning)
        fields = {
            self._reasoning_field: reasoning,
            # Copies, because more details may be added.
            "reasoning_details": list(map(dict, self._details)),
            "calls": dict(self._extra_content_by_call),
        }
        nonempty_fields = {name: value for name, value in fields.items() if name and value}
        if nonempty_fields:
            size = len(self._reasoning) + len(self._details) + len(self._extra_content_by_call)
            data = {"dialect": _DIALECT, **nonempty_fields}
            yield from self._new_details.chunk(Details(carried=data), size)

    def sources(self, body: dict[str, Any]) -> Iterator[Chunk]:
        """Yield, once, the sources that Perplexity and xAI send next to the message."""
        if self._has_sources:
            return
        citations = list(_sources(body))
        self._has_sources = bool(citations)
        yield from details_chunk(citations=citations)


def carried_message(turn: Message, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the fields that must be sent back to the server."""
    data = carried_data(turn, _DIALECT)
    if data is None:
        return message
    extra_fields = {name: value for name, value in data.items() if name not in _FIELDS_NOT_COPIED}
    extra_content_by_call = as_dict(data.get("calls"))
    if extra_content_by_call and "tool_calls" in message:
        extra_fields["tool_calls"] = [
            call | as_dict(extra_content_by_call.get(call["id"]))
            for call in as_dicts(message["tool_calls"])
        ]
    return message | extra_fields


_FIELDS_NOT_COPIED = frozenset({"dialect", "turn", "calls", "role", "content", "tool_calls"})
"""Fields of a carried turn that this package adds or that every message has."""


def _logprobs(logprobs: dict[str, Any]) -> tuple[Logprob, ...]:
    rows = openai_logprobs(logprobs.get("content")) + openai_logprobs(logprobs.get("refusal"))
    return rows or parallel_logprobs(logprobs.get("tokens"), logprobs.get("token_logprobs"))


def _sources(body: dict[str, Any]) -> Iterator[Citation]:
    for row in as_dicts(body.get("search_results")):
        yield citation(row.get("snippet"), row.get("title"), row.get("url"))
    if not body.get("search_results"):
        yield from (citation(url=url) for url in as_list(body.get("citations")) if as_str(url))
