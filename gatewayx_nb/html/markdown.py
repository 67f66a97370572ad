"""Converts a model's Markdown to safe HTML.

Model output is untrusted. The resulting HTML runs no code, loads nothing by itself and stays
inside its own box. This holds for every prefix of a stream, because each prefix is rendered as a
complete text.
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from typing import TYPE_CHECKING

from gatewayx_nb.html import math
from gatewayx_nb.html.components import CELL_PADDING, LEFT_STYLE, SCROLL_X_STYLE, wrap_reply
from gatewayx_nb.html.highlighting import (
    COLOUR_STYLES,
    INHERITED_SPACE_STYLE,
    UNWRAPPED_STYLE,
    code_block,
    coloured,
)
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
# markdown-it-py writes these styles for the colons in a table's second line. The model's text
# itself cannot contain a style.
_ALIGNMENTS = frozenset(
    f"{alignment};{CELL_PADDING}"
    for alignment in (LEFT_STYLE, "text-align:center", "text-align:right")
)
# Pages differ: JupyterLab indents quotations on both sides, and widgets do not indent them at all.
# marimo removes the numbers and bullets of lists. Long numbers need a wider margin.
_QUOTE_STYLE = "margin:.8em 0;padding:.2em 0 .2em 1em;border-left:.25em solid rgba(128,128,128,.45)"
_NO_MARGIN_STYLE = "margin:0"
_BULLETS_STYLE = "list-style:disc;padding-left:2em"
# CommonMark allows nine digits in the first number; later numbers may have one more.
_NUMBERS_STYLES = [
    f"list-style:decimal;padding-left:max(2em,{digits + 2}ch)" for digits in range(11)
]
_CODE_STYLE = "padding:.1em .3em;border-radius:3px;background:rgba(128,128,128,.15)"
_TABLE_STYLE = f"{SCROLL_X_STYLE};overflow-wrap:normal;margin:0 0 .8em"
_LINK_PATTERN = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)
# In the worst case (a line of `[`), parsing time is proportional to length times depth. Together,
# these two limits keep the rendering of the worst known text under two seconds.
MAX_MARKDOWN_LENGTH = 40_000
_MAX_NESTING = 24
_MAX_IMAGE_URL = 200

_MAX_SHOWN_CHARACTERS = 1_000_000
"""Maximum number of characters of an answer to show; with more, the page becomes unresponsive."""


def to_html(markdown: str) -> str:
    """Return a model's text as allow-listed HTML in one ``<div class="gatewayx-reply …">``.

    The syntax is CommonMark with tables, strikethrough and math, which the page typesets. Raw HTML
    and images are shown as text. Links to http, https and mailto open a new page; any other link is
    shown as written. Text after the last blank line within 40,000 characters is shown unformatted.
    Content nested more than 24 levels deep (twelve nested lists) is omitted.
    """
    text = plain(shown_part(markdown))
    cut = end_of_markdown(text)
    body = cleaner().clean(parser().render(text[:cut]))
    return wrap_reply(body, text[cut:])


def shown_part(text: str) -> str:
    """Return the part of an answer to show: the whole, or its beginning with a note."""
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    shown_text, hidden_count = text[:_MAX_SHOWN_CHARACTERS], len(text) - _MAX_SHOWN_CHARACTERS
    return f"{shown_text}\n\n… {hidden_count:,} more characters are in the `text` of the reply."


def end_of_markdown(text: str) -> int:
    """Return the index at which formatting ends: the end, or a blank line before the limit."""
    if len(text) <= MAX_MARKDOWN_LENGTH:
        return len(text)
    blank_line = text.rfind("\n\n", 0, MAX_MARKDOWN_LENGTH)
    return MAX_MARKDOWN_LENGTH if blank_line < 0 else blank_line


@functools.cache
def parser() -> MarkdownIt:
    """Return the Markdown parser; its HTML must be sanitized by the `cleaner`."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    math.add_math(parser)
    # This is stricter than markdown-it, which refuses only `javascript:`, `vbscript:`, `file:` and
    # some `data:`.
    parser.validateLink = lambda url: _LINK_PATTERN.match(url) is not None  # type: ignore[method-assign]
    parser.add_render_rule("image", _image_as_text)
    parser.add_render_rule("th_open", _aligned_cell)
    parser.add_render_rule("td_open", _aligned_cell)
    parser.add_render_rule("fence", _code_block)
    parser.add_render_rule("code_block", _code_block)
    parser.add_render_rule("code_inline", _inline_code)
    parser.add_render_rule("blockquote_open", _style_rule(lambda *_: _QUOTE_STYLE))
    parser.add_render_rule("paragraph_open", _paragraph)
    parser.add_render_rule("bullet_list_open", _style_rule(lambda *_: _BULLETS_STYLE))
    parser.add_render_rule("ordered_list_open", _style_rule(_numbers_style))
    parser.add_render_rule("table_open", lambda *_: f'<div style="{_TABLE_STYLE}"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return parser


@functools.cache
def cleaner() -> nh3.Cleaner:
    """Return the HTML sanitizer, which passes only allow-listed tags and attributes."""
    import nh3

    return nh3.Cleaner(
        tags=_TAGS,
        # Without "*", the defaults would apply, which allow a title on every tag.
        attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
        tag_attribute_values={
            "td": {"style": _ALIGNMENTS},
            "th": {"style": _ALIGNMENTS},
            "div": {"style": {_TABLE_STYLE}},
            "pre": {"style": {UNWRAPPED_STYLE}},
            "code": {"style": {INHERITED_SPACE_STYLE, _CODE_STYLE}},
            "blockquote": {"style": {_QUOTE_STYLE}},
            "p": {"style": {_NO_MARGIN_STYLE}},
            "ul": {"style": {_BULLETS_STYLE}},
            "ol": {"style": set(_NUMBERS_STYLES)},
            "span": {"class": {math.PROCESS}, "style": {math.DISPLAYED, *COLOUR_STYLES}},
        },
        # A click must not replace the notebook.
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
        # A relative link would lead to the notebook server.
        url_relative="deny",
    )


def _image_as_text(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Return the alt text and the URL of an image; loading the image would notify its server."""
    image = tokens[index]
    alt = renderer.renderInlineAsText(image.children or [], options, env)
    source = shorten(str(image.attrs.get("src", "")), _MAX_IMAGE_URL)
    return html.escape(f"[image: {alt} ({source})]")


def _aligned_cell(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Return a cell that is left-aligned by default; notebooks would align it to the right."""
    attributes = tokens[index].attrs
    attributes["style"] = f"{attributes.get('style', LEFT_STYLE)};{CELL_PADDING}"
    return renderer.renderToken(tokens, index, options, env)


def _style_rule(choose_style: Callable[[Sequence[Token], int], str]) -> Callable[..., str]:
    """Return a render rule that adds a style to the tag of a token."""

    def render(
        renderer: RendererHTML,
        tokens: Sequence[Token],
        index: int,
        options: OptionsDict,
        env: EnvType,
    ) -> str:
        tokens[index].attrs["style"] = choose_style(tokens, index)
        return renderer.renderToken(tokens, index, options, env)

    # `RendererHTML.add_render_rule` binds the function as a method.
    return render


def _paragraph(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    # The line beside a quotation must end with the text, not below the last paragraph's margin.
    next_token = tokens[index + 3 : index + 4]  # after the text and the end of the paragraph
    if next_token and next_token[0].type == "blockquote_close":
        tokens[index].attrs["style"] = _NO_MARGIN_STYLE
    return renderer.renderToken(tokens, index, options, env)


def _numbers_style(tokens: Sequence[Token], index: int) -> str:
    """Return the style of a numbered list, with enough space for its longest number."""
    level = tokens[index].level
    tokens_inside = itertools.takewhile(lambda token: token.level > level, tokens[index + 1 :])
    count = sum(
        token.type == "list_item_open" and token.level == level + 1 for token in tokens_inside
    )
    last_number = int(tokens[index].attrs.get("start", 1)) + count
    return _NUMBERS_STYLES[len(str(last_number))]


def _inline_code(_: RendererHTML, tokens: Sequence[Token], index: int, *__: object) -> str:
    return f'<code style="{_CODE_STYLE}">{html.escape(tokens[index].content)}</code>'


def _code_block(_: RendererHTML, tokens: Sequence[Token], index: int, *__: object) -> str:
    token = tokens[index]
    language = (token.info.split() or [""])[0]
    return f"{code_block(coloured(token.content, language))}\n"
