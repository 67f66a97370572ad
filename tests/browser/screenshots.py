"""Take pictures of everything that a notebook shows, in light and dark, wide and narrow.

python -m tests.browser.screenshots build/pictures           # all of them, for people to look at
python -m tests.browser.screenshots --readme FOLDER          # the README's, with real answers
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

import gatewayx_nb
from tests.browser.lab import WAIT, Lab, Page, chromium
from tests.conftest import Project

README_CELLS = [
    "%load_ext gatewayx_nb",
    "%%gatewayx local -t 0\nExplain recursion to a beginner, with an example in Python.",
    "%gatewayx compare local mock",
]
HALF_OF_THE_ANSWER = "return n * factorial"
"""Words in the middle of the answer, after which it is pictured."""

PROMPT = "What is the capital of France? Answer in one sentence."

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTHS = (1400, 640)

SAMPLE = (Path(__file__).parent / "sample_answer.md").read_text()

LOOKS = {
    "answer": "%%gatewayx sample\nExplain the Fibonacci numbers.",
    "overview": "%gatewayx",
    "status": "%gatewayx status",
    "status-engine": "%gatewayx status grok",
    "status-python": "import gatewayx_nb as gx\ngx.status()",
    "models": "%gatewayx models",
    "keys": "%gatewayx keys",
    "help": "%gatewayx help",
    "help-command": "%gatewayx help chat",
    "cell-help": "%%gatewayx -h",
    "line": "%gatewayx mock Say hello to the world",
    "columns": "%%gatewayx sample mock priced\nExplain the Fibonacci numbers.",
    "error": "%%gatewayx mock -p error=rate_limit\nHi",
    "failing": "def mean(values):\n    return sum(values) / len(value)\n\nmean([1, 2])",
    "explain": "%gatewayx explain sample",
    "code": "%%gatewayx sample -f code\nWrite the function.",
    "dry-run": "%%gatewayx priced --dry-run\nWhy is the sky blue?",
    "usage": "%gatewayx usage",
    "history": "%gatewayx history",
    "health": "%gatewayx health",
    "security": "%gatewayx security",
    "map": "gx.map(['good', 'bad'], 'Classify: {{input}}', 'priced')",
    "map-failed": "gx.map(['a'], 'Classify: {{input}}', 'mock', params={'fail': 400})",
    "jobs": "%gatewayx jobs",
    "picker": "gx.picker(['mock'])",
    "view": "%gatewayx compare sample mock",
}
"""The cells by the name of their picture."""

_MARKDOWN_ENGINE = """\
    features = frozenset({{"system", "history", "images"}})

    async def stream(self, request):
        yield Chunk({text!r})
        yield Chunk("", finish_reason="stop", usage=Usage(1200, 345))
"""
PRICED_ENGINE = """\
    async def stream(self, request):
        yield Chunk("The sky is blue because air scatters blue light more than red.")
        yield Chunk("", finish_reason="stop", usage=Usage(1234, 56))

    def get_cost_per_token(self):
        return 0.0000021
"""


def readme(pictures: Path) -> None:
    """Take a picture of half of an answer, and one of a comparison with a vote."""
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary_folder:
        folder = Path(temporary_folder)
        (folder / "home").mkdir()
        cache = gatewayx_nb.pull("smollm2").parents[2]  # where the kernel finds the model by name
        lab = Lab(Project(folder / "project").root, folder / "home", XDG_CACHE_HOME=str(cache))
        with lab, chromium() as browser:
            page = Page(browser, lab, README_CELLS)
            page.command("application:toggle-left-area")
            page.run(0)
            page.start(1)
            expect(page.output(1)).to_contain_text(HALF_OF_THE_ANSWER)
            _picture(page, 1, pictures / "stream.png")
            page.wait_for_end(1)
            page.run(2)
            _set_temperature(page.cell(2), "0")  # the same answer each time
            _use_view(page.cell(2), PROMPT, "local")
            _picture(page, 2, pictures / "compare.png")


def _picture(page: Page, index: int, path: Path) -> None:
    """Take a picture of a cell without the line that separates it from the next one."""
    cell = page.cell(index)
    cell.scroll_into_view_if_needed()
    box = cell.bounding_box()
    page.tab.screenshot(path=path, clip={**box, "height": box["height"] - 2})


def _set_temperature(view, value: str) -> None:
    """Set the temperature of a comparison view, whose parameters are folded."""
    parameters = view.get_by_text("Parameters, inputs, images")
    parameters.click()
    view.get_by_label("Temperature").fill(value)
    parameters.click()


def gallery(folder: Path, names: list[str]) -> None:
    """Take the named pictures, or all, in each theme and width."""
    cells = {name: LOOKS[name] for name in names} or LOOKS
    with tempfile.TemporaryDirectory() as temporary_folder:
        home = Path(temporary_folder) / "home"
        home.mkdir()
        lab = Lab(_project(Path(temporary_folder) / "project"), home)
        with lab, chromium() as browser:
            page = Page(
                browser, lab, ["%load_ext gatewayx_nb\nimport gatewayx_nb as gx", *cells.values()]
            )
            page.command("application:toggle-left-area")
            for index in range(len(cells) + 1):
                page.run(index)
            for index, name in enumerate(cells, 1):
                if name == "view":
                    _use_view(page.cell(index), "Explain the Fibonacci numbers.", "sample")
                    page.cell(index).get_by_role("button", name="As code").click()
                    page.cell(index).get_by_role("button", name="Save").click()
            folder.mkdir(parents=True, exist_ok=True)
            for theme, title in THEMES.items():
                page.command("apputils:change-theme", theme=title)
                for width in WIDTHS:
                    page.tab.set_viewport_size({"width": width, "height": 3000})
                    page.tab.wait_for_timeout(1500)  # fonts and mathematics
                    for index, name in enumerate(cells, 1):
                        path = folder / f"{name}-{theme}-{width}.png"
                        page.cell(index).screenshot(path=path)


def _project(root: Path) -> Path:
    """Write a project with engines in several states."""
    project = Project(root)
    keys = ["GROK_API_KEY=xai-0123456789abcdef", "OPENAI_API_KEY=your_openai_key_here"]
    project.set_keys("".join(f"GATEWAYX_{key}\n" for key in keys))
    for name, body in {"sample": _MARKDOWN_ENGINE, "priced": PRICED_ENGINE}.items():
        file = project.engine(name, body=body.format(text=SAMPLE) if name == "sample" else body)
        file.write_text(f"from gatewayx_nb.llm_engines import Chunk, Usage\n{file.read_text()}")
    (project.engines / "broken_engine.py").write_text("import a_package_that_is_missing\n")
    return project.root


def _use_view(view, prompt: str, better: str) -> None:
    """Run a comparison view and vote."""
    view.get_by_label("Prompt").fill(prompt)
    view.get_by_role("button", name="Run", exact=True).click()
    expect(view.get_by_title(f"Better: {better}")).to_be_visible(timeout=WAIT)
    view.get_by_title(f"Better: {better}").click()
    expect(view.locator(".gatewayx-table").first).to_be_visible()


def main(arguments: list[str]) -> None:
    """Take the pictures that the command line names."""
    if arguments[0] == "--readme":
        readme(Path(arguments[1]))
    else:
        gallery(Path(arguments[0]), arguments[1:])
    print(f"Wrote {arguments[-1]}")  # noqa: T201 - output of the script


if __name__ == "__main__":
    main(sys.argv[1:])
