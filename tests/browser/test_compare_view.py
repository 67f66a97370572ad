"""The comparison view and the picker in a real JupyterLab page, by mouse and keyboard."""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.lab import WAIT, Page, chromium
from tests.browser.test_lab import _CONTRAST, lab  # noqa: F401 - a fixture
from tests.conftest import Project

pytestmark = pytest.mark.browser

ENGINE = """\
    async def stream(self, request):
        import asyncio
        from gatewayx_nb.llm_engines import Chunk

        words, pause = (request.model + " says **this** and goes on ").split(" "), 0.0
        if request.messages[0].content == "slowly":
            words, pause = words * 100, 0.05
        for word in words:
            await asyncio.sleep(pause)
            yield Chunk(text=word + " ")
        yield Chunk(finish_reason="stop")
"""

HOSTILE = """\
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
    "%gatewayx compare say:kept say:mine",
    "import time\ntime.sleep(3)",
]
LOAD, VIEW, RESULTS, ATTACK, PICKER, PICKED, KEPT, BUSY = range(len(CELLS))


def _hostile() -> list[str]:
    """Return answers that together contain the corpora of hostile texts."""
    corpora = Path(__file__).parents[1] / "corpora"
    texts = [json.dumps(one) for one in json.loads((corpora / "xss.json").read_text())]
    beacon = "![p](https://evil.example/p.png)\n<img src=https://evil.example/i.png>\n"
    return [beacon + "\n\n".join(texts[at::10])[:30_000] for at in range(10)]


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):  # noqa: F811 - the fixture
    """Yield a page of a notebook that holds `CELLS`, with the first two run."""
    engines = Project.__new__(Project)
    engines.root = lab.folder
    texts = tmp_path_factory.mktemp("texts") / "hostile.json"
    texts.write_text(json.dumps(_hostile()))
    engines.engine("say", body=ENGINE)
    engines.engine("evil", body=HOSTILE.format(path=str(texts)))
    with chromium() as browser:
        page = Page(browser, lab, CELLS, "view.ipynb")
        page.run(LOAD)
        page.run(VIEW)
        yield page


def view(page, cell=VIEW):
    """Return the view that a cell shows."""
    return page.cell(cell).locator(".gatewayx-view")


def press(shown, name):
    """Press a button."""
    shown.get_by_role("button", name=name).first.click()


def answers(shown):
    """Return the answers in the columns."""
    return shown.locator(".gatewayx")


def test_one_of_three_columns_is_stopped_while_others_continue(page):
    """A column can be stopped alone: it keeps its partial answer, and the others go on."""
    shown = view(page)
    shown.get_by_label("Prompt").fill("slowly")
    press(shown, "Run")
    expect(answers(shown)).to_contain_text(["one says this", "two says", "three says"])
    shown.get_by_title("Stop: say:two").click()
    expect(answers(shown).nth(1)).to_contain_text("· interrupted")
    length = len(answers(shown).nth(1).inner_text())
    before = len(answers(shown).nth(0).inner_text())
    # By selector, not by handle: each update replaces the element.
    page.tab.wait_for_function(
        "length => document.querySelector('.gatewayx-view .gatewayx').innerText.length > length",
        arg=before,
    )
    assert len(answers(shown).nth(1).inner_text()) == length
    expect(shown.get_by_title("Retry: say:two")).to_be_visible()
    page.tab.keyboard.press("Escape")  # the focus is on a button of the view
    expect(answers(shown).nth(2)).to_contain_text("· interrupted")


def test_a_vote_is_counted_and_exported(page):
    """A vote marks the winner and updates the table of wins; `results` holds vote and note."""
    shown = view(page)
    shown.get_by_label("Prompt").fill("quickly")
    press(shown, "Run")
    shown.get_by_title("Better: say:three").click()
    expect(shown.locator(".gatewayx-label").nth(2)).to_contain_text("better")
    expect(shown.locator("tr", has_text="say:three")).to_contain_text("100%")
    shown.get_by_label("Note").fill("the shortest")
    shown.get_by_label("Note").press("Tab")
    page.run(RESULTS)

    told = page.output(RESULTS).locator("tbody tr").all_inner_texts()
    assert [re.split(r"\s+", line, maxsplit=1)[1] for line in told[-3:]] == [
        "2\tsay:one\tFalse\tworse\tthe shortest",
        "2\tsay:two\tFalse\tworse\tthe shortest",
        "2\tsay:three\tFalse\tbetter\tthe shortest",
    ]


def test_only_differences_are_shown(page):
    """Differing words are marked; the plain answer can be shown again."""
    shown = view(page)
    press(shown, "Differences")
    expect(shown.locator("mark")).to_have_text(["one", "two", "three"])
    press(shown, "Raw")
    expect(answers(shown).nth(0)).to_contain_text("says **this**")
    press(shown, "Rendered")
    expect(answers(shown).nth(0).locator("strong")).to_have_text("this")


def test_keys_alone_run_and_stop(page):
    """Ctrl-Enter in the prompt runs the latest text and Esc stops it; the cell does not rerun."""
    shown = view(page)
    prompt = shown.get_by_label("Prompt")
    prompt.focus()
    page.tab.keyboard.press("Control+a")
    page.tab.keyboard.type("slowly")
    page.tab.keyboard.press("Control+Enter")
    expect(answers(shown).nth(0)).to_contain_text("one says")
    expect(answers(shown).nth(0)).to_contain_text(re.compile(r"· \d+ s"))
    page.tab.keyboard.press("Escape")
    expect(answers(shown)).to_contain_text(["· interrupted"] * 3)
    expect(prompt).to_be_focused()
    expect(page.cell(VIEW).locator(".jp-InputPrompt")).to_have_text("[2]:")


def test_letters_on_a_button_do_not_reach_the_notebook(page):
    """JupyterLab's shortcuts are off in the view: `dd` keeps the cell, arrows move in a list."""
    shown = view(page)
    count = page.tab.locator(".jp-Notebook .jp-Cell").count()
    shown.get_by_role("button", name="Run").focus()
    page.tab.keyboard.type("ddab")
    kind = shown.get_by_label("Results")
    kind.focus()
    page.tab.keyboard.press("ArrowDown")
    expect(kind).to_have_value("JSON lines")
    expect(kind).to_be_focused()
    page.tab.keyboard.press("ArrowUp")
    assert page.tab.locator(".jp-Notebook .jp-Cell").count() == count
    shown.get_by_role("button", name="Raw").focus()
    page.tab.keyboard.press("Space")
    expect(shown.get_by_role("button", name="Raw")).to_have_class(re.compile("mod-active"))
    press(shown, "Rendered")


