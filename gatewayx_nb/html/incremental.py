"""Renders growing text as HTML incrementally: finished blocks are rendered only once.

Rendering the whole text at each update would take quadratic time. In CommonMark, further
lines can change only the last block, so the HTML of earlier blocks is kept. New text in the
last block is shown unformatted until it is long enough for the block to be rendered again.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from gatewayx_nb.html.components import wrap_reply
from gatewayx_nb.html.markdown import cleaner, end_of_markdown, parser, shown_part
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_GROWTH_DIVISOR, _LARGE_GROWTH_DIVISOR = 4, 2
"""The last block is rendered again after it has grown by a quarter, or by half if it is large.

This limits the total cost to a few renderings of the block, for any number of updates.
"""

_LARGE_BLOCK_LENGTH = 4_000
"""Minimum number of characters of a block that counts as large."""

_SHORT_BLOCK_LENGTH = 60
"""Number of characters below which the last block is rendered at each update."""

_POSSIBLY_UNSAFE_CHARACTER = re.compile(
    "[^\n\t -~\xa0-\u02af\u0370-\u1fff\u2010-\u2029\u2070-\ud7ff\uf900-\ufefe]"
)
"""Matches at least the characters that `plain` may remove; `plain` keeps text without a match."""

_END_TAGS = re.compile(r"(?:</(?:p|li|ul|ol|blockquote|h[1-6]|code|pre)>\s*)+\Z")
_MAX_END_TAGS_LENGTH = 1_000


class IncrementalRenderer:
    """Renders a growing text repeatedly; the HTML is safe for every prefix of the text.

    The HTML differs from that of `to_html` at the unformatted end, and where a link is used before
    its definition. Render the complete text with `to_html`.
    """

    def __init__(self) -> None:
        self._raw = self._text = ""
        self._is_plain = True
        self._reset()

    def __call__(self, raw: str) -> str:
        """Return the HTML of the text so far, in the reply box."""
        text = self._without_unsafe_characters(shown_part(raw))
        end = end_of_markdown(text)
        if end < self._rendered_length or not text.startswith(self._text[: self._rendered_length]):
            self._reset()
        self._text = text
        if self._is_due(end):
            self._render(end)
        tail = text[self._rendered_length : end]
        if tail:  # inside the last open block, so that it does not begin a new line
            tail = html.escape(self._trimmed_space + tail)
            tail = f'<span style="white-space:pre-wrap">{tail}</span>'
        block_html, end_tags = self._last_block_html
        body = "".join((*self._finished_html, block_html, tail, end_tags))
        return wrap_reply(body, text[end:])

    def _reset(self) -> None:
        self._finished_html: list[str] = []
        self._last_block_html: tuple[str, str] = ("", "")
        self._trimmed_space = ""
        self._start = self._rendered_length = 0
        self._definitions: dict[str, Any] = {}

    def _without_unsafe_characters(self, raw: str) -> str:
        """Return the text without unsafe characters; check only new text while all text is safe."""
        known_length = len(self._raw) if raw.startswith(self._raw) else 0
        self._raw = raw
        if self._is_plain and not _POSSIBLY_UNSAFE_CHARACTER.search(raw, known_length):
            return raw
        self._is_plain = False
        return plain(raw)

    def _is_due(self, end: int) -> bool:
        block_length, new_length = self._rendered_length - self._start, end - self._rendered_length
        divisor = _GROWTH_DIVISOR if block_length < _LARGE_BLOCK_LENGTH else _LARGE_GROWTH_DIVISOR
        return new_length > 0 and (
            block_length + new_length < _SHORT_BLOCK_LENGTH or new_length * divisor >= block_length
        )

    def _render(self, end: int) -> None:
        """Render the last block and any new blocks; all blocks except the last are then final."""
        markdown, clean = parser(), cleaner().clean
        source = self._text[self._start : end]
        env: dict[str, Any] = {"references": dict(self._definitions)}
        tokens = markdown.parse(source, env)
        index = _last_block(tokens, source.count("\n"))
        line = tokens[index].map[0] if index and tokens[index].map else 0  # type: ignore[index]
        if line:
            finished_html = markdown.renderer.render(tokens[:index], markdown.options, env)
            self._finished_html.append(clean(finished_html))
            self._start += sum(len(text) + 1 for text in source.split("\n", line)[:line])
            self._keep_definitions(env["references"], line)
            tokens = tokens[index:]
        page = clean(markdown.renderer.render(tokens, markdown.options, env))
        # The search starts near the end, so that it does not scan the whole block.
        end_tags = _END_TAGS.search(page, max(0, len(page) - _MAX_END_TAGS_LENGTH))
        cut = end_tags.start() if end_tags else len(page)
        self._last_block_html = (page[:cut], page[cut:])
        # Markdown drops spaces and newlines at the end of most blocks, but they are needed before
        # further text.
        is_trimmed = cut > 0 and not page[cut - 1].isspace()
        self._trimmed_space = source[len(source.rstrip()) :] if is_trimmed else ""
        self._rendered_length = end

    def _keep_definitions(self, definitions: dict[str, Any], line: int) -> None:
        """Keep the link definitions that begin before a line; later definitions may still grow."""
        earlier_definitions = {
            name: link for name, link in definitions.items() if link["map"][0] < line
        }
        # Line numbers are relative to the text that is parsed next; -1 is before its first line.
        self._definitions |= {
            name: {**link, "map": [-1, -1]} for name, link in earlier_definitions.items()
        }


def _last_block(tokens: Sequence[Token], lines: int) -> int:
    """Return the index of the last top-level block, or 0 if there is none.

    A block that begins on the incomplete last line may become part of the previous block.
    """
    starts = (
        index
        for index, token in enumerate(tokens)
        if token.level == 0 and token.nesting >= 0 and token.map and token.map[0] < lines
    )
    return max(starts, default=0)
