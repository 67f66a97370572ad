r"""Finds the math in Markdown that a page may typeset: ``\(…\)``, ``\[…\]`` and ``$$…$$``.

A page's MathJax runs TeX, and some TeX commands have side effects: ``\href`` links anywhere,
``\style`` and ``\bbox`` accept CSS that loads resources, and ``\def`` renames commands. So a
formula is typeset only if all its commands are allow-listed; any other formula is shown as text. A
single ``$`` is a currency sign.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

# In a box that MathJax must skip, these classes mark what MathJax 2 and 3 may typeset.
# https://docs.mathjax.org/en/v2.7-latest/options/preprocessors/tex2jax.html
# https://docs.mathjax.org/en/latest/options/document.html
PROCESS = "tex2jax_process mathjax_process"
DISPLAYED = "display:block;overflow-x:auto;overflow-y:hidden"

_CLOSING_DELIMITERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
# These limits bound the search for the end of a formula, and the work of the page.
_MAX_FORMULA_LENGTH = 2_000
_MAX_FORMULA_DEPTH = 30
_MAX_FORMULA_LINES = 60

_COMMANDS = frozenset(
    """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa varkappa lambda mu
    nu xi omicron pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
    digamma aleph beth gimel daleth hbar hslash imath jmath ell wp Re Im mho eth partial nabla infty
    prime backprime emptyset varnothing angle measuredangle sphericalangle triangle square Box
    Diamond lozenge blacksquare blacktriangle bigstar clubsuit diamondsuit heartsuit spadesuit flat
    natural sharp surd top bot degree checkmark maltese complement forall exists nexists neg lnot
    land lor implies impliedby iff therefore because
    frac dfrac tfrac cfrac binom dbinom tbinom sqrt over atop choose stackrel overset underset
    substack overline underline overbrace underbrace overrightarrow overleftarrow widehat widetilde
    hat check tilde acute grave dot ddot dddot breve bar vec mathring boxed cancel bcancel xcancel
    phantom vphantom hphantom not
    sum prod coprod int iint iiint oint bigcap bigcup bigsqcup bigvee bigwedge bigodot bigotimes
    bigoplus biguplus limits nolimits
    arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf
    limsup ln log max min Pr sec sin sinh sup tan tanh injlim projlim varlimsup varliminf
    operatorname mod bmod pmod pod
    pm mp times div ast star circ bullet cdot cdotp ldotp cap cup uplus sqcap sqcup vee wedge
    setminus smallsetminus wr diamond bigtriangleup bigtriangledown triangleleft triangleright
    lhd rhd unlhd unrhd oplus ominus otimes oslash odot bigcirc dagger ddagger amalg ltimes rtimes
    leq le leqslant leqq ll lll prec preceq geq ge geqslant geqq gg ggg succ succeq neq ne equiv
    sim simeq asymp approx approxeq cong propto subset supset subseteq supseteq subsetneq supsetneq
    sqsubset sqsupset sqsubseteq sqsupseteq in ni notin owns vdash dashv models perp mid nmid
    parallel nparallel bowtie smile frown doteq triangleq lesssim gtrsim lessgtr gtrless between
    vDash Vdash Vvdash nless ngtr nleq ngeq nsim ncong nsubseteq nsupseteq coloneqq
    leftarrow gets rightarrow to leftrightarrow Leftarrow Rightarrow Leftrightarrow longleftarrow
    longrightarrow longleftrightarrow Longleftarrow Longrightarrow Longleftrightarrow mapsto
    longmapsto hookleftarrow hookrightarrow leftharpoonup leftharpoondown rightharpoonup
    rightharpoondown rightleftharpoons leadsto uparrow downarrow updownarrow Uparrow Downarrow
    Updownarrow nearrow searrow swarrow nwarrow xrightarrow xleftarrow twoheadrightarrow
    nrightarrow nleftarrow nRightarrow nLeftarrow circlearrowleft circlearrowright
    left right middle big Big bigg Bigg bigl Bigl biggl Biggl bigr Bigr biggr Biggr bigm Bigm
    lbrace rbrace lbrack rbrack langle rangle lvert rvert lVert rVert vert Vert lfloor rfloor
    lceil rceil ulcorner urcorner llcorner lrcorner backslash
    dots ldots cdots vdots ddots dotsb dotsc dotsi dotsm dotso colon quad qquad
    mathrm mathbf mathit mathsf mathtt mathcal mathbb mathfrak mathscr boldsymbol bm pmb
    text textbf textit textrm textsf texttt textnormal mbox rm bf it sf tt cal
    displaystyle textstyle scriptstyle scriptscriptstyle
    begin end hline tag notag nonumber
    """.split()  # noqa: SIM905 - more readable than a list literal
)
_ENVIRONMENTS = frozenset(
    """
    align aligned alignat array bmatrix Bmatrix cases equation gather gathered matrix multline
    pmatrix smallmatrix split subarray vmatrix Vmatrix rcases
    """.split()  # noqa: SIM905 - more readable than a list literal
)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*(?:\{(\w*)\*?\})?")
_DELIMITERS = re.compile(r"\$|\\[()\[\]]|\\\\\s*\[")


# Nearly all TeX contains one of these characters; prose in brackets often does not.
_TEX_CHARACTERS = re.compile(r"[\\^_{}=+*<>|&~$0-9]")
_WORD = re.compile(r"\b[A-Z]?[a-z]{2,}\b")
_MIN_LONG_WORD_LENGTH = 4
# fmt: off
_FUNCTIONS = frozenset({
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "csc", "deg", "det", "dim", "exp",
    "gcd", "inf", "ker", "lim", "log", "max", "min", "mod", "sec", "sin", "sinh", "sup", "tan",
    "tanh",
})
# fmt: on


def add_math(parser: MarkdownIt) -> None:
    """Add the math rules to a Markdown parser."""
    parser.inline.ruler.before("escape", "math", _parse_inline)
    interrupts = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("fence", "math_block", _parse_block, {"alt": interrupts})
    parser.add_render_rule("math_inline", _render_inline)
    parser.add_render_rule("math_block", _render_block)


def may_be_typeset(tex: str) -> bool:
    r"""Return whether a page may typeset a formula, because none of its commands has side effects.

    >>> may_be_typeset(r"\frac{a}{b}"), may_be_typeset(r"\href{javascript:a}{b}")
    (True, False)
    """
    return (
        bool(tex.strip())
        and len(tex) <= _MAX_FORMULA_LENGTH
        and not _DELIMITERS.search(tex)
        and _COMMANDS.issuperset(_COMMAND.findall(tex))
        and _ENVIRONMENTS.issuperset(_ENVIRONMENT.findall(tex))
        and _nesting_depth(tex) <= _MAX_FORMULA_DEPTH
    )


def _is_prose(opening_delimiter: str, tex: str) -> bool:
    r"""Return whether brackets contain only words; the backslash is then a Markdown escape.

    >>> _is_prose(r"\[", "not a link"), _is_prose(r"\[", "a b c"), _is_prose(r"\(", "sin(x)")
    (True, False, False)
    """
    # `$$` is not a Markdown escape, so it always begins a formula.
    if opening_delimiter == "$$" or _TEX_CHARACTERS.search(tex):
        return False
    words = [word for word in _WORD.findall(tex) if word not in _FUNCTIONS]
    return len(words) > 1 or (words == [tex.strip()] and len(words[0]) >= _MIN_LONG_WORD_LENGTH)


def _nesting_depth(tex: str) -> int:
    """Return the maximum nesting depth of braces; more than the limit if they are unbalanced."""
    depth = max_depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", tex):
        depth += 1 if brace == "{" else -1
        max_depth = max(max_depth, depth)
        if depth < 0:
            break
    return max_depth if depth == 0 else _MAX_FORMULA_DEPTH + 1


def _parse_inline(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - markdown-it's own signature
    opening_delimiter = state.src[state.pos : state.pos + 2]
    closing_delimiter = _CLOSING_DELIMITERS.get(opening_delimiter)
    if closing_delimiter is None:
        return False
    start = state.pos + 2
    end = state.src.find(closing_delimiter, start, min(state.posMax, start + _MAX_FORMULA_LENGTH))
    tex = state.src[start:end]
    if end <= start or _is_prose(opening_delimiter, tex):
        return False
    if not silent:
        if may_be_typeset(tex):
            state.push("math_inline", "span", 0).content = tex
            state.tokens[-1].markup = opening_delimiter
        else:
            state.pending += state.src[state.pos : end + 2]
    state.pos = end + 2
    return True


def _parse_block(state: StateBlock, first: int, last: int, silent: bool) -> bool:  # noqa: FBT001 - as above
    if state.is_code_block(first):
        return False
    start = state.bMarks[first] + state.tShift[first]
    closing_delimiter = _CLOSING_DELIMITERS.get(state.src[start : start + 2], "\\)")
    end = (
        None if closing_delimiter == "\\)" else _closing_line(state, first, last, closing_delimiter)
    )
    if end is None:
        return False
    source = state.getLines(first, end + 1, state.blkIndent, keepLastLF=False).strip()
    tex = source[2:-2]
    if closing_delimiter in tex or _is_prose(source[:2], tex) or not may_be_typeset(tex):
        return False
    if not silent:
        token = state.push("math_block", "p", 0)
        token.content, token.map, token.block = tex, [first, end + 1], True
        state.line = end + 1
    return True


def _closing_line(state: StateBlock, first: int, last: int, closing_delimiter: str) -> int | None:
    """Return the index of the line that ends with the closing delimiter; ``None`` if not found.

    The search stops at a blank line or at the end of the enclosing block.
    """
    for line in range(first, min(last, first + _MAX_FORMULA_LINES)):
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            return None
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        if text.endswith(closing_delimiter) and (
            line > first or len(text) > len(closing_delimiter) + 2
        ):
            return line
    return None


def _render_inline(_: RendererHTML, tokens: Sequence[Token], index: int, *__: object) -> str:
    token = tokens[index]
    tex = html.escape(token.content)
    if token.markup == "\\(":
        return f'<span class="{PROCESS}">\\({tex}\\)</span>'
    return f'<span class="{PROCESS}" style="{DISPLAYED}">\\[{tex}\\]</span>'


def _render_block(renderer: RendererHTML, tokens: Sequence[Token], index: int, *_: object) -> str:
    return f"<p>{_render_inline(renderer, tokens, index)}</p>\n"
