"""The comparison view and the picker in a real JupyterLab page, with mouse and keyboard."""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Page, chromium
from tests.browser.test_lab import _CONTRAST_SCRIPT, lab  # noqa: F401 - a fixture
from tests.conftest import Project

pytestmark = pytest.mark.browser

ENGINE_BODY = """\
    async def stream(self, request):
        import asyncio
        from gatewayx_nb.llm_engines import Chunk

        words, pause = (request.model + " says **this** and continues ").split(" "), 0.0
        if request.messages[0].content == "slowly":
            words, pause = words * 100, 0.05
        for word in words:
            await asyncio.sleep(pause)
            yield Chunk(text=word + " ")
        yield Chunk(finish_reason="stop")
"""

HOSTILE_ENGINE_BODY = """\
    async def generate(self, prompt, **kwargs):
        import json, pathlib
        return json.loads(pathlib.Path({path!r}).read_text())[int(prompt)]
"""

CELLS = [
    "%load_ext gatewayx_nb\nimport gatewayx_nb as gx",
    "view = gx.compare_view('go', ['say:one', 'say:two', 'say:three'])\nview",
    "view.results[['run', 'label', 'interrupted', 'vote', 'note']]",
    "hostile = gx.compare_view('0', ['evil', 'evil'])\nhostile",
    "picker = gx.picker()\npicker",
    "picker.value",
    "%gatewayx compare say:first say:second",
    "import time\ntime.sleep(3)",
]
(
    LOAD_INDEX,
    VIEW_INDEX,
    RESULTS_INDEX,
    HOSTILE_INDEX,
    PICKER_INDEX,
    PICKER_VALUE_INDEX,
    SAVED_VIEW_INDEX,
    SLEEP_INDEX,
) = range(len(CELLS))


def _hostile_answers() -> list[str]:
    """Return answers that together contain the corpora of hostile texts."""
    corpora = Path(__file__).parents[1] / "corpora"
    texts = [json.dumps(text) for text in json.loads((corpora / "xss.json").read_text())]
    beacon = "![p](https://evil.example/p.png)\n<img src=https://evil.example/i.png>\n"
    return [beacon + "\n\n".join(texts[number::10])[:30_000] for number in range(10)]


@pytest.fixture(scope="module")
def open_notebook(lab, tmp_path_factory):  # noqa: F811 - the fixture
    """Yield a function that opens a notebook, whose first two `CELLS` have been run."""
    project = Project.__new__(Project)
    project.root = lab.folder
    answers_file = tmp_path_factory.mktemp("texts") / "hostile.json"
    answers_file.write_text(json.dumps(_hostile_answers()))
    project.engine("say", body=ENGINE_BODY)
    project.engine("evil", body=HOSTILE_ENGINE_BODY.format(path=str(answers_file)))
    with chromium() as browser:

        def open_page(name):
            page = Page(browser, lab, CELLS, name)
            page.run(LOAD_INDEX)
            page.run(VIEW_INDEX)
            return page

        yield open_page


@pytest.fixture(scope="module")
def page(open_notebook):
    """Return the page of the notebook that the tests share."""
    return open_notebook("view.ipynb")


def find_view(page, cell=VIEW_INDEX):
    """Return the locator of the comparison view in a cell's output."""
    return page.cell(cell).locator(".gatewayx-view")


def press_button(view, name):
    """Press a button of a view."""
    view.get_by_role("button", name=name).first.click()


def open_parameters(view):
    """Open the parameter fields, which a test before may have left open."""
    if not view.get_by_label("Temperature").is_visible():
        press_button(view, "Parameters")
    expect(view.get_by_label("Temperature")).to_be_visible()


def find_answers(view):
    """Return the locator of the answers in a view."""
    return view.locator(".gatewayx")


def show_answers(view):
    """Run a prompt and wait for the whole answers, so that no test depends on one before."""
    view.get_by_label("Prompt").fill("quickly")
    press_button(view, "Run")
    # Answers that were stopped can be voted on until the run begins.
    expect(find_answers(view)).to_contain_text(["one says", "two says", "three says"])
    expect(find_answers(view).nth(2)).not_to_contain_text("interrupted")
    # A test before may have left a row for each of several inputs.
    expect(view.get_by_title("Better: say:three").first).to_be_visible()


