"""Cassettes that are damaged, foreign or used in unusual ways: one-line errors, no lost line."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import CassetteMissError, ConfigError, UsageError
from gatewayx_nb.testing import ScriptedEngine
from tests.cassettes.conftest import Echo
from tests.users import as_nobody

HEAD = b'{"format":"gatewayx-cassette","version":2}\n'
ENTRY = json.dumps(
    {
        "request": {"messages": [{"content": "Hi", "role": "user"}]},
        "reference": "echo",
        "engine": "echo",
        "text": "recorded",
        "recorded": "2026-01-01T00:00:00Z",
    }
).encode()
WHOLE = HEAD + ENTRY + b"\n"


def make_folder(path):
    path.mkdir()


def make_pipe(path):
    os.mkfifo(path)


def make_huge(path):
    with path.open("wb") as file:
        file.truncate(2**30)


def make_loop(path):
    path.symlink_to(path)


def content(data):
    """Return a function that writes a file."""
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize("mode", ["auto", "record", "replay"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_folder, "must be a file, got the folder"),
        (make_pipe, "is not a file"),
        (make_loop, "Too many levels of symbolic links"),
        (make_huge, "must be at most 256 MiB, got 1024 MiB"),
        (
            content(HEAD.replace(b"2", b"3") + ENTRY),
            "format version 3, but this version of gatewayx-nb supports at most 2",
        ),
        (content(ENTRY), "is not a cassette"),
        (content(HEAD[:20]), "is not a cassette"),
        (content(WHOLE.replace(b"\n", b"\r")), "is not a cassette"),
        (content(WHOLE.decode().encode("utf-16")), "is not a cassette"),
        (content(HEAD + ENTRY[:40] + b"\n" + ENTRY + b"\n"), "line 2 of the cassette"),
    ],
    ids=[
        "folder",
        "pipe",
        "loop of links",
        "1 GiB",
        "newer",
        "no header",
        "half a header",
        "old Mac",
        "UTF-16",
        "half a line",
    ],
)
def test_a_file_that_is_no_cassette_is_one_error(pool, tmp_path, make, message, mode):
    """Such a file is refused before any call, in one line with a hint, and left unchanged."""
    path = tmp_path / "a.jsonl"
    make(path)
    before = path.lstat()
    with pytest.raises(ConfigError, match=message) as caught:
        pool.cassette(path, mode)

    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert (path.lstat().st_size, path.lstat().st_mtime) == (before.st_size, before.st_mtime)
    assert pool.active_cassette is None


@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        WHOLE.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + WHOLE,
        b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n"),
        WHOLE[:-1],
        WHOLE + ENTRY[:50],
        WHOLE + ENTRY[:50].replace(b"user", b"us\xff"),
        WHOLE + b"\n\n",
    ],
    ids=["whole", "CRLF", "BOM", "BOM, CRLF", "no newline", "half written", "half", "empty lines"],
)
def test_a_file_that_an_editor_or_a_crash_changed_is_used(pool, tmp_path, data):
    """It is replayed; recording, renewing and pruning keep its entry and leave a valid file."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pool.cassette(path, "replay"):
        assert pool.ask("Hi", "echo").text == "recorded"
    assert path.read_bytes() == data
    with pool.cassette(path) as cassette:
        assert pool.ask("Hi", "echo").text == "recorded"
        assert pool.ask("Ho", "echo").text == "Ho"
    assert [line.entry.text for line in cassette_lines.read(path).lines] == ["recorded", "Ho"]
    with pool.cassette(path) as cassette:
        assert pool.ask("Hi", "echo", renew=True).text == "Hi"
        cassette.prune()
    assert [line.entry.text for line in cassette_lines.read(path).lines] == ["Hi"]
    assert cassette_lines.read(path).problem == ""


@pytest.fixture
def public_folder():
    """Yield a folder that all users can read; those of pytest are private."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.parametrize(
    ("file_mode", "mode", "message"),
    [
        (0o600, "replay", "cannot be read: Permission denied"),
        (0o600, "auto", "cannot be read: Permission denied"),
        (0o644, "replay", None),
        (0o644, "auto", "cannot be written"),
        (0o644, "record", "cannot be written"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_another_users_file_that_may_only_be_read(pool, public_folder, file_mode, mode, message):
    """A file that may only be read is replayed; no call is made that could not be recorded."""
    path = public_folder / "a.jsonl"
    path.write_bytes(WHOLE)
    path.chmod(file_mode)
    with as_nobody():
        if message is None:
            with pool.cassette(path, mode):
                assert pool.ask("Hi", "echo").text == "recorded"
        else:
            with pytest.raises(ConfigError, match=message) as caught:
                pool.cassette(path, mode)
            assert "chmod" in str(caught.value.hint)
    assert path.read_bytes() == WHOLE


RECORDER = """
import sys
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.testing import ScriptedEngine
from tests.cassettes.conftest import Echo

class Echo(LLMEngine):
    name, requires_key = "echo", False
    async def generate(self, prompt, **_):
        return f"{prompt}: an answer"

