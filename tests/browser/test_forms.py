"""The output formats of answers in a real JupyterLab page."""

import re
import socket

import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Page, chromium
from tests.browser.test_lab import lab  # noqa: F401 - a fixture
from tests.conftest import Project

pytestmark = pytest.mark.browser

ENGINE_BODY = """\
    features = frozenset({"system", "history", "images", "schema"})

    async def stream(self, request):
        import asyncio
        from gatewayx_nb.llm_engines import Chunk

        text = request.messages[0].content
        yield Chunk(reasoning="I think of **this**.")
        for start in range(0, len(text), 50):
            await asyncio.sleep(request.params.get("pause", 0))
            yield Chunk(text=text[start : start + 50])
        yield Chunk(finish_reason="stop")
"""

HTML_CELL = """\
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
    HTML_CELL,
    "%%gx say --insert\n```python\nran = 1\n```",
]
(
    LOAD_INDEX,
    JSON_INDEX,
    FRAME_INDEX,
    CODE_INDEX,
    TEXT_INDEX,
    LONG_TEXT_INDEX,
    LONG_ANSWER_INDEX,
    HTML_INDEX,
    INSERT_INDEX,
) = range(len(CELLS))


@pytest.fixture(scope="module")
def listener():
    """Yield a listening socket to which the URLs of the HTML answer lead."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)  # noqa: FBT003 - the signature of socket
        yield server


@pytest.fixture(scope="module")
def page(lab, listener):  # noqa: F811 - the fixture
    """Yield the page of a notebook with the cells `CELLS`, whose first cell has been run."""
    project = Project.__new__(Project)
    project.root = lab.folder
    project.engine("say", body=ENGINE_BODY)
    port = listener.getsockname()[1]
    cells = [cell.format(port=port) if cell is HTML_CELL else cell for cell in CELLS]
    with chromium() as browser:
        page = Page(browser, lab, cells, "forms.ipynb")
        page.run(LOAD_INDEX)
        yield page


def test_json_is_indented_and_collapsible(page):
    """JSON is indented, and a click on its summary collapses it."""
    page.run(JSON_INDEX)
    output = page.output(JSON_INDEX)
    source, summary = output.locator("code"), output.get_by_text("JSON, 2 keys")

    expect(source).to_have_text('{\n  "city": "Rome",\n  "parts": [\n    "<b>"\n  ]\n}\n')
    expect(source).to_be_visible()
    summary.click()
    expect(source).not_to_be_visible()


def test_reasoning_is_collapsed_above_the_answer(page):
    """Reasoning is collapsed above the answer; a click shows it as plain text."""
    page.run(JSON_INDEX)
    output = page.output(JSON_INDEX)
    reasoning = output.get_by_text("I think of **this**.")

    expect(reasoning).not_to_be_visible()
    output.get_by_text("Reasoning").click()
    expect(reasoning).to_be_visible()


def test_a_dataframe_is_shown_as_a_table(page):
    """A DataFrame is shown as a table of plain text; markup in its values is not rendered."""
    page.run(FRAME_INDEX)
    output = page.output(FRAME_INDEX)

    expect(output.locator("td")).to_have_text(["Rome", "3", "<i>Milan</i>", "1"])
    expect(output).to_contain_text("2 rows by 2 columns")


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_code_has_the_colours_of_notebook_cells(page, theme):
    """Code in an answer has the colors of notebook cells in every theme."""
    page.run(CODE_INDEX)
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
    colour_script = "element => getComputedStyle(element).color"
    output, editor_line = (
        page.output(CODE_INDEX).locator("code"),
        page.cell(CODE_INDEX).locator(".cm-line"),
    )

    keyword_colour = output.get_by_text("return", exact=True).evaluate(colour_script)
    assert keyword_colour == editor_line.get_by_text("return", exact=True).evaluate(colour_script)
    assert keyword_colour != output.evaluate(colour_script)
    expect(output).to_have_text("def f():\n    return 'x'  # why\n")


def test_text_is_shown_unchanged(page):
    """Plain text is shown unchanged: no Markdown, and whitespace is kept."""
    page.run(TEXT_INDEX)

    assert page.output(TEXT_INDEX).locator("pre").inner_text() == "# no heading\n*stars*   here"
    assert page.output(TEXT_INDEX).locator("h1").count() == 0


def test_a_long_answer_follows_its_end_while_it_streams(page):
    """A long answer is in a scrolling box of limited height.

    The box shows the end of the answer while it streams, and its beginning afterwards.
    """
    page.run(LONG_TEXT_INDEX)
    page.start(LONG_ANSWER_INDEX)
    box = page.output(LONG_ANSWER_INDEX).get_by_role("region", name="Answer")
    expect(box).to_have_attribute("style", re.compile("column-reverse"), timeout=WAIT)
    gap_script = """element => element.lastElementChild.getBoundingClientRect().bottom
        - element.getBoundingClientRect().bottom"""
    assert box.evaluate(gap_script) < 40
    page.wait_for_end(LONG_ANSWER_INDEX)

    expect(box).not_to_have_attribute("style", re.compile("column-reverse"))
    sizes = box.evaluate(
        "element => [element.scrollTop, element.clientHeight, element.scrollHeight]"
    )
    assert sizes[0] == 0
    assert sizes[1] < 1_000 < sizes[2]
    box.focus()
    page.tab.keyboard.press("End")
    page.tab.wait_for_function("box => box.scrollTop > 0", arg=box.element_handle())


def test_an_html_page_runs_no_scripts_and_loads_nothing(page, listener):
    """An HTML answer is shown, but none of its scripts run and none of its URLs are requested."""
    page.run(HTML_INDEX)
    output = page.output(HTML_INDEX)
    frame = output.frame_locator("iframe")

    expect(frame.locator("h1")).to_have_text("A page")
    colour_script = "element => getComputedStyle(element).color"
    assert frame.locator("h1").evaluate(colour_script) == "rgb(0, 128, 128)"
    frame.locator("h1").click()
    page.tab.wait_for_timeout(500)  # enough time for automatic requests
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert page.tab.evaluate("window.harmed") is None
    assert page.dialogs == []
    assert output.get_by_text("Source").is_visible()


def test_code_is_inserted_into_the_next_cell(page):
    """`--insert` puts code into a new cell below the current cell, without running it."""
    page.run(INSERT_INDEX)

    expect(page.cell(INSERT_INDEX + 1).locator(".cm-content")).to_have_text("ran = 1")
    expect(page.cell(INSERT_INDEX + 1).locator(".jp-InputPrompt")).to_have_text("[ ]:")
