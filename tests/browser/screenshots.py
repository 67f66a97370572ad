"""Take the README's screenshot: the comparison view in JupyterLab, with real answers.

python -m tests.browser.screenshots PICTURE    # answers of `local` and `mock`
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

import gatewayx_nb
from tests.browser.lab import WAIT, Lab, Page, chromium
from tests.conftest import Project

CELLS = [
    "%load_ext gatewayx_nb",
    "%gatewayx compare local mock",
]
PROMPT = "What is the capital of France? Answer in one sentence."


def main(picture: Path) -> None:
    """Send the prompt, vote, and take the screenshot."""
    with tempfile.TemporaryDirectory() as temporary_folder:
        folder = Path(temporary_folder)
        (folder / "home").mkdir()
        model = str(gatewayx_nb.pull("smollm2"))
        lab = Lab(Project(folder / "project").root, folder / "home", GATEWAYX_LOCAL_MODEL=model)
        with lab, chromium() as browser:
            page = Page(browser, lab, CELLS)
            page.run(0)
            page.run(1)
            view = page.cell(1).locator(".gatewayx-view")
            view.get_by_label("Prompt").fill(PROMPT)
            view.get_by_role("button", name="Run", exact=True).click()
            expect(view.get_by_title("Better: local")).to_be_visible(timeout=WAIT)
            view.get_by_title("Better: local").click()
            expect(view.locator("table")).to_be_visible()
            page.command("application:toggle-left-area")
            picture.parent.mkdir(parents=True, exist_ok=True)
            page.cell(1).screenshot(path=picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print(f"Wrote {sys.argv[1]}")  # noqa: T201 - output of the script
