"""The cassette file: errors for invalid files, and no loss of acknowledged entries."""

import os
import subprocess
import sys

import pytest

from gatewayx_nb.cassettes import CassetteEntry, RequestBody, cassette_lines
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.cassettes.request_body import RecordedMessage
from gatewayx_nb.errors import ConfigError

HEAD = '{"format":"gatewayx-cassette","version":2}\n'


def make_entry(prompt="Hi", text="Hello.", **fields):
    """Return a cassette entry."""
    body = RequestBody(messages=(RecordedMessage("user", prompt),))
    fields = {"recorded": "2026-01-01T00:00:00Z", **fields}
    return CassetteEntry(engine="e", request=body, text=text, **fields)


def make_line(*args, **fields):
    """Return an encoded cassette entry."""
    return encode(make_entry(*args, **fields)).decode()


@pytest.fixture
def path(tmp_path):
    """Return the path of a cassette that does not exist yet."""
    return tmp_path / "cassettes" / "a.jsonl"


@pytest.fixture
def write_and_read(path):
    """Return a function that writes a cassette file and reads it."""
    path.parent.mkdir()

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return cassette_lines.read(path)

    return write


def list_prompts(content):
    """Return the prompts of a cassette's entries."""
    return [line.entry.request.prompt for line in content.lines]


@pytest.mark.parametrize("name", ["a\0b.jsonl", "a" * 300, "\ud800.jsonl"], ids=ascii)
@pytest.mark.parametrize("mode", ["record", "replay", "auto"])
def test_a_name_that_no_file_can_have_is_one_error(project, name, mode):
    """A name that the file system rejects raises the package's error, in every mode."""
    with project.pool() as pool, pytest.raises(ConfigError, match="cannot have the name"):
        pool.cassette(name, mode)


def test_entries_are_appended_below_a_header(path):
    """Entries are appended below a header line; git ignores the folder of the lock file."""
    cassette_lines.append(path, make_line("one").encode())
    cassette_lines.append(path, make_line("two").encode())

    assert path.read_text() == f"{HEAD}{make_line('one')}\n{make_line('two')}\n"
    assert list_prompts(cassette_lines.read(path)) == ["one", "two"]
    assert {file.name for file in path.parent.iterdir()} == {"a.jsonl", ".gatewayx"}
    assert (path.parent / ".gatewayx" / ".gitignore").read_text() == "*\n"


def test_an_entry_is_replaced_in_its_line(path):
    """Replacing an entry changes only its line and not the permissions of the file.

    If the old line is not in the file, the new entry is appended. The new line is at the end of the
    file, and counts as if it were in its place, until the file is arranged.
    """
    for prompt in ("one", "two", "three"):
        cassette_lines.append(path, make_line(prompt).encode())
    path.chmod(0o640)
    cassette_lines.append(
        path,
        cassette_lines.replacement_line(
            make_line("two").encode(), make_line("two", "new").encode()
        ),
    )
    cassette_lines.append(
        path, cassette_lines.replacement_line(b"missing", make_line("four").encode())
    )
    texts = [line.entry.text for line in cassette_lines.read(path).lines]
    cassette_lines.arrange(path)

    assert texts == ["Hello.", "new", "Hello.", "Hello."]
    assert path.read_text().splitlines()[1:] == [
        make_line("one"), make_line("two", "new"), make_line("three"), make_line("four"),
    ]  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_incomplete_line_is_skipped(write_and_read, path):
    """An incomplete last line is skipped with a warning and moved to another file."""
    content = write_and_read(f"{HEAD}{make_line('one')}\n{make_line('two')[:40]}")
    cassette_lines.append(path, make_line("three").encode())

    assert list_prompts(content) == ["one"]
    assert "is incomplete and was skipped" in content.problem
    assert list_prompts(cassette_lines.read(path)) == ["one", "three"]
    assert (path.parent / ".gatewayx" / "a.jsonl.cut").read_text() == make_line("two")[:40]


def test_a_last_line_without_a_newline_is_read(write_and_read, path):
    """A last line without a newline is read, because some editors omit the newline."""
    content = write_and_read(f"{HEAD}{make_line('one')}")
    cassette_lines.append(path, make_line("two").encode())

    assert (list_prompts(content), content.problem) == (["one"], "")
    assert list_prompts(cassette_lines.read(path)) == ["one", "two"]


@pytest.mark.parametrize("content", ["", "\n", HEAD, HEAD.strip(), f"\ufeff{HEAD}\r\n"])
def test_an_empty_file_is_a_cassette(write_and_read, content):
    """A file without entries is a valid cassette, with and without its header line."""
    assert write_and_read(content).lines == ()


def test_windows_line_endings_are_read(write_and_read, path):
    """Lines that git converted to CRLF are read and can be replaced."""
    content = write_and_read(
        f"{HEAD}{make_line('one')}\n{make_line('two')}\n".replace("\n", "\r\n")
    )
    cassette_lines.append(
        path,
        cassette_lines.replacement_line(content.lines[0].data, make_line("one", "new").encode()),
    )

    assert list_prompts(content) == ["one", "two"]
    assert [line.entry.text for line in cassette_lines.read(path).lines] == ["new", "Hello."]


