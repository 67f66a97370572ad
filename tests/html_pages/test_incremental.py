"""Incremental rendering: equal to the final page, safe for every prefix, and cheap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.html import incremental, markdown
from gatewayx_nb.html.incremental import IncrementalRenderer
from gatewayx_nb.html.markdown import parser, to_html
from tests.html_pages.test_markdown import (
    CONSTRUCTS,
    HOSTILE,
    MARKUP,
    corpus,
    harmful,
    prefixes,
    shown_text,
)

ANSWERS = {
    "prose": "A sentence of **prose** that goes on for a while, with `code`.\n\n" * 400,
    "one paragraph": "Word **word** " * 1_800,
    "one list": "- item with **bold** text\n" * 1_000,
    "a loose list": "1. item with text\n\n   more **text** of it\n\n" * 500,
    "one table": "| a | b |\n|-|-|\n" + "| word | `x` |\n" * 1_600,
    "one block of code": "```\n" + "x = foo(bar)\n" * 1_800,
    "sections": "## Part\n\nSome **bold** words, `code` and\n- an item\n\n" * 450,
}


def grown(parts):
    """Return the pages shown while chunks arrive."""
    render, text, pages = IncrementalRenderer(), "", []
    for part in parts:
        text += part
        pages.append(render(text))
    return pages


@pytest.fixture
def always(monkeypatch):
    """Render the last block with every update."""
    monkeypatch.setattr(incremental, "_SHARE", 10**9)
    monkeypatch.setattr(incremental, "_SHARE_OF_LARGE", 10**9)


@pytest.mark.parametrize("name", [*HOSTILE, "commonmark-0.31.2.json"])
def test_an_incremental_rendering_equals_the_final_one(name, always):
    """A text that grows by characters has the same final page as the whole text.

    The exception is a link that is defined after the block that uses it.
    """
    texts = [text for text in corpus(name)[::2] if "]:" not in text]
    assert len(texts) > 80
    assert [text for text in texts if grown(text)[-1] != to_html(text)] == []


def test_a_link_definition_applies_to_later_blocks(always):
    """A link definition applies to later blocks, even after its own block is finished."""
    text = "[r]: https://example.com\n\nfirst\n\nsecond\n\n[r]\n\n[r] again\n"
    assert grown(text)[-1] == to_html(text)
    assert grown(text)[-1].count('href="https://example.com"') == 2


def test_a_definition_that_grows_is_not_kept(always):
    """An incomplete link definition is not kept for later blocks."""
    text = "one\n\n[r]: https://example.com/long/path\n\n[r]\n"
    assert 'href="https://example.com/long/path"' in grown(text)[-1]


@pytest.mark.parametrize("name", HOSTILE)
def test_every_prefix_of_a_growing_answer_is_harmless(name):
    """Every prefix of a hostile text is harmless, including its unformatted end.

    Security requirement 17.
    """
    pages = set()
    for number, text in enumerate(corpus(name)[::3]):
        construct = list(CONSTRUCTS.values())[number % len(CONSTRUCTS)]
        pages |= set(grown(construct.replace("{}", text)))
    assert len(pages) > 1_000
    assert harmful(pages) == {}


@given(st.lists(st.one_of(st.text(), MARKUP), max_size=6))
def test_any_parts_are_harmless(parts):
    """Any text is harmless, however it is split."""
    assert harmful(set(grown(parts))) == {}


@given(st.lists(st.text(st.sampled_from("ab\x1b]0;\x07\u202e\ud83d\ude00\r\n\xe9"), max_size=8)))
def test_incremental_rendering_strips_the_same_characters(parts):
    """Control sequences are removed, even if they are split."""
    whole = "".join(parts)
    if parts:
        assert shown_text(grown(parts)[-1]).split() == shown_text(to_html(whole)).split()


@pytest.mark.parametrize("blank", [" ", "\n", "\n\n"], ids=["space", "newline", "blank line"])
@pytest.mark.parametrize("start", ["", "# ", "- ", "> "], ids=["text", "heading", "list", "quote"])
def test_the_unformatted_end_does_not_join_the_formatted_text(start, blank):
    """Words stay apart if the formatted part ends in a space or a newline."""
    (*_, page) = grown([f"{start}{'word ' * 40}last{blank}", "next"])
    assert "word last next" in " ".join(shown_text(page).split())


def test_the_unformatted_end_of_a_code_block_has_no_extra_line():
    """A code block, which keeps its last newline, shows the next line right below."""
    (*_, page) = grown(["```\n" + "x = 1\n" * 40, "y = 2"])
    assert shown_text(page).rstrip().endswith("x = 1\ny = 2")


def test_another_text_is_rendered_from_the_start():
    """A text that replaces the first one, as after a retry, is rendered from the start."""
    render = IncrementalRenderer()
    render("first **answer**\n\nwith two blocks\n\n")
    assert shown_text(render("second\u202e")) == "second\n"


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_nothing_is_lost_while_it_grows(text):
    """The part that is not formatted yet is shown as plain text."""
    pages = grown(text[at : at + 37] for at in range(0, 1_200, 37))
    for number, page in enumerate(pages, 1):
        typed = text[: 37 * number]
        assert sum(map(str.isalpha, shown_text(page))) >= sum(map(str.isalpha, typed)) - 4


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_rendering_cost_depends_on_the_new_text(text, monkeypatch):
    """Each part of 20,000 characters in chunks of 4 is parsed only a few times."""
    reader, parsed = parser(), []
    parse = reader.parse
    monkeypatch.setattr(
        reader, "parse", lambda source, env: parsed.append(len(source)) or parse(source, env)
    )
    render, text = IncrementalRenderer(), text[:20_000]
    for end in range(4, len(text) + 1, 4):
        render(text[:end])

    assert len(text) == 20_000
    assert sum(parsed) < 8 * len(text)


def test_a_text_past_the_limit_still_grows(always, monkeypatch):
    """The part of a text beyond the limit is shown unformatted after the formatted part."""
    monkeypatch.setattr(markdown, "MAX_MARKDOWN_LENGTH", 200)
    text = "".join(f"**word** {number} and what follows it\n\n" for number in range(20))
    whole = "".join(text.replace("*", "").split())
    for page in grown(text)[::7]:
        shown = "".join(shown_text(page).replace("*", "").split())
        assert whole.startswith(shown)
    assert len(shown) > len(whole) - 10
    assert "<strong>word</strong>" in page


def test_prefixes_of_prose_are_the_same_page_as_to_html(always):
    """Every prefix of prose is rendered as by `to_html`, so nothing jumps at the end."""
    text = "# A\n\nb *c*\n\n1. d\n2. e\n\n> f\n"
    render = IncrementalRenderer()
    assert [render(prefix) for prefix in prefixes(text)][-1] == to_html(text)
