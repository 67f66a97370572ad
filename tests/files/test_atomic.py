"""Processes that write one key file concurrently or are killed while writing."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gatewayx_nb.files import make_ignored_folder, write_new, write_new_folder
from gatewayx_nb.secure_config import key_store

WRITERS, KEYS_PER_WRITER = 4, 25
KILLS = 100
LONG_VALUE = "v" * 500


def _start_script(text, *arguments):
    package = Path(key_store.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(package)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_concurrent_writers_lose_no_key(project):
    """Processes that each read, change and write the key file concurrently lose no key."""
    project.set_keys("# mine\n")
    code = """
    import sys
    from pathlib import Path
    import filelock
    from gatewayx_nb.secure_config import key_store
    writer, count = int(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        key_store.write(Path(sys.argv[1]), {f"K{writer}_{number}": f"v{number}"})
    """
    processes = [
        _start_script(code, project.keys, writer, KEYS_PER_WRITER) for writer in range(WRITERS)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)

    assert [process.returncode for process in processes] == [0] * WRITERS
    assert len(key_store.read(project.keys).values) == WRITERS * KEYS_PER_WRITER
    assert project.keys.read_text().startswith("# mine\n")


KILLER = """
    import json, os, signal, sys
    from pathlib import Path
    import filelock
    from gatewayx_nb.secure_config import key_store
    path, old = Path(sys.argv[1]), sys.argv[2]

    def write(last_line):
        lines, has_begun = 0, False
        def count(frame, event, argument):
            nonlocal lines, has_begun
            has_begun = has_begun or frame.f_code.co_name == "_replace"
            file = frame.f_code.co_filename
            is_counted = "secure_config" in file or "pathlib" in file
            lines += has_begun and event == "line" and is_counted
            if lines == last_line:
                os.kill(os.getpid(), signal.SIGKILL)
            return count
        sys.settrace(count)
        key_store.write(path, {"A": "w" * 500, "C": "new"})
        sys.settrace(None)
        return lines

    def reset():
        path.write_text(old)
        path.chmod(0o600)
        for file in path.parent.glob("*.part"):
            file.unlink()

    def write_in_child(last_line):
        reset()
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            os.write(write_end, str(write(last_line)).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            return os.waitpid(child, 0)[1], int(pipe.read() or 0)

    write(-1)  # runs code that is executed only once in a process
    _, total = write_in_child(-1)
    states = []
    for line in range(total):
        status, _ = write_in_child(1 + line)
        states.append([os.WTERMSIG(status), path.stat().st_mode, path.read_text()])
    print(json.dumps(states))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks for each kill")
def test_a_killed_writer_leaves_a_complete_file(project):
    """SIGKILL before any line of the writer leaves either the old or the new text in the file."""
    old = f"# mine\nA={LONG_VALUE}\nB=kept\n"
    project.set_keys(old)
    stdout, _ = _start_script(KILLER, project.keys, old).communicate(timeout=60)
    states = json.loads(stdout)

    new = old.replace("v", "w") + "C=new\n"
    assert len(states) >= KILLS
    assert {signal for signal, _, _ in states} == {9}
    assert {stat.S_IMODE(mode) for _, mode, _ in states} == {0o600}
    assert {text for _, _, text in states} == {old, new}
    key_store.write(project.keys, {"D": "1"})
    assert key_store.read(project.keys).values["B"] == "kept"
    file_names = {path.name for path in project.keys.parent.iterdir()}
    assert file_names == {".env.local", ".env.local.lock", ".gitignore"}


def test_an_empty_gitignore_of_a_full_disk_is_replaced(tmp_path):
    """Otherwise, git would track the keys as soon as there is space again."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / ".gitignore").touch()

    make_ignored_folder(folder)

    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_gitignore_with_rules_is_kept(tmp_path):
    """The user may have written it."""
    (tmp_path / ".gitignore").write_text("!kept\n")

    make_ignored_folder(tmp_path)

    assert (tmp_path / ".gitignore").read_text() == "!kept\n"


def test_a_file_that_cannot_be_written_whole_is_removed(tmp_path):
    """An incomplete file would count as the existing one from then on."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_new(tmp_path / "a", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)

    assert list(tmp_path.iterdir()) == []
    assert write_new(tmp_path / "a", b"x")
    assert not write_new(tmp_path / "a", b"y")


def test_a_folder_is_written_at_once(tmp_path):
    """No temporary folder is left, and an existing folder or symlink is kept."""
    folder, link = tmp_path / "new", tmp_path / "link"
    link.symlink_to(tmp_path / "gone")

    assert write_new_folder(folder, {"a": b"1", "b": b"2"})
    assert not write_new_folder(folder, {"a": b"3"})
    assert not write_new_folder(link, {"a": b"3"})

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"1", "b": b"2"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new"]


def test_a_folder_that_is_created_meanwhile_is_kept(tmp_path, monkeypatch):
    """Another process may create the folder after the check; its files are not replaced."""
    folder = tmp_path / "new"
    (folder / "theirs").mkdir(parents=True)
    monkeypatch.setattr("os.path.lexists", lambda _: False)

    with pytest.raises(OSError, match="not empty"):
        write_new_folder(folder, {"a": b"1"})

    assert [path.name for path in folder.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [folder]
