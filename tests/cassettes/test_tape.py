"""The cassette file: one-line errors for invalid files, and no loss of acknowledged entries."""

import os
import subprocess
import sys

import pytest

from gatewayx_nb.cassettes import CassetteEntry, RequestBody, tape
from gatewayx_nb.cassettes.entry import RecordedChunk, RecordedMessage, encode
from gatewayx_nb.errors import ConfigError

HEAD = '{"format":"gatewayx-cassette","version":1}\n'


def entry(prompt="Hi", text="Hello.", **more):
    """Return an entry."""
    body = RequestBody(messages=(RecordedMessage("user", prompt),))
    return CassetteEntry(
        "2026-01-01T00:00:00Z", "e", "", body, chunks=(RecordedChunk(0.1, text),), **more
    )


def line(*args, **more):
    """Return the line of an entry."""
    return encode(entry(*args, **more)).decode()


@pytest.fixture
def path(tmp_path):
    """Return the path of a cassette that does not exist yet."""
    return tmp_path / "cassettes" / "a.jsonl"


@pytest.fixture
def written(path):
    """Return a function that writes a file and reads it."""
    path.parent.mkdir()

    def read(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tape.read(path)

    return read


def prompts(content):
    """Return the prompts of the entries read."""
    return [one.entry.request.prompt for one in content.lines]


def test_lines_are_added_below_a_head(path):
    """Entries are appended below a header line; working files are in a folder that git ignores."""
    tape.append(path, line("one").encode())
    tape.append(path, line("two").encode())

    assert path.read_text() == f"{HEAD}{line('one')}\n{line('two')}\n"
    assert prompts(tape.read(path)) == ["one", "two"]
    assert {one.name for one in path.parent.iterdir()} == {"a.jsonl", ".gatewayx"}
    assert (path.parent / ".gatewayx" / ".gitignore").read_text() == "*\n"


def test_a_line_is_replaced_in_its_place(path):
    """Replacing an entry changes only its line and keeps the file's permissions.

    An entry whose line is gone is appended.
    """
    for prompt in ("one", "two", "three"):
        tape.append(path, line(prompt).encode())
    path.chmod(0o640)
    tape.append(path, line("two", "new").encode(), line("two").encode())
    tape.append(path, line("four").encode(), b"not there")

    assert path.read_text().splitlines()[1:] == [
        line("one"), line("two", "new"), line("three"), line("four"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_incomplete_line_is_set_aside(written, path):
    """An incomplete line is skipped with a warning; the next entry starts on a new line."""
    content = written(f"{HEAD}{line('one')}\n{line('two')[:40]}")
    tape.append(path, line("three").encode())

    assert prompts(content) == ["one"]
    assert "is incomplete and was skipped" in content.problem
    assert prompts(tape.read(path)) == ["one", "three"]
    assert (path.parent / ".gatewayx" / "a.jsonl.cut").read_text() == line("two")[:40]


def test_a_last_line_without_a_newline_counts(written, path):
    """A last line without a newline is read as an entry, because editors may write it."""
    content = written(f"{HEAD}{line('one')}")
    tape.append(path, line("two").encode())

    assert (prompts(content), content.problem) == (["one"], "")
    assert prompts(tape.read(path)) == ["one", "two"]


@pytest.mark.parametrize("content", ["", "\n", HEAD, HEAD.strip(), f"\ufeff{HEAD}\r\n"])
def test_an_empty_file_is_a_cassette(written, content):
    """An empty file is a valid cassette, with and without its header line."""
    assert written(content).lines == ()


def test_windows_line_endings_are_read(written, path):
    """Lines that git converted to CRLF are read, and are found again when they are replaced."""
    content = written(f"{HEAD}{line('one')}\n{line('two')}\n".replace("\n", "\r\n"))
    tape.append(path, line("one", "new").encode(), content.lines[0].data)

    assert prompts(content) == ["one", "two"]
    assert [one.entry.text for one in tape.read(path).lines] == ["new", "Hello."]


CONFLICT = (
    f"{HEAD}{line('one')}\n<<<<<<< HEAD\n{line('two')}\n=======\n{line('three')}\n>>>>>>> x\n"
)


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (CONFLICT, "a merge conflict marker in line 3", "sed -i"),
        ("hello\n", "is not a cassette", "was not changed"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not a cassette", "was not changed"),
        ('{"version":1}\n', "is not a cassette", "was not changed"),
        (
            '{"format":"gatewayx-cassette","version":2}\n{}',
            "format version of at most 1, got 2",
            "pip install",
        ),
        (f"{HEAD}{line('one')}\n{{}}\n{line()}\n", "Line 3 of the cassette", "sed -i 3d"),
        (f"{HEAD}oops\n", "Line 2 of the cassette", "sed -i 2d"),
        (HEAD.encode() + b"[" * 100_000 + b"\n", "Line 2 of the cassette", "sed -i 2d"),
        (HEAD.encode() + b'{"recorded":"\xff"}\n', "Line 2 of the cassette", "sed -i 2d"),
    ],
)
def test_an_invalid_file_raises_an_error_with_a_hint(written, content, message, hint):
    """An invalid file raises a one-line error with the command that fixes it, and is unchanged."""
    with pytest.raises(ConfigError) as refused:
        written(content)

    assert message in refused.value.message
    assert hint in str(refused.value.hint)
    assert "\n" not in str(refused.value)


def test_the_command_for_a_conflict_keeps_both_sides(written, path):
    """The command for a merge conflict works as printed and keeps both sides."""
    with pytest.raises(ConfigError) as refused:
        written(CONFLICT)
    subprocess.run(str(refused.value.hint).split("`")[1], shell=True, check=True)

    assert prompts(tape.read(path)) == ["one", "two", "three"]


def test_a_path_that_is_not_a_file_raises_an_error(tmp_path):
    """A folder, a missing file and a pipe, which would block a read, raise an error."""
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        (".", "must be a file, got the folder"),
        ("none", "does not exist"),
        ("pipe", "is not a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            tape.read(tmp_path / name)


def test_a_huge_file_is_not_read(path):
    """A file above the size limit is refused unread; the test uses a sparse file of a terabyte."""
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(ConfigError, match="at most 256 MiB, got 1048576 MiB"):
        tape.read(path)


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path):
    """If the parent of the cassette is a file, the error says what to do."""
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        tape.append(tmp_path / "f" / "a.jsonl", b"{}")


WRITER = """
import json, sys
from pathlib import Path
from gatewayx_nb.cassettes import tape
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(count):
    entry = {
        "recorded": "", "engine": "e", "model": "", "chunks": [[0.0, "word " * 3000]],
        "request": {"messages": [{"role": "user", "content": f"{name} {number}"}]},
    }
    tape.append(path, json.dumps(entry).encode())
    print(number, flush=True)
"""


def test_two_kernels_lose_nothing(path):
    """Two processes that write at once lose no entry."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, "40"], stdout=subprocess.PIPE) for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=60)

    assert sorted(prompts(tape.read(path))) == sorted(
        f"{name} {number}" for name in "ab" for number in range(40)
    )


KILLED = """
import os, sys, time, random
from pathlib import Path
from gatewayx_nb.cassettes import tape
import filelock
path = Path(sys.argv[1])
source = sys.stdin.read()
for turn in range(100):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        sys.argv[1:] = [str(path), f"turn {turn}", "1000"]
        os.dup2(write, 1)
        exec(source, {})
    os.close(write)
    wanted = random.Random(turn).randrange(1, 4)
    output = b""
    while output.count(b"\\n") < wanted and (more := os.read(read, 100)):
        output += more
    time.sleep(random.Random(turn).random() / 200)
    os.kill(child, 9)
    os.waitpid(child, 0)
    while more := os.read(read, 100):
        output += more
    os.close(read)
    print(output.count(b"\\n"), flush=True)
"""


def test_a_hundred_kills_lose_nothing_that_was_acknowledged(path):
    """SIGKILL during writes loses no acknowledged entry, and the file always loads."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        input=WRITER, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    acknowledged = [
        f"turn {turn} {number}"
        for turn, count in enumerate(map(int, done.stdout.split()))
        for number in range(count)
    ]

    assert len(done.stdout.split()) == 100
    assert set(acknowledged) <= set(prompts(tape.read(path)))
