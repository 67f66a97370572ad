"""The ``%gatewayx cassette`` command."""

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("mode", ["auto", "record", "replay", "off"])
def test_a_mode_in_place_of_a_path_is_the_mode(session, mode):
    """`cassette MODE` changes the mode of the open cassette, and creates no file of that name."""
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
        ("folder", "'folder' is a folder, and a cassette is a file.", ["folder/NAME.jsonl"]),
        (
            "off --mode record",
            "`off` and `--mode record` name different modes; give only one.",
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

    They show no path, key or engine of this machine.
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
        assert "Cassette a.jsonl is replayed; no engine is started." in outputs[line]
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
    assert output.startswith("Cassette a.jsonl is replayed, so smollm2 is not downloaded.")


def test_the_security_status_warns_about_a_table_in_git(session, monkeypatch):
    """The security status warns about tables in a cassette tracked by git, even in replay mode."""
    commands.run(session, "cassette a.jsonl")
    session.pool.ask("| a | b |\n|---|---|\n| 1 | 2 |", model="mock")
    commands.run(session, "cassette --mode replay")
    monkeypatch.setattr("gatewayx_nb.cassettes.cassette.tracked_by_git", lambda _: True)

    assert "a prompt in it contains a table" in repr(commands.run(session, "security"))
    assert "a prompt in it contains a table" not in repr(commands.run(session, "status"))