def test_names_are_hidden_until_the_vote(page):
    """A blind comparison hides names and figures, which would reveal the model, until a vote."""
    shown = view(page)
    press(shown, "Parameters")
    shown.get_by_label("Hide names").check()
    shown.get_by_label("Prompt").fill("hidden")
    press(shown, "Run")
    names = shown.locator(".gatewayx-label")
    expect(names).to_have_text(["Model A", "Model B", "Model C"])
    expect(answers(shown)).to_contain_text(["says this and goes on"] * 3)
    assert "unpriced" not in "".join(answers(shown).all_inner_texts())
    press(shown, "Tie")
    expect(names).not_to_contain_text(["Model A"])
    expect(answers(shown).nth(0)).to_contain_text("· unpriced")
    shown.get_by_label("Hide names").uncheck()


def test_a_row_of_answers_for_each_input(page):
    """There is a row of answers for each input, also if a cell is running when they are typed."""
    shown = view(page)
    page.start(BUSY)
    shown.get_by_label("Prompt").fill("What is {{input}}?")
    shown.get_by_label("Inputs").fill("red\nblue")
    press(shown, "Run")
    expect(shown.get_by_role("button", name="Tie")).to_have_count(2)
    expect(answers(shown)).to_have_count(6)
    shown.get_by_label("Inputs").fill("")
    page.ended(BUSY)