path, mode, *prompts = sys.argv[1:]
with EnginePool(env={}, engines=[Echo()]) as pool, pool.cassette(path, mode):
    sys.stdin.readline()
    for prompt in prompts:
        pool.ask(prompt, "echo")
"""


def test_two_kernels_record_one_file(tmp_path):
    """Two processes that record shared and separate calls store each once, without a conflict."""
    path = tmp_path / "a.jsonl"
    prompts = {
        name: [f"{name if number % 3 else 'both'} {number}" for number in range(24)]
        for name in "ab"
    }
    for mode in ("auto", "record"):
        kernels = [
            subprocess.Popen(
                [sys.executable, "-c", RECORDER, str(path), mode, *prompts[name]],
                stdin=subprocess.PIPE,
            )
            for name in "ab"
        ]
        for kernel in kernels:  # both have opened the file before either records
            kernel.stdin.write(b"\n")
            kernel.stdin.flush()
        assert [kernel.wait(60) for kernel in kernels] == [0, 0]
        for kernel in kernels:
            kernel.stdin.close()
        with EnginePool(env={}, engines=[Echo()]) as pool, pool.cassette(path, "replay") as opened:
            assert {entry.request.prompt for entry in opened.entries} == {
                *prompts["a"], *prompts["b"],
            }  # fmt: skip
            assert all(entry.text.endswith("an answer") for entry in opened.entries)


@pytest.mark.parametrize(("mode", "count"), [("auto", 1), ("record", 2)])
def test_the_same_cell_run_twice(pool, tmp_path, mode, count):
    """`auto` asks once; `record` asks each time and stores each answer as one of equal calls."""
    path = tmp_path / "a.jsonl"
    with pool.cassette(path, mode) as cassette:
        first, second = (pool.ask("Hi", "echo") for _ in range(2))

    assert (first.replayed, second.replayed) == (False, mode == "auto")
    assert len(cassette_lines.read(path).lines) == len(cassette) == count
    with pool.cassette(path, mode):  # a notebook that is run again leaves the file as it is
        before = path.read_bytes()
        pool.ask("Hi", "echo")
    assert path.read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [1, (math.nan,)]}])
def test_a_parameter_that_json_lacks_is_refused(pool, tmp_path, value):
    """JSON would store NaN and infinity as null, and replay one call's answer for another."""
    with pool.cassette(tmp_path / "a.jsonl") as cassette:
        with pytest.raises(UsageError, match=r"params must be JSON .* got (nan|-?inf)\."):
            pool.ask("Hi", "echo", params={"x": value})
        assert pool.ask("Hi", "echo", params={"x": value}, fresh=True).text == "Hi"
        pool.ask("Hi", "echo", params={"x": None})
    assert len(cassette) == 1


@pytest.mark.parametrize("reference", ["gone", "gone:m", None])
def test_an_engine_that_is_gone_is_replayed(tmp_path, reference):
    """A replay needs no engine; what is not recorded is a miss, and a typo is named."""
    path = tmp_path / "a.jsonl"

    class Gone(Echo):
        name = "gone"

    with EnginePool(env={}, engines=[Gone()]) as pool:
        pool.use("gone")
        with pool.cassette(path):
            pool.ask("Hi", reference)
    with EnginePool(env={}) as pool, pool.cassette(path, "replay"):
        pool.use("gone")
        assert pool.ask("Hi", reference).text == "Hi"
        with pytest.raises(CassetteMissError, match="is not in the cassette"):
            pool.ask("Ho", reference)


def test_a_clock_that_jumps_back_keeps_the_renewed_answer(pool, echo, tmp_path, monkeypatch):
    """An answer that is renewed is used, even if the old one has a later date."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(WHOLE.replace(b"2026-01-01", b"2099-01-01"))
    real, readings = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: real() - 86_400 * (next(readings) % 2))
    with pool.cassette(path):
        assert pool.ask("Hi", "echo", renew=True).text == "Hi"
        pieces = [pool.ask(prompt, "echo").latency for prompt in "abc"]
        appended = cassette_lines.read(
            path
        ).lines  # as after a crash, before the file is put in order

    assert [line.entry.text for line in appended] == ["Hi", "a", "b", "c"]
    assert all(0 <= latency < 60 for latency in pieces)
    with pool.cassette(path, "replay"):
        assert pool.ask("Hi", "echo").text == "Hi"


def test_the_name_of_a_recorded_model_is_logged_as_one_plain_line(tmp_path, caplog):
    """Its author would control the terminal to which the log is written."""
    path = tmp_path / "a.jsonl"
    model = "m\x1b[31m\n1\x1b]0;title\x07" + "x" * 1_000
    entry = json.loads(ENTRY) | {"reference": "scripted", "engine": "scripted", "resolved": model}
    path.write_bytes(HEAD + json.dumps(entry).encode() + b"\n")
    with (
        EnginePool(env={}, engines=[ScriptedEngine([])]) as pool,
        pool.cassette(path, mode="replay") as cassette,
    ):
        assert pool.ask("Hi", "scripted").text == "recorded"
    for text in (caplog.text, cassette.problem):
        assert "was recorded with m 1xxx" in text
        assert "\x1b" not in text
        assert "x" * 200 not in text
