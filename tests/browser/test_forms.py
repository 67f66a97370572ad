"""The formats of an answer in a real JupyterLab page."""

import re
import socket

import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Page, chromium
from tests.browser.test_lab import lab  # noqa: F401 - a fixture
from tests.conftest import Project

pytestmark = pytest.mark.browser

ENGINE = """\
    features = frozenset({"system", "history", "images", "schema"})

    async def stream(self, request):
        import asyncio
        from gatewayx_nb.llm_engines import Chunk

        text = request.messages[0].content
        yield Chunk(reasoning="I think of **this**.")
        for at in range(0, len(text), 50):
            await asyncio.sleep(request.params.get("pause", 0))
            yield Chunk(text=text[at : at + 50])
        yield Chunk(finish_reason="stop")
"""

PAGE = """\
%%gx say --as html
```html
<style>h1 {{ color: teal }} body {{ background: url(http://127.0.0.1:{port}/css) }}</style>
<link rel="stylesheet" href="http://127.0.0.1:{port}/link">
<meta http-equiv="refresh" content="0;url=http://127.0.0.1:{port}/refresh">
<h1 onclick="parent.harmed = 1">A page</h1>
<img src="http://127.0.0.1:{port}/picture" onerror="parent.harmed = 1">
<svg onload="parent.harmed = 1"><rect fill="url(http://127.0.0.1:{port}/fill)"/></svg>
<script>parent.harmed = 1; alert(1)</script>
<iframe src="http://127.0.0.1:{port}/frame"></iframe>
```"""

CELLS = [
    "%load_ext gatewayx_nb",
    '%%gx say --as json\nIt is:\n```json\n{"city": "Rome", "parts": ["<b>"]}\n```',
    '%%gx say --as frame\n[{"city": "Rome", "people": 3}, {"city": "<i>Milan</i>", "people": 1}]',
    "%%gx say --as code\n```python\ndef f():\n    return 'x'  # why\n```",
    "%%gx say --as text\n# no heading\n*stars*   here",
    "text = '## Part\\n\\nWord **bold** word.\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n' * 150",
    "%%gx say -p pause=0.02\n{{text}}",
    PAGE,
    "%%gx say --insert\n```python\nran = 1\n```",
]
LOAD, JSON, FRAME, CODE, TEXT, LONG, SCROLLED, HTML, INSERT = range(len(CELLS))


@pytest.fixture(scope="module")
def listener():
    """Yield a socket where a hostile page would send requests; it accepts none."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)  # noqa: FBT003 - the signature of socket
        yield server


@pytest.fixture(scope="module")
def page(lab, listener):  # noqa: F811 - the fixture
    """Yield a page of a notebook that holds `CELLS`, with the extension loaded."""
    engines = Project.__new__(Project)
    engines.root = lab.folder
    engines.engine("say", body=ENGINE)
    port = listener.getsockname()[1]
    cells = [cell.format(port=port) if cell is PAGE else cell for cell in CELLS]
    with chromium() as browser:
        page = Page(browser, lab, cells, "forms.ipynb")
        page.run(LOAD)
        yield page


def test_json_is_indented_and_folds(page):
    """JSON is indented, and a click on its summary collapses it."""
    page.run(JSON)
    shown = page.output(JSON)
    source, summary = shown.locator("code"), shown.get_by_text("JSON, 2 keys")

    expect(source).to_have_text('{\n  "city": "Rome",\n  "parts": [\n    "<b>"\n  ]\n}\n')
    expect(source).to_be_visible()
    summary.click()
    expect(source).not_to_be_visible()


def test_reasoning_is_folded_above(page):
    """Reasoning is collapsed above the answer; a click shows it unformatted."""
    shown = page.output(JSON)
    thoughts = shown.get_by_text("I think of **this**.")

    expect(thoughts).not_to_be_visible()
    shown.get_by_text("Reasoning").click()
    expect(thoughts).to_be_visible()


def test_a_frame_is_a_table_of_text(page):
    """A frame is shown as a table of plain text; markup in a cell is not rendered."""
    page.run(FRAME)
    shown = page.output(FRAME)

    expect(shown.locator("td")).to_have_text(["Rome", "3", "<i>Milan</i>", "1"])
    expect(shown).to_contain_text("2 rows by 2 columns")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_code_has_the_colours_of_the_pages_own_cells(page, theme):
    """Code in an answer has the colors of notebook cells in every theme."""
    page.run(CODE)
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
    colour = "element => getComputedStyle(element).color"
    shown, typed = page.output(CODE).locator("code"), page.cell(CODE).locator(".cm-line")

    ours = shown.get_by_text("return", exact=True).evaluate(colour)
    assert ours == typed.get_by_text("return", exact=True).evaluate(colour)
    assert ours != shown.evaluate(colour)
    expect(shown).to_have_text("def f():\n    return 'x'  # why\n")


def test_text_is_shown_unchanged(page):
    """Plain text is shown unchanged: no Markdown, and whitespace is kept."""
    page.run(TEXT)

    assert page.output(TEXT).locator("pre").inner_text() == "# no heading\n*stars*   here"
    assert page.output(TEXT).locator("h1").count() == 0


def test_a_long_answer_scrolls_and_shows_its_end_while_it_grows(page):
    """A long answer scrolls in a box of the screen's height.

    It follows the end while streaming; a finished answer starts at its top.
    """
    page.run(LONG)
    page.start(SCROLLED)
    box = page.output(SCROLLED).get_by_role("region", name="Answer")
    expect(box).to_have_attribute("style", re.compile("column-reverse"), timeout=WAIT)
    gap = """element => element.lastElementChild.getBoundingClientRect().bottom
        - element.getBoundingClientRect().bottom"""
    assert box.evaluate(gap) < 40
    page.ended(SCROLLED)

    expect(box).not_to_have_attribute("style", re.compile("column-reverse"))
    sizes = box.evaluate(
        "element => [element.scrollTop, element.clientHeight, element.scrollHeight]"
    )
    assert sizes[0] == 0
    assert sizes[1] < 1_000 < sizes[2]
    box.focus()
    page.tab.keyboard.press("End")
    page.tab.wait_for_function("box => box.scrollTop > 0", arg=box.element_handle())


def test_a_page_is_shown_without_running_or_loading_anything(page, listener):
    """An HTML answer is shown, but none of its scripts run and none of its URLs are requested."""
    page.run(HTML)
    shown = page.output(HTML)
    inside = shown.frame_locator("iframe")

    expect(inside.locator("h1")).to_have_text("A page")
    teal = "element => getComputedStyle(element).color"
    assert inside.locator("h1").evaluate(teal) == "rgb(0, 128, 128)"
    inside.locator("h1").click()
    page.tab.wait_for_timeout(500)  # gives automatic loads enough time
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert page.tab.evaluate("window.harmed") is None
    assert page.dialogs == []
    assert shown.get_by_text("Source").is_visible()


def test_code_is_inserted_into_the_next_cell_and_not_run(page):
    """Code goes into a new cell below the current one and does not run."""
    page.run(INSERT)

    expect(page.cell(INSERT + 1).locator(".cm-content")).to_have_text("ran = 1")
    expect(page.cell(INSERT + 1).locator(".jp-InputPrompt")).to_have_text("[ ]:")
