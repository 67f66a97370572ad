"""Formulas that are typeset, and TeX that is displayed as text because of its side effects."""

import doctest
import re

import pytest

from gatewayx_nb.html import math
from gatewayx_nb.html.components import wrap_reply
from gatewayx_nb.html.markdown import to_html
from tests.html_pages.test_markdown import without_styles

SPAN = '<span class="tex2jax_process mathjax_process"'


def render(markdown):
    """Return the inner HTML of the page, with formulas in `«…»`."""
    page = without_styles(to_html(markdown)).removeprefix(wrap_reply("")[: -len("</div>")])
    page = re.sub(rf"{SPAN}[^>]*>(.*?)</span>", "«\\1»", page, flags=re.DOTALL)
    return page.removesuffix("</div>").replace("\n</p>", "</p>").strip()


@pytest.mark.parametrize(
    ("markdown", "page"),
    [
        (r"a \(x<1\) b", r"<p>a «\(x&lt;1\)» b</p>"),
        (r"\(a<b>c\)", r"<p>«\(a&lt;b&gt;c\)»</p>"),
        (r"a \[x\] b", r"<p>a «\[x\]» b</p>"),
        ("a $$x$$ b", r"<p>a «\[x\]» b</p>"),
        ("\\[\na\n- b\n+ c\n\\]", "<p>«\\[\na\n- b\n+ c\n\\]»</p>"),
        ("text\n$$\na\n= b\n$$\nmore", "<p>text</p>\n<p>«\\[\na\n= b\n\\]»</p>\n<p>more</p>"),
        ("- a\n\n  \\[\n  x\n  \\]", "<ul>\n<li>\n<p>a</p>\n<p>«\\[\nx\n\\]»</p>\n</li>\n</ul>"),
        ("**\\(x_1\\)** and \\(y_1\\)", "<p><strong>«\\(x_1\\)»</strong> and «\\(y_1\\)»</p>"),
        ("| a |\n|---|\n| \\(x\\) |", None),
    ],
)  # fmt: skip
def test_formulas_are_marked_for_typesetting(markdown, page):
    """Formulas are marked with the class of MathJax and put in its brackets."""
    assert render(markdown) == page if page else "«\\(x\\)»" in render(markdown)


@pytest.mark.parametrize(
    "markdown",
    [
        "$5 to $10",
        "$x$",
        "`\\(x\\)` and `$$x$$`",
        "```\n\\(x\\)\n$$x$$\n```",
        "    \\[\n    x\n    \\]",
        "\\(x",
        "$$x",
        "\\[\nx\n\nnot terminated \\]",
        "\\(\\)",
        "$$$$",
        "\\\\(x\\\\)",
    ],
)
def test_other_text_is_not_a_formula(markdown):
    """Dollar amounts, code and unterminated formulas are not formulas."""
    assert "«" not in render(markdown)


@pytest.mark.parametrize(
    ("markdown", "page"),
    [
        (r"a \[not a link\] b", "<p>a [not a link] b</p>"),
        ("\\[Note: see below\\]", "<p>[Note: see below]</p>"),
        (r"\(optional\), \(and so on, and on.\)", "<p>(optional), (and so on, and on.)</p>"),
        (r"\[see *this* page\]", "<p>«\\[see *this* page\\]»</p>"),
        (r"\(x\), \(ABC\), \(abc\)", r"<p>«\(x\)», «\(ABC\)», «\(abc\)»</p>"),
        (r"\(sin x\), \(sin(x) cos(y)\)", r"<p>«\(sin x\)», «\(sin(x) cos(y)\)»</p>"),
        (r"\(\text{not a link}\)", r"<p>«\(\text{not a link}\)»</p>"),
        (r"\(speed = distance / time\)", r"<p>«\(speed = distance / time\)»</p>"),
    ],
)
def test_words_in_escaped_brackets_are_not_a_formula(markdown, page):
    """Escaped brackets around words are text; around TeX or a formula, they are typeset."""
    assert render(markdown) == page


UNSAFE_TEX = [
    r"\href{javascript:alert(1)}{x}",
    r"\url{https://evil.example}",
    r"\style{background:url(https://evil.example)}{x}",
    r"\bbox[background:url(https://evil.example)]{x}",
    r"\class{jp-Button}{x}",
    r"\cssId{main}{x}",
    r"\data{x=1}{x}",
    r"\require{html}",
    r"\unicode[url(x)]{1}",
    r"\def\a{\href}\a{javascript:x}{y}",
    r"\let\a\href",
    r"\newcommand{\a}{x}",
    r"\hskip -100em x",
    r"\rule{1000em}{1000em}",
    r"\includegraphics{https://evil.example/x.png}",
    r"\begin{html}x\end{html}",
    r"\begin evil",
    r"\text{$x$}",
    r"\\[-100em] x",
    "{" * 40 + "}" * 40,
    "{x",
    "}x{",
    "x" * 3_000,
    " ",
]


@pytest.mark.parametrize("tex", UNSAFE_TEX)
def test_tex_with_side_effects_is_shown_as_text(tex):
    """TeX that links, loads or positions elements is displayed as its source."""
    assert not math.may_be_typeset(tex)
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$")):
        page = to_html(opening + tex + closing)
        assert SPAN not in page.replace(f"{SPAN}>\\(x\\)", "")


def test_the_source_of_a_refused_formula_is_displayed():
    """The source of a refused formula is displayed with its backslashes."""
    assert render(r"a \(\href{b}{c}\) d") == r"<p>a \(\href{b}{c}\) d</p>"


@pytest.mark.parametrize(
    "tex",
    [
        r"\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}",
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}",
        r"f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"\begin{aligned} a &= b \\ &\le c \end{aligned}",
        r"\mathbb{E}[X] \approx \hat{\mu} \pm 1.96\,\sigma / \sqrt{n}",
        r"\{ x \in \mathbb{R} \mid x > 0 \}",
        r"P(A \mid B) = \frac{P(B \mid A)\, P(A)}{P(B)} \quad \text{(Bayes)}",
    ],
)
def test_typical_formulas_are_typeset(tex):
    """The commands of common formulas are on the allowlist."""
    assert math.may_be_typeset(tex)


def test_the_examples_in_the_docstrings_are_correct():
    assert doctest.testmod(math).failed == 0
