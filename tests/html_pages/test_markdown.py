import doctest
import functools
import itertools
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.html import components, markdown
from gatewayx_nb.html.components import escape, table_html
from gatewayx_nb.html.markdown import to_html
from gatewayx_nb.html.reply import reply_html
from gatewayx_nb.text import plain, shorten, table_text
from tests.processor import seconds

CORPORA = Path(__file__).parents[1] / "corpora"
HOSTILE = ("xss.json", "xss-bleach.json")

REPLY_ATTRIBUTES = {"class": "gatewayx-reply tex2jax_ignore mathjax_ignore", "dir": "auto"}
# fmt: off
TAGS = {
    "a", "blockquote", "br", "code", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}
# fmt: on
ALIGNMENT = re.compile(r"text-align:(left|right|center);padding:.35em .7em")
LINK = {
    "href": re.compile(r"(https?|mailto):.*", re.IGNORECASE | re.DOTALL),
    "target": re.compile("_blank"),
    "rel": re.compile("noopener noreferrer nofollow"),
}
# Sizes, grey tints and the colours of JupyterLab's editor. Nothing loads, moves or covers content.
_GREY = r"(\.\d+em solid )?rgba\(128,128,128,\.\d+\)"
_SIZE = r"max\(2em,\d+ch\)|[0-9. em]+|[34]px"
STYLE = re.compile(
    rf"(;?(white-space:(inherit|pre-wrap)|overflow-x:auto|overflow-y:hidden|overflow-wrap:normal|display:block"
    rf"|list-style:(disc|decimal)|(margin|padding|padding-left|border-radius|line-height):({_SIZE})"
    rf"|(background|border-left):({_GREY}|none)"
    r"|color:var\(--jp-mirror-editor-\w+-color,#[0-9a-f]{6}\)))+"
)
ATTRIBUTES = {
    "a": LINK,
    "blockquote": {"style": STYLE},
    "code": {"style": STYLE},
    "div": {"style": STYLE},
    "pre": {"style": re.compile(rf"white-space:pre;overflow-x:auto;{STYLE.pattern}")},
    "p": {"style": re.compile("margin:0")},
    "span": {"class": re.compile("tex2jax_process mathjax_process"), "style": STYLE},
    "ol": {"start": re.compile("[0-9]+"), "style": STYLE},
    "ul": {"style": STYLE},
    "td": {"style": ALIGNMENT},
    "th": {"style": ALIGNMENT},
}

CONSTRUCTS = {
    "link text": "[{}](https://example.com)",
    "link target": "[x]({})",
    "image text": "![{}](https://example.com/i.png)",
    "image source": "![x](<{}>)",
    "autolink": "<https://example.com/{}>",
    "reference": "[r]\n\n[r]: {}",
    "code span": "a `{}` b",
    "fence": "```{}\n{}\n```",
    "coloured fence": "```html\n{}\n```\n\n```python\nx = '{}'\n```",
    "table cell": "| a | b |\n| - | :-: |\n| {} | x |",
    "heading": "# {}",
    "list in quote": "> - {}",
    "HTML block": "<div>\n{}\n</div>",
    "inline math": "\\( {} \\) $$ {} $$",
    "block math": "\\[\n{}\n\\]",
}


@functools.cache
def read_corpus(name):
    """Return the texts in a file in `corpora/`, whose README names their sources."""
    return json.loads((CORPORA / name).read_text(encoding="utf-8"))


def list_prefixes(text):
    """Return all prefixes of a text, as displayed during a stream."""
    return (text[:end] for end in range(1, len(text) + 1))


def parse_page(page):
    """Parse a page by the algorithm of the HTML standard, as a browser does."""
    return html5lib.parseFragment(page, namespaceHTMLElements=False)


def find_cells(page):
    """Return the cells of a page's tables in reading order, including headers."""
    return [element for element in parse_page(page).iter() if element.tag in {"th", "td"}]


