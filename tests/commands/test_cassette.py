"""The ``%gatewayx cassette`` command."""

import json
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb import commands, weights
from gatewayx_nb.errors import ConfigError, UsageError


@pytest.fixture
def session(project, tmp_path, monkeypatch, session_of):
    """Yield a session in its own folder."""
    monkeypatch.chdir(tmp_path)
    with project.pool() as pool:
        yield session_of(pool)


def test_a_cassette_is_opened_and_described(session):
    """`cassette PATH` prints the opened cassette, and `cassette` describes the open one."""
    open_output = repr(commands.run(session, "cassette a.jsonl"))
    session.pool.ask("Hi", model="mock")
    session.pool.ask("Hi", model="mock")
    description = repr(commands.run(session, "cassette"))
    replay_output = repr(commands.run(session, "cassette --mode replay"))

    assert open_output == (
        "Cassette a.jsonl is open in mode auto: it replays what is recorded and records the rest."
    )
    assert replay_output == "Cassette a.jsonl is open in mode replay: it only replays its 1 entry."
    assert description.splitlines() == [
        "Cassette a.jsonl is in mode auto: it replays what is recorded and records the rest.",
        "1 entry; 1 replayed, 1 recorded so far.",
    ]
    assert (session.pool.active_cassette.mode, session.pool.active_cassette.path) == (
        "replay",
        Path("a.jsonl").absolute(),
    )


def test_in_ci_a_cassette_without_a_mode_only_replays(project, tmp_path, session_of):
    """Where `CI` is set, only a typed mode calls a model; the line shown is the same everywhere."""
    path = tmp_path / "a.jsonl"
    with project.pool() as pool, pool.cassette(path):
        pool.ask("Hi", model="mock")
    with gx.EnginePool(home=project.root, env={"CI": "true"}) as pool:
        session = session_of(pool)
        line = repr(commands.run(session, f"cassette {path}"))
        default_mode = pool.active_cassette.mode
        commands.run(session, f"cassette {path} --mode auto")
        typed_mode = pool.active_cassette.mode

    assert "is open in mode auto: it replays what is recorded and records the rest." in line
    assert (default_mode, typed_mode) == ("replay", "auto")


@pytest.mark.parametrize("mode", ["auto", "record", "replay", "off"])
def test_a_mode_in_place_of_a_path_is_the_mode(session, mode):
    """`cassette MODE` changes the mode of the open cassette, and creates no file with that name."""
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("Hi", model="mock")
    as_word = repr(commands.run(session, f"cassette {mode}"))
    active = session.pool.active_cassette

    assert (active.mode, active.path.name) == (mode, "a.jsonl")
    assert as_word == repr(commands.run(session, f"cassette --mode {mode}"))
    assert as_word == repr(commands.run(session, f"cassette {mode} --mode {mode}"))
    assert not Path(mode).exists()


@pytest.mark.parametrize(
    ("line", "message", "lines"),
    [
        (
            "play",
            "'play' is neither a cassette nor a mode. Did you mean 'replay'?",
            ["cassette --mode replay", "cassette play.jsonl"],
        ),
        ("stop", "'stop' is neither a cassette nor a mode. Did you mean 'off'?", ["--mode off"]),
        ("OFF", "'OFF' is neither a cassette nor a mode. Did you mean 'off'?", ["--mode off"]),
        ("tapes/story", "'tapes/story' is neither a cassette nor a mode.", ["tapes/story.jsonl"]),
        ("'my story'", "'my story' is neither a cassette nor a mode.", ["'my story.jsonl'"]),
        ("recorded", "'recorded' is neither a cassette nor a mode.", ["recorded.jsonl"]),
        ("folder", "'folder' is a folder, but a cassette is a file.", ["folder/NAME.jsonl"]),
        (
            "off --mode record",
            "`off` and `--mode record` are different modes; use only one.",
            ["cassette off"],
        ),
    ],
)
def test_a_path_that_may_be_a_mode_is_refused(session, line, message, lines):
    """A path without a suffix that is not a file is refused; the error suggests a mode or file."""
    Path("folder").mkdir()
    Path("recorded.jsonl").touch()

    with pytest.raises(UsageError) as error:
        commands.run(session, f"cassette {line}")

    assert error.value.message == message
    assert all(each in str(error.value.hint) for each in lines)
    assert "recorded" not in line or "--mode" not in str(error.value.hint)
    assert session.pool.active_cassette is None


