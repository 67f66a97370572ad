"""Cassettes as text for people and for `git diff`."""

import importlib
import json
import subprocess
import sys

import msgspec
import pytest

from gatewayx_nb.cassettes import RequestBody, listing
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.cassettes.entry import (
    RecordedAnswerImage,
    RecordedMetadata,
    RecordedToolCall,
    vectors_of,
)
from gatewayx_nb.cassettes.request_body import (
    RecordedImage,
    RecordedMessage,
    RecordedPart,
    RequestedToolCall,
    RequestedToolResult,
)
from tests.cassettes.test_cassette_lines import CONFLICT, HEAD, make_entry, make_line
from tests.cassettes.test_guard import ENCODINGS, KEY_LIKE_TEXTS

COMMAND = [sys.executable, "-m", "gatewayx_nb.cassettes"]


def line_of(body, **fields):
    """Return the line of an entry with this request."""
    return encode(msgspec.structs.replace(make_entry(**fields), request=body)).decode()


def show(tmp_path, *entries, head=HEAD):
    """Return the text of a cassette with these lines."""
    path = tmp_path / "a.jsonl"
    path.write_text(head + "".join(f"{entry}\n" for entry in entries))
    return "\n".join(listing.lines(path))


BODY = RequestBody(
    system="Be brief.",
    messages=(
        RecordedMessage("user", "What is this?\n\nSay it.", (RecordedImage("image/png", "ab12"),)),
        RecordedMessage(
            "assistant",
            "",
            parts=(RecordedPart(tool_call=RequestedToolCall("1", "look", '{"at": 1}')),),
        ),
        RecordedMessage(
            "tool",
            "",
            parts=(
                RecordedPart(
                    tool_result=RequestedToolResult("1", "look", (RecordedPart(text="a cat"),))
                ),
            ),
        ),
    ),
    temperature=0.5,
    params={"x": [1]},
)


def test_an_entry_is_shown_for_people(tmp_path):
    """The request is labelled by role; options, the whole answer, tool calls and figures follow."""
    entry = line_of(
        BODY,
        text="A cat.\nReally.",
        reference="e:m",
        model="m",
        resolved="m-1",
        reasoning="Hm.",
        tool_calls=(RecordedToolCall("9", "f", {"b": 1, "a": 2}),),
        images=(RecordedAnswerImage("image/png", b"123"),),
        finish_reason="length",
        dropped=("seed",),
        figures=RecordedMetadata("e", "m-1", {"input_tokens": 3}, latency=0.5, attempts=2),
        repeat=1,
    )
    assert show(tmp_path, entry).splitlines() == [
        "# e:m, m-1, repeat 1",
        "system:",
        "    Be brief.",
        "user:",
        "    What is this?",
        "",
        "    Say it.",
        "    [image image/png ab12]",
        "assistant:",
        '    [tool call look: {"at": 1}]',
        "tool:",
        "    [result of look]",
        "    a cat",
        "temperature: 0.5",
        'params: {"x": [1]}',
        "reasoning:",
        "    Hm.",
        "answer:",
        "    A cat.",
        "    Really.",
        'tool call f: {"b":1,"a":2}',
        "image: image/png, 3 bytes",
        "finish reason: length",
        "dropped: seed",
        "figures: e:m-1, 0.5 s, input_tokens 3",
        "attempts: 2",
        "recorded: 2026-01-01T00:00:00Z",
    ]


def test_embeddings_and_digests_are_shown(tmp_path):
    """The size of embeddings is shown, and the digests of a request that is kept as such."""
    texts = RequestBody(texts=("one", "two"))
    embedding = line_of(texts, text="", vectors=vectors_of(2, 1, bytes(8)))
    digests = line_of(BODY.as_digests())
    text = show(tmp_path, embedding, digests)

    assert "text:\n    one\ntext:\n    two\nvectors: 2 of 1 numbers" in text
    assert "request: digest " in text
    assert "messages: digest " in text
    assert "What is this" not in text


def test_a_file_in_format_1_is_shown(tmp_path):
    old = {
        "recorded": "2025-01-01T00:00:00Z", "engine": "e", "model": "", "reference": "",
        "request": {"messages": [{"role": "user", "content": "Hi"}]},
        "chunks": [[0.1, "one "], [0.2, "two"]], "reply": {"engine": "e", "cost": "0.01"},
    }  # fmt: skip
    head = '{"format":"gatewayx-cassette","version":1}\n'
    text = show(tmp_path, json.dumps(old), head=head)

    assert text.startswith("# e, the default model\nuser:\n    Hi\nanswer:\n    one two\n")
    assert "figures: e, 0 s, $0.01" in text


