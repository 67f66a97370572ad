"""Updates the outputs of the notebooks, and the cassettes from which they are replayed.

    python notebooks/record.py [--live] [NOTEBOOK …]

A notebook with a cassette runs twice: first its calls to models on this machine are recorded, then
they are replayed, as in the notebook test, and these outputs are saved. A reply that has not
changed keeps its date and timing, so that the diff is small. With ``--live`` each notebook runs
once without its cassette, and nothing is saved.
"""

import copy
import sys
import tempfile
from pathlib import Path

import nbformat
from bare import environment
from nbclient import NotebookClient

from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.weights import locate

FOLDER = Path(__file__).parent


def main(words: list[str]) -> None:
    """Update the named notebooks, or all; with ``--live`` only run them."""
    live = "--live" in words
    names = [word for word in words if word != "--live"]
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(f"== {path.name}", flush=True)
        if live:
            run(path, "off")
        else:
            _update(path)


def run(path: Path, mode: str) -> nbformat.NotebookNode:
    """Run a notebook without keys, with its cassette in a mode, and return it with its outputs.

    Raises:
        CellExecutionError: If a cell raises an error that the notebook does not expect.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = copy.deepcopy(notebook.metadata)
    with tempfile.TemporaryDirectory() as home:
        NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,  # another run must produce the same bytes
            coalesce_streams=True,  # how the kernel splits output depends on timing
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(env=_with_weights(Path(home)) | {"GATEWAYX_CASSETTE_MODE": mode})
    notebook.metadata = metadata  # without the versions of this machine
    _remove_widget_ids(notebook)
    return notebook


def _remove_widget_ids(notebook: nbformat.NotebookNode) -> None:
    """Remove the widget ids, which differ in each kernel."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def _update(path: Path) -> None:
    cassette = path.parent / "cassettes" / f"{path.stem}.jsonl"
    if f"%gatewayx cassette cassettes/{cassette.name}" in path.read_text(encoding="utf-8"):
        before = cassette_lines.read(cassette).lines if cassette.exists() else ()
        cassette.unlink(missing_ok=True)
        run(path, "record")
        _restore_unchanged(cassette, before)
    nbformat.write(run(path, "replay"), path)


def _restore_unchanged(cassette: Path, before: tuple[cassette_lines.CassetteLine, ...]) -> None:
    """Restore the old lines of calls whose answer is the same."""
    known = {_call(line): line for line in before}
    lines = []
    for line in cassette_lines.read(cassette).lines:
        old = known.get(_call(line))
        is_same = old is not None and old.entry.has_same_answer(line.entry)
        lines.append(old.data if old is not None and is_same else line.data)
    head, *_ = cassette.read_bytes().splitlines()
    cassette.write_bytes(b"".join(line + b"\n" for line in (head, *lines)))


def _call(line: cassette_lines.CassetteLine) -> tuple[object, ...]:
    """Return what identifies the call of an entry."""
    entry = line.entry
    return entry.request.digest, entry.reference, entry.engine, entry.model, entry.repeat


def _with_weights(home: Path) -> dict[str, str]:
    """Return the environment of a process with this home and the local model's weights."""
    weights = locate()
    env = environment(home)
    # An answer that an earlier run of a map has stored must not be recorded as a new one.
    env["GATEWAYX_STORAGE"] = str(home)
    return env | ({"XDG_CACHE_HOME": str(weights.parents[2])} if weights else {})


if __name__ == "__main__":
    main(sys.argv[1:])