def test_off_without_a_cassette_needs_no_path(session):
    """`cassette off` without a cassette or a notebook says that none is open, and opens none."""
    assert "No cassette is open" in repr(commands.run(session, "cassette off"))
    assert session.pool.active_cassette is None


def test_a_file_without_a_suffix_can_be_opened(session):
    """A file that exists may have any name, and the message names its path."""
    Path("tapes").mkdir()
    Path("tapes/story").touch()

    assert repr(commands.run(session, "cassette tapes/story")).startswith(
        "Cassette tapes/story is open"
    )
    assert "Cassette tapes/story is in mode auto" in repr(commands.run(session, "cassette"))


def test_a_cassette_replaces_the_open_one(session):
    """Opening a cassette replaces the open one, so rerunning the cell does not stack them."""
    for _ in range(3):
        commands.run(session, "cassette a.jsonl")
    session.pool.active_cassette.close()

    assert session.pool.active_cassette is None


def test_the_default_path_is_beside_the_notebook(session):
    """The default path is in `cassettes` beside the notebook.

    If the notebook is unknown, the command raises an error.
    """
    with pytest.raises(UsageError, match="does not report the notebook's name"):
        commands.run(session, "cassette")
    session.notebook = Path("/work/story.ipynb")
    commands.run(session, "cassette --speed 2")

    assert session.pool.active_cassette.path == Path("/work/cassettes/story.jsonl")
    assert session.pool.active_cassette.speed == 2


def test_an_invalid_cassette_does_not_close_the_open_one(session):
    """An invalid mode or file raises an error and does not close the open cassette."""
    commands.run(session, "cassette a.jsonl")
    Path("b.jsonl").write_text("hello")
    for line, error_class in (("--mode rekord", UsageError), ("b.jsonl", ConfigError)):
        with pytest.raises(error_class):
            commands.run(session, f"cassette {line}")

    assert session.pool.active_cassette.path.name == "a.jsonl"


def test_status_commands_are_reproducible_in_replay_mode(session):
    """In replay mode the status commands print the same on every machine.

    They show no path, key or engine from this machine.
    """
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("Hi", model="mock")
    commands.run(session, "cassette --mode replay")
    outputs = {line: repr(commands.run(session, line)) for line in ("", "status", "models", "keys")}

    for line in ("", "status"):
        header, _, row, *_ = outputs[line].splitlines()
        assert header.split() == ["engine", "state", "model"]
        assert row.split() == ["mock", "✓", "replayed", "mock"]
        assert "The cassette has no default model" in outputs[line]
        assert "Cassette a.jsonl is being replayed; no engine is started." in outputs[line]
        assert "/" not in outputs[line].replace("key/", "").partition("`")[0]
    assert outputs["models"].splitlines()[2].split() == ["mock", "mock"]


def test_nothing_is_downloaded_while_a_cassette_is_replayed(session, monkeypatch):
    """`pull` downloads nothing in replay mode, and prints a sentence instead."""
    downloads = []
    monkeypatch.setattr(
        "gatewayx_nb.weights.pull_model",
        lambda name, **_: downloads.append(name) or weights.LocalModel(name, Path(), 1, name),
    )
    commands.run(session, "cassette a.jsonl")
    commands.run(session, "pull smollm2")
    session.pool.ask("Hi", model="mock")
    commands.run(session, "cassette --mode replay")
    output = repr(commands.run(session, "pull smollm2"))

    assert downloads == ["smollm2"]
    assert output.startswith("Cassette a.jsonl is being replayed, so smollm2 was not downloaded.")


def test_status_and_security_warn_about_private_text_in_git(session, monkeypatch):
    """Both name the line and the kind; in replay mode, the status is the same everywhere."""
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("| a | b |\n|---|---|\n| 1 | 2 |", model="mock")
    monkeypatch.setattr("gatewayx_nb.cassettes.cassette.tracked_by_git", lambda _: True)
    warning = "a.jsonl is tracked by git: line 2 has a table in its request."

    assert warning in repr(commands.run(session, "status"))
    commands.run(session, "cassette --mode replay")
    assert warning in repr(commands.run(session, "security"))
    assert warning not in repr(commands.run(session, "status"))


