"""What recording changes in a cassette: lines, their order, replacements, conflicts."""

import io
import json
import os
import random
import re
import subprocess
import sys
import threading

import pytest

from gatewayx_nb.cassettes import CassetteEntry, RequestBody, cassette_file, cassette_lines
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.cassettes.request_body import RecordedMessage
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import CassetteMissError, ConfigError, MissingKeyError, UsageError
from gatewayx_nb.llm_engines import LLMEngine
from tests.cassettes.conftest import Echo

IS_SOAK = os.environ.get("SOAK") == "1"
MERGES, KILLS, FULL_DISKS = (200, 200, 200) if IS_SOAK else (25, 9, 20)

HEAD = b'{"format":"gatewayx-cassette","version":2}\n'


@pytest.fixture
def path(tmp_path):
    """Return the path of a cassette that does not exist yet."""
    return tmp_path / "a.jsonl"


def record(pool, path, *prompts, mode="auto", **options):
    """Make calls with a cassette, and return the texts of the answers."""
    with pool.cassette(path, mode):
        return [pool.ask(prompt, "echo", **options).text for prompt in prompts]


def texts(path):
    """Return the texts of a file's entries."""
    return [json.loads(line)["text"] for line in path.read_bytes().splitlines()[1:]]


def test_recording_the_same_answers_again_changes_nothing(pool, path):
    """50 equal answers, recorded again, leave the file as it is."""
    prompts = [f"prompt {number}" for number in range(50)]
    record(pool, path, *prompts)
    content, inode = path.read_bytes(), path.stat().st_ino
    with pool.cassette(path, "record") as cassette:
        for prompt in prompts:
            pool.ask(prompt, "echo")

    assert (path.read_bytes(), path.stat().st_ino) == (content, inode)
    assert (cassette.recorded, cassette.unchanged) == (0, 50)


def test_a_changed_answer_changes_one_line(pool, echo, path):
    """If one of 50 answers changes, only the line of its call changes."""
    prompts = [f"prompt {number}" for number in range(50)]
    record(pool, path, *prompts)
    before = path.read_bytes().splitlines()
    with pool.cassette(path, "record"):
        for prompt in prompts:
            echo.suffix = "!" if prompt == "prompt 7" else ""
            pool.ask(prompt, "echo")
    after = path.read_bytes().splitlines()

    assert [n for n in range(51) if before[n] != after[n]] == [8]
    assert json.loads(after[8])["text"] == "prompt 7!"


@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        ("abc", "axbc", "axbc"),
        ("abc", "xabc", "xabc"),
        ("abc", "abcx", "abcx"),
        ("abc", "xy", "abcxy"),
        ("abc", "bxcy", "abxcy"),
        ("abc", "cxa", "abcx"),
        ("", "cab", "cab"),
    ],
)
def test_entries_are_in_the_order_of_the_calls(pool, path, first, second, order):
    """A new entry follows the previous call's entry, or else precedes the next call's."""
    for prompts in (first, second):
        record(pool, path, *prompts)
    assert texts(path) == list(order)


def test_concurrent_calls_are_recorded_in_their_order(path):
    """Calls that finish in a different order are recorded in the order in which they began."""
    release = threading.Event()

    class Slow(LLMEngine):
        name, requires_key = "echo", False

        async def generate(self, prompt, **_):
            if prompt == "first":
                release.wait(30)
            return prompt

    with EnginePool(env={}, engines=[Slow()]) as pool, pool.cassette(path):
        thread = threading.Thread(target=pool.ask, args=("first", "echo"))
        thread.start()
        while not pool.active_cassette._calls:  # the first call is planned
            pass
        release.set()
        pool.ask("second", "echo")
        thread.join()

    assert texts(path) == ["first", "second"]


def test_one_call_is_renewed(pool, echo, path):
    """`renew` makes the call again and replaces its entry, even if it was replayed before."""
    record(pool, path, "a", "b", "b", "c")
    echo.suffix = "!"
    with pool.cassette(path) as cassette:
        assert pool.ask("b", "echo").text == "b"
        assert pool.ask("b", "echo", renew=True).text == "b!"
        assert pool.ask("b", "echo").text == "b!"
        assert (cassette.replayed, cassette.recorded) == (2, 1)

    assert texts(path) == ["a", "b", "b!", "c"] or texts(path) == ["a", "b!", "c"]


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        ("replay", {"renew": True}, "renew cannot be used while 'a.jsonl' is open in mode replay"),
        ("auto", {"renew": True, "fresh": True}, "renew and fresh cannot be combined"),
        ("off", {"renew": True}, "renew requires an open cassette"),
    ],
)
def test_renew_without_effect_is_refused(pool, path, mode, options, message):
    """`renew` is an error if no entry can be replaced."""
    record(pool, path, "a")
    with pytest.raises(UsageError, match=message):
        record(pool, path, "a", mode=mode, **options)


