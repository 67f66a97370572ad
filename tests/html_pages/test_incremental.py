"""Incremental rendering: its final page, its safety for every prefix, and its cost."""

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
    find_harmful,
    list_prefixes,
    read_corpus,
    shown_text,
)

ANSWERS = {
    "prose": "A sentence of **prose** that goes on for a while, with `code`.\n\n" * 400,
    "long paragraph": "Word **word** " * 1_800,
    "tight list": "- item with **bold** text\n" * 1_000,
    "loose list": "1. item with text\n\n   more **text** of it\n\n" * 500,
    "table": "| a | b |\n|-|-|\n" + "| word | `x` |\n" * 1_600,
    "code block": "```\n" + "x = foo(bar)\n" * 1_800,
    "sections": "## Part\n\nSome **bold** words, `code` and\n- an item\n\n" * 450,
}


def render_chunks(chunks):
    """Return the page after each chunk of a text."""
    render, text, pages = IncrementalRenderer(), "", []
    for chunk in chunks:
        text += chunk
        pages.append(render(text))
    return pages


@pytest.fixture
def render_always(monkeypatch):
    """Render the last block in every update, without regard to the cost."""
    monkeypatch.setattr(incremental, "_GROWTH_DIVISOR", 10**9)
    monkeypatch.setattr(incremental, "_LARGE_GROWTH_DIVISOR", 10**9)


@pytest.mark.parametrize("name", [*HOSTILE, "commonmark-0.31.2.json"])
def test_an_incremental_rendering_equals_the_final_one(name, render_always):
    """A text that is rendered character by character has the same final page as in one step.

    Texts with link definitions are excluded, because a definition may follow its use.
    """
    texts = [text for text in read_corpus(name)[::2] if "]:" not in text]
    assert len(texts) > 80
    assert [text for text in texts if render_chunks(text)[-1] != to_html(text)] == []


def test_a_link_definition_applies_to_later_blocks(render_always):
    """A link definition applies to all later blocks."""
    text = "[r]: https://example.com\n\nfirst\n\nsecond\n\n[r]\n\n[r] again\n"
    assert render_chunks(text)[-1] == to_html(text)
    assert render_chunks(text)[-1].count('href="https://example.com"') == 2


def test_an_incomplete_link_definition_is_not_stored(render_always):
    """While a link definition is incomplete, its URL is not stored for later blocks."""
    text = "one\n\n[r]: https://example.com/long/path\n\n[r]\n"
    assert 'href="https://example.com/long/path"' in render_chunks(text)[-1]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.no_cover
def test_every_prefix_of_a_hostile_text_is_harmless(name):
    """The page of every prefix of a hostile text is harmless (security requirement 17)."""
    pages = set()
    for number, text in enumerate(read_corpus(name)[::3]):
        construct = list(CONSTRUCTS.values())[number % len(CONSTRUCTS)]
        pages |= set(render_chunks(construct.replace("{}", text)))
    assert len(pages) > 1_000
    assert find_harmful(pages) == {}


@given(st.lists(st.one_of(st.text(), MARKUP), max_size=6))
def test_arbitrary_chunks_are_harmless(chunks):
    """The pages of an arbitrary text are harmless, however it is split into chunks."""
    assert find_harmful(set(render_chunks(chunks))) == {}


@given(st.lists(st.text(st.sampled_from("ab\x1b]0;\x07\u202e\ud83d\ude00\r\n\xe9"), max_size=8)))
def test_control_sequences_are_removed_across_chunks(chunks):
    """Control sequences are removed, even if they are split between chunks."""
    if chunks:
        assert (
            shown_text(render_chunks(chunks)[-1]).split()
            == shown_text(to_html("".join(chunks))).split()
        )


@pytest.mark.parametrize("blank", [" ", "\n", "\n\n"], ids=["space", "newline", "blank line"])
@pytest.mark.parametrize("start", ["", "# ", "- ", "> "], ids=["text", "heading", "list", "quote"])
def test_the_unformatted_end_does_not_join_the_formatted_text(start, blank):
    """Words remain separate if the formatted text ends with a space or a newline."""
    (*_, page) = render_chunks([f"{start}{'word ' * 40}last{blank}", "next"])
    assert "word last next" in " ".join(shown_text(page).split())


def test_the_unformatted_end_of_a_code_block_has_no_extra_line():
    """There is no empty line between a code block and its unformatted next line."""
    (*_, page) = render_chunks(["```\n" + "x = 1\n" * 40, "y = 2"])
    assert shown_text(page).rstrip().endswith("x = 1\ny = 2")


def test_a_different_text_is_rendered_from_the_start():
    """A text that does not begin with the previous text is rendered from the start."""
    render = IncrementalRenderer()
    render("first **answer**\n\nwith two blocks\n\n")
    assert shown_text(render("second\u202e")) == "second\n"


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_every_update_contains_all_text(text):
    """Every update contains all text; its unformatted part is plain text."""
    pages = render_chunks(text[start : start + 37] for start in range(0, 1_200, 37))
    for number, page in enumerate(pages, 1):
        prefix = text[: 37 * number]
        assert sum(map(str.isalpha, shown_text(page))) >= sum(map(str.isalpha, prefix)) - 4


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_rendering_cost_depends_on_the_new_text(text, monkeypatch):
    """For a text in chunks of 4 characters, less than eight times its length is parsed in total."""
    markdown_parser, lengths = parser(), []
    parse = markdown_parser.parse
    monkeypatch.setattr(
        markdown_parser,
        "parse",
        lambda source, env: lengths.append(len(source)) or parse(source, env),
    )
    render, text = IncrementalRenderer(), text[:20_000]
    for end in range(4, len(text) + 1, 4):
        render(text[:end])

    assert len(text) == 20_000
    assert sum(lengths) < 8 * len(text)


def test_text_beyond_the_limit_is_added_unformatted(render_always, monkeypatch):
    """Text beyond the limit is added without formatting after the formatted text."""
    monkeypatch.setattr(markdown, "MAX_MARKDOWN_LENGTH", 200)
    text = "".join(f"**word** {number} and more text\n\n" for number in range(20))
    expected = "".join(text.replace("*", "").split())
    for page in render_chunks(text)[::7]:
        rendered = "".join(shown_text(page).replace("*", "").split())
        assert expected.startswith(rendered)
    assert len(rendered) > len(expected) - 10
    assert "<strong>word</strong>" in page


def test_prefixes_of_prose_end_in_the_page_of_to_html(render_always):
    """After all prefixes of a text, the page is the same as that of `to_html`."""
    text = "# A\n\nb *c*\n\n1. d\n2. e\n\n> f\n"
    render = IncrementalRenderer()
    assert [render(prefix) for prefix in list_prefixes(text)][-1] == to_html(text)
