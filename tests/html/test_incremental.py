"""A growing answer: as the finished one looks, safe at every prefix, and cheap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.html import incremental, markdown
from gatewayx_nb.html.incremental import IncrementalRenderer
from gatewayx_nb.html.markdown import parser, to_html
from tests.html.test_markdown import CONSTRUCTS, HOSTILE, MARKUP, corpus, harmful, prefixes, words

ANSWERS = {
    "prose": "A sentence of **prose** that goes on for a while, with `code`.\n\n" * 400,
    "one paragraph": "Word **word** " * 1_800,
    "one list": "- item with **bold** text\n" * 1_000,
    "a loose list": "1. item with text\n\n   more **text** of it\n\n" * 500,
    "one table": "| a | b |\n|-|-|\n" + "| word | `x` |\n" * 1_600,
    "one block of code": "```\n" + "x = foo(bar)\n" * 1_800,
    "sections": "## Part\n\nSome **bold** words, `code` and\n- an item\n\n" * 450,
}


def grown(pieces):
    """The pages that are shown while pieces come."""
    render, text, pages = IncrementalRenderer(), "", []
    for piece in pieces:
        text += piece
        pages.append(render(text))
    return pages


@pytest.fixture
def always(monkeypatch):
    """Render the last block with every update."""
    monkeypatch.setattr(incremental, "_SHARE", 10**9)
    monkeypatch.setattr(incremental, "_SHARE_OF_LARGE", 10**9)


@pytest.mark.parametrize("name", [*HOSTILE, "commonmark-0.31.2.json"])
def test_a_grown_answer_looks_as_a_finished_one(name, always):
    """Character by character; but for links that are defined behind the block that uses them."""
    texts = [text for text in corpus(name)[::2] if "]:" not in text]
    assert len(texts) > 80
    assert [text for text in texts if grown(text)[-1] != to_html(text)] == []


def test_a_link_defined_above_is_known_below(always):
    """Also once its block is done."""
    text = "[r]: https://example.com\n\nfirst\n\nsecond\n\n[r]\n\n[r] again\n"
    assert grown(text)[-1] == to_html(text)
    assert grown(text)[-1].count('href="https://example.com"') == 2


def test_a_definition_that_grows_is_not_kept(always):
    """Half an address is not what a link further down goes to."""
    text = "one\n\n[r]: https://example.com/long/path\n\n[r]\n"
    assert 'href="https://example.com/long/path"' in grown(text)[-1]


@pytest.mark.parametrize("name", HOSTILE)
def test_every_prefix_of_a_growing_answer_is_harmless(name):
    """Security requirement 17, with what is not formatted yet in its place."""
    pages = set()
    for number, text in enumerate(corpus(name)[::3]):
        construct = list(CONSTRUCTS.values())[number % len(CONSTRUCTS)]
        pages |= set(grown(construct.replace("{}", text)))
    assert len(pages) > 1_000
    assert harmful(pages) == {}


@given(st.lists(st.one_of(st.text(), MARKUP), max_size=6))
def test_any_pieces_are_harmless(pieces):
    """Whatever the text and wherever it is cut."""
    assert harmful(set(grown(pieces))) == {}


@given(st.lists(st.text(st.sampled_from("ab\x1b]0;\x07\u202e\ud83d\ude00\r\n\xe9"), max_size=8)))
def test_growing_strips_what_a_finished_text_strips(pieces):
    """An escape sequence may be cut anywhere."""
    whole = "".join(pieces)
    if pieces:
        assert words(grown(pieces)[-1]).split() == words(to_html(whole)).split()


def test_another_text_begins_anew():
    """As when an answer is asked for once more: nothing of the first stays, or goes unseen."""
    render = IncrementalRenderer()
    render("first **answer**\n\nwith two blocks\n\n")
    assert words(render("second\u202e")) == "second\n"


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_nothing_is_lost_while_it_grows(text):
    """What is not formatted yet shows as it was written."""
    pages = grown(text[at : at + 37] for at in range(0, 1_200, 37))
    for number, page in enumerate(pages, 1):
        typed = text[: 37 * number]
        assert sum(map(str.isalpha, words(page))) >= sum(map(str.isalpha, typed)) - 4


@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_rendering_costs_what_is_new(text, monkeypatch):
    """20,000 characters in pieces of 4: each is parsed a few times, however many updates."""
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
    """Its end is shown unformatted, and its beginning stays."""
    monkeypatch.setattr(markdown, "LONGEST_MARKDOWN", 200)
    text = "".join(f"**word** {number} and what follows it\n\n" for number in range(20))
    whole = "".join(text.replace("*", "").split())
    for page in grown(text)[::7]:
        shown = "".join(words(page).replace("*", "").split())
        assert whole.startswith(shown)
    assert len(shown) > len(whole) - 10
    assert "<strong>word</strong>" in page


def test_prefixes_of_prose_are_the_same_page_as_to_html(always):
    """A person sees no jump when the answer ends."""
    text = "# A\n\nb *c*\n\n1. d\n2. e\n\n> f\n"
    render = IncrementalRenderer()
    assert [render(prefix) for prefix in prefixes(text)][-1] == to_html(text)
