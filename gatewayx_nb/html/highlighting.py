"""Converts code to safe HTML, highlighted in the colours of the page's editor if it has any."""

from __future__ import annotations

import itertools
from operator import itemgetter
from typing import TYPE_CHECKING

from gatewayx_nb.html.components import SCROLL_X_STYLE, escape, wrap_reply
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pygments.lexer import Lexer

# The names are theme variables of JupyterLab and Notebook. The fallback colours apply elsewhere;
# their medium lightness is readable on both white and black.
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
_MAX_CODE_LENGTH = 12_000
"""Maximum number of characters to highlight; some lexers take quadratic time for hostile code."""

# fmt: off
_LANGUAGES: Mapping[str, str] = {
    **{name: name for name in (
        "bash", "css", "diff", "docker", "dockerfile", "go", "golang", "graphql", "haskell", "hs",
        "html", "ini", "javascript", "jl", "js", "json", "julia", "kotlin", "latex",
        "lua", "perl", "php", "powershell", "ps1", "py", "pycon",
        "python", "python3", "r", "rb", "rs", "ruby", "rust", "scala", "sh", "shell", "sql",
        "swift", "tex", "toml", "ts", "typescript", "xml", "yaml", "yml", "zsh",
    )},
    "ipython": "python",  # IPython's own lexer takes quadratic time for many blank lines
    # The languages' own lexers look for functions, which takes cubic time for many blank lines.
    **dict.fromkeys(("c", "c++", "c#", "cpp", "cs", "csharp", "dart", "java"), "javascript"),
}
# fmt: on
"""Maps the languages that are highlighted to their lexers.

The model chooses the language, and the lexers of languages that are not listed may take much
longer than quadratic time.
"""

UNWRAPPED_STYLE = (
    f"white-space:pre;{SCROLL_X_STYLE};margin:.8em 0;padding:.6em .8em;border-radius:4px;"
    "line-height:1.4;background:rgba(128,128,128,.12)"
)
INHERITED_SPACE_STYLE = "white-space:inherit;background:none;padding:0"
COLOUR_STYLES = frozenset(
    f"color:var(--jp-mirror-editor-{name}-color,{fallback})" for _, name, fallback in _COLOURS
)
"""The styles of coloured code."""


def code_block(body: str) -> str:
    """Return safe HTML in a code block whose long lines scroll instead of wrapping."""
    return (
        f'<pre style="{UNWRAPPED_STYLE}"><code style="{INHERITED_SPACE_STYLE}">{body}</code></pre>'
    )


def highlight(source: str, language: str = "") -> str:
    """Return code as a code block in the reply box, highlighted if the language is known."""
    return wrap_reply(code_block(coloured(plain(source), language)))


def coloured(text: str, language: str = "") -> str:
    """Return plain code as safe HTML, coloured if the language is known."""
    lexer = _lexer(language) if len(text) <= _MAX_CODE_LENGTH else None
    if lexer is None:
        return escape(text)
    tokens = lexer.get_tokens(text)
    styled_pieces = (
        (_style(str(token_type).removeprefix("Token.")), code) for token_type, code in tokens
    )
    groups = itertools.groupby(styled_pieces, key=itemgetter(0))
    return "".join(
        _span(style, "".join(code for _, code in same_style_pieces))
        for style, same_style_pieces in groups
    )


def _lexer(language: str) -> Lexer | None:
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    name = _LANGUAGES.get(language.lower())
    if name is None:
        return None
    try:
        # By default, pygments removes blank lines at both ends and adds a final newline.
        lexer: Lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
    return lexer


def _style(token_type: str) -> str:
    for prefix, name, fallback in _COLOURS:
        if token_type.startswith(prefix):
            return f"color:var(--jp-mirror-editor-{name}-color,{fallback})"
    return ""


def _span(style: str, code: str) -> str:
    text = escape(code)
    # The line break that ends a line comment is not part of the comment.
    return f'<span style="{style}">{text}</span>' if style and text.strip() else text
