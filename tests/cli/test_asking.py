"""`gatewayx ask`: the prompt, the answer, its incomplete forms, and Ctrl-C."""

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys

import pytest

from gatewayx_nb.testing import Server
from tests.llm_engines.wire import body_script
from tests.mcp_client.conftest import wait_for_file

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15"
    b"\xc4\x89\x00\x00\x00\rIDATx\xdacd\xf8\xcfP\x0f\x00\x03\x86\x01\x80Z4}k\x00\x00\x00\x00IEND\xaeB`\x82"
)


def test_the_text_is_the_only_output(run):
    """A pipe receives the text alone, with a line break at its end."""
    result = run("ask", "mock", "Say", "this")
    assert (result.status, result.out, result.err) == (0, "[mock] Say this\n", "")


@pytest.mark.parametrize(
    ("words", "text", "prompt"),
    [
        (["Sum up:"], b"a\nb\n", "Sum up:\n\na\nb"),
        (["-"], b"a\n", "a"),
        ([], b"a\n", "a"),
        (["Hi"], b"", "Hi"),
        (["--", "-x"], None, "-x"),
        (["#tag", "- item"], None, "#tag - item"),
        (["{{x}}"], None, "{{x}}"),
    ],
)
def test_the_prompt_consists_of_words_and_piped_text(shell, words, text, prompt):
    """Text that is piped in stands below the words."""
    result = shell("ask", "mock", *words, text=text)
    assert (result.status, result.out) == (0, f"[mock] {prompt}\n")


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        (["ask", "mock"], None, "the prompt is missing"),
        (["ask", "mock", "-"], b"", "standard input is empty"),
        (["ask", "mock", "-"], b"\xff\xfe", "is not text in UTF-8: byte 0"),
        (["ask", "Why is the sky blue?"], None, "the reference is missing"),
        (["ask"], None, "needs REF"),
        (["ask", "mock", "-t", "hot", "Hi"], None, "`-t` must be a number"),
        (["ask", "mock", "--chat", "a", "Hi"], None, "no option '--chat'"),
        (["ask", "mock", "--tools", "f", "Hi"], None, "`--tools` must be `mcp:NAME` in a shell"),
        (["ask", "mock", "--image", "no.png", "Hi"], None, "there is no file 'no.png'"),
        (["ask", "mock", "--schema", "no.json", "Hi"], None, "`--schema no.json` cannot be read"),
        (["ask", "mock", "-p", "seed", "Hi"], None, "`-p` must be K=V"),
        (["ask", "mock", "Hi", "-"], b"a", "`-` reads the whole prompt"),
        (["ask", "mock", "--json", "-q", "Hi"], None, "`-q` has no effect with `--json`"),
        (["ask", "mock", "--dry-run", "--json", "Hi"], None, "`--json` has no effect with"),
        (["ask", "mock", "--renew", "Hi"], None, "renew requires an open cassette"),
    ],
)
def test_an_invalid_line_is_refused(shell, words, text, message):
    """Nothing is sent, and the error is one line."""
    result = shell(*words, text=text)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_options_may_stand_anywhere(run):
    """An option after the prompt is an option, too."""
    for words in (["-n", "2", "mock", "a b"], ["mock", "-n", "2", "a b"], ["mock", "a b", "-n2"]):
        result = run("ask", *words)
        assert (result.status, result.out) == (1, "[mock] a\n")
        assert result.err == "gatewayx: the answer is incomplete: cut off at max tokens.\n"


