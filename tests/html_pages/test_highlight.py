"""Syntax highlighting preserves the text and adds no active content."""

import html5lib
import pytest

from gatewayx_nb.html.highlight import highlight
from tests.html_pages.test_markdown import HOSTILE, read_corpus, shown_text

SOURCE = 'def f(x: int = 3) -> str:\n    """Say <b>."""\n    return "a & b"  # why\n'


def test_python_has_the_colors_of_the_jupyterlab_theme():
    """Python code has the colors of JupyterLab's theme, and its text is unchanged."""
    page = highlight(SOURCE, "python")

    assert shown_text(page) == SOURCE
    for name in ("keyword", "def", "string", "comment", "number", "builtin"):
        assert f"var(--jp-mirror-editor-{name}-color,#" in page


@pytest.mark.parametrize("language", ["", "unknown", "text", "python", "html", "json"])
def test_a_hostile_source_adds_no_element_or_attribute(language):
    """A hostile source in any language yields only the elements and attributes of a code block."""
    for source in read_corpus(HOSTILE[1])[::4]:
        root = html5lib.parseFragment(highlight(source, language), namespaceHTMLElements=False)
        for element in root.iter():
            assert element.tag in {"DOCUMENT_FRAGMENT", "div", "pre", "code", "span"}
            assert set(element.attrib) <= {"style", "class", "dir"}


def test_very_long_code_is_not_highlighted():
    """Very long code is displayed in full, without colors."""
    source = "x = 1\n" * 20_000
    assert shown_text(highlight(source, "python")) == source
    assert "<span" not in highlight(source, "python")