CONFLICT = (
    f"{HEAD}{make_line('one')}\n<<<<<<< HEAD\n{make_line('two')}\n=======\n"
    f"{make_line('three')}\n>>>>>>> x\n"
)


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (CONFLICT, "a merge conflict marker on line 3", "sed -i"),
        ("hello\n", "is not a cassette", "was not changed"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not a cassette", "was not changed"),
        ('{"version":1}\n', "is not a cassette", "was not changed"),
        (
            '{"format":"gatewayx-cassette","version":3}\n{}',
            "has format version 3, but",
            "pip install",
        ),
        (f"{HEAD}{make_line('one')}\n{{}}\n{make_line()}\n", "line 3 of the cassette", "sed -i 3d"),
        (f"{HEAD}oops\n", "line 2 of the cassette", "sed -i 2d"),
        (
            f'{HEAD}{make_line("one")}\n{{"format":"gatewayx-cassette"}}\n{make_line()}\n',
            "line 3 of the cassette",
            "sed -i 3d",
        ),
        (HEAD.encode() + b"[" * 100_000 + b"\n", "line 2 of the cassette", "sed -i 2d"),
        (HEAD.encode() + b'{"recorded":"\xff"}\n', "line 2 of the cassette", "sed -i 2d"),
    ],
)
def test_an_invalid_file_raises_an_error_with_a_hint(write_and_read, content, message, hint):
    """An invalid file raises a one-line error with a hint, such as the command that fixes it."""
    with pytest.raises(ConfigError) as caught:
        write_and_read(content)

    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert "\n" not in str(caught.value)


def test_the_command_for_a_merge_conflict_keeps_both_sides(write_and_read, path):
    """The command in the hint for a merge conflict keeps the entries of both sides."""
    with pytest.raises(ConfigError) as caught:
        write_and_read(CONFLICT)
    subprocess.run(str(caught.value.hint).split("`")[1], shell=True, check=True)

    assert list_prompts(cassette_lines.read(path)) == ["one", "two", "three"]


def test_a_path_that_is_not_a_file_raises_an_error(tmp_path):
    """The path of a folder, a missing file or a pipe raises an error."""
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        (".", "must be a file, got the folder"),
        ("missing", "does not exist"),
        ("pipe", "is not a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            cassette_lines.read(tmp_path / name)


def test_a_huge_file_is_not_read(path):
    """A file above the size limit is refused without being read."""
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(ConfigError, match="at most 256 MiB, got 1048576 MiB"):
        cassette_lines.read(path)


def test_a_cassette_below_a_file_cannot_be_written(tmp_path):
    """If the parent of the path is a file, writing raises an error."""
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        cassette_lines.append(tmp_path / "f" / "a.jsonl", b"{}")


WRITER = """
import json, sys
from pathlib import Path
from gatewayx_nb.cassettes import cassette_lines
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(count):
    entry = {
        "request": {"messages": [{"role": "user", "content": f"{name} {number}"}]},
        "engine": "e", "text": "word " * 3000,
    }
    cassette_lines.append(path, json.dumps(entry).encode())
    print(number, flush=True)
"""


def test_concurrent_writers_lose_no_entry(path):
    """Two processes that write concurrently lose no entry."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name, "40"], stdout=subprocess.PIPE) for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=60)

    assert sorted(list_prompts(cassette_lines.read(path))) == sorted(
        f"{name} {number}" for name in "ab" for number in range(40)
    )


KILLER = """
import os, sys, time, random
from pathlib import Path
from gatewayx_nb.cassettes import cassette_lines
import filelock
path = Path(sys.argv[1])
source = sys.stdin.read()
for round_number in range(100):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        sys.argv[1:] = [str(path), f"round {round_number}", "1000"]
        os.dup2(write, 1)
        exec(source, {})
    os.close(write)
    expected_lines = random.Random(round_number).randrange(1, 4)
    output = b""
    while output.count(b"\\n") < expected_lines and (block := os.read(read, 100)):
        output += block
    time.sleep(random.Random(round_number).random() / 200)
    os.kill(child, 9)
    os.waitpid(child, 0)
    while block := os.read(read, 100):
        output += block
    os.close(read)
    print(output.count(b"\\n"), flush=True)
"""


def test_killed_writers_lose_no_acknowledged_entry(path):
    """After SIGKILL during writes, the file is valid and contains all acknowledged entries."""
    process = subprocess.run(
        [sys.executable, "-c", KILLER, str(path)],
        input=WRITER, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    acknowledged_prompts = [
        f"round {round_number} {number}"
        for round_number, count in enumerate(map(int, process.stdout.split()))
        for number in range(count)
    ]

    assert len(process.stdout.split()) == 100
    assert set(acknowledged_prompts) <= set(list_prompts(cassette_lines.read(path)))
