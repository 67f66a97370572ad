"""Repairs the text of an answer: rejoins surrogate pairs and separates embedded reasoning."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.replies import Chunk
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_XML_TAGS = {f"<{word}>": f"</{word}>" for word in ("thinking", "thought", "reasoning")}
"""Tags that may also occur in an XML answer; they mark reasoning only if they are closed."""

_TAGS = _XML_TAGS | {
    "<think>": "</think>",  # DeepSeek, Qwen and others
    "[THINK]": "[/THINK]",  # Mistral's open models
    "◁think▷": "◁/think▷",  # Kimi
    "<seed:think>": "</seed:think>",
    "<|START_THINKING|>": "<|END_THINKING|>",  # Cohere's open models
    "<|begin_of_thought|>": "<|end_of_thought|>",
    # gpt-oss: https://cookbook.openai.com/articles/openai-harmony
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
"""The tags around reasoning at the start of an answer, if the server leaves them in the text.

https://huggingface.co/deepseek-ai/DeepSeek-R1#usage-recommendations
"""

_TAG_STARTS = frozenset(tag[0] for tag in _TAGS) | {""}
"""The first characters of the tags, and the empty string, for text of only spaces."""

_MAX_HELD_LENGTH = 100_000
"""Maximum number of characters held back for a closing tag; longer text counts as reasoning."""

_MAX_SPACES = 100
"""Maximum number of spaces before a tag."""

_MAX_TAGS = 100
"""Maximum number of opening tags; text after them counts as the answer."""

_THINK_END = "</think>"
_LONE_CLOSING_TAG = re.compile(rf"^[ \t]{{0,{_MAX_SPACES}}}{_THINK_END}", re.MULTILINE)
"""Matches a closing tag whose opening tag is missing, because it is part of the prompt template."""


class AnswerCleaner:
    """Repairs the chunks of one answer.

    Some servers split a surrogate pair between two chunks; the pair is joined, and a lone surrogate
    becomes U+FFFD. Text in reasoning tags at the start of the answer becomes its reasoning.
    Characters that could begin a tag or a surrogate pair are held back until the next chunk.

    Attributes:
        opening_tag_is_missing: Whether a closing tag shows that all of the text before it was
            reasoning.
    """

    def __init__(self) -> None:
        self.opening_tag_is_missing = False
        self._text_joiner, self._reasoning_joiner = _SurrogateJoiner(), _SurrogateJoiner()
        self._held_texts: list[str] = []
        self._required_tag = ""  # the closing tag that would make the held text reasoning
        self._recent_text = ""  # the end of the held text
        self._held_length = 0
        self._closing_tag: str | None = None  # the expected closing tag, while in reasoning
        self._is_answer = False  # whether the text is past the point where reasoning can begin
        self._is_after_tag = False
        self._tag_count = 0
        self._has_reasoning = False
        self._is_past_line_start = False  # whether the current line cannot begin with a closing tag

    def feed(self, chunk: Chunk) -> Iterable[Chunk]:
        """Return the repaired chunks that replace one chunk."""
        has_text = chunk.text or chunk.reasoning or chunk.finish_reason
        return self._repair(chunk) if has_text and not self.is_plain(chunk) else (chunk,)

    def is_plain(self, chunk: Chunk) -> bool:
        """Return whether `feed` would return only the chunk: ASCII text in the middle of a line.

        Nearly all chunks are plain, and need not be passed to `feed`.
        """
        return (
            self._is_answer
            and chunk.finish_reason is None
            and not chunk.reasoning
            and chunk.text.isascii()
            and not self._text_joiner.half
            and (self._has_reasoning or (self._is_past_line_start and "\n" not in chunk.text))
        )

    def _repair(self, chunk: Chunk) -> Iterator[Chunk]:
        text, reasoning = (
            self._text_joiner.feed(chunk.text),
            self._reasoning_joiner.feed(chunk.reasoning),
        )
        if reasoning:  # a server with a field for reasoning does not use tags
            yield from self._release()  # the held text was received before the reasoning
            self._is_answer, self._has_reasoning = True, True
        if text and not self._is_answer:
            new_reasoning, text = self._split_reasoning(text)
            reasoning += new_reasoning
        if text and not self._has_reasoning:
            new_reasoning, text = self._split_at_lone_closing_tag(text)
            reasoning += new_reasoning
        if chunk.finish_reason is not None:
            for last_chunk in self.close(is_cut=chunk.finish_reason == "length"):
                text, reasoning = text + last_chunk.text, reasoning + last_chunk.reasoning
        if text != chunk.text or reasoning != chunk.reasoning:
            chunk = replace(chunk, text=text, reasoning=reasoning)
            if chunk == Chunk():
                return
        yield chunk

    def _release(self) -> Iterator[Chunk]:
        """Yield the text that is held back because it could begin a tag."""
        if held_text := self._take_held():
            yield Chunk(text=held_text) if self._closing_tag is None else Chunk(reasoning=held_text)

    def _take_held(self) -> str:
        """Return and clear the held text."""
        held_text, self._held_texts, self._required_tag = "".join(self._held_texts), [], ""
        return held_text

    def _hold_until(self, closing_tag: str, text: str) -> None:
        """Hold text until a closing tag; afterwards, only new text is searched for the tag."""
        self._held_texts, self._required_tag, self._held_length = [text], closing_tag, len(text)
        self._recent_text = text[1 - len(closing_tag) :]

    def _hold_more(self, text: str) -> bool:
        """Hold more text and return true, unless the required closing tag is complete."""
        recent_text = self._recent_text + text
        self._held_length += len(text)
        if self._required_tag in recent_text or self._held_length >= _MAX_HELD_LENGTH:
            return False
        self._held_texts.append(text)
        self._recent_text = recent_text[1 - len(self._required_tag) :]
        return True

    def close(self, *, is_cut: bool = False) -> Iterator[Chunk]:
        """Yield the text that is still held back when the answer ends.

        Args:
            is_cut: Whether the answer was cut at a limit, so that a closing tag may be missing.
        """
        text, reasoning = (
            self._take_held() + self._text_joiner.close(),
            self._reasoning_joiner.close(),
        )
        if is_cut:
            stripped_text = text.lstrip()
            opening_tag = next((tag for tag in _XML_TAGS if stripped_text.startswith(tag)), None)
            if opening_tag is not None:
                text, self._closing_tag = (
                    stripped_text.removeprefix(opening_tag),
                    _TAGS[opening_tag],
                )
        if self._closing_tag is not None:
            text, reasoning = "", reasoning + text
        if text or reasoning:
            yield Chunk(text=text, reasoning=reasoning)

    def _split_reasoning(self, text: str) -> tuple[str, str]:
        """Return the reasoning and the answer in a piece of text."""
        if self._required_tag and self._hold_more(text):
            return "", ""
        text = self._take_held() + text
        reasoning = ""
        while text:
            if self._closing_tag is not None:
                inner_text, found_tag, text = text.partition(self._closing_tag)
                if not found_tag:
                    held_length = _prefix_length(inner_text, self._closing_tag)
                    self._held_texts = (
                        [inner_text[len(inner_text) - held_length :]] if held_length else []
                    )
                    return reasoning + inner_text[: len(inner_text) - held_length], ""
                reasoning += inner_text
                self._closing_tag, self._is_after_tag = None, True
            stripped_text = text.lstrip()
            tags = _TAGS if stripped_text[:1] in _TAG_STARTS else ()  # nearly always empty
            tag = next((tag for tag in tags if stripped_text.startswith(tag)), None)
            # The number of tags is limited, because the rest of the text is copied for each tag.
            if len(text) - len(stripped_text) > _MAX_SPACES or self._tag_count >= _MAX_TAGS:
                tag = None
            if tag in _XML_TAGS and _TAGS[tag] not in text and len(text) < _MAX_HELD_LENGTH:
                self._hold_until(_TAGS[tag], text)
                return reasoning, ""
            if tag is not None:
                self._tag_count += 1
                self._closing_tag, self._has_reasoning = _TAGS[tag], True
                text = stripped_text[len(tag) :]
            elif len(text) - len(stripped_text) <= _MAX_SPACES and any(
                tag.startswith(stripped_text)
                for tag in tags  # true if there are only spaces
            ):
                self._held_texts = [text]
                return reasoning, ""
            else:
                self._is_answer = True
                return reasoning, stripped_text if self._is_after_tag else text
        return reasoning, ""

    def _split_at_lone_closing_tag(self, text: str) -> tuple[str, str]:
        """Return the reasoning and the answer around a closing tag that begins a line."""
        text = self._take_held() + text
        start = text.find("\n") + 1 if self._is_past_line_start else 0
        if self._is_past_line_start and not start:
            return "", text
        match = _LONE_CLOSING_TAG.search(text, start)
        if match is None:
            line = text.rpartition("\n")[2]
            tag = line.lstrip(" \t")
            is_indented_far = len(line) - len(tag) > _MAX_SPACES
            self._is_past_line_start = is_indented_far or not _THINK_END.startswith(tag)
            if not self._is_past_line_start:
                text, self._held_texts = text.removesuffix(line), [line]
            return "", text
        self.opening_tag_is_missing = self._has_reasoning = self._is_after_tag = True
        self._is_answer = False
        new_reasoning, answer = self._split_reasoning(text[match.end() :])
        return text[: match.start()] + new_reasoning, answer


class _SurrogateJoiner:
    """Joins surrogate pairs that are split between two pieces."""

    def __init__(self) -> None:
        self.half = ""

    def feed(self, piece: str) -> str:
        if not self.half and piece.isascii():
            return piece
        text, self.half = self.half + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return well_formed(text)

    def close(self) -> str:
        if not self.half:
            return ""
        remaining_text, self.half = well_formed(self.half), ""
        return remaining_text


def _prefix_length(text: str, tag: str) -> int:
    """Return the length of the text's longest suffix that is a prefix of the tag."""
    lengths = range(min(len(tag) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(tag[:length])), 0)
