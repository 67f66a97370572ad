"""Markdown for other programs: it says the same, and makes none of them run or load anything."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gatewayx_nb.html import safe_markdown, to_html

CORPORA = Path(__file__).parents[1] / "corpora"
COMMONMARK = json.loads((CORPORA / "commonmark-0.31.2.json").read_text())
ATTACKS = [
    text
    for name in ("xss", "xss-bleach")
    for text in json.loads((CORPORA / f"{name}.json").read_text())
]
PERMISSIVE = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PERMISSIVE.validateLink = lambda _: True


def normalized(markdown):
    """Return the HTML of a page, without the spaces that do not matter and escapes in URLs."""
    return unquote(re.sub(r"\s+", "", to_html(markdown)))


def tokens(markdown):
    """Yield the tokens of a renderer that accepts raw HTML and every link."""
    for token in PERMISSIVE.parse(markdown):
        yield token
        yield from token.children or ()


DIFFERENT = {
    "formula": r"\@\[\\\]",  # an accident of the test's own escapes: TeX for a line break
    "space": "&nbsp; &amp;",  # at the start of a paragraph
    "formula in a link": r"[link](\(foo\))",
}


def test_the_markdown_says_the_same():
    """All examples of CommonMark are shown as before, but for three whose text looks like TeX."""
    different = [text for text in COMMONMARK if normalized(safe_markdown(text)) != normalized(text)]
    assert len(COMMONMARK) == 652
    assert [any(part in text for part in DIFFERENT.values()) for text in different] == [True] * 3


@pytest.mark.parametrize(
    ("markdown", "safe"),
    [
        ("# A\n\n*b* **c** ~~d~~ `e`", "# A\n\n*b* **c** ~~d~~ `e`"),
        ("| a | b |\n|--:|:-:|\n| 1 | `x\\|y` |", "| a | b |\n| --: | :-: |\n| 1 | `x\\|y` |"),
        ("1. a\n2. b\n   - c", "1. a\n2. b\n   - c"),
        ("```python\nx = 1\n```", "```python\nx = 1\n```"),
        (r"\(a<b\) and $$\frac{1}{2}$$", r"$a < b$ and $\frac{1}{2}$"),
        ("Costs $5 and $6.", "Costs &#36;5 and &#36;6."),
        ("> a\n>\n> b", "> a\n>\n> b"),
        ("[x](https://example.com/a_b)", "[x](https://example.com/a%5Fb)"),
        ("snake_case 2*3", r"snake\_case 2\*3"),
    ],
)
def test_what_models_write_stays_readable(markdown, safe):
    """Headings, lists, tables, code and formulas are written as Markdown."""
    assert safe_markdown(markdown) == safe


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://tracker.example/p.png)",
        "[x](javascript:alert(1))",
        "[x][1]\n\n[1]: javascript:alert(1)",
        "<javascript:alert(1)>",
        r"\input{/etc/passwd} \write18{id} \href{javascript:1}{x}",
        r"\(\href{javascript:alert(1)}{x}\)",
        r"\([a](javascript:alert(1))\)",
        r"\(<script>alert(1)</script>\)",
        "$$\n<img src=x onerror=alert(1)>\n$$",
        "```{python}\nimport os\n```",
        "```{=html}\n<script>alert(1)</script>\n```",
        "`<script>`{=html}",
        "{{< include /etc/passwd >}}",
        "```\n{{< env HOME >}}\n```",
        "::: {.x onclick=alert(1)}\nx\n:::",
        "---\ntitle: x\n---",
        "% title\n% author",
        "[@key] @fig-x [^1]\n\n[^1]: note",
        "a&#10;<script>",
        "a&#10;&#10;# b",
        "x \\(a\\\\\\) $ y",
        "&lt;script&gt;",
        "| a |\n|---|\n| `x\\\\\\| <img src=x onerror=alert(1)> y` |",
    ],
)
def test_attacks_on_other_programs_have_no_effect(attack):
    """Raw HTML, TeX, images, scripts in links, chunks and shortcodes are text."""
    safe = safe_markdown(attack)
    check(safe)
    for pattern in (
        r"(?<!\\)\\(?:input|write|href)",
        r"^```\{",
        r"\{\{<",
        r"^:::",
        r"^---",
        r"^%",
        r"[@^]",
    ):
        assert not re.search(pattern, safe, re.MULTILINE)


def check(safe):
    """Check that no renderer makes HTML, an image or a link to a script of the Markdown."""
    for token in tokens(safe):
        assert token.type not in ("html_inline", "html_block", "image")
        if token.type == "link_open":
            assert re.match(r"https?://|mailto:", token.attrs["href"], re.IGNORECASE)


@pytest.mark.parametrize("text", ATTACKS)
def test_no_renderer_makes_html_of_known_attacks(text):
    """Known attacks on pages stay text in a renderer that accepts HTML and every link."""
    check(safe_markdown(text))


SYNTAX = st.lists(
    st.sampled_from(
        [*"\\`*_{}[]()#+-.!|<>$~&^@:=%\n \tax1", "](", "```", "$$", "\\(", "\\)", "&#10;", "<b>"]
    ),
    max_size=60,
).map("".join)


@given(SYNTAX)
def test_no_renderer_makes_html_of_any_text(text):
    """Whatever the characters, the Markdown is safe, and reading it again changes nothing."""
    safe = safe_markdown(text)
    check(safe)
    check(safe_markdown(safe))


def test_a_huge_text_is_converted_fast():
    """Text beyond the limit of the page is written as text."""
    safe = safe_markdown("a" * 39_000 + "\n\n" + "<b>" * 10_000)
    assert safe.endswith("&lt;b&gt;")


@pytest.mark.parametrize(
    "text", ["`r system(1)`", "`{python} 1`", "`` `r system(1)` ``", "`` x `{r} 1` ``", "``r x``"]
)
def test_inline_code_is_not_run_by_knitr_and_quarto(text):
    """They run what follows a single backtick, also within a longer span."""
    assert not re.search(r"(?<!`)`\s*(?:r\b|\{)", safe_markdown(text))


@pytest.mark.parametrize("render", [safe_markdown, to_html])
def test_only_the_beginning_of_a_huge_answer_is_shown(render):
    """A page with tens of megabytes does not respond; the reply still holds all of it."""
    shown = render("> " * 3_000_000)

    assert len(shown) < 12_000_000
    assert "5,000,000 more characters" in shown