def prune(session, arguments=""):
    """Run `cassette --prune` and return the lines that it shows."""
    return repr(commands.run(session, f"cassette {arguments} --prune")).splitlines()


def make_entry(text, prompt="Hi", date="2026-01-01"):
    """Return the line of a recorded call of the mock engine."""
    return json.dumps(
        {
            "request": {"messages": [{"content": prompt, "role": "user"}]},
            "reference": "mock",
            "engine": "mock",
            "text": text,
            "recorded": date,
        }
    )


HEAD = '{"format":"gatewayx-cassette","version":2}'
CONFLICT = [make_entry("old"), make_entry("new", date="2026-01-02"), make_entry("x", "Other")]


def write(name, *lines, head=HEAD):
    """Write a cassette in the current folder."""
    Path(name).write_text("\n".join([head, *lines, ""]))


def texts(name):
    """Return the answers in a cassette."""
    return [json.loads(line)["text"] for line in Path(name).read_text().splitlines()[1:]]


def test_unused_entries_are_counted_and_pruned(session):
    """The description counts the unused entries, and `--prune` removes them."""
    write("a.jsonl", make_entry("x"), make_entry("y", "Other"), make_entry("z", "Third"))
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("Other", model="mock")
    described = repr(commands.run(session, "cassette")).splitlines()[1]

    assert described == (
        "3 entries, 2 not used since it was opened; 1 replayed, 0 recorded so far."
    )
    assert prune(session) == ["Cassette a.jsonl: 2 entries were removed, 1 kept."]
    assert texts("a.jsonl") == ["y"]
    assert repr(commands.run(session, "cassette")).splitlines()[1].startswith("1 entry; 1 replayed")
    assert prune(session, "a.jsonl") == ["Cassette a.jsonl: 0 entries were removed, 1 kept."]
    Path("link.jsonl").symlink_to("a.jsonl")
    for path in (
        Path("a.jsonl").absolute(),
        "link.jsonl",
        "../*/a.jsonl".replace("*", Path.cwd().name),
    ):
        assert len(prune(session, str(path))) == 1


@pytest.mark.parametrize("mode", ["auto", "replay"])
def test_nothing_is_pruned_as_unused_before_a_call(session, mode):
    """Before a call is made, nothing is known to be unused, and the answer says so."""
    write("a.jsonl", make_entry("x"), make_entry("y", "Other"))
    commands.run(session, f"cassette a.jsonl --mode {mode}")

    assert prune(session) == [
        "Cassette a.jsonl: 0 entries were removed, 2 kept.",
        "No unused entries were removed, because no cell has used the cassette yet.",
    ]
    assert texts("a.jsonl") == ["x", "y"]


def test_conflicts_of_the_open_cassette_are_settled(session):
    write("a.jsonl", *CONFLICT)
    commands.run(session, "cassette a.jsonl")

    assert prune(session) == [
        "Cassette a.jsonl: 1 entry was removed, 2 kept.",
        "Of two different answers to one call, the newer was kept.",
        "No unused entries were removed, because no cell has used the cassette yet.",
    ]
    assert texts("a.jsonl") == ["new", "x"]


@pytest.mark.parametrize("open_line", [None, "cassette b.jsonl", "cassette a.jsonl --mode off"])
def test_another_cassette_is_only_settled(session, monkeypatch, open_line):
    """Conflicts in a file that is not open are settled even where only replays are allowed."""
    write("a.jsonl", *CONFLICT)
    if open_line:
        commands.run(session, open_line)
    monkeypatch.setenv("GATEWAYX_CASSETTE_MODE", "replay")

    assert prune(session, "a.jsonl") == [
        "Cassette a.jsonl: 1 entry was removed, 2 kept.",
        "Of two different answers to one call, the newer was kept.",
        (
            "Unused entries were not removed. To remove them, open the cassette, run the cells, and"
            " then prune it."
        ),
    ]
    assert texts("a.jsonl") == ["new", "x"]
    assert (session.pool.active_cassette is None) == (open_line is None)