@pytest.mark.parametrize("prefix", ["", "<<<<<<< HEAD\n"])
def test_a_file_with_a_merge_conflict_is_shown_with_its_markers(tmp_path, prefix):
    """Both sides are shown between the markers, even if the first marker precedes the header."""
    lines = show(tmp_path, head=prefix + CONFLICT).splitlines()
    shown = [line for line in lines if line[:7] in ("<<<<<<<", "=======", ">>>>>>>", "# e, th")]
    prompts = [lines[i + 1].strip() for i, line in enumerate(lines) if line == "user:"]

    assert shown[len(prefix.splitlines()) :] == [
        "# e, the default model", "<<<<<<< HEAD", "# e, the default model", "=======",
        "# e, the default model", ">>>>>>> x",
    ]  # fmt: skip
    assert prompts == ["one", "two", "three"]


@pytest.mark.parametrize("key", KEY_LIKE_TEXTS)
@pytest.mark.parametrize("where", ["prompt", "text", "reasoning", "reference", "resolved"])
def test_no_key_is_shown(tmp_path, key, where):
    """What looks like a key is masked in every field, even with an escape sequence in it."""
    for value in (f"see {key}", f"see {key[:6]}\x1b[0m{key[6:]}", ENCODINGS["hex"](key)):
        text = show(tmp_path, make_line(**{where: value}))
        assert key not in text
        assert ENCODINGS["hex"](key) not in text
        assert "<key>" in text


def test_no_line_of_an_answer_looks_like_a_label(tmp_path):
    """Escape sequences are removed, and all lines of a text are indented."""
    text = show(tmp_path, make_line("a\r\n# forged\x1b]0;title\x07", "answer:\n\x9b31mred\u202e"))

    assert "    # forged\n" in text
    assert "    answer:\n    red\n" in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("hello\n", "is not a cassette"),
        (f"{HEAD}oops\n", "line 2 of the cassette"),
        ('{"format":"gatewayx-cassette","version":99}\n', "supports at most 2"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(tmp_path, content, message):
    if content:
        (tmp_path / "a.jsonl").write_text(content)
    run = subprocess.run(
        [*COMMAND, "a.jsonl"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    (line,) = run.stderr.splitlines()

    assert (run.returncode, run.stdout) == (1, "")
    assert message in line


def test_output_is_utf_8_in_every_locale_and_may_be_truncated(tmp_path):
    """The command works in the C locale, and ends silently if its reader does."""
    entries = [make_line(f"{number} é😀" + "x" * 1000) for number in range(300)]
    path = tmp_path / "a.jsonl"
    path.write_text(HEAD + "\n".join([*entries, ""]), encoding="utf-8")
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    whole = subprocess.run([*COMMAND, str(path)], env=environment, capture_output=True, check=True)
    with subprocess.Popen(
        [*COMMAND, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()

    assert "299 é😀" in whole.stdout.decode()
    assert whole.stdout.decode() == "".join(f"{line}\n" for line in listing.lines(path))
    assert errors == b""


def test_git_diff_shows_one_readable_answer(tmp_path):
    """With the README's lines, git shows the changed lines of one answer among many entries."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]

    def run(*arguments):
        return subprocess.run([*git, *arguments], capture_output=True, text=True, check=True).stdout

    def write(answer):
        lines = [make_line(f"prompt {n}", f"one\ntwo {n}\nthree") for n in range(40)]
        lines[7] = make_line("prompt 7", answer)
        for folder in ("cassettes", "tests/cassettes/test_story"):
            path = tmp_path / folder / "a.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEAD + "\n".join([*lines, ""]))

    run("init", "-q")
    (tmp_path / ".gitattributes").write_text("**/cassettes/**/*.jsonl diff=gatewayx\n")
    textconv = f"{sys.executable} -P -m gatewayx_nb.cassettes --textconv"
    run("config", "diff.gatewayx.textconv", textconv)
    for name in ("argparse.py", "msgspec.py"):  # modules of a clone must not run
        (tmp_path / name).write_text("raise SystemExit('a module of the clone was imported')\n")
    write("one\ntwo 7\nthree")
    run("add", ".")
    run("commit", "-qm", "x")
    write("one\nzwei 7\nthree")
    changed = [
        line for line in run("diff").splitlines() if line[0] in "+-" and line[:3] not in "+++---"
    ]

    assert changed == ["-    two 7", "+    zwei 7"] * 2
    assert run("diff", "--no-textconv").count("prompt 7") == 4

    (tmp_path / "cassettes" / "a.jsonl").write_text(f"{HEAD}oops\n")
    run("commit", "-qam", "y")
    assert "+line 2 of the cassette" in run("log", "-p")  # git does not stop at this version


@pytest.mark.parametrize(
    ("name", "message"),
    [("nope.jsonl", "'nope.jsonl' does not exist."), (".", "'.' is a folder.")],
)
def test_a_wrong_path_is_named(capsys, monkeypatch, tmp_path, name, message):
    """The hint is not about Python; for git, the error is text."""
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module("gatewayx_nb.cassettes.__main__").main

    assert main([name]) == 1
    assert capsys.readouterr() == ("", f"{message} Check the path.\n")
    assert main(["--textconv", name]) == 0
    assert capsys.readouterr() == (f"{message} Check the path.\n", "")
