"""The tables of commands in a narrow JupyterLab page."""

import os

import pytest

from tests.browser.lab import Lab, Page, chromium, executable
from tests.browser.screenshots import PRICED_ENGINE
from tests.conftest import Project

pytestmark = pytest.mark.browser

TABLES = {
    "history": "%gatewayx history",
    "usage": "%gatewayx usage",
    "dry-run": "%%gatewayx grok priced --dry-run -n 1000\nWhy is the sky blue?",
    "overview": "%gatewayx",
    "status-python": "import gatewayx_nb as gx\ngx.status()",
    "keys": "%gatewayx keys",
    "models": "%gatewayx models",
    "help": "%gatewayx help",
    "cell-help": "%%gatewayx -h",
}
CALLS = ["%gatewayx priced hi", "%gatewayx mock -p fail=401 hi", "%%gatewayx mock priced\nhi"]
WIDTH = 640

_WIDER_SCRIPT = """output => [...output.querySelectorAll("div")]
    .filter(div => getComputedStyle(div).overflowX === "auto" && div.querySelector("table"))
    .map(div => div.scrollWidth - div.clientWidth)"""
# A text is broken within a word if there is no space at a line break, and no slash or colon before
# it, after which a path or a reference may be broken.
_BROKEN_WORDS_SCRIPT = r"""output => {
    const broken = [];
    for (const cell of output.querySelectorAll("th, td")) {
        const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
        for (let node; node = walker.nextNode();) {
            const top = at => {
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + 1);
                return range.getBoundingClientRect().top;
            };
            for (let at = 1; at < node.data.length; at++)
                if (/[^\s/:]\S/.test(node.data.slice(at - 1, at + 1)) && top(at) > top(at - 1) + 5)
                    broken.push(node.data);
        }
    }
    return broken;
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Yield a narrow page in which all cells have been run."""
    if executable() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    folder = tmp_path_factory.mktemp("tables")
    (folder / "home").mkdir()
    project = Project(folder / "project")
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789\nGATEWAYX_OPENAI_API_KEY=your_key\n")
    file = project.engine("priced", body=PRICED_ENGINE)
    file.write_text(f"from gatewayx_nb.llm_engines import Chunk, Usage\n{file.read_text()}")
    cells = ["%load_ext gatewayx_nb", *CALLS, *TABLES.values()]
    with Lab(project.root, folder / "home") as lab, chromium() as browser:
        page = Page(browser, lab, cells)
        page.command("application:toggle-left-area")
        page.tab.set_viewport_size({"width": WIDTH, "height": 3000})
        for index in range(len(cells)):
            page.run(index)
        yield page


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_a_narrow_page(page, name):
    """On a narrow page, no table needs scrolling, and no word or command is broken."""
    output = page.output([*TABLES].index(name) + len(CALLS) + 1)

    excess = output.first.evaluate(_WIDER_SCRIPT)
    assert excess
    assert max(excess) <= 1
    assert output.first.evaluate(_BROKEN_WORDS_SCRIPT) == []
