"""Code blocks as safe HTML, highlighted in the colours of the page's own editor if available."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.html.components import SCROLL_X, escape, wrap_reply
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from pygments.lexer import Lexer

# Theme variables of JupyterLab and Notebook; the fallback colours apply elsewhere and have a medium
# lightness, readable on both white and black.
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
_MAX_LENGTH = 100_000
"""Maximum characters of code to highlight: pygments takes seconds for a megabyte."""

UNWRAPPED = f"white-space:pre;{SCROLL_X}"
INHERITED_SPACE = "white-space:inherit"


def code_block(body: str) -> str:
    """Wrap safe HTML in a code block whose long lines scroll instead of wrapping."""
    return f'<pre style="{UNWRAPPED}"><code style="{INHERITED_SPACE}">{body}</code></pre>'


def highlight(source: str, language: str = "") -> str:
    """Return a code block in the reply box; unknown languages are not highlighted."""
    text = plain(source)
    lexer = _lexer(language) if len(text) <= _MAX_LENGTH else None
    if lexer is None:
        return wrap_reply(code_block(escape(text)))
    spans = (_span(str(kind).removeprefix("Token."), word) for kind, word in lexer.get_tokens(text))
    return wrap_reply(code_block("".join(spans)))


def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        # By default, pygments removes blank lines at both ends.
        lexer: Lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        return None
    return lexer


def _span(kind: str, token: str) -> str:
    text = escape(token)
    for prefix, name, fallback in _COLOURS:
        if kind.startswith(prefix):
            colour = f"var(--jp-mirror-editor-{name}-color,{fallback})"
            return f'<span style="color:{colour}">{text}</span>'
    return text