def test_json_is_one_object(run):
    """The object has the text, the usage, the cost and why the answer ended."""
    result = run("ask", "mock", "--json", "Hi")
    found = json.loads(result.out)
    assert result.status == 0
    assert (found["text"], found["cost"], found["finish_reason"]) == ("[mock] Hi", 0.0, "stop")
    assert (found["usage"]["input_tokens"], found["error"]) == (1, None)


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (["mock", "-p", "fail=401", "Hi"], 3, "AuthenticationError"),
        (["mock", "-p", "fail=500", "Hi"], 1, "ProviderError"),
        (["grok", "Hi"], 3, "MissingKeyError"),
        (["mok", "Hi"], 2, "EngineNotFoundError"),
    ],
)
def test_json_has_the_error(run, monkeypatch, words, status, kind):
    """A failed call is an object, too, and a line on standard error."""
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    result = run("ask", "--json", *words)
    assert result.status == status
    assert json.loads(result.out)["error"]["type"] == kind
    assert result.err.count("\n") == 1


def test_an_incomplete_answer_is_reported_with_json_too(run):
    """The exit status and the line on standard error do not depend on the format."""
    result = run("ask", "mock", "--json", "-n", "1", "Hi there")
    assert result.status == 1
    assert json.loads(result.out)["finish_reason"] == "length"
    assert "the answer is incomplete" in result.err


@pytest.mark.parametrize("reason", ["length", "content_filter", "other", "pause"])
@pytest.mark.parametrize("option", [[], ["--no-stream"], ["--json"]])
def test_only_a_finished_answer_has_status_0(run, project, reason, option):
    """A reason that is not known may mean that the answer was cut."""
    body = (
        "    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        f"        yield Chunk(text='partial', finish_reason={reason!r})\n"
    )
    project.engine("cut", body=body)
    result = run("ask", "cut", *option, "Hi")
    assert (result.status, "partial" in result.out) == (1, True)
    assert "the answer is incomplete" in result.err


@pytest.mark.parametrize("finish", ["MAX_TOKENS", "abort"])
@pytest.mark.parametrize("option", ["--no-stream", "--json"])
def test_a_body_with_an_unknown_reason_may_be_cut(run, monkeypatch, finish, option):
    """A provider that cuts an answer may send a reason of its own."""
    message = {"role": "assistant", "content": "partial"}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    with Server(body_script({"id": "1", "model": "m", "choices": [choice]})) as server:
        monkeypatch.setenv("GATEWAYX_OPENAI_API_KEY", "made-up-key-123456")
        monkeypatch.setenv("GATEWAYX_OPENAI_BASE_URL", f"http://127.0.0.1:{server.port}/v1")
        result = run("ask", "openai:m", option, "Hi")
    assert result.status == 1
    assert "the answer is incomplete" in result.err


def test_a_fallback_is_reported(run, monkeypatch):
    """A script must see that another engine has answered."""
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    result = run("ask", "grok", "--fallback", "mock", "Hi")
    assert (result.status, result.out) == (0, "[mock] Hi\n")
    assert result.err == "gatewayx: mock has answered instead of grok.\n"


def test_an_empty_name_of_a_cassette_is_refused(run):
    """A variable that is not set must not turn a replay into a paid call."""
    result = run("ask", "mock", "--cassette", "", "Hi")
    assert (result.status, result.out) == (2, "")
    assert "`--cassette` needs a file" in result.err


def test_a_missing_key_names_the_command(run, monkeypatch):
    """The hint is a line that works in a shell."""
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    assert "`gatewayx key set grok`" in run("ask", "grok", "Hi").err


def test_a_schema_is_a_file(run, project):
    """The answer is JSON that has the schema's form."""
    project.engine("cities", says='{"city": "Rome"}')
    (project.root / "city.json").write_text(json.dumps(CITY))
    result = run("ask", "cities", "--schema", "city.json", "Where?")
    assert (result.status, json.loads(result.out)) == (0, {"city": "Rome"})


def test_an_image_is_a_file(run, project):
    """An engine that takes no images refuses it, which is a mistake in the line."""
    (project.root / "a.png").write_bytes(PNG)
    result = run("ask", "mock", "--image", "a.png", "What?")
    assert result.status == 2
    assert "images" in result.err


