"""`new` writes engine files and entries that work unmodified."""

import errno
import os

import pytest

from gatewayx_nb import engine_pool
from gatewayx_nb.commands import run
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.model_registry.engine_entries import EnginesFile
from gatewayx_nb.testing import check


@pytest.fixture
def run_new(project, session_of):
    """Yield a function that runs `new` in a project and returns its output."""
    with project.pool() as pool:
        yield lambda line: repr(run(session_of(pool), f"new {line}"))


@pytest.mark.parametrize("name", ["mine", "my_2nd_engine", "2nd", "a" * 63])
def test_the_generated_file_passes_the_conformance_kit(project, run_new, name):
    """The generated file passes the conformance kit and answers without being edited."""
    output = run_new(name)
    path = project.engines / f"{name}_engine.py"

    assert str(path) in output
    assert f"`gatewayx key set {name}`" in output
    assert f"`gatewayx ask {name} Hello`" in output
    assert len(path.read_text().splitlines()) < 20
    assert "14 rules" in repr(check(path, ask=True))
    with project.pool() as pool:
        assert pool.ask("Hello", model=name).text == f"[{name}] Hello"


def test_deleting_the_marked_line_makes_the_key_required(project, run_new):
    """Without the line that defines `requires_key`, the generated engine needs a key."""
    run_new("mine")
    path = project.engines / "mine_engine.py"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "requires_key" not in line))
    with project.pool() as pool:
        assert {row.name: row.state for row in pool.status()}["mine"] == "no key"
        project.set_keys("GATEWAYX_MINE_API_KEY=k\n")
        pool.refresh()
        assert pool.ask("x", model="mine").text == "[mine] x"


@pytest.mark.parametrize("is_local", [True, False])
def test_an_entry_is_appended_and_passes_the_conformance_kit(project, run_new, is_local):
    """`--url` appends an entry to the file and keeps its comments; a local server needs no key."""
    path = project.root / "config" / "engines.toml"
    path.write_text('# mine\n[old]\nbase_url = "https://old.example"  # stays')
    url = "http://127.0.0.1:9/v1" if is_local else "https://api.example.com/v1"

    output = run_new(f"fresh --url {url}")

    assert path.read_text().startswith('# mine\n[old]\nbase_url = "https://old.example"  # stays\n')
    assert f"[fresh] to {path}" in output
    assert ("key set fresh" in output) is not is_local
    file = EnginesFile(path, "project")
    file.refresh()
    entry = next(entry for entry in file.entries if entry.name == "fresh")
    assert (entry.base_url, entry.requires_key) == (url, not is_local)
    assert check(entry.load().engine).rules
    with project.pool() as pool:
        states = {row.name: row.state for row in pool.status()}
    # The project's server is not contacted before it is called, so its state is unknown.
    assert states["fresh"] == ("ready" if is_local else "no key")
    assert states["old"] == "no key"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mine", "not consist of 1 to 63 characters from a-z"),
        ("da-sh", "not consist of 1 to 63 characters from a-z"),
        ("../up", "not consist of 1 to 63 characters from a-z"),
        ("_mine", "are helper modules"),
        ("status", "reserved for the command"),
        ("mock", "an engine 'mock' already exists: .*mock_engine.py"),
        ("mistral", r"exists: \[mistral\] in .*engines.toml"),
        ("taken", "exists: .*taken_engine.py"),
        ("a --url ftp://x/y", "base URL must be https://HOST/PATH"),
        ("a --url example.com", "base URL must be https://HOST/PATH"),
        ("a --url https://", "base URL must be https://HOST/PATH"),
        ("a --url https://me:pw@h/v1", "base URL must be https://HOST/PATH"),
        ("a --url https://h/v1?key=1", "base URL must be https://HOST/PATH"),
        ("a --url https://h:99999/v1", "base URL must be https://HOST/PATH"),
        ("a --url https://h/'\"\n'", "base URL must be https://HOST/PATH"),
        ("a --url https://é/v1", "base URL must be https://HOST/PATH"),
        ("", "NAME"),
    ],
)
def test_an_invalid_name_or_url_writes_nothing(project, run_new, line, message):
    """An invalid or taken name, or an invalid URL, raises a one-line error; no file is written."""
    project.engine("taken", "x")
    paths_before = sorted(project.root.rglob("*"))

    with pytest.raises(UsageError, match=message) as error:
        run_new(line)

    assert "\n" not in error.value.message
    assert "pw" not in str(error.value)
    assert sorted(project.root.rglob("*")) == paths_before


def test_an_existing_file_is_not_overwritten(project, run_new):
    """An existing file is not overwritten, and a symlink is not followed."""
    (project.engines / "mine_engine.py").symlink_to(project.root / "target")

    with pytest.raises(UsageError, match="already"):
        run_new("mine")
    assert not (project.root / "target").exists()


def test_an_invalid_engines_file_is_left_unchanged(project, run_new):
    """An invalid engines.toml is left unchanged; the error names the line to fix."""
    path = project.root / "config" / "engines.toml"
    path.write_text("[a\n")

    with pytest.raises(ConfigError, match=r"is not valid TOML.*line 1"):
        run_new("fresh --url https://h/v1")
    assert path.read_text() == "[a\n"


def test_the_generated_file_is_writable_only_by_its_owner(project, run_new):
    """The generated file has mode 0644 under any umask, because a writable one would be refused."""
    previous_umask = os.umask(0)
    try:
        run_new("mine")
    finally:
        os.umask(previous_umask)

    assert (project.engines / "mine_engine.py").stat().st_mode & 0o777 == 0o644


def test_without_a_project_the_file_is_in_the_user_folder(clean_environment, session_of):
    """If there is no project, `new` writes the file into the user folder."""
    with engine_pool.EnginePool(env={"XDG_CONFIG_HOME": str(clean_environment / "config")}) as pool:
        output = repr(run(session_of(pool), "new mine"))
        assert "~/config/gatewayx/engines/mine_engine.py" in output
        assert pool.ask("x", model="mine").text == "[mine] x"


def test_an_entry_that_cannot_be_written_whole_leaves_the_others(project, run_new, monkeypatch):
    """A full disk once cut the file in the middle of a string, so that no entry was left."""
    run_new("first --url https://first.example/v1")
    path = project.root / "config" / "engines.toml"
    before = path.read_text()
    monkeypatch.setattr("os.fsync", raise_full)

    with pytest.raises(ConfigError, match="No space left"):
        run_new("second --url https://second.example/v1")
    assert path.read_text() == before


def raise_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "engines.toml")