def test_fresh_keeps_the_entry(pool, echo, path):
    """`fresh` asks the model and leaves the recorded answer as it is."""
    record(pool, path, "a")
    content, echo.suffix = path.read_bytes(), "!"

    assert record(pool, path, "a", fresh=True) == ["a!"]
    assert path.read_bytes() == content


def test_unused_entries_are_listed_and_removed(pool, path):
    """Entries of edited and deleted calls are unused; `prune` removes them, and no others."""
    record(pool, path, "a", "b", "c", "d")
    with pool.cassette(path) as cassette:
        assert len(cassette.unused) == 4
        assert cassette.prune() == 0  # no call was made, so it is not known what is unused
        for prompt in ("a", "new", "c"):
            pool.ask(prompt, "echo")
        assert [entry.text for entry in cassette.unused] == ["b", "d"]
        assert cassette.prune() == 2
        assert cassette.unused == []
        assert texts(path) == ["a", "new", "c"]
        with pool.cassette(path, "replay"):
            assert pool.ask("c", "echo").text == "c"


def make_line(text, *, prompt="Hi", repeat=0, recorded="2026-01-01T00:00:00Z"):
    """Return a line of a cassette."""
    body = RequestBody(messages=(RecordedMessage("user", prompt),))
    return encode(
        CassetteEntry(
            request=body, reference="echo", engine="echo", text=text, repeat=repeat,
            recorded=recorded,
        )
    )  # fmt: skip


OLD, NEW = make_line("old"), make_line("new", recorded="2026-01-02T00:00:00Z")


@pytest.mark.parametrize("lines", [(OLD, NEW), (NEW, OLD)])
def test_two_answers_to_one_call_are_a_conflict(pool, path, lines):
    """`replay` refuses them and names both lines; `auto` uses the newer, and `prune` keeps it."""
    path.write_bytes(HEAD + b"\n".join([make_line("x", prompt="Other"), *lines, b""]))
    with pytest.raises(ConfigError, match="Lines 3 and 4 record different answers") as caught:
        pool.cassette(path, "replay")
    assert "prune" in str(caught.value)

    with pool.cassette(path) as cassette:
        assert "Lines 3 and 4 record different answers" in cassette.problem
        assert pool.ask("Hi", "echo").text == "new"
        pool.ask("Other", "echo")
        cassette.prune()
        assert cassette.problem == ""
    assert texts(path) == ["x", "new"]


def test_the_same_answer_twice_is_no_conflict(pool, path):
    """Two branches that both record the same answer can be merged."""
    path.write_bytes(HEAD + b"\n".join([OLD, make_line("old", recorded="2026-01-02"), b""]))
    assert record(pool, path, "Hi", mode="replay") == ["old"]


def test_recording_a_call_ends_its_conflict(pool, path):
    """A newly recorded answer replaces both conflicting ones."""
    path.write_bytes(HEAD + b"\n".join([OLD, NEW, b""]))
    record(pool, path, "Hi", mode="record")
    assert texts(path) == ["Hi"]


def test_merges_by_git_never_replay_a_wrong_answer(pool, echo, tmp_path):
    """If branches renew, add and drop entries, a merged file is either right or refused.

    The answer to a call is right if one of the branches recorded it as that call's.
    """
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    path = tmp_path / "a.jsonl"

    def run(*args):
        return subprocess.run([*git, *args], capture_output=True, check=False)

    def change(generator, version):
        echo.suffix = version
        prompts = [f"p{number}" for number in range(6) for _ in range(generator.randint(0, 2))]
        with pool.cassette(path, generator.choice(["auto", "record"])) as cassette:
            for prompt in prompts:
                renew = generator.random() < 0.3 and cassette.mode == "auto"
                pool.ask(prompt, "echo", renew=renew)
            if generator.random() < 0.5:
                cassette.prune()

    run("init", "-q", "-b", "main")
    outcomes = set()
    for seed in range(MERGES):
        generator = random.Random(seed)
        path.unlink(missing_ok=True)
        answers = {}
        change(generator, "-base")
        run("add", "a.jsonl")
        run("commit", "-qm", "base")
        for branch in ("left", "right"):
            run("checkout", "-q", "-B", branch, "main")
            change(generator, f"-{branch}")
            for line in cassette_lines.read(path).lines:
                answers.setdefault(line.entry.request.prompt, set()).add(line.entry.text)
            run("commit", "-qam", branch)
        merged = run("merge", "-q", "left").returncode == 0
        try:
            with pool.cassette(path, "replay") as cassette:
                for entry in cassette.entries:
                    assert entry.text in answers[entry.request.prompt]
            outcomes.add("replayed")
        except ConfigError as error:
            assert re.search(r"(?i)\blines? \d", error.message)  # noqa: PT017 - one of two outcomes
            outcomes.add("refused" if merged else "conflict")
        run("reset", "-q", "--hard", "main")
        run("checkout", "-q", "main")

    assert "replayed" in outcomes
    assert outcomes & {"refused", "conflict"}


