"""The example notebooks: their outputs are the ones in their cassettes, on any machine.

nbval compares the notebooks (`make test`); these tests check its preconditions.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.cassettes import tape

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))

OUTSIDE = "192.0.2.1"  # never assigned: RFC 5737

PROBE = f"""
import json, os, socket
from pathlib import Path
from gatewayx_nb.weights import locate

def reach(address):
    try:
        socket.create_connection(address, 1)
    except OSError as error:
        return error.strerror
    return ""

with socket.create_server(("127.0.0.1", 0)) as server:
    here = reach(server.getsockname())
print(json.dumps([
    [name for name in os.environ if "KEY" in name or name.startswith("GATEWAYX_")],
    [path.name for path in Path.home().iterdir()],
    locate() is not None,
    here,
    reach(("{OUTSIDE}", 9)),
]))
"""


@pytest.fixture(scope="module")
def scripts():
    """Return the modules `bare` and `record` from the notebooks folder."""
    sys.path.insert(0, str(FOLDER))
    try:
        import bare
        import record
    finally:
        sys.path.remove(str(FOLDER))
    return bare, record


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_is_reported_and_compared(name):
    """Every output is compared, and the README links to each notebook."""
    cells = nbformat.read(FOLDER / name, as_version=4).cells
    tags = {tag for cell in cells for tag in cell.metadata.get("tags", ())}

    assert tags <= {"raises-exception"}
    assert cells[0].source.startswith("# ")
    assert f"](notebooks/{name})" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["03_side_by_side", "08_keys_and_safety"])
def test_a_notebook_that_runs_again_has_the_same_bytes(scripts, name, tmp_path):
    """Rerun in another folder without weights and keys, a notebook has the committed bytes."""
    _, record = scripts
    shutil.copytree(FOLDER / "cassettes", tmp_path / "cassettes")
    path = shutil.copy(FOLDER / f"{name}.ipynb", tmp_path)

    nbformat.write(record.run(Path(path), "replay"), path)

    assert Path(path).read_bytes() == (FOLDER / f"{name}.ipynb").read_bytes()


def test_an_unchanged_reply_keeps_its_date_and_place(scripts, tmp_path):
    """Renewing a cassette changes only replies that differ, to keep the diff small."""
    _, record = scripts
    path = tmp_path / "a.jsonl"

    def renew(*prompts):
        path.unlink(missing_ok=True)
        with EnginePool() as pool, pool.cassette(path, "record"):
            for prompt in prompts:
                pool.ask(prompt, model="mock")

    renew("one", "two", "two", "three")
    before = path.read_bytes().replace(b"[mock] three", b"[mock] thirty")
    path.write_bytes(before)
    held = tape.read(path).lines
    renew("three", "two", "four", "one", "two")
    record._restore_unchanged(path, held)

    *same, old = before.splitlines()
    after = path.read_bytes().splitlines()
    assert b"thirty" in old
    assert after[:4] == same
    assert [json.loads(line)["chunks"][0][1] for line in after[4:]] == [
        "[mock] three",
        "[mock] four",
    ]


@pytest.fixture
def found(scripts, monkeypatch):
    """Return what a bare command finds: keys, home, weights, loopback and network."""
    monkeypatch.setenv("GATEWAYX_GROK_API_KEY", "made-up-key-0123456789")
    monkeypatch.setenv("XAI_API_KEY", "made-up-key-0123456789")
    command = [sys.executable, scripts[0].__file__, sys.executable, "-c", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_bare_command_finds_nothing(found):
    """A bare command finds no key, setting, home file or weights, only the loopback interface."""
    assert found[:4] == [[], [], False, ""]


def test_a_bare_command_has_no_network(scripts, found):
    """A bare command has no network, or says that the system allows no namespace."""
    refused = scripts[0].why_not_isolated()
    if refused:
        pytest.skip(f"namespaces are refused here: {refused}")

    assert found[4] == "Network is unreachable"