def test_another_cassette_is_converted(session):
    """A file in format 1 is rewritten in the current one."""
    old = {
        "recorded": "2025-01-01T00:00:00Z", "engine": "mock", "model": "", "reference": "mock",
        "request": {"messages": [{"role": "user", "content": "Hi"}]},
        "chunks": [[0.1, "one "], [0.2, "two"]], "reply": {"engine": "mock"},
    }  # fmt: skip
    write("a.jsonl", json.dumps(old), head=HEAD.replace("2", "1"))

    assert prune(session, "a.jsonl")[:2] == [
        "Cassette a.jsonl: 0 entries were removed, 1 kept.",
        "It was converted from format 1 to the current format.",
    ]
    assert Path("a.jsonl").read_text().startswith(HEAD)
    assert texts("a.jsonl") == ["one two"]


def test_without_a_path_the_notebooks_cassette_is_pruned(session, tmp_path):
    """If none is open, the notebook's is pruned; without a notebook, a path is needed."""
    with pytest.raises(UsageError, match="no cassette is open") as caught:
        prune(session)
    assert "cassettes/NAME.jsonl --prune" in str(caught.value.hint)
    session.notebook = tmp_path / "story.ipynb"
    with pytest.raises(ConfigError, match="does not exist"):
        prune(session)
    (tmp_path / "cassettes").mkdir()
    write("cassettes/story.jsonl", *CONFLICT)

    assert prune(session)[0] == "Cassette cassettes/story.jsonl: 1 entry was removed, 2 kept."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a.jsonl --mode replay", "`--prune` cannot be combined with `--mode`"),
        ("replay", "`--prune` cannot be combined with `--mode`"),
        ("a.jsonl --speed 2", "`--prune` cannot be combined with `--speed`"),
        ("plya", "neither a cassette nor a mode"),
        ("missing.jsonl", "does not exist"),
        ("other.jsonl", "is not a cassette"),
    ],
)
def test_what_cannot_be_pruned_is_an_error(session, arguments, message):
    """The error says what to do instead, and nothing is changed."""
    Path("other.jsonl").write_text("hello")
    write("a.jsonl", *CONFLICT)
    before = {path.name: path.read_bytes() for path in Path().glob("*.jsonl")}
    with pytest.raises((UsageError, ConfigError), match=message):
        prune(session, arguments)

    assert {path.name: path.read_bytes() for path in Path().glob("*.jsonl")} == before


def test_a_change_of_the_mode_forgets_no_use(session):
    """Entries that were used before the mode, the speed or the open cassette was set are kept."""
    write("a.jsonl", *(make_entry(f"[mock] {word}", word) for word in ("one", "two", "three")))
    commands.run(session, "cassette a.jsonl --mode replay")
    session.pool.ask("one", "mock")
    commands.run(session, "cassette --speed 100")
    assert session.pool.active_cassette.mode == "replay"
    session.pool.ask("two", "mock")
    commands.run(session, "cassette a.jsonl --mode auto")
    session.pool.ask("three", "mock")

    assert prune(session)[0] == "Cassette a.jsonl: 0 entries were removed, 3 kept."


def test_after_a_merge_unused_entries_are_kept_at_first(session):
    """The cells of the other branch may not have been run yet when its conflicts are settled."""
    write("a.jsonl", *CONFLICT, make_entry("unused", "Unused"))
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("Other", "mock")

    lines = prune(session)
    assert lines[0] == "Cassette a.jsonl: 1 entry was removed, 3 kept."
    assert "not been used yet and were kept" in lines[-1]


def test_the_markers_of_a_merge_are_removed(session):
    """Both sides are kept; a line in both is kept once, and of two answers the newer is kept."""
    a, b, c = (make_entry(word, word) for word in "abc")
    write("m.jsonl", "<<<<<<< HEAD", a, b, "=======", a, c, ">>>>>>> x")
    assert prune(session, "m.jsonl")[0].startswith("Cassette m.jsonl: 0 entries")
    assert len(Path("m.jsonl").read_bytes().splitlines()) == 4
    assert texts("m.jsonl") == ["a", "b", "c"]