def test_stopping_a_column_does_not_affect_others(page):
    """A stopped column keeps its partial answer, while the other columns continue."""
    view = find_view(page)
    view.get_by_label("Prompt").fill("slowly")
    press_button(view, "Run")
    expect(find_answers(view)).to_contain_text(["one says this", "two says", "three says"])
    view.get_by_title("Stop: say:two").click()
    expect(find_answers(view).nth(1)).to_contain_text("· interrupted")
    stopped_length = len(find_answers(view).nth(1).inner_text())
    other_length = len(find_answers(view).nth(0).inner_text())
    # By selector, not by handle: each update replaces the element.
    page.tab.wait_for_function(
        "length => document.querySelector('.gatewayx-view .gatewayx').innerText.length > length",
        arg=other_length,
    )
    assert len(find_answers(view).nth(1).inner_text()) == stopped_length
    expect(view.get_by_title("Retry: say:two")).to_be_visible()
    page.tab.keyboard.press("Escape")  # the focus is on a button of the view
    expect(find_answers(view).nth(2)).to_contain_text("· interrupted")


def test_a_vote_is_counted_and_exported(open_notebook):
    """A vote is shown above its column and in the ranking; `results` contains vote and note."""
    page = open_notebook("vote.ipynb")  # the votes of other tests would change the ranking
    view = find_view(page)
    show_answers(view)
    view.get_by_title("Better: say:three").click()
    expect(view.locator(".gatewayx-label").nth(2)).to_contain_text("better")
    expect(view.locator("tr", has_text="say:three")).to_contain_text("100%")
    view.get_by_label("Note").fill("the shortest")
    view.get_by_label("Note").press("Tab")
    page.run(RESULTS_INDEX)

    rows = page.output(RESULTS_INDEX).locator("tbody tr").all_inner_texts()
    assert [re.split(r"\s+", line, maxsplit=1)[1] for line in rows] == [
        "1\tsay:one\tFalse\tworse\tthe shortest",
        "1\tsay:two\tFalse\tworse\tthe shortest",
        "1\tsay:three\tFalse\tbetter\tthe shortest",
    ]


def test_the_code_of_a_run_is_copied_and_saved_results_are_named(page):
    """*Copy* puts the code on the clipboard; the name of a saved file is shown beside *Save*."""
    view = find_view(page)
    show_answers(view)
    page.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press_button(view, "As code")
    press_button(view, "Copy")
    copied = "async () => (await navigator.clipboard.readText()).startsWith('import gatewayx_nb')"
    page.tab.wait_for_function(copied)
    press_button(view, "Save")
    saved = view.get_by_text(re.compile(r"Saved comparison.*\.csv"))
    expect(saved).to_be_visible()
    button = view.get_by_role("button", name="Save", exact=True)
    assert abs(saved.bounding_box()["y"] - button.bounding_box()["y"]) < 15


def test_differences_are_marked(page):
    """The mode Differences marks differing words, and other modes show the whole answers."""
    view = find_view(page)
    show_answers(view)
    press_button(view, "Differences")
    expect(view.locator("mark")).to_have_text(["one", "two", "three"])
    press_button(view, "Raw")
    expect(find_answers(view).nth(0)).to_contain_text("says **this**")
    press_button(view, "Rendered")
    expect(find_answers(view).nth(0).locator("strong")).to_have_text("this")


def test_keyboard_shortcuts_run_and_stop(page):
    """Ctrl-Enter in the prompt runs its latest text, without the cell, and Esc stops the run."""
    view = find_view(page)
    prompt = view.get_by_label("Prompt")
    prompt.focus()
    page.tab.keyboard.press("Control+a")
    page.tab.keyboard.type("slowly")
    page.tab.keyboard.press("Control+Enter")
    expect(find_answers(view).nth(0)).to_contain_text("one says")
    expect(find_answers(view).nth(0)).to_contain_text(re.compile(r"· \d+ s"))
    page.tab.keyboard.press("Escape")
    expect(find_answers(view)).to_contain_text(["· interrupted"] * 3)
    expect(prompt).to_be_focused()
    expect(page.cell(VIEW_INDEX).locator(".jp-InputPrompt")).to_have_text("[2]:")