def test_a_file_in_format_1_is_converted_by_the_next_recording(pool, echo, path):
    """An old file is replayed unchanged; a recording rewrites all its entries."""
    old = {
        "recorded": "2025-01-01T00:00:00Z", "engine": "echo", "model": "", "reference": "echo",
        "request": {"messages": [{"role": "user", "content": "a"}]},
        "chunks": [[0.1, "one "], [0.2, "two"]], "reply": {"engine": "echo", "latency": 0.3},
    }  # fmt: skip
    content = f'{{"format":"gatewayx-cassette","version":1}}\n{json.dumps(old)}\n'
    path.write_text(content)

    assert record(pool, path, "a", mode="replay") == ["one two"]
    assert record(pool, path, "a") == ["one two"]
    assert path.read_text() == content
    assert record(pool, path, "b", "a") == ["b", "one two"]
    assert path.read_bytes().startswith(HEAD)
    assert texts(path) == ["b", "one two"]
    assert b'"pieces":[[0.1,4],[0.2,3]]' in path.read_bytes()


def test_an_old_file_with_an_incomplete_line_is_converted(pool, path):
    """The incomplete line of an old file is skipped, and the others are kept."""
    path.write_bytes(
        b'{"format":"gatewayx-cassette","version":1}\n'
        b'{"recorded":"","engine":"echo","model":"","request":{"messages":[{"role":"user",'
        b'"content":"a"}]},"chunks":[[0,"x"]],"reply":{"engine":"echo"}}\n{"recorded":"'
    )
    record(pool, path, "b")
    assert texts(path) == ["x", "b"] or texts(path) == ["b", "x"]


