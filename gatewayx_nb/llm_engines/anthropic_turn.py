"""Assembles the content blocks of an answer from a stream of Anthropic's Messages API."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from gatewayx_nb import bounded_json
from gatewayx_nb.llm_engines.answer_details import citation
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_list, as_str
from gatewayx_nb.replies import Details

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.replies import Citation

DIALECT = "messages"

_PLAIN_FIELDS = {"text": {"type", "text"}, "tool_use": {"type", "id", "name", "input"}}
"""Types of blocks that contain only text or a tool call, and the fields of such blocks."""

_REASONING_FIELDS = ("thinking", "signature")
"""Fields of a block of reasoning that a stream sends in pieces."""

_REASONING_TYPES = frozenset({"thinking", "redacted_thinking"})


class BlockAssembler:
    """Collects the content blocks of one answer.

    Attributes:
        size: The number of blocks and pieces so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: dict[int | None, dict[str, Any]] = {}
        self._text_pieces: defaultdict[int | None, list[str]] = defaultdict(list)
        self._input_pieces: defaultdict[int | None, list[str]] = defaultdict(list)
        self._reasoning_pieces: defaultdict[tuple[int | None, str], list[str]] = defaultdict(list)

    def start(self, index: int | None, block: dict[str, Any]) -> None:
        """Start a block, which may already be complete."""
        self.size += 1 + len(as_list(block.get("citations")))
        self._blocks[index] = block
        for name in _REASONING_FIELDS:
            self._reasoning_pieces.pop((index, name), None)

    def add_text(self, index: int | None, text: str) -> None:
        """Add a piece of a block's text."""
        self.size += 1
        self._text_pieces[index].append(text)

    def extend(self, index: int | None, delta: dict[str, Any]) -> None:
        """Add a piece of anything other than text to a block."""
        self.size += 1
        block = self._blocks.get(index, {})
        for name in _REASONING_FIELDS:
            if piece := as_str(delta.get(name)):
                self._reasoning_pieces[index, name].append(piece)
        if piece := as_str(delta.get("partial_json")):
            self._input_pieces[index].append(piece)
        if citation_json := as_dict(delta.get("citation")):
            citations = block.get("citations")
            block["citations"] = citations if isinstance(citations, list) else []
            block["citations"].append(citation_json)

    def details(self, *, is_paused: bool) -> Details:
        """Return the contents of the answer other than text and tool calls; see `carried`."""
        return Details(tuple(self.citations()), carried=self.carried(is_paused=is_paused))

    def carried(self, *, is_paused: bool = False) -> dict[str, Any] | None:
        """Return the blocks, or ``None`` if they are only text and tool calls, or only reasoning.

        A turn must not end in reasoning, and blank text is rejected.

        Args:
            is_paused: Whether the provider resumes the turn if it is the last message of a request.
        """
        try:
            blocks = list(self._complete_blocks())
        except (ValueError, RecursionError):  # the arguments of a call were truncated
            return None
        blocks = [block for block in blocks if block.get("type") != "text" or block["text"].strip()]
        if is_paused:
            return {"dialect": DIALECT, "items": blocks, "paused": True} if blocks else None
        if all(map(_is_plain, blocks)) or all(map(_is_reasoning, blocks)):
            return None
        return {"dialect": DIALECT, "items": blocks}

    def _complete_blocks(self) -> Iterator[dict[str, Any]]:
        for index, first_block in self._blocks.items():
            block = dict(first_block)
            for name in _REASONING_FIELDS:
                if pieces := self._reasoning_pieces.get((index, name)):
                    block[name] = "".join([as_str(block.get(name)), *pieces])
            if block.get("type") == "text":
                block["text"] = self._text(index)
                if not block.get("citations"):
                    block.pop("citations", None)
            if index in self._input_pieces:
                block["input"] = bounded_json.loads("".join(self._input_pieces[index]))
            yield block

    def _text(self, index: int | None) -> str:
        return as_str(self._blocks[index].get("text")) + "".join(self._text_pieces[index])

    def citations(self) -> Iterator[Citation]:
        """Yield the citations, each with the passage from its source."""
        start = 0
        for index, block in self._blocks.items():
            end = start + (len(self._text(index)) if block.get("type") == "text" else 0)
            for row in as_dicts(block.get("citations")):
                source = as_str(row.get("source"))  # a URL or any other name
                title = row.get("document_title") or row.get("title") or source
                url = row.get("url") or (source if source.startswith("http") else "")
                page = row.get("start_page_number")
                yield citation(row.get("cited_text"), title, url, page, (start, end))
            start = end


def _is_plain(block: dict[str, Any]) -> bool:
    return block.keys() <= _PLAIN_FIELDS.get(as_str(block.get("type")), set())


def _is_reasoning(block: dict[str, Any]) -> bool:
    return as_str(block.get("type")) in _REASONING_TYPES
