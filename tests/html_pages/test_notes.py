"""The notes and images below an answer, which are limited and harmless."""

import html5lib
import pytest

from gatewayx_nb import Citation, Comparison, Image, Reply
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.display import NotebookView, TerminalView
from gatewayx_nb.html.notes import MAX_SHOWN_IMAGES
from tests.html_pages.test_markdown import HOSTILE, read_corpus

PNG = Image("image/png", b"\x89PNG\r\n\x1a\n")
SOURCES = (
    Citation("It is blue.", "Sky", "https://sky.test/?a=1&b=2", 3),
    Citation("Again.", "Sky", "https://sky.test/?a=1&b=2", 3),
    Citation("", "", "http://x.test/"),
    Citation("Quoted.", "a.pdf"),
    Citation(start=900, end=999),
)
NOTES = [
    "[1] Sky, p. 3 (https://sky.test/?a=1&b=2): “It is blue.”",
    "[2] http://x.test/",
    "[3] a.pdf: “Quoted.”",
    "[4] a source",
]


def _reply(**fields):
    return Reply("Blue.", "e", "m", **fields)


def _page(reply):
    return html5lib.parseFragment(
        reply._repr_mimebundle_()["text/html"], namespaceHTMLElements=False
    )


def test_sources_are_numbered_notes_below_the_answer():
    """Each source is one note with its first passage; the text itself does not change."""
    reply = _reply(citations=SOURCES)
    bundle = reply._repr_mimebundle_()
    items = _page(reply).findall(".//ol/li")

    assert str(reply) == reply.text == f"{reply}" == "Blue."
    assert bundle["text/plain"] == "\n".join(["Blue.", "", *NOTES])
    assert ["".join(item.itertext()) for item in items] == [
        "Sky, p. 3: “It is blue.”", "http://x.test/", "a.pdf: “Quoted.”", "a source",
    ]  # fmt: skip
    assert [item.find("a").get("href") for item in items[:2]] == [
        "https://sky.test/?a=1&b=2",
        "http://x.test/",
    ]
    assert items[0].find("a").get("rel") == "noopener noreferrer nofollow"


def test_an_answer_without_sources_is_shown_as_before():
    """An answer without sources is displayed without notes."""
    assert _reply()._repr_mimebundle_()["text/plain"] == "Blue."
    assert _page(_reply()).find(".//ol") is None


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x.test", 'http://"x']
)
def test_other_addresses_are_not_links(url):
    """Only http and https addresses are links."""
    page = _page(_reply(citations=(Citation(title="T", url=url),)))

    assert page.find(".//a") is None
    assert "T" in "".join(page.itertext())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sources_are_text(name):
    """Tags and attributes in a source are escaped."""
    texts = read_corpus(name)
    citations = [Citation(text, text, text) for text in texts if text.strip()]
    for start in range(0, len(citations), 50):
        page = _page(_reply(citations=tuple(citations[start : start + 50])))
        notes = page.find(".//ol")
        assert {element.tag for element in notes.iter()} <= {"ol", "li", "a"}
        assert all(link.get("href").startswith("http") for link in notes.iter("a"))


def test_many_sources_are_bounded():
    """If an answer has a thousand sources, only the first ones are shown as notes."""
    reply = _reply(citations=tuple(Citation(title=f"S{number}") for number in range(1000)))

    assert reply._repr_mimebundle_()["text/plain"].endswith("[50] S49\n… and 950 more")
    assert len(_page(reply).findall(".//li")) == 50


IMAGES = {
    "PNG": (PNG, True, "[image 1: image/png, 8 bytes]"),
    "SVG": (Image("image/svg+xml", b"<svg onload=x>"), False, "image/svg+xml, 14 bytes"),
    "HTML": (Image("text/html", b"<script>"), False, "text/html, 8 bytes"),
    "unknown": (Image("", b"x"), False, "unknown type, 1 bytes"),
    "hostile type": (Image('image/png"><script>', b"x"), False, "script"),
    "address": (Image("", url="https://x.test/a.png"), False, "https://x.test/a.png"),
    "large": (Image("image/png", bytes(MAX_SHOWN_IMAGES + 1)), False, "10,485,761 bytes"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_only_raster_images_of_a_reasonable_size_are_shown(name):
    """Any other image is shown as a line with its address; no address is loaded."""
    image, is_shown, line = IMAGES[name]
    reply = _reply(images=(image,))
    page = _page(reply)
    shown = page.findall(".//img")

    assert line in reply._repr_mimebundle_()["text/plain"]
    assert bool(shown) is is_shown
    assert all(element.get("src").startswith("data:image/png;base64,") for element in shown)
    if not is_shown:
        assert "not shown; `reply.images[0]` has it" in "".join(page.itertext())
        assert page.find(".//script") is None


def test_the_total_size_of_images_is_bounded():
    """Images are shown up to a limit for their total size; each of the others is a line."""
    half = Image("image/png", bytes(MAX_SHOWN_IMAGES // 2))
    page = _page(_reply(images=(half, half, half)))

    assert len(page.findall(".//img")) == 2
    assert "`reply.images[2]` has it" in "".join(page.itertext())


def test_a_terminal_shows_notes_below_the_text(capsys):
    """The notes follow the text and precede the metrics; control characters are removed."""
    reply = _reply(citations=(Citation(title="\x1b[31mSky\u202e"),), images=(PNG,))
    view, partial = TerminalView(), PartialReply("e", "m")
    partial.text.append("Blue.")
    view.update(partial)
    view.finish(reply)

    assert capsys.readouterr().out.startswith(
        "Blue.\n\n[1] Sky\n[image 1: image/png, 8 bytes]\n[e:m"
    )


def test_a_cell_and_a_comparison_show_notes_above_the_figures(capsys, monkeypatch):
    """The notes of a cell are between its text and its metrics; those of a column are inside it."""
    shown = []
    monkeypatch.setattr(
        "IPython.display.DisplayHandle.display", lambda _, data, **__: shown.append(data)
    )
    reply = _reply(citations=SOURCES[:1])
    NotebookView().finish(reply)
    page = shown[0]["text/html"]
    columns = Comparison("x", ["e"], [reply])._repr_mimebundle_()

    assert page.index("Blue.") < page.index("Sky, p. 3") < page.index("gatewayx-line")
    assert shown[0]["text/plain"].endswith(NOTES[0])
    assert "Sky, p. 3" in columns["text/html"]
    assert columns["text/plain"].endswith(f"Blue.\n{NOTES[0]}")