def test_a_cassette_records_and_replays(run, monkeypatch):
    """The second run makes no call."""
    monkeypatch.delenv("CI", raising=False)
    words = ("ask", "mock", "--cassette", "a.jsonl", "Hi")
    assert run(*words).out == "[mock] Hi\n"
    monkeypatch.setenv("GATEWAYX_CASSETTE_MODE", "replay")
    assert run(*words).out == "[mock] Hi\n"
    missing = run("ask", "mock", "--cassette", "a.jsonl", "Ho")
    assert missing.status == 1
    assert run("cassette", "a.jsonl").out.startswith("Cassette a.jsonl has 1 entry: mock (1)")


def test_a_dry_run_sends_nothing(run):
    """The request and its cost are shown."""
    result = run("ask", "mock", "--dry-run", "-p", "fail=500", "Hi")
    assert result.status == 0
    assert "Hi" in result.out


def _in_terminal(words, folder, act=lambda process: None):
    """Run a line with a terminal; return the exit status and what it shows."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewayx_nb", *words],
        cwd=folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # the end of the terminal
        while block := os.read(leader, 65_536):
            shown += block
            act(process)
    os.close(leader)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_a_terminal_shows_the_figures(project):
    """The line below the answer goes to standard error."""
    status, shown = _in_terminal(["ask", "mock", "Hi"], project.root)
    assert status == 0
    assert re.match(r"\[mock\] Hi\n\[mock:mock · \d\.\d s\b", shown)


def test_no_escape_sequence_reaches_the_terminal(project):
    """Not even one that is split over several chunks."""
    body = (
        "    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        r"        for text in ('a\x1b', '[31mb\x1b]0;ti', 'tle\x07c', '\x9b2J', 'd'):"
        "\n            yield Chunk(text=text)\n"
    )
    project.engine("loud", body=body)
    status, shown = _in_terminal(["ask", "loud", "-q", "Hi"], project.root)
    assert (status, shown) == (0, "abcd\n")


def test_a_pipe_receives_the_text_as_it_is(shell, project):
    """A file must contain what the model wrote."""
    project.engine("loud", says="a\x1b[31mb")
    assert shell("ask", "loud", "Hi").out == "a\x1b[31mb\n"


def test_ctrl_c_keeps_what_has_arrived(start):
    """The exit status of a stopped command is 130."""
    process = start("ask", "mock", "-p", "rate=20", " ".join(map(str, range(10_000))))
    first = process.stdout.read(12)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (first + rest).decode().startswith("[mock] 0 1 2")
    assert rest.endswith(b"\n")
    assert err == b""


def test_ctrl_c_with_json_keeps_what_has_arrived(start, project):
    """The object has the text and says that the call was stopped."""
    body = (
        "    async def stream(self, request):\n"
        "        import asyncio, pathlib\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        "        yield Chunk(text='first')\n"
        "        pathlib.Path('marker').touch()\n"
        "        await asyncio.sleep(600)\n"
    )
    project.engine("slow", body=body)
    process = start("ask", "slow", "--json", "Hi")
    wait_for_file(project.root / "marker")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    found = json.loads(out)
    assert process.returncode == 130
    assert (found["text"], found["error"]["type"]) == ("first", "KeyboardInterrupt")


@pytest.mark.parametrize("words", [["--help"], ["status"], ["ask", "mock", "Hi"]])
def test_closed_and_full_streams_are_no_traceback(bash, words):
    """Standard output may be closed, or a full disk."""
    for redirection in (">&-", "> /dev/full", "2>&- <&-"):
        result = bash(f"gatewayx {shlex.join(words)} {redirection}")
        assert "Traceback" not in result.err
        assert result.status == (1 if "full" in redirection else 0)


def test_a_closed_pipe_ends_the_call(start):
    """`gatewayx ask … | head -1` ends without a message."""
    process = start("ask", "mock", "-p", "rate=50", " ".join(map(str, range(10_000))))
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == b""