def find_faults(page):
    """Return everything in a page that is not on the tests' own allowlist."""
    root = parse_page(page)
    faults = (
        []
        if [dict(child.attrib) for child in root] == [REPLY_ATTRIBUTES]
        else ["elements outside of the reply"]
    )
    faults += (
        ["text outside of the reply"] if root.text or any(child.tail for child in root) else []
    )
    for element in itertools.islice(root.iter(), 2, None):
        if element.tag not in TAGS:
            faults.append(f"<{element.tag}>")
            continue
        allowed = ATTRIBUTES.get(element.tag, {})
        faults += [
            f"<{element.tag} {name}={value!r}>"
            for name, value in element.attrib.items()
            if name not in allowed or not allowed[name].fullmatch(value)
        ]
        if element.tag == "a" and not {"rel", "target"} <= set(element.attrib):
            faults.append("<a> without rel or target")
    return faults


# Between tags, text without quotes cannot begin a tag or an attribute.
_PLAIN = re.compile(""">[^<>"']+<""")


def find_harmful(pages):
    """Return the faults of pages, checking pages that differ only in words once."""
    structures = {_PLAIN.sub(">x<", page) for page in pages}
    return {page: faults for page in structures if (faults := find_cached_faults(page))}


@functools.cache
def find_cached_faults(page):
    """Return the faults of a page; cached, because parsing takes half a millisecond."""
    return find_faults(page)


def without_styles(page):
    """Return a page without the styles of its code, lists, quotes and tables."""
    return re.sub(r' style="(?!display)[^"]*"', "", page)


def shown_text(page):
    """Return the text that a browser displays for a page."""
    return "".join(parse_page(page).itertext())


@pytest.mark.parametrize("name", [*HOSTILE, "commonmark-0.31.2.json"])
@pytest.mark.no_cover
def test_every_prefix_of_a_corpus_is_harmless(name):
    """The pages of all prefixes of a hostile text are harmless (security requirement 17)."""
    texts = {prefix for text in read_corpus(name) for prefix in list_prefixes(text)}
    pages = {to_html(text) for text in texts}
    assert len(pages) > 1000
    assert find_harmful(pages) == {}


