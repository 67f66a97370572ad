"""An evaluation and its view in a real JupyterLab page, with mouse and keyboard."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.lab import Page, chromium
from tests.browser.test_lab import lab  # noqa: F401 - a fixture

pytestmark = pytest.mark.browser

CELLS = [
    """import json, pathlib
import gatewayx_nb as gx
attacks = json.loads(pathlib.Path({corpus!r}).read_text())
rows = [{{"word": word}} for word in ("kind", "rude", *map(str, range(10)))]
def is_word(text, row):
    word = row["word"]
    reason = attacks[int(word) % 40] if word.isdigit() else "a word"
    return not word.isdigit() or "Please" in text, reason
prompts = {{"plain": "Say {{{{word}}}}", "please": "Please say {{{{word}}}}"}}
result = gx.evaluate(rows, prompts, "mock", is_word, progress=False)
result""",
    "gx.evaluation_view(result)",
    "result.agreement('is_word', 'vote').n",
]
RESULT, VIEW, AGREEMENT = range(len(CELLS))
CORPUS = Path(__file__).parents[1] / "corpora" / "xss.json"


@pytest.fixture
def page(lab):  # noqa: F811 - the fixture
    with chromium() as browser:
        cells = [CELLS[RESULT].format(corpus=str(CORPUS)), *CELLS[VIEW:]]
        page = Page(browser, lab, cells, "evaluation.ipynb")
        for index in (RESULT, VIEW):
            page.run(index)
        yield page


def test_an_evaluation_is_read_filtered_and_labelled(page):
    """The intervals are drawn; the filter opens a failed row; a vote becomes a score."""
    assert len(json.loads(CORPUS.read_text())) >= 40
    summary = page.output(RESULT)
    expect(summary).to_contain_text("'please' is better than 'plain' on is_word")
    expect(summary.locator("svg")).to_have_count(2)

    view = page.output(VIEW).first
    expect(view.get_by_role("status")).to_have_text("12 rows")
    view.get_by_label("Show", exact=True).select_option(label="Variants differ")
    expect(view.get_by_role("status")).to_have_text("10 rows")
    expect(view).to_contain_text("Please say 0")
    view.get_by_role("button", name="Next").click()
    expect(view).to_contain_text("Please say 1")
    view.get_by_label("Search").fill("Say 7")
    expect(view.get_by_role("status")).to_have_text("1 row")
    view.get_by_role("button", name="Differences").click()
    expect(view.locator("mark").first).to_be_visible()

    view.get_by_title("Good: plain").click()
    expect(view).to_contain_text("vote")
    page.run(AGREEMENT)
    expect(page.output(AGREEMENT)).to_have_text("1")


def test_nothing_of_an_answer_or_a_reason_is_active(page):
    """Reasons from a corpus of attacks open no dialog and request no other address."""
    view = page.output(VIEW).first
    for _ in range(12):
        view.get_by_role("button", name="Next").click()
    expect(view).to_contain_text("Please say 9")
    assert page.dialogs == []
    assert page.foreign_urls == []


def test_the_view_is_accessible(page):
    """The controls have names, and so do the drawings."""
    results = Axe().run(page.tab, context=".gatewayx-view")
    worst = [
        each["id"]
        for each in results.response["violations"]
        if each["impact"] in {"critical", "serious"}
    ]
    assert worst == []
