"""The example notebooks: replaying their cassettes yields the committed outputs.

nbval compares the outputs (`make test`); these tests check its preconditions.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.cassettes import cassette_lines

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))

UNREACHABLE_ADDRESS = "192.0.2.1"  # never assigned: RFC 5737

PROBE = f"""
import json, os, socket
from pathlib import Path
from gatewayx_nb.weights import locate

def connect(address):
    try:
        socket.create_connection(address, 1)
    except OSError as error:
        return error.strerror
    return ""

with socket.create_server(("127.0.0.1", 0)) as server:
    loopback_error = connect(server.getsockname())
print(json.dumps([
    [name for name in os.environ if "KEY" in name or name.startswith("GATEWAYX_")],
    [path.name for path in Path.home().iterdir()],
    locate() is not None,
    loopback_error,
    connect(("{UNREACHABLE_ADDRESS}", 9)),
]))
"""


@pytest.fixture(scope="module")
def scripts():
    """Return the modules `bare` and `record` from the notebooks folder."""
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        import bare
        import record
    finally:
        sys.path.remove(str(NOTEBOOKS))
    return bare, record


@pytest.mark.parametrize("name", NAMES)
def test_every_output_of_a_notebook_is_compared(name):
    """No cell is excluded from nbval's comparison, and the README links to the notebook."""
    cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    tags = {tag for cell in cells for tag in cell.metadata.get("tags", ())}

    assert tags <= {"raises-exception"}
    assert cells[0].source.startswith("# ")
    assert f"](notebooks/{name})" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["03_side_by_side", "07_many_rows", "08_keys_and_safety"])
def test_a_rerun_notebook_has_the_same_bytes(scripts, name, tmp_path):
    """A notebook that is rerun in another folder, without weights and keys, is unchanged."""
    _, record = scripts
    shutil.copytree(NOTEBOOKS / "cassettes", tmp_path / "cassettes")
    path = shutil.copy(NOTEBOOKS / f"{name}.ipynb", tmp_path)

    nbformat.write(record.run(Path(path), "replay"), path)

    assert Path(path).read_bytes() == (NOTEBOOKS / f"{name}.ipynb").read_bytes()


def test_renewing_a_cassette_keeps_unchanged_lines(scripts, tmp_path):
    """Renewing a cassette keeps the lines of unchanged replies, in the order of the calls."""
    _, record = scripts
    path = tmp_path / "a.jsonl"

    def renew(*prompts):
        path.unlink(missing_ok=True)
        with EnginePool() as pool, pool.cassette(path, "record"):
            for prompt in prompts:
                pool.ask(prompt, model="mock")

    renew("one", "two", "two", "three")
    old_content = path.read_bytes().replace(b"[mock] three", b"[mock] thirty")
    path.write_bytes(old_content)
    old_lines = cassette_lines.read(path).lines
    renew("three", "two", "four", "one", "two")
    record._restore_unchanged(path, old_lines)

    new_lines = path.read_bytes().splitlines()[1:]
    one, two, again, _ = old_content.splitlines()[1:]
    assert [new_lines[1], new_lines[3], new_lines[4]] == [two, one, again]
    assert [json.loads(new_lines[n])["text"] for n in (0, 2)] == ["[mock] three", "[mock] four"]


@pytest.fixture
def probe_result(scripts, monkeypatch):
    """Return what a process under `bare` finds: variables, files, weights and two connections."""
    monkeypatch.setenv("GATEWAYX_GROK_API_KEY", "made-up-key-0123456789")
    monkeypatch.setenv("XAI_API_KEY", "made-up-key-0123456789")
    command = [sys.executable, scripts[0].__file__, sys.executable, "-c", PROBE]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(process.stdout.splitlines()[-1])


def test_a_bare_command_has_no_keys_files_or_weights(probe_result):
    """A process under `bare` has no keys, settings, home files or weights, but has loopback."""
    assert probe_result[:4] == [[], [], False, ""]


def test_a_bare_command_has_no_network(scripts, probe_result):
    """A process under `bare` has no network, if the system allows network namespaces."""
    reason = scripts[0].why_not_isolated()
    if reason:
        pytest.skip(f"namespaces are refused here: {reason}")

    assert probe_result[4] == "Network is unreachable"
