"""Syntax highlighting preserves the text and adds no active content."""

import html5lib
import pytest

from gatewayx_nb.html.highlight import highlight
from tests.html_pages.test_markdown import HOSTILE, corpus, shown_text

SOURCE = 'def f(x: int = 3) -> str:\n    """Say <b>."""\n    return "a & b"  # why\n'


def test_python_has_the_colours_of_the_editor():
    """Python code uses the color variables of JupyterLab's theme, and its text is unchanged."""
    page = highlight(SOURCE, "python")

    assert shown_text(page) == SOURCE
    for name in ("keyword", "def", "string", "comment", "number", "builtin"):
        assert f"var(--jp-mirror-editor-{name}-color,#" in page


@pytest.mark.parametrize("language", ["", "nonsense", "text", "python", "html", "json"])
def test_any_source_in_any_language_is_harmless(language):
    """Any source in any language yields only colored spans within a block."""
    for source in corpus(HOSTILE[1])[::4]:
        root = html5lib.parseFragment(highlight(source, language), namespaceHTMLElements=False)
        for element in root.iter():
            assert element.tag in {"DOCUMENT_FRAGMENT", "div", "pre", "code", "span"}
            assert set(element.attrib) <= {"style", "class", "dir"}


def test_very_long_code_is_not_highlighted():
    """Very long code is shown in full, without colors."""
    source = "x = 1\n" * 20_000
    assert shown_text(highlight(source, "python")) == source
    assert "<span" not in highlight(source, "python")