def test_a_text_that_is_changed_back_is_the_one_that_runs(page):
    """*Run* takes the prompt shown, also if it is the one from before the prompt run by a key."""
    view = find_view(page)
    show_answers(view)
    prompt = view.get_by_label("Prompt")
    prompt.focus()
    prompt.fill("slowly")
    page.tab.keyboard.press("Control+Enter")
    expect(find_answers(view).nth(0)).to_contain_text(re.compile(r"· \d+ s"))
    page.tab.keyboard.press("Escape")
    expect(find_answers(view)).to_contain_text(["· interrupted"] * 3)
    show_answers(view)


def test_keys_in_the_view_do_not_reach_the_notebook(page):
    """JupyterLab's shortcuts, such as `dd`, are disabled in the view; arrow keys work in lists."""
    view = find_view(page)
    show_answers(view)
    count = page.tab.locator(".jp-Notebook .jp-Cell").count()
    view.get_by_role("button", name="Run").focus()
    page.tab.keyboard.type("ddab")
    file_format = view.get_by_label("Results")
    file_format.focus()
    page.tab.keyboard.press("ArrowDown")
    expect(file_format).to_have_value("JSON lines")
    expect(file_format).to_be_focused()
    page.tab.keyboard.press("ArrowUp")
    assert page.tab.locator(".jp-Notebook .jp-Cell").count() == count
    view.get_by_role("button", name="Raw").focus()
    page.tab.keyboard.press("Space")
    expect(view.get_by_role("button", name="Raw")).to_have_class(re.compile("mod-active"))
    press_button(view, "Rendered")


def test_names_are_hidden_until_the_vote(page):
    """A blind comparison hides names and metrics, which could reveal a model, until the vote."""
    view = find_view(page)
    open_parameters(view)
    view.get_by_label("Hide names").check()
    view.get_by_label("Prompt").fill("hidden")
    press_button(view, "Run")
    names = view.locator(".gatewayx-label")
    expect(names).to_have_text(["Model A", "Model B", "Model C"])
    expect(find_answers(view)).to_contain_text(["says this and continues"] * 3)
    assert "unpriced" not in "".join(find_answers(view).all_inner_texts())
    press_button(view, "Tie")
    expect(names).not_to_contain_text(["Model A"])
    expect(find_answers(view).nth(0)).to_contain_text("· unpriced")
    view.get_by_label("Hide names").uncheck()


def test_each_input_has_a_row_of_answers(page):
    """Each input has a row of answers, even if the inputs are typed while a cell runs."""
    view = find_view(page)
    open_parameters(view)
    page.start(SLEEP_INDEX)
    view.get_by_label("Prompt").fill("What is {{input}}?")
    view.get_by_label("Inputs").fill("red\nblue")
    press_button(view, "Run")
    expect(view.get_by_role("button", name="Tie")).to_have_count(2)
    expect(find_answers(view)).to_have_count(6)
    view.get_by_label("Inputs").fill("")
    page.wait_for_end(SLEEP_INDEX)


def test_an_invalid_field_is_reported_in_one_line(page):
    """An invalid number is reported in one line, and nothing is sent."""
    view = find_view(page)
    open_parameters(view)
    view.get_by_label("Temperature").fill("warm")
    press_button(view, "Run")
    expect(view.get_by_role("status").first).to_contain_text("Temperature must be a number")
    view.get_by_label("Temperature").fill("")
    press_button(view, "Parameters")
    expect(view.get_by_label("Temperature")).to_be_hidden()


def test_a_hostile_answer_is_inert(page):
    """A hostile answer sends no request, opens no dialog and runs no code."""
    page.run(HOSTILE_INDEX)
    view = find_view(page, HOSTILE_INDEX)
    for number in range(10):
        view.get_by_label("Prompt").fill(str(number))
        press_button(view, "Run")
        expect(view.get_by_role("button", name="Run")).to_be_enabled(timeout=WAIT)
        for mode in ("Differences", "Raw", "Rendered"):
            press_button(view, mode)
        expect(find_answers(view).first).to_contain_text("evil.example")
    active_elements = "script, iframe, style, svg, object, embed, form, video, audio, link, img"
    assert find_answers(view).locator(active_elements).count() == 0
    assert page.tab.evaluate("window.harmed") is None
    assert page.foreign_urls == []
    assert page.dialogs == []