@pytest.mark.parametrize("construct", CONSTRUCTS.values(), ids=CONSTRUCTS)
def test_a_payload_in_a_markdown_construct_is_harmless(construct):
    """A payload in a Markdown construct is harmless, both complete and truncated."""
    pages = {
        to_html(text[:end])
        for payload in itertools.chain.from_iterable(map(read_corpus, HOSTILE))
        for text in [construct.replace("{}", payload)]
        for end in (len(text), len(text) - 1, len(text) * 2 // 3)
    }
    assert find_harmful(pages) == {}


TOKENS = [*"<>&\"'`[]()!*_~|:-#=/\\ \n\tax1\0", "javascript:", "https://x", "<img src=", " onload="]
MARKUP = st.lists(st.sampled_from(TOKENS)).map("".join)


@given(st.one_of(st.text(), MARKUP, st.text(st.characters(categories=["Cs", "Cc", "Cf", "L"]))))
def test_an_arbitrary_text_is_harmless(text):
    """The page of an arbitrary text has only allowed elements and is valid UTF-8."""
    page = to_html(text)
    assert find_faults(page) == []
    page.encode()


UNSAFE = ["<script>", "<img src=x>", "<p onclick=x>", "<p style=x>", "<p class=x>", "<!-- -->"]
UNSAFE += [
    "<a>",
    "<a href=//x rel='noopener noreferrer nofollow' target=_blank>",
    "<table><tr><td style=x>",
    "<span class=x>",
    "<pre style='white-space:pre'>",
]
UNSAFE += ["</div>x", "</div><div>"]


@pytest.mark.parametrize("unsafe", ["", *UNSAFE])
def test_the_checker_of_these_tests_detects_unsafe_html(unsafe):
    """`find_harmful` detects each kind of fault, and accepts a harmless page."""
    page = to_html("x").replace("<p>", unsafe + "<p>")
    assert bool(find_harmful({page})) is bool(unsafe)


@dataclass(frozen=True)
class Case:
    """A Markdown text, and the inner HTML of its page."""

    id: str
    markdown: str
    body: str


def make_link(href, text):
    """Return the expected HTML of a link."""
    return f'<a href="{href}" target="_blank" rel="noopener noreferrer nofollow">{text}</a>'


CODE = "<pre><code>"

CASES = [
    Case("emphasis and soft breaks", "**a** *b*\n~~c~~ `d`", "<p><strong>a</strong> <em>b</em>\n"
         "<s>c</s> <code>d</code></p>\n"),
    Case("link", "[a](HTTPS://x.y/?q=1&r)", f"<p>{make_link('HTTPS://x.y/?q=1&amp;r', 'a')}</p>\n"),
    Case("omitted title of a link", '[a](http://x "t")', f"<p>{make_link('http://x', 'a')}</p>\n"),
    Case("malformed URL", "[a](https:javascript:b)", "<p>[a](https:javascript:b)</p>\n"),
    Case("mail address", "<a@b.c>", f"<p>{make_link('mailto:a@b.c', 'a@b.c')}</p>\n"),
    Case("bare URL is text", "see https://x.y", "<p>see https://x.y</p>\n"),
    Case("other scheme is text", "[a](javascript:b)", "<p>[a](javascript:b)</p>\n"),
    Case("relative link is text", "[a](/api/x)", "<p>[a](/api/x)</p>\n"),
    Case("image is text", '![a *b* "<](https://x/i.png "t")',
         '<p>[image: a b "&lt; (https://x/i.png)]</p>\n'),
    Case("linked image", "[![a](https://x/i)](https://y)",
         f"<p>{make_link('https://y', '[image: a (https://x/i)]')}</p>\n"),
    Case("HTML is text", "<b>a</b>\n\n<div>", "<p>&lt;b&gt;a&lt;/b&gt;</p>\n<p>&lt;div&gt;</p>\n"),
    Case("fence", "```python\na < b\n```", f"{CODE}a &lt; b\n</code></pre>\n"),
    Case("indented code", "    a < b", f"{CODE}a &lt; b\n</code></pre>\n"),
    Case("number of the first item", "3. a", '<ol start="3">\n<li>a</li>\n</ol>\n'),
    Case("dollar amounts", "$5 to $10", "<p>$5 to $10</p>\n"),
    Case("empty text", "", ""),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_markdown_is_rendered(case):
    """Markdown is rendered as HTML; images, raw HTML and unsafe links are displayed as text."""
    page = without_styles(to_html(case.markdown))
    assert page == (
        f'<div class="gatewayx-reply tex2jax_ignore mathjax_ignore" dir="auto">{case.body}</div>'
    )


def test_table_cells_are_aligned_as_in_markdown_or_left():
    """Table cells have an explicit alignment, because notebooks align cells right by default."""
    page = to_html("|a|b|\n|-|-:|\n|1|2|")
    cells = [(cell.text, cell.get("style")) for cell in find_cells(page)]
    left_style, right_style = [
        f"text-align:{side};padding:.35em .7em" for side in ("left", "right")
    ]
    assert cells == [("a", left_style), ("b", right_style), ("1", left_style), ("2", right_style)]


def test_a_long_image_url_is_truncated():
    """A long URL of an image is truncated in its text."""
    page = to_html(f"![a](https://x/{'y' * 10_000})")
    assert len(shown_text(page)) < 300


def test_bidi_overrides_and_invisible_characters_are_removed():
    """Bidi overrides and invisible characters are removed; joiners in words and emoji are not."""
    family, persian = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648"
    text = shown_text(to_html(f"a\u202eb\u2066c\u2069\u200b\ufeff\U000e0041d {family} {persian}"))
    assert text == f"abcd {family} {persian}\n"


def test_a_split_surrogate_pair_is_joined():
    """A surrogate pair that is split over two chunks is joined; a lone surrogate is replaced."""
    assert shown_text(to_html("\ud83d" + "\ude00 \ud83d!")) == "\U0001f600 \ufffd!\n"


def test_text_beyond_the_limit_is_displayed_unformatted():
    """A long text is displayed in full, but formatted only up to the limit."""
    page = to_html("\n\n".join(f"**word** {number} <b>" for number in range(10_000)))
    assert find_faults(page) == []
    assert re.findall("[0-9]+", shown_text(page)) == [str(number) for number in range(10_000)]
    assert page.count("<strong>word</strong>") + shown_text(page).count("**word**") == 10_000
    assert page.count("<strong>") > 1000


SIZE = 1_000_000
LONG_TEXTS = {
    "quotes": ">" * SIZE,
    "brackets": "[" * SIZE,
    "images": "![" * (SIZE // 2),
    "balanced brackets": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "asterisks": "*" * SIZE,
    "emphasis": "*a **b _c " * (SIZE // 10),
    "nested lists": "- " * (SIZE // 2),
    "indented lists": "\n".join("  " * depth + "- a" for depth in range(1000)),
    "unterminated links": "[a](<b" * (SIZE // 6),
    "definitions": "[a\n" * (SIZE // 3),
    "backticks": "".join("a" + "`" * count for count in range(1400)),
    "entities": "&" * SIZE,
    "tags": "<" * SIZE,
    "wide table": "|a" * 300 + "\n" + "|-" * 300 + "\n" + "|\n" * (SIZE // 2),
    "long word": "a" * SIZE,
    "unterminated inline math": "\\(" * (SIZE // 2),
    "unterminated block math": "\\[ a\n" * (SIZE // 5),
    "dollar signs": "$$ " * (SIZE // 3),
    "braces": "\\(" + "{" * SIZE,
    "escapes": "\x1b]" * (SIZE // 2),
    "C1 openers": "\x9d" * SIZE,
    "surrogates": "\ud800" * SIZE,
}


def measure(text):
    """Return the seconds that rendering a text takes."""
    return seconds(lambda: to_html(text))


@functools.cache
def measure_prose():
    """Return the seconds for 20,000 characters of prose, as a reference for this machine."""
    return min(measure("Some **bold** words, `code` and\n- an item\n\n" * 500) for _ in range(5))


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS)
def test_long_and_deep_texts_take_bounded_time(text):
    """Rendering a megabyte of any structure ends in bounded time (security requirement 19).

    The slowest text, a wide table, takes about 50 times as long as 20,000 characters of prose.
    """
    assert measure(text) < 100 * measure_prose()


def test_importing_the_renderer_does_not_import_its_parsers():
    """The parsers are imported when the first text is rendered, so the import is fast."""
    code = (
        "import sys, gatewayx_nb.html.markdown\n"
        "assert not {'markdown_it', 'nh3'} & set(sys.modules), 'imported'"
    )
    root = Path(markdown.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;https://x\x1b\\b\x1b]8;;\x1b\\", "ab"),
        ("\x9b31ma\x9dtitle\x9cb", "ab"),
        ("\x1bP1$r\x1b\\a\x1b(Bb\x1bc", "ab"),
        ("a\x1b", "a"),
        ("a\x1b]0;unterminated", "a0;unterminated"),
        ("safe\revil\b\x00\x7f", "safeevil"),
        ("a\r\n\tb\n", "a\n\tb\n"),
        ("\ud800 \u202e", "\ufffd "),
        ("日本 é \u200d", "日本 é \u200d"),
    ],
)
def test_escape_sequences_are_removed_from_plain_text(text, expected):
    """Escape sequences and control characters are removed, and visible text is unchanged."""
    assert plain(text) == expected


@given(st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d[]();\\\x07\x9c0m\r"))))
def test_plain_text_contains_no_control_character(text):
    """`plain` returns no control characters, even if removing characters could create some."""
    result = plain(text)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]", result
    )
    assert plain(result) == result


@given(st.text())
def test_escaped_text_is_parsed_unchanged(text):
    """Escaped text is parsed unchanged from a quoted attribute, and adds no element."""
    escaped = escape(text)
    element = parse_page(f'<p title="{escaped}">{escaped}</p>')[0]
    assert element.get("title") == plain(text)
    assert list(element) == []


@given(st.text(), st.integers(min_value=-2, max_value=50))
def test_shortened_text_is_one_line_within_its_limit(text, limit):
    """Shortened text is one line and never longer than the limit."""
    line = shorten(text, limit)
    assert len(line) <= max(limit, 0)
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("limit", "line"), [(0, ""), (1, "…"), (6, "a bb…"), (7, "a bb c"), (100, "a bb c")]
)
def test_truncated_text_ends_with_an_ellipsis(limit, line):
    """Text above the limit is truncated and ends with an ellipsis."""
    assert shorten("a\n bb\tc" + ("d" if limit < 7 else ""), limit) == line


def test_table_cells_are_escaped():
    """Cells are escaped, and header cells have a scope, which screen readers use."""
    page = table_html(["<b>", "n"], [["<script>", '"x"'], ["short"], ["a", "b", "extra"]])
    table = parse_page(page)[0]
    assert [cell.get("scope") for cell in table.iter("th")] == ["col", "col"]
    assert [cell.text or "" for cell in table.iter("td")] == [
        "<script>", '"x"', "short", "", "a", "b",
    ]  # fmt: skip
    assert "color" not in page


def test_a_table_without_rows_has_a_header():
    """A table without rows contains only its header."""
    assert [cell.text for cell in find_cells(table_html(["a"], []))] == ["a"]
    assert table_text(["ab"], []) == "ab\n--"


def test_a_text_table_is_aligned_by_display_width():
    """Columns are aligned by display width: 2 for wide characters, 0 for combining marks.

    Control characters in cells are removed, and newlines are replaced by spaces.
    """
    table = table_text(["name", "x"], [["日本", "1"], ["e\u0301", "2"], ["a\x1b[1m\nb", "3"], []])
    assert table.split("\n") == ["name  x", "----  -", "日本  1", "e\u0301     2", "a b   3", ""]


def test_the_footer_of_a_reply_is_a_muted_line():
    """The footer of a reply is one escaped line with reduced opacity."""
    page = reply_html("**a**", footer="grok · <1 s · $0.01 to $0.02")
    body, line = parse_page(page)[0]
    assert body.get("class").startswith("gatewayx-reply ")
    assert line.text == "grok · <1 s · $0.01 to $0.02"
    assert "mathjax_ignore" in line.get("class")
    assert "opacity" in line.get("style")


def test_reasoning_is_collapsed_above_the_reply():
    """Reasoning is collapsed above the answer, as plain text.

    While it is streamed, only its end is displayed, to limit the cost.
    """
    reasoning = "I **think** <b>."
    page = parse_page(reply_html("a", reasoning=reasoning))[0]
    assert [child.tag for child in page] == ["details", "div"]
    assert page[0].get("open") is None
    assert [page[0][0].text, page[0][1].text] == ["Reasoning", reasoning]
    assert shown_text(reply_html("", reasoning=" \n")) == ""

    streamed_page = reply_html("", status="s", reasoning="x" * 10_000 + "end")
    assert len(streamed_page) < 3_000
    assert "xend</div>" in streamed_page


@pytest.mark.parametrize("text", ["word " * 2_000, "a\n" * 100], ids=["wide", "high"])
def test_a_long_answer_is_in_a_focusable_scroll_box(text):
    """A long answer is in a labeled, focusable scroll box, which shows its end while streaming."""
    finished_box, streaming_box = (
        parse_page(reply_html(text, status=status))[0][0] for status in ("", "s")
    )
    for box in (finished_box, streaming_box):
        assert (box.get("role"), box.get("aria-label"), box.get("tabindex")) == (
            "region", "Answer", "0",
        )  # fmt: skip
        assert "max-height" in box.get("style")
    assert "column-reverse" in streaming_box.get("style")
    assert "column-reverse" not in finished_box.get("style")
    assert "tabindex" not in reply_html("short")


def test_a_status_replaces_the_footer():
    """A status is displayed instead of the footer, alone until the first text."""
    reply = parse_page(reply_html("", footer="f", status="asking grok…"))[0]
    assert [line.text for line in reply] == ["asking grok…"]
    assert shown_text(reply_html("a", status="streaming…")) == "a\nstreaming…"
    assert shown_text(reply_html("a")) == "a\n"


def test_the_examples_in_the_docstrings_are_correct():
    assert doctest.testmod(components).failed == 0


def test_long_list_numbers_fit_into_the_margin():
    """The margin of a numbered list grows with its longest number, up to CommonMark's longest."""
    rooms = []
    for first in (1, 99, 999_999_999):
        page = to_html(f"{first}. a\n{first + 1}. b")
        rooms.append(int(re.search(r"list-style:decimal;padding-left:max\(2em,(\d+)ch\)", page)[1]))
    assert rooms == [3, 5, 12]


def test_the_last_paragraph_of_a_quotation_has_no_margin():
    """The line beside a quotation ends where its text ends."""
    page = to_html("> a\n>\n> b\n\nc")
    assert re.findall(r"<p[^>]*>", page) == ["<p>", '<p style="margin:0">', "<p>"]