KILLED_RENEWAL = """
import os, random, signal, sys, threading, time
from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.llm_engines import LLMEngine
from tests.cassettes.conftest import Echo
path, calls, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

class Echo(LLMEngine):
    name, requires_key = "echo", False
    async def generate(self, prompt, **_):
        return f"{prompt} {seed}"

if seed % 3 == 0:  # die while the file is put in order
    real = cassette_lines.cassette_file.replace
    def replace(*args):
        os.kill(os.getpid(), signal.SIGKILL) if seed % 2 else real(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    cassette_lines.cassette_file.replace = replace
pool = EnginePool(env={}, engines=[Echo()])
with pool.cassette(path, "record"):
    if seed % 3 == 1:  # die at any time
        def kill():
            time.sleep(random.Random(seed).random() / 50)
            os.kill(os.getpid(), signal.SIGKILL)
        threading.Thread(target=kill).start()
    for number in range(calls):
        print(pool.ask(f"p{number}", "echo").text, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_a_whole_file_with_every_answer(pool, path):
    """A process that is killed while it renews entries leaves each printed answer in the file."""
    record(pool, path, *[f"p{number}" for number in range(5)])
    for seed in range(KILLS):
        calls = random.Random(seed).randint(1, 5)
        process = subprocess.run(
            [sys.executable, "-c", KILLED_RENEWAL, str(path), str(calls), str(seed)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        printed = process.stdout.splitlines()
        with pool.cassette(path, "replay") as cassette:
            assert cassette.problem in (
                "",
                "The last line of a.jsonl is incomplete and was skipped.",
            )
            replayed = [pool.ask(f"p{number}", "echo").text for number in range(len(printed))]
            assert replayed == printed
            assert len(cassette) == 5
    record(pool, path, "p0")
    assert b"replaces" not in path.read_bytes()


def test_a_disk_that_fills_up_anywhere_loses_no_answer(tmp_path, monkeypatch):
    """Whatever part of a line still fits, no answer is paid for twice, and the file is whole."""
    for seed in range(FULL_DISKS):
        path, free = tmp_path / f"{seed}.jsonl", random.Random(seed).randint(0, 1_500)
        asked = []

        class FullDisk(io.FileIO):
            def write(self, data):
                nonlocal free
                count = super().write(data[:free]) if free else 0
                free -= count
                if not count:
                    raise OSError(28, "No space left on device")
                return count

        class Counting(Echo):
            async def generate(self, prompt, **_):
                asked.append(prompt)  # noqa: B023 - called within this round of the loop
                return prompt

        prompts = [f"p{number}" for number in range(5)]
        with EnginePool(env={}, engines=[Counting()]) as pool, pool.cassette(path):
            with monkeypatch.context() as full:
                full.setattr(cassette_file, "FileIO", FullDisk)
                first = [pool.ask(prompt, "echo").text for prompt in prompts]
                if os.path.exists(path):
                    cassette_lines.read(path)
            again = [pool.ask(prompt, "echo").text for prompt in prompts]
        assert first == again == prompts == asked == texts(path)


def test_a_call_to_another_model_is_reported_once(pool, path, caplog, tmp_path):
    """If the default model has changed, a replay says so once; `strict_model` makes it a miss."""
    pool.cassette(path).close()
    with pool.cassette(path):
        pool.ask("a", "echo")
        pool.ask("b", "echo")
    path.write_bytes(path.read_bytes().replace(b'"text"', b'"resolved":"m1","text"'))
    (tmp_path / "config").mkdir()
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "echo_engine.py").write_text(
        "from ..llm_engines import LLMEngine\n\n\nclass EchoEngine(LLMEngine):\n"
        '    requires_key = False\n    model_name = "m2"\n\n'
        "    async def generate(self, prompt, **kwargs):\n        return 'live'\n"
    )
    settings = tmp_path / "config" / "gatewayx.toml"
    settings.write_text("")
    with EnginePool(home=tmp_path, env={}) as other:
        assert record(other, path, "a", "b", mode="replay") == ["a", "b"]
        assert caplog.text.count("'a.jsonl' was recorded with m1; 'echo' is m2 now.") == 1
        settings.write_text("[cassettes]\nstrict_model = true\n")
        other.refresh()
        with pytest.raises(CassetteMissError, match="it was recorded with m1, not m2"):
            record(other, path, "a", mode="replay")
        assert record(other, path, "a") == ["live"]
    assert texts(path) == ["live", "b"]


def test_prompts_can_be_kept_as_digests(project, echo, path):
    """With `prompts = "digest"` no prompt is in the file, and a miss names what differs."""
    project.settings('[cassettes]\nprompts = "digest"\n')
    with EnginePool(home=project.root, engines=[echo]) as pool:
        record(pool, path, "my private prompt", system="also private", temperature=0.5)
        content = path.read_text()
        with pool.cassette(path, "replay"):
            options = {"system": "also private", "temperature": 0.5}
            assert pool.ask("my private prompt", "echo", **options).replayed
            with pytest.raises(CassetteMissError, match=r"nearest one: its temperature differs\."):
                pool.ask("my private prompt", "echo", **options | {"temperature": 0.6})
            with pytest.raises(CassetteMissError, match="its messages differ"):
                pool.ask("another prompt", "echo", **options)

    assert "also" not in content
    assert content.count("private prompt") == 1  # the answer repeats it
    request = json.loads(content.splitlines()[1])["request"]
    assert set(request["digests"]) == {"request", "messages", "system", "temperature"}


def test_an_unknown_prompts_setting_is_an_error(project):
    """The error names the setting's valid values."""
    project.settings('[cassettes]\nprompts = "hash"\n')
    with pytest.raises(ConfigError, match=r'"prompts?" .*"text" or "digest"|text.*digest'):
        EnginePool(home=project.root).ask("hi", "mock")


@pytest.mark.parametrize(
    ("env", "mode", "expected"),
    [
        ({"CI": "true"}, None, "replay"),
        ({"CI": "1"}, None, "replay"),
        ({"CI": "false"}, None, "auto"),
        ({"CI": ""}, None, "auto"),
        ({}, None, "auto"),
        ({"CI": "true"}, "auto", "auto"),
        ({"CI": "true"}, "record", "record"),
        ({"CI": "true", "GATEWAYX_CASSETTE_MODE": "auto"}, None, "auto"),
    ],
)
def test_in_ci_a_cassette_without_a_mode_only_replays(path, env, mode, expected):
    """Where `CI` is set and no mode was named, no model is called."""
    path.write_bytes(HEAD)
    with EnginePool(env=env) as pool, pool.cassette(path, mode) as cassette:
        assert cassette.mode == expected


