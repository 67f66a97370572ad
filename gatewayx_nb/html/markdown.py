"""Conversion of a model's Markdown to safe HTML.

Model output is untrusted. The resulting HTML runs no code, loads nothing by itself and stays
inside its own box. This holds for every prefix of a stream, because each prefix is rendered as a
complete text.
"""

from __future__ import annotations

import functools
import html
import re
from typing import TYPE_CHECKING

from gatewayx_nb.html import math
from gatewayx_nb.html.components import LEFT, SCROLL_X, wrap_reply
from gatewayx_nb.html.highlight import INHERITED_SPACE, UNWRAPPED, code_block
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    import nh3
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

# fmt: off
_TAGS = frozenset({
    "a", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
})
# fmt: on
# markdown-it-py writes these for the colons of a table's second line; model text cannot.
_ALIGNMENTS = frozenset({LEFT, "text-align:center", "text-align:right"})
_LINK = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
# Parsing time is at worst length times depth (for a line of `[`). Together these two limits keep
# the rendering of the worst known text under two seconds.
MAX_MARKDOWN_LENGTH = 40_000
_MAX_NESTING = 24
_MAX_IMAGE_URL = 200


def to_html(markdown: str) -> str:
    """Return a model's text as allow-listed HTML in one ``<div class="gatewayx-reply …">``.

    CommonMark with tables, strikethrough and math, which the page typesets. Raw HTML and images are
    shown as text; links to http, https and mailto open a new page, and any other link is shown as
    written. Text after the last blank line within 40,000 characters is shown unformatted. Content
    nested more than 24 levels deep (twelve nested lists) is omitted.
    """
    text = plain(markdown)
    cut = end_of_markdown(text)
    body = cleaner().clean(parser().render(text[:cut]))
    return wrap_reply(body, text[cut:])


def end_of_markdown(text: str) -> int:
    """Return where formatting ends: the text's end, or a blank line before the limit."""
    if len(text) <= MAX_MARKDOWN_LENGTH:
        return len(text)
    blank_line = text.rfind("\n\n", 0, MAX_MARKDOWN_LENGTH)
    return MAX_MARKDOWN_LENGTH if blank_line < 0 else blank_line


@functools.cache
def parser() -> MarkdownIt:
    """Return the Markdown parser; its HTML must pass through the `cleaner`."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    math.add_math(parser)
    # Stricter than markdown-it, which refuses only `javascript:`, `vbscript:`, `file:` and some
    # `data:`.
    parser.validateLink = lambda url: _LINK.match(url) is not None  # type: ignore[method-assign]
    parser.add_render_rule("image", _image_as_text)
    parser.add_render_rule("th_open", _aligned_cell)
    parser.add_render_rule("td_open", _aligned_cell)
    parser.add_render_rule("fence", _code_block)
    parser.add_render_rule("code_block", _code_block)
    parser.add_render_rule("table_open", lambda *_: f'<div style="{SCROLL_X}"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return parser


@functools.cache
def cleaner() -> nh3.Cleaner:
    """Return the HTML sanitizer, which passes only allow-listed tags and attributes."""
    import nh3

    return nh3.Cleaner(
        tags=_TAGS,
        # Without "*" the defaults apply, which allow a title on every tag.
        attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
        tag_attribute_values={
            "td": {"style": _ALIGNMENTS},
            "th": {"style": _ALIGNMENTS},
            "div": {"style": {SCROLL_X}},
            "pre": {"style": {UNWRAPPED}},
            "code": {"style": {INHERITED_SPACE}},
            "span": {"class": {math.PROCESS}, "style": {math.DISPLAYED}},
        },
        # A click must not replace the notebook.
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
        # A relative link would lead into the notebook server.
        url_relative="deny",
    )


def _image_as_text(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Show an image's alt text and URL: loading it would notify its server."""
    image = tokens[index]
    alt = renderer.renderInlineAsText(image.children or [], options, env)
    source = shorten(str(image.attrs.get("src", "")), _MAX_IMAGE_URL)
    return html.escape(f"[image: {alt} ({source})]")


def _aligned_cell(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Default to left alignment: notebooks right-align the cells of tables."""
    tokens[index].attrs.setdefault("style", LEFT)
    return renderer.renderToken(tokens, index, options, env)


def _code_block(_: RendererHTML, tokens: Sequence[Token], index: int, *__: object) -> str:
    return f"{code_block(html.escape(tokens[index].content))}\n"
