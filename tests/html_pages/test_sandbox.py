"""The three layers that protect against a model's HTML page, each tested separately."""

import html5lib
import pytest

from gatewayx_nb.html.sandbox import sandbox_html
from tests.html_pages.test_markdown import HOSTILE, read_corpus

# Attributes that load or link, from
# https://html.spec.whatwg.org/multipage/indices.html#attributes-3.
LOADING_ATTRIBUTES = {
    "href", "src", "srcset", "action", "formaction", "poster", "background", "data", "cite", "ping",
    "longdesc", "manifest", "http-equiv", "srcdoc", "xlink:href", "imagesrcset", "profile",
}  # fmt: skip
FORBIDDEN_TAGS = {
    "script", "iframe", "frame", "object", "embed", "link", "base", "form", "input", "video",
    "audio", "source", "track", "applet", "portal", "template", "foreignObject", "use", "image",
    "animate", "set", "feimage",
}  # fmt: skip


def parse_frame(page):
    """Return the frame of a page, and the document in the frame."""
    root = html5lib.parseFragment(sandbox_html(page), namespaceHTMLElements=False)
    return root[0], html5lib.parse(root[0].get("srcdoc"), namespaceHTMLElements=False)


def test_a_page_is_in_a_frame_above_its_source():
    """A page is in a sandboxed frame above its source, for front ends that remove frames."""
    root = html5lib.parseFragment(sandbox_html("<h1>A</h1>"), namespaceHTMLElements=False)
    frame, source = root

    assert (frame.tag, frame.get("sandbox"), frame.get("title")) == (
        "iframe", "", "The answer, as a page",
    )  # fmt: skip
    assert set(frame.attrib) == {"sandbox", "title", "referrerpolicy", "style", "srcdoc"}
    assert source.tag == "details"
    assert "".join(source.itertext()) == "Source<h1>A</h1>"


def test_the_content_security_policy_forbids_loading():
    """The content security policy allows only inline styles and embedded images."""
    _, document = parse_frame("<p>x</p>")
    metas = [dict(meta.attrib) for meta in document.iter("meta")]

    assert metas[1]["http-equiv"] == "Content-Security-Policy"
    assert metas[1]["content"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    assert len(metas) == 3


def test_a_page_keeps_its_appearance():
    """Styles, tables, drawings and embedded images of a page are not removed."""
    _, document = parse_frame(
        "<!doctype html><title>t</title><style>h1{color:red}</style><h1 class=a style='x:y'>A</h1>"
        "<table><tr><td colspan=2>1</td></tr></table><svg viewBox='0 0 9 9'><path d='M0 0'/></svg>"
        "<img src='data:image/png;base64,AA' alt=a>"
    )

    assert document.find(".//style").text == "h1{color:red}"
    assert document.find(".//h1").attrib == {"class": "a", "style": "x:y"}
    assert document.find(".//td").get("colspan") == "2"
    assert document.find(".//img").get("src").startswith("data:")
    assert any(element.tag.endswith("path") for element in document.iter())
    assert document.find(".//title") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_is_stripped_of_active_content(name):
    """The sanitizer removes all elements and attributes that run scripts or load resources.

    This applies to complete and truncated pages.
    """
    for text in read_corpus(name):
        for end in (len(text), len(text) * 2 // 3):
            _, document = parse_frame(text[:end])
            for element in list(document.iter())[5:]:
                tag = str(element.tag).rpartition("}")[2]
                assert tag not in FORBIDDEN_TAGS
                loading = {
                    name: value
                    for name, value in element.attrib.items()
                    if name in LOADING_ATTRIBUTES
                }
                assert all(value.startswith("data:") for value in loading.values()), text
                assert not [name for name in element.attrib if name.startswith("on")]