def test_a_missing_key_says_what_differs_from_the_recording(project, path):
    """If an edited prompt cannot be sent without a key, the nearest recording is named."""
    project.engine("acme", "Hello.")
    engine = project.engines / "acme_engine.py"
    with project.pool() as pool:
        with pool.cassette(path):
            pool.ask("Say hello.", "acme")
        engine.write_text(engine.read_text().replace("requires_key = False", "requires_key = True"))
        pool.refresh()
        with pool.cassette(path):
            assert pool.ask("Say hello.", "acme").text == "Hello."
            nearest = r"KEY.*nearest one: its prompt is 'Say hello\.'"
            with pytest.raises(MissingKeyError, match=nearest):
                pool.ask("Say hullo.", "acme")


def test_two_pools_that_record_one_file_keep_each_others_entries(echo, path):
    """Putting the lines in order keeps the entries that another process has added."""
    with (
        EnginePool(env={}, engines=[echo]) as one,
        EnginePool(env={}, engines=[Echo()]) as two,
        one.cassette(path),
        two.cassette(path),
    ):
        for number in range(5):
            one.ask(f"one {number}", "echo")
            two.ask(f"two {number}", "echo")
    assert sorted(texts(path)) == sorted(f"{name} {n}" for name in ("one", "two") for n in range(5))


@pytest.mark.parametrize("has_second_header", [True, False])
@pytest.mark.parametrize("versions", [(1, 2), (2, 1)])
def test_a_merge_of_both_formats_is_read_and_converted(pool, path, versions, has_second_header):
    """If one of two branches converted the file, each line is read in its own format."""
    new = make_line("new answer", prompt="new")
    old = {
        "recorded": "2025-01-01T00:00:00Z", "engine": "echo", "model": "", "reference": "echo",
        "request": {"messages": [{"role": "user", "content": "old"}]},
        "chunks": [[0.1, "old "], [0.2, "answer"]], "reply": {"engine": "echo"},
    }  # fmt: skip
    sides = {
        2: [HEAD.strip(), new],
        1: [HEAD.strip().replace(b"2", b"1"), json.dumps(old).encode()],
    }
    first, second = (sides[version] for version in versions)
    path.write_bytes(b"\n".join([*first, *second[not has_second_header :], b""]))

    assert record(pool, path, "old", "new", mode="replay") == ["old answer", "new answer"]
    content = path.read_bytes()
    recorded = {line.entry.text: line.data for line in cassette_lines.read(path).lines}
    cassette_lines.append(
        path,
        cassette_lines.replacement_line(recorded["old answer"], make_line("newer", prompt="old")),
    )
    assert sorted(line.entry.text for line in cassette_lines.read(path).lines) == [
        "new answer",
        "newer",
    ]
    path.write_bytes(content)
    assert record(pool, path, "new", "old", "x") == ["new answer", "old answer", "x"]
    assert path.read_bytes().count(HEAD[:20]) == 1
    assert path.read_bytes().startswith(HEAD)
    assert set(texts(path)) == {"old answer", "new answer", "x"}
    assert record(pool, path, "old", mode="record") == ["old"]
    assert sorted(texts(path)) == ["new answer", "old", "x"]


def test_another_default_model_is_noticed_in_a_replay(project, path, caplog):
    """The settings decide the default model, so a replay knows that it has changed."""
    project.settings('default_model = "mock"\n')
    with project.pool() as pool:
        with pool.cassette(path):
            pool.ask("hi")
        project.settings('default_model = "local"\n')
        pool.refresh()
        with pool.cassette(path, "replay"):
            assert pool.ask("hi").text == "[mock] hi"
        assert "recorded with mock; the default model is" in caplog.text
        project.settings('default_model = "local"\n[cassettes]\nstrict_model = true\n')
        pool.refresh()
        with pool.cassette(path, "replay"), pytest.raises(CassetteMissError):
            pool.ask("hi")


@pytest.mark.parametrize(
    ("variable", "value"), [("GATEWAYX_CASSETTE_MODE", "replay"), ("CI", "true")]
)
def test_a_variable_that_sets_the_mode_is_named_in_a_miss(path, variable, value):
    """The error names the variable, because neither the file nor the call is wrong."""
    path.write_bytes(HEAD)
    with (
        EnginePool(env={variable: value}) as forced,
        forced.cassette(path),
        pytest.raises(CassetteMissError, match=f"where {variable} is not set"),
    ):
        forced.ask("hi", "mock")


def test_a_home_folder_that_does_not_exist_is_one_error(pool):
    """`~NAME` of an unknown user raises the package's error."""
    with pytest.raises(ConfigError, match="home folder"):
        pool.cassette("~nobody-of-this-name/a.jsonl")
