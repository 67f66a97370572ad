"""Syntax highlighting preserves the text and adds no active content."""

import html5lib
import pytest
from pygments.lexers import get_lexer_by_name

from gatewayx_nb.html.highlighting import _LANGUAGES, highlight
from gatewayx_nb.html.incremental import IncrementalRenderer
from gatewayx_nb.html.markdown import to_html
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
    """A hostile source in any language results only in elements and attributes of a code block."""
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


def test_pygments_knows_each_language():
    """Each language that is highlighted has a lexer."""
    for language in _LANGUAGES.values():
        assert get_lexer_by_name(language)


@pytest.mark.parametrize(
    ("info", "is_coloured"),
    [
        ("python", True),
        ("Python title=x", True),
        ("", False),
        ("brainfuck", False),
        ("text", False),
    ],
)
def test_fenced_code_is_coloured_by_its_language(info, is_coloured):
    """Fenced code is coloured by the first word after the fence, on a tinted block."""
    page = to_html(f"```{info}\n{SOURCE}```\n")

    assert shown_text(page) == f"{SOURCE}\n"
    assert ("color:var(--jp-mirror-editor-keyword-color" in page) is is_coloured
    assert "background:rgba(128,128,128,.12)" in page


def test_code_is_coloured_while_it_streams():
    """Code is coloured before its fence is closed, and nothing of its text is lost."""
    render = IncrementalRenderer()
    text = f"Here:\n\n```python\n{SOURCE * 20}"
    pages = [render(text[:end]) for end in range(0, len(text), 23)]

    assert "color:var(--jp-mirror-editor-keyword-color" in pages[-1]
    assert shown_text(pages[-1]).rstrip().endswith(text[: len(pages) * 23 - 23].rstrip()[-40:])
