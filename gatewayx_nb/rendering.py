"""Pure strings: model text to safe HTML, tables, truncation.

Model text is untrusted. Whatever it says, what comes out of here runs nothing, loads nothing by
itself and does not reach outside its own box; that holds at every prefix of a stream, because each
prefix is rendered as a text of its own.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from typing import TYPE_CHECKING

from gatewayx_nb import mathematics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import nh3
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

# "$5 to $10" is money: MathJax 2 skips the first class, MathJax 3 the second.
# https://docs.mathjax.org/en/v2.7-latest/options/preprocessors/tex2jax.html
# https://docs.mathjax.org/en/latest/options/document.html
NO_MATH = "tex2jax_ignore mathjax_ignore"
_MUTED = "opacity:.6;font-size:.85em"
_LEFT = "text-align:left"
_SIDEWAYS = "overflow-x:auto"
_UNWRAPPED = f"white-space:pre;{_SIDEWAYS}"
_AS_AROUND = "white-space:inherit"

# A box of its own for what is longer than a screen. While it grows its end is in sight: a box that
# is laid out from below starts scrolled to there, without a script.
_LONG_TEXT, _LONG_LINES = 5_000, 80
_BOX = "max-height:50em;overflow:auto"
_FROM_BELOW = "display:flex;flex-direction:column-reverse"
_LONGEST_THOUGHTS, _LONGEST_GROWING_THOUGHTS = 40_000, 2_000

# fmt: off
_TAGS = frozenset({
    "a", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
})
# fmt: on
# What markdown-it-py writes for the colons of a table's second line; never a text of the model's.
_ALIGNMENTS = frozenset({_LEFT, "text-align:center", "text-align:right"})
_LINK = re.compile(r"(?:https?://|mailto:)\S", re.IGNORECASE)

# Parsing costs at worst length times depth (a line of `[` does it). Together these two keep the
# worst known text under two seconds.
LONGEST_MARKDOWN = 40_000
_DEEPEST_MARKDOWN = 24
_LONGEST_IMAGE_URL = 200

# ECMA-48: control strings up to their terminator, control sequences, two-byte escapes. Possessive,
# and no string holds an opener, so that a megabyte of openers stays linear.
_ESCAPE_SEQUENCES = re.compile(
    r"""(?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] ) [^\x07\x1b\x80-\x9f]*+ (?: \x07 | \x1b\\ | \x9c )
      | (?: \x1b\[ | \x9b ) [0-?]*+ [ -/]*+ [@-~]
      | \x1b [ -/]*+ [0-~]""",
    re.VERBOSE,
)
# C0 and C1 controls but for tab and newline, the bidi embeddings, overrides and isolates that make
# a line read otherwise than it is (https://trojansource.codes), and what shows nothing and only
# hides text. The joiners ZWNJ and ZWJ, and LRM, RLM and ALM stay: scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")

# Of columns that stand beside one another where the page is wide enough, else below; all are of one
# width, also where the last row has fewer. The line above each is grey on light and on dark.
_COLUMNS = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(15em,100%),1fr));gap:1em"
_COLUMN = (
    "min-width:0;max-width:100%;overflow-x:auto;overflow-wrap:anywhere;"
    f"{_LEFT};border-top:2px solid rgba(128,128,128,.5);padding-top:.3em"
)
_MARK = "border:1px solid;border-radius:.8em;padding:0 .5em;margin-left:.5em;font-size:.85em"


def plain(text: str) -> str:
    r"""Strip what a text does to a terminal or a reader's eye instead of saying it.

    Escape sequences, control characters other than ``\n`` and ``\t``, bidirectional overrides and
    invisible characters go. Halves of a surrogate pair are joined, lone ones become U+FFFD.

    >>> plain("\x1b[31mred\x1b[0m \x1b]0;title\x07alert\r\n")
    'red alert\n'
    """
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _UNSEEN.sub("", _ESCAPE_SEQUENCES.sub("", text))


def escape(text: str) -> str:
    """Make a text fit to stand in our own HTML, between tags or in a quoted attribute."""
    return html.escape(plain(text))


def coded(text: str) -> str:
    """Give a line of our own as HTML, with what stands between backticks as code.

    >>> coded("try `%gatewayx status`")
    'try <code>%gatewayx status</code>'
    """
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(
        f"<code>{escape(part)}</code>" if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def shorten(text: str, limit: int) -> str:
    r"""Give a text as one line of at most ``limit`` characters, with an ellipsis where it is cut.

    >>> shorten("a long\n answer", 9)
    'a long a…'
    """
    line = " ".join(plain(text).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1].rstrip() + "…" if limit > 0 else ""


def to_html(markdown: str) -> str:
    """Give a model's text as allow-listed HTML in one ``<div class="gatewayx-reply …">``.

    CommonMark with tables, strikethrough and mathematics, which the page typesets. Raw HTML and
    images show as text; links go to http, https and mailto only and open a page of their own; any
    other link shows as it was written. Past 40,000 characters, from the last blank line before
    them, the text is shown unformatted. Below 24 levels of nesting (twelve lists in one another)
    nothing is shown.
    """
    text = plain(markdown)
    cut = end_of_markdown(text)
    body = cleaner().clean(parser().render(text[:cut]))
    return boxed(body, text[cut:])


def boxed(body: str, rest: str = "") -> str:
    """Put safe HTML into the box of an answer, with text that stands below it unformatted."""
    below = f"<pre>{html.escape(rest)}</pre>" if rest else ""
    return f'<div class="gatewayx-reply {NO_MATH}" dir="auto">{body}{below}</div>'


def preformatted(text: str) -> str:
    """Give a text as it stands, in the box of an answer, its long lines wrapped."""
    return boxed(f'<pre style="white-space:pre-wrap">{escape(text)}</pre>')


def reply_html(
    text: str, footer: str = "", status: str = "", *, reasoning: str = "", body: str | None = None
) -> str:
    """Give an answer with a small muted line below it, and what was thought folded away above it.

    Args:
        text: The answer so far, Markdown; nothing is shown for an empty one.
        footer: The line below a finished answer.
        status: The line that stands in the footer's place while the answer is awaited.
        reasoning: What the model thought aloud; of much of it the end is shown while it grows.
        body: Safe HTML that shows the answer, instead of its Markdown.
    """
    shown = (to_html(text) if text else "") if body is None else body
    page = _folded_thoughts(reasoning, growing=bool(status))
    page += _scrolling(shown, growing=bool(status)) if _is_long(text) else shown
    line = escape(status or footer)
    if line:
        page += f'<div class="gatewayx-line {NO_MATH}" style="{_MUTED}">{line}</div>'
    return f'<div class="gatewayx">{page}</div>'


def sideways(body: str) -> str:
    """Let safe HTML that is wide scroll by itself, and not the page."""
    return f'<div style="{_SIDEWAYS}">{body}</div>'


def folded(summary: str, body: str, *, is_open: bool = False) -> str:
    """Give safe HTML that a click on its summary shows and hides."""
    state = " open" if is_open else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{body}</details>"


def _folded_thoughts(reasoning: str, *, growing: bool) -> str:
    """Fold reasoning away; a growing one by its end, so that a long one costs no more than that."""
    if not reasoning.strip():
        return ""
    most = _LONGEST_GROWING_THOUGHTS if growing else _LONGEST_THOUGHTS
    text = reasoning if len(reasoning) <= most else f"…{reasoning[-most:]}"
    style = f"white-space:pre-wrap;{_BOX};{_MUTED}"
    body = f'<div class="{NO_MATH}" dir="auto" style="{style}">{escape(text.strip())}</div>'
    return folded("Reasoning", body)


def _is_long(text: str) -> bool:
    return len(text) > _LONG_TEXT or text.count("\n") > _LONG_LINES


def _scrolling(body: str, *, growing: bool) -> str:
    """Put a long answer into a box that scrolls, by keys as well."""
    style = f"{_BOX};{_FROM_BELOW}" if growing else _BOX
    return f'<div role="region" aria-label="Answer" tabindex="0" style="{style}">{body}</div>'


def table_html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table of our own: escaped, left-aligned, in the page's own colours."""
    heads = "".join(f'<th scope="col" style="{_LEFT}">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_LEFT}">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in _squared(columns, rows)
    )
    return (
        f'<table class="gatewayx-table {NO_MATH}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def table_text(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table for a terminal, its columns aligned by display width; no newline at the end.

    >>> print(table_text(["engine", "key"], [["grok", "set"], ["anthropic", "missing"]]))
    engine     key
    ---------  -------
    grok       set
    anthropic  missing
    """
    lines = [_one_lined(line) for line in (columns, *_squared(columns, rows))]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def column_html(label: str, answer: str, marks: Sequence[str] = (), error: str = "") -> str:
    """Give one of several answers, to stand in `columns_html`.

    Args:
        label: Its heading.
        answer: The answer so far, as `reply_html` gives it.
        marks: Words behind the heading.
        error: Why there is no more of it.
    """
    name = escape(label)
    fault = f'<div class="gatewayx-error {NO_MATH}">{coded(error)}</div>' if error else ""
    return (
        f'<div class="gatewayx-column" role="group" aria-label="{name}" style="{_COLUMN}">'
        f"{heading_html(label, marks)}{answer}{fault}</div>"
    )


def heading_html(label: str, marks: Sequence[str] = ()) -> str:
    """Give the heading of a column, with words behind it."""
    badges = "".join(f' <span style="{_MARK}">{escape(mark)}</span>' for mark in marks)
    role = 'role="heading" aria-level="4"'
    name = f"<strong>{escape(label)}</strong>{badges}"
    return f'<div class="gatewayx-label {NO_MATH}" {role}>{name}</div>'


def columns_html(columns: Sequence[str]) -> str:
    """Give answers side by side, from what `column_html` made of each."""
    return f'<div class="gatewayx-columns" style="{_COLUMNS}">{"".join(columns)}</div>'


def _squared(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Give every row exactly one cell a column."""
    return [[*row, *[""] * len(columns)][: len(columns)] for row in rows]


def _one_lined(cells: Sequence[str]) -> list[str]:
    return [" ".join(plain(cell).split()) for cell in cells]


def _width(text: str) -> int:
    """Count terminal columns: two for wide characters, none for marks and joiners (UAX 11)."""
    return sum(
        0
        if unicodedata.category(char) in {"Mn", "Me", "Cf"}
        else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def end_of_markdown(text: str) -> int:
    """Give where a text is no longer formatted: its end, or a blank line before the limit."""
    if len(text) <= LONGEST_MARKDOWN:
        return len(text)
    blank_line = text.rfind("\n\n", 0, LONGEST_MARKDOWN)
    return LONGEST_MARKDOWN if blank_line < 0 else blank_line


@functools.cache
def parser() -> MarkdownIt:
    """Give the parser of Markdown, whose HTML goes through the `cleaner`."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _DEEPEST_MARKDOWN})
    parser.enable(["table", "strikethrough"])
    mathematics.extend(parser)
    parser.validateLink = _may_be_linked  # type: ignore[method-assign]
    parser.add_render_rule("image", _image_as_text)
    parser.add_render_rule("th_open", _aligned_cell)
    parser.add_render_rule("td_open", _aligned_cell)
    parser.add_render_rule("fence", _code_block)
    parser.add_render_rule("code_block", _code_block)
    parser.add_render_rule("table_open", lambda *_: f'<div style="{_SIDEWAYS}"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return parser


@functools.cache
def cleaner() -> nh3.Cleaner:
    """Give the sanitiser, which lets nothing through but what the list names."""
    import nh3

    return nh3.Cleaner(
        tags=_TAGS,
        # Without "*" the defaults hold, which let a title through on every tag.
        attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
        tag_attribute_values={
            "td": {"style": _ALIGNMENTS},
            "th": {"style": _ALIGNMENTS},
            "div": {"style": {_SIDEWAYS}},
            "pre": {"style": {_UNWRAPPED}},
            "code": {"style": {_AS_AROUND}},
            "span": {"class": {mathematics.PROCESS}, "style": {mathematics.DISPLAYED}},
        },
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer nofollow",
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
    )


def _may_be_linked(url: str) -> bool:
    return _LINK.match(url) is not None


def _image_as_text(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Show an image's words and address: loading it would tell its server that it was shown."""
    image = tokens[index]
    words = renderer.renderInlineAsText(image.children or [], options, env)
    source = shorten(str(image.attrs.get("src", "")), _LONGEST_IMAGE_URL)
    return html.escape(f"[image: {words} ({source})]")


def _aligned_cell(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Say left where the model did not say: notebooks align the cells of HTML output right."""
    tokens[index].attrs.setdefault("style", _LEFT)
    return renderer.renderToken(tokens, index, options, env)


def code_block(body: str) -> str:
    """Give safe HTML as a block of code, whose long lines scroll instead of wrapping."""
    return f'<pre style="{_UNWRAPPED}"><code style="{_AS_AROUND}">{body}</code></pre>'


def _code_block(
    _: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    del options, env
    return f"{code_block(html.escape(tokens[index].content))}\n"
