"""Renews the cassettes and the outputs of notebooks that have a cassette.

    python notebooks/record.py [--live] [NOTEBOOK …]

Each runs twice: first the models are asked, on this machine, and recorded; then the answers are
played back, and these outputs are kept, as the test of the notebooks will see them. With ``--live``
each runs once, past its cassette, and nothing is kept.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
_OPENS = "%gatewayx cassette"


def main(words: list[str]) -> None:
    """Renew these notebooks, or all that open a cassette; or only run them."""
    live = "--live" in words
    names = [word for word in words if word != "--live"]
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if not any(_OPENS in cell.source for cell in notebook.cells):
            continue
        print(f"== {path.name}", flush=True)
        if live:
            _run(notebook, path, "off")
            continue
        (path.parent / "cassettes" / f"{path.stem}.jsonl").unlink(missing_ok=True)
        for mode in ("record", "replay"):
            _run(notebook, path, mode)
        nbformat.write(notebook, path)


def _run(notebook: nbformat.NotebookNode, path: Path, mode: str) -> None:
    os.environ["GATEWAYX_CASSETTE_MODE"] = mode
    NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,  # a notebook that runs again must be the same bytes
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()


if __name__ == "__main__":
    main(sys.argv[1:])
