"""Runs a notebook live, prints each cell with its answer, and saves an HTML copy.

    python notebooks/demo.py NOTEBOOK FOLDER

The cells that open the cassette are skipped, so the model is called. It runs on this machine and
needs no key. If its weights cannot be downloaded, `mock` replaces it, which repeats the prompt.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

import gatewayx_nb as gx
from gatewayx_nb.errors import GatewayError

_PULL = "%gatewayx pull"
_CASSETTE = "%gatewayx cassette"
_ABOUT_CASSETTE = "The answers that you see here"
_ON_MOCK = '[aliases]\nlocal = "mock"\n'


def main(notebook: Path, folder: Path) -> None:
    """Run a notebook and write its HTML copy to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = nbformat.read(notebook, as_version=4)
    skipped: tuple[str, ...] = (_CASSETTE, _ABOUT_CASSETTE)
    if not _download_weights(folder):
        skipped += (_PULL,)
    cells.cells = [cell for cell in cells.cells if not cell.source.startswith(skipped)]
    client = NotebookClient(
        cells,
        timeout=600,
        extra_arguments=["--log-level=ERROR"],  # hides warnings about the connection to the kernel
        resources={"metadata": {"path": str(notebook.parent)}},
        on_cell_executed=_print_cell,
    )
    started = time.monotonic()
    client.execute()
    copy = folder / notebook.with_suffix(".html").name
    html, _ = HTMLExporter().from_notebook_node(cells)
    copy.write_text(html, encoding="utf-8")
    print(f"\n== The notebook ran in {time.monotonic() - started:.1f} s. An HTML copy: {copy}")


def _download_weights(folder: Path) -> bool:
    """Download the local model; if that fails, create a project in which `local` is `mock`.

    Returns:
        Whether the download succeeded.
    """
    print("== Downloading the weights of the local model (98 MB, once)", flush=True)
    try:
        print(gx.pull("smollm2"))
    except GatewayError as error:
        print(f"The download failed: {error}\n== Running on mock instead.")
        settings = folder / "on_mock" / "config" / "gatewayx.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(_ON_MOCK, encoding="utf-8")
        os.environ["GATEWAYX_HOME"] = str(settings.parents[1].resolve())
        return False
    return True


def _print_cell(cell: nbformat.NotebookNode, **_: object) -> None:
    print("\n" + "\n".join(f"> {line}" for line in cell.source.splitlines()), flush=True)
    for output in cell.outputs:
        print(_text(output), flush=True)


def _text(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text).rstrip()
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return str(output.data.get("text/plain", ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