def test_an_invalid_field_is_reported_in_one_line(page):
    """An invalid number is reported in one line, and nothing is sent."""
    shown = view(page)
    shown.get_by_label("Temperature").fill("warm")
    press(shown, "Run")
    expect(shown.get_by_role("status")).to_contain_text("Temperature must be a number")
    shown.get_by_label("Temperature").fill("")
    press(shown, "Parameters")


def test_a_hostile_answer_is_inert(page):
    """A hostile answer sends no request, opens no dialog and runs no code."""
    page.run(ATTACK)
    shown = view(page, ATTACK)
    for at in range(10):
        shown.get_by_label("Prompt").fill(str(at))
        press(shown, "Run")
        expect(shown.get_by_role("button", name="Run")).to_be_enabled(timeout=WAIT)
        for mode in ("Differences", "Raw", "Rendered"):
            press(shown, mode)
        expect(answers(shown).first).to_contain_text("evil.example")
    active = "script, iframe, style, svg, object, embed, form, video, audio, link, img"
    assert answers(shown).locator(active).count() == 0
    assert page.tab.evaluate("window.harmed") is None
    assert page.foreign == []
    assert page.dialogs == []


def test_the_picker_is_searched_ticked_and_follows_keys(page, lab):  # noqa: F811
    """A key that is added to the key file enables its engine without a click or a cell run."""
    page.run(PICKER)
    shown = page.cell(PICKER).locator(".gatewayx-picker")
    search = shown.get_by_label("Search")
    search.fill("groq")
    row = shown.get_by_role("checkbox")
    expect(row).to_have_count(1)
    expect(row).to_be_disabled()
    expect(shown).to_contain_text("no key · Run %gatewayx key set groq")
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
    shown.get_by_role("checkbox", name="mock", exact=True).check()
    page.run(PICKED)
    expect(page.output(PICKED)).to_have_text("('groq', 'mock')")
    keys.unlink()
    search.fill("")
    expect(shown).to_contain_text("no key", timeout=WAIT)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_it_is_readable_and_accessible(page, theme):
    """The text has enough contrast in both themes, and axe reports no serious violation."""
    page.command("apputils:change-theme", theme=theme)
    page.tab.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")
    shown = view(page)
    for text in (shown.locator("p").first, shown.locator(".gatewayx-label strong").first):
        assert text.evaluate(_CONTRAST) >= 4.5
    assert answers(shown).first.locator(".gatewayx-line").evaluate(_CONTRAST) >= 3
    found = Axe().run(
        page.tab, context=".gatewayx-view", options={"runOnly": ["wcag2a", "wcag2aa"]}
    )
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_columns_are_stacked_on_a_narrow_page(page):
    """On a narrow page the columns are stacked, and none is cut off."""
    shown = view(page)
    wide = [answers(shown).nth(at).bounding_box()["y"] for at in range(3)]
    assert len(set(wide)) == 1
    page.tab.set_viewport_size({"width": 640, "height": 1400})
    try:
        page.tab.wait_for_function(
            "([one, other]) => one.getBoundingClientRect().y < other.getBoundingClientRect().y",
            arg=[answers(shown).nth(at).element_handle() for at in range(2)],
        )
    finally:
        page.tab.set_viewport_size({"width": 1200, "height": 1400})


def test_the_last_answers_remain_without_a_kernel(page, lab):  # noqa: F811
    """Without a kernel the last answers are shown as plain HTML.

    A line below them says how to get the controls back.
    """
    page.run(KEPT)
    shown = view(page, KEPT)
    shown.get_by_label("Prompt").fill("Keep this")
    press(shown, "Run")
    expect(answers(shown).nth(1)).to_contain_text("mine says")
    twin = page.cell(KEPT).locator(".gatewayx-twin")
    expect(twin).to_be_hidden()
    expect(twin).to_contain_text("mine says")
    page.command("docmanager:save")
    page.restart()

    expect(twin).to_be_visible()
    expect(twin).to_contain_text("Run this cell again for the controls.")
    expect(shown).to_be_hidden()

    page.open(lab)
    expect(twin).to_be_visible()
    expect(twin).to_contain_text("mine says")
    expect(twin).to_contain_text("Keep this")
