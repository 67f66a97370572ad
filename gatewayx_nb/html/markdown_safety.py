r"""Converts a model's Markdown to Markdown that any program may render.

A saved notebook is rendered by programs that prefer ``text/markdown``, such as ``nbconvert`` for
PDF files and Quarto. Model output is untrusted, and these programs accept raw HTML, raw TeX, images
and code chunks that are executed. The parsed text is therefore rewritten: every character that may
have a special meaning is escaped, and only the constructs below are written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayx_nb.html import math
from gatewayx_nb.html.markdown import end_of_markdown, parser, shown_part
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from markdown_it.tree import SyntaxTreeNode

_SPECIAL_CHARACTERS = re.compile(r"[\\`*_{}\[\]<>$~&^|@]|\s+")
# These are written as entities, because some programs do not support a backslash before them or
# interpret it as the start of a formula.
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"} | {
    character: f"&#{ord(character)};" for character in "[]$~^|@"
}
_LINE_START = re.compile(r"^([ \t]*)(?:(\d{1,9})([.)])|([#+=:%-]))", re.MULTILINE)
_LANGUAGE = re.compile(r"[\w+#.-]{1,40}", re.ASCII)  # not `{r}`, which Quarto would execute
_FINAL_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_BACKTICKS = re.compile(r"`+")
_ALIGNMENTS = {"text-align:center": ":-:", "text-align:right": "--:", "text-align:left": ":--"}


def safe_markdown(markdown: str) -> str:
    r"""Return a model's text as Markdown without raw HTML, raw TeX, images or executable code.

    Only links to http, https and mailto are kept. Formulas that a page may typeset are put between
    ``$`` or ``$$``.

    >>> safe_markdown("**Bold** <script> \\input{x} ![i](https://x/y.png)")
    '**Bold** &lt;script&gt; \\\\input\\{x\\} &#91;image: i (https://x/y.png)&#93;'
    """
    from markdown_it.tree import SyntaxTreeNode

    text = plain(shown_part(markdown))
    cut = end_of_markdown(text)
    blocks = _convert_blocks(SyntaxTreeNode(parser().parse(text[:cut])).children)
    escaped_rest = _escaped_lines("\n".join(map(_escape, text[cut:].splitlines()))).strip()
    return "\n\n".join(filter(None, [*blocks, escaped_rest]))


def _escape(text: str) -> str:
    return _SPECIAL_CHARACTERS.sub(_escape_match, text)


def _escape_match(match: re.Match[str]) -> str:
    if match[0].isspace():
        # A line break in inline text comes from an entity, and could begin another block.
        return re.sub(r"[\n\r\t]", " ", match[0])
    return _ENTITIES.get(match[0], f"\\{match[0]}")


def _escaped_lines(text: str) -> str:
    """Return inline Markdown in which no line begins like a heading, a list or a definition."""
    return _LINE_START.sub(lambda m: f"{m[1]}{m[2] or ''}\\{m[3] or m[4]}", text)


def _convert_blocks(nodes: Iterable[SyntaxTreeNode]) -> list[str]:
    return [_BLOCKS[node.type](node) for node in nodes if node.type in _BLOCKS]


def _convert_inline(node: SyntaxTreeNode) -> str:
    """Return the inline content of a node."""
    return "".join(_INLINE[child.type](child) for child in node.children if child.type in _INLINE)


def _heading(node: SyntaxTreeNode) -> str:
    # Unescaped `#` characters at the end of a heading would not be part of its text.
    content = _one_line(node).replace("#", "\\#").replace("&\\#", "&#")
    return f"{'#' * int(node.tag[1:])} {content}"


def _one_line(node: SyntaxTreeNode) -> str:
    return re.sub(r"\\?\n", " ", _inline_of_block(node))


def _inline_of_block(node: SyntaxTreeNode) -> str:
    return "".join(map(_convert_inline, node.children))


def _paragraph(node: SyntaxTreeNode) -> str:
    lines = _inline_of_block(node).split("\n")
    return _escaped_lines("\n".join(line.strip() for line in lines))


def _quotation(node: SyntaxTreeNode) -> str:
    return _prefix_lines("\n\n".join(_convert_blocks(node.children)), "> ", "> ")


def _list(node: SyntaxTreeNode) -> str:
    blocks = (block for item in node.children for block in item.children)
    is_tight = all(block.hidden for block in blocks if block.type == "paragraph")
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    items = []
    for index, item in enumerate(node.children):
        # The second of two adjacent lists has a different marker.
        marker = f"{item.markup} " if number is None else f"{number + index}{item.markup} "
        body = ("\n" if is_tight else "\n\n").join(_convert_blocks(item.children))
        items.append(_prefix_lines(body, marker, " " * len(marker)))
    return ("\n" if is_tight else "\n\n").join(items)


def _prefix_lines(text: str, first_prefix: str, other_prefix: str) -> str:
    """Return text with a prefix before its first line, and another before each further line."""
    first_line, *lines = text.split("\n")
    return "\n".join(
        [
            f"{first_prefix}{first_line}".rstrip(),
            *(f"{other_prefix}{line}".rstrip() for line in lines),
        ]
    )


def _code(node: SyntaxTreeNode) -> str:
    language = _LANGUAGE.match((node.info.split() or [""])[0])
    is_whole = language and language[0] == node.info.split()[0]
    fence = _fence(node.content, 3)
    content = _without_shortcodes(node.content)
    return (
        f"{fence}{language[0] if language and is_whole else ''}\n{content.rstrip(chr(10))}\n{fence}"
    )


def _fence(content: str, min_length: int) -> str:
    longest_run = max(map(len, _BACKTICKS.findall(content)), default=0)
    return "`" * max(min_length, longest_run + 1)


def _without_shortcodes(code: str) -> str:
    """Return code without the shortcode ``{{<``, which Quarto replaces even in code."""
    return code.replace("{{<", "{{ <")


def _table(node: SyntaxTreeNode) -> str:
    head, *bodies = node.children
    rows = [*head.children, *(row for body in bodies for row in body.children)]
    lines = [f"| {' | '.join(_one_line(cell) for cell in row.children)} |" for row in rows]
    styles = (str(cell.attrs.get("style", "")) for cell in rows[0].children)
    lines.insert(1, f"| {' | '.join(_ALIGNMENTS.get(style, '---') for style in styles)} |")
    return "\n".join(lines)


def _math_block(node: SyntaxTreeNode) -> str:
    tex = _safe_tex(node.content)
    lines = [line for line in node.content.splitlines() if line.strip()]
    if tex is None:
        return _escaped_lines(_escape("\n".join(["$$", *lines, "$$"])))
    return "\n".join(["$$", *(line for line in tex.splitlines() if line.strip()), "$$"])


def _math(node: SyntaxTreeNode) -> str:
    tex = _safe_tex(node.content)
    return _escape(f"$${node.content}$$") if tex is None else f"${' '.join(tex.split())}$"


def _safe_tex(tex: str) -> str | None:
    """Return a formula in which no program sees HTML or a link; ``None`` if it is unsafe."""
    if not math.may_be_typeset(tex) or "`" in tex or _FINAL_BACKSLASH.search(tex.rstrip()):
        return None
    return re.sub(r"([<>])", r" \1 ", tex).replace("](", "] (")


_EXECUTED_CODE = re.compile(r"\s*(?:r\b|\{)", re.IGNORECASE)
"""Matches the beginning of inline code that knitr and Quarto would run."""

_NESTED_EXECUTED_CODE = re.compile(rf"`{_EXECUTED_CODE.pattern}", re.IGNORECASE)
"""Matches such code inside a code span that is delimited by more backticks."""


def _code_span(node: SyntaxTreeNode) -> str:
    content = _without_shortcodes(node.content)
    fence = _fence(content, 1)
    if _NESTED_EXECUTED_CODE.search(content):
        return _escape(content).replace("\\`", "&#96;")
    if _EXECUTED_CODE.match(content):  # only a span that is delimited by single backticks is run
        fence = max(fence, "``", key=len)
    needs_space = fence != "`" or content[:1] in "` " or content[-1:] in "` "
    space = " " if needs_space and content.strip() else ""
    is_in_table = any(parent.type in ("td", "th") for parent in _parents(node))
    if is_in_table and "|" in content:
        if "\\" in content or "<" in content:
            return _escape(content)  # programs disagree on where such a span ends
        content = content.replace("|", "\\|")
    return f"{fence}{space}{content}{space}{fence}"


def _parents(node: SyntaxTreeNode) -> Iterable[SyntaxTreeNode]:
    while (parent := node.parent) is not None:
        yield parent
        node = parent


def _with_markup(node: SyntaxTreeNode) -> str:
    return f"{node.markup}{_convert_inline(node)}{node.markup}"


def _link(node: SyntaxTreeNode) -> str:
    target = str(node.attrs.get("href", ""))
    for character in "\\()<>{}[]$`|*_~":
        target = target.replace(character, f"%{ord(character):02X}")
    return f"[{_convert_inline(node)}]({target})"


def _image(node: SyntaxTreeNode) -> str:
    return _escape(f"[image: {node.content} ({node.attrs.get('src', '')})]")


_BLOCKS: Mapping[str, Callable[[SyntaxTreeNode], str]] = {
    "heading": _heading,
    "paragraph": _paragraph,
    "blockquote": _quotation,
    "bullet_list": _list,
    "ordered_list": _list,
    "fence": _code,
    "code_block": _code,
    "table": _table,
    "hr": lambda _: "***",
    "math_block": _math_block,
}

_INLINE: Mapping[str, Callable[[SyntaxTreeNode], str]] = {
    "text": lambda node: _escape(node.content),
    "softbreak": lambda _: "\n",
    "hardbreak": lambda _: "\\\n",
    "code_inline": _code_span,
    "em": _with_markup,
    "strong": _with_markup,
    "s": _with_markup,
    "link": _link,
    "image": _image,
    "math_inline": _math,
}
