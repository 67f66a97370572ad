"""Renews the outputs of the notebooks and the cassettes they are replayed from.

    python notebooks/record.py [--live] [NOTEBOOK …]

A notebook with a cassette runs twice. First the models are called, on this machine, and recorded;
then the replies are replayed, and these outputs are saved, as the notebook test will see them.
A reply that has not changed keeps its seconds and its date, which keeps the diff small. With
``--live`` each notebook runs once, ignoring its cassette, and nothing is saved.
"""

import copy
import sys
import tempfile
from pathlib import Path

import nbformat
from bare import environment
from nbclient import NotebookClient

from gatewayx_nb.cassettes import tape
from gatewayx_nb.weights import locate

FOLDER = Path(__file__).parent


def main(words: list[str]) -> None:
    """Renew the named notebooks, or all of them; with ``--live`` only run them."""
    live = "--live" in words
    names = [word for word in words if word != "--live"]
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        print(f"== {path.name}", flush=True)
        if live:
            run(path, "off")
        else:
            _renew(path)


def run(path: Path, mode: str) -> nbformat.NotebookNode:
    """Run a notebook without keys, with its cassette in this mode; return it with its outputs.

    Raises:
        CellExecutionError: If a cell fails that should not.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = copy.deepcopy(notebook.metadata)
    with tempfile.TemporaryDirectory() as home:
        NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,  # running a notebook again must produce the same bytes
            coalesce_streams=True,  # independent of how the output was split
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(env=_with_weights(Path(home)) | {"GATEWAYX_CASSETTE_MODE": mode})
    notebook.metadata = metadata  # not the versions of the machine that ran it
    _forget_widgets(notebook)
    return notebook


def _forget_widgets(notebook: nbformat.NotebookNode) -> None:
    """Remove the widget ids, which differ in each kernel."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)


def _renew(path: Path) -> None:
    cassette = path.parent / "cassettes" / f"{path.stem}.jsonl"
    if f"%gatewayx cassette cassettes/{cassette.name}" in path.read_text(encoding="utf-8"):
        before = tape.read(cassette).lines if cassette.exists() else ()
        cassette.unlink(missing_ok=True)
        run(path, "record")
        _settle(cassette, before)
    nbformat.write(run(path, "replay"), path)


def _settle(cassette: Path, before: tuple[tape.TapeLine, ...]) -> None:
    """Restore the old lines of unchanged entries, and the old order."""
    known = {_said(line): place for place, line in enumerate(before)}
    head, *_ = cassette.read_bytes().splitlines()
    placed = [(known.get(_said(line)), line) for line in tape.read(cassette).lines]
    kept = [
        before[place].data for place in sorted(place for place, _ in placed if place is not None)
    ]
    fresh = [line.data for place, line in placed if place is None]
    cassette.write_bytes(b"".join(line + b"\n" for line in (head, *kept, *fresh)))


def _said(line: tape.TapeLine) -> tuple[object, ...]:
    """Return the request and the reply, without date and timing."""
    entry = line.entry
    reason = entry.reply and entry.reply.finish_reason
    asked = (entry.request.digest, entry.reference, entry.engine, entry.model, entry.repeat)
    return (*asked, entry.text, entry.reasoning, reason)


def _with_weights(home: Path) -> dict[str, str]:
    """Return the environment of a process with this home and the local model's weights."""
    weights = locate()
    env = environment(home)
    return env | ({"XDG_CACHE_HOME": str(weights.parents[2])} if weights else {})


if __name__ == "__main__":
    main(sys.argv[1:])