def test_the_picker_enables_an_engine_when_its_key_is_added(page, lab):  # noqa: F811
    """Adding a key to the key file enables its engine in the picker, which can then be checked."""
    page.run(PICKER_INDEX)
    picker = page.cell(PICKER_INDEX).locator(".gatewayx-picker")
    search = picker.get_by_label("Search")
    search.fill("groq")
    row = picker.get_by_role("checkbox")
    expect(row).to_have_count(1)
    expect(row).to_be_disabled()
    expect(picker).to_contain_text("no key · Run %gatewayx key set groq")
    keys = lab.folder / "config" / "secrets" / ".env.local"
    keys.write_text("GATEWAYX_GROQ_API_KEY=gsk-0123456789abcdef0123456789\n")
    keys.chmod(0o600)
    expect(row).to_be_enabled(timeout=WAIT)
    row.check()
    count = page.tab.locator(".jp-Notebook .jp-Cell").count()
    row.focus()
    page.tab.keyboard.type("dd")  # would delete the cell if JupyterLab received it
    assert page.tab.locator(".jp-Notebook .jp-Cell").count() == count
    search.fill("mock")
    picker.get_by_role("checkbox", name="mock", exact=True).check()
    page.run(PICKER_VALUE_INDEX)
    expect(page.output(PICKER_VALUE_INDEX)).to_have_text("('groq', 'mock')")
    keys.unlink()
    search.fill("")
    expect(picker).to_contain_text("no key", timeout=WAIT)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_the_view_is_readable_and_accessible(page, theme):
    """The text has enough contrast in both themes, and axe reports no serious violation."""
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
    view = find_view(page)
    if not view.locator("p").count():  # no test before has run it
        press_button(view, "Run")
    for text in (view.locator("p").first, view.locator(".gatewayx-label strong").first):
        assert text.evaluate(_CONTRAST_SCRIPT) >= 4.5
    assert find_answers(view).first.locator(".gatewayx-line").evaluate(_CONTRAST_SCRIPT) >= 3
    axe_results = Axe().run(
        page.tab, context=".gatewayx-view", options={"runOnly": ["wcag2a", "wcag2aa"]}
    )
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
        for violation in axe_results.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_columns_are_stacked_on_a_narrow_page(page):
    """The columns are side by side on a wide page, and stacked on a narrow page."""
    view = find_view(page)
    show_answers(view)
    # In one step, because the page may move by a part of a pixel between two.
    tops = find_answers(view).evaluate_all("all => all.map(one => one.getBoundingClientRect().y)")
    assert len(tops) >= 3
    assert len(set(tops[:3])) == 1
    page.tab.set_viewport_size({"width": 640, "height": 1400})
    try:
        page.tab.wait_for_function(
            "([first, next]) => first.getBoundingClientRect().y < next.getBoundingClientRect().y",
            arg=[find_answers(view).nth(index).element_handle() for index in range(2)],
        )
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


def test_the_last_answers_remain_without_a_kernel(open_notebook, lab):  # noqa: F811
    """After a kernel restart and on reload, the saved answers are shown instead of the view.

    A line below them says how to get the controls back.
    """
    page = open_notebook("saved.ipynb")
    page.run(SAVED_VIEW_INDEX)
    view = find_view(page, SAVED_VIEW_INDEX)
    view.get_by_label("Prompt").fill("Save this")
    press_button(view, "Run")
    expect(find_answers(view).nth(1)).to_contain_text("second says")
    snapshot = page.cell(SAVED_VIEW_INDEX).locator(".gatewayx-twin")
    expect(snapshot).to_be_hidden()
    expect(snapshot).to_contain_text("second says")
    page.command("docmanager:save")
    page.restart()

    expect(snapshot).to_be_visible()
    expect(snapshot).to_contain_text("Run this cell again for the controls.")
    expect(view).to_be_hidden()

    page.open(lab)
    expect(snapshot).to_be_visible()
    expect(snapshot).to_contain_text("second says")
    expect(snapshot).to_contain_text("Save this")
