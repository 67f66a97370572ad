"""Processes that write one key file concurrently or are killed while writing."""

import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gatewayx_nb.secure_config import key_store

WRITERS, EACH = 4, 25
KILLS = 100
LONG = "v" * 500


def _script(text, *arguments):
    package = Path(key_store.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(package)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_several_processes_write_at_once_is_all_there(project):
    """Concurrent read-modify-write cycles of several processes lose no key."""
    project.set_keys("# mine\n")
    code = """
    import sys
    from pathlib import Path
    import filelock
    from gatewayx_nb.secure_config import key_store
    writer, each = int(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(each):
        key_store.write(Path(sys.argv[1]), {f"K{writer}_{number}": f"v{number}"})
    """
    processes = [_script(code, project.keys, writer, EACH) for writer in range(WRITERS)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)

    assert [process.returncode for process in processes] == [0] * WRITERS
    assert len(key_store.read(project.keys).values) == WRITERS * EACH
    assert project.keys.read_text().startswith("# mine\n")


KILLED = """
    import json, os, signal, sys
    from pathlib import Path
    import filelock
    from gatewayx_nb.secure_config import key_store
    path, old = Path(sys.argv[1]), sys.argv[2]

    def write(last):
        lines, begun = 0, False
        def count(frame, event, argument):
            nonlocal lines, begun
            begun = begun or frame.f_code.co_name == "_replace"
            file = frame.f_code.co_filename
            lines += begun and event == "line" and ("secure_config" in file or "pathlib" in file)
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return count
        sys.settrace(count)
        key_store.write(path, {"A": "w" * 500, "C": "new"})
        sys.settrace(None)
        return lines

    def start():
        path.write_text(old)
        path.chmod(0o600)
        for part in path.parent.glob("*.part"):
            part.unlink()

    def in_child(last):
        start()
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, str(write(last)).encode())
            os._exit(0)
        os.close(tell)
        with os.fdopen(told) as pipe:
            return os.waitpid(child, 0)[1], int(pipe.read() or 0)

    write(-1)  # what is run once in a process
    _, total = in_child(-1)
    seen = []
    for kill in range(total):
        status, _ = in_child(1 + kill)
        seen.append([os.WTERMSIG(status), path.stat().st_mode, path.read_text()])
    print(json.dumps(seen))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks for each kill")
def test_a_writer_killed_at_any_line_leaves_a_whole_file(project):
    """SIGKILL before any line of the writer leaves the old or the new text, never a part."""
    old = f"# mine\nA={LONG}\nB=kept\n"
    project.set_keys(old)
    out, _ = _script(KILLED, project.keys, old).communicate(timeout=60)
    states = json.loads(out)

    new = old.replace("v", "w") + "C=new\n"
    assert len(states) >= KILLS
    assert {signal for signal, _, _ in states} == {9}
    assert {stat.S_IMODE(mode) for _, mode, _ in states} == {0o600}
    assert {text for _, _, text in states} == {old, new}
    key_store.write(project.keys, {"D": "1"})
    assert key_store.read(project.keys).values["B"] == "kept"
    left = {path.name for path in project.keys.parent.iterdir()}
    assert left == {".env.local", ".env.local.lock", ".gitignore"}
