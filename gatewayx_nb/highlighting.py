"""Code as safe HTML, in colours of the page's own editor where it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import rendering

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# JupyterLab's and Notebook's variables of the theme; the colours behind them stand elsewhere, and
# are of a middle lightness, which white and black both leave readable.
_COLOURS = (
    ("Comment", "comment", "#6e7781"),
    ("Keyword", "keyword", "#1f7a3d"),
    ("Literal.String", "string", "#b5473a"),
    ("Literal.Number", "number", "#2f7f6f"),
    ("Operator.Word", "keyword", "#1f7a3d"),
    ("Name.Builtin", "builtin", "#1f7a3d"),
    ("Name.Function", "def", "#2f6fd0"),
    ("Name.Class", "def", "#2f6fd0"),
    ("Name.Decorator", "meta", "#8a5cd0"),
    ("Name.Tag", "tag", "#1f7a3d"),
)
_LONGEST = 100_000


def highlighted(source: str, language: str = "") -> str:
    """Give code as a block in the box of an answer; an unknown language goes without colours."""
    text = rendering.plain(source)
    lexer = _lexer(language) if len(text) <= _LONGEST else None
    if lexer is None:
        return rendering.boxed(rendering.code_block(rendering.escape(text)))
    spans = (_span(str(kind).removeprefix("Token."), word) for kind, word in lexer.get_tokens(text))
    return rendering.boxed(rendering.code_block("".join(spans)))


def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer: Lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        return None
    return lexer


def _span(kind: str, word: str) -> str:
    text = rendering.escape(word)
    for prefix, name, colour in _COLOURS:
        if kind.startswith(prefix):
            return (
                f'<span style="color:var(--jp-mirror-editor-{name}-color,{colour})">{text}</span>'
            )
    return text
