"""`new` writes engines that work unmodified."""

import os

import pytest

from gatewayx_nb import engine_pool
from gatewayx_nb.commands import run
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.model_registry.rows import RowFile
from gatewayx_nb.testing import check


@pytest.fixture
def new(project, session_of):
    """Yield a function that runs the command in a project and returns its output."""
    with project.pool() as pool:
        yield lambda line: repr(run(session_of(pool), f"new {line}"))


@pytest.mark.parametrize("name", ["mine", "my_2nd_one", "2nd", "a" * 63])
def test_the_file_passes_every_rule_and_answers_at_once(project, new, name):
    """The generated file passes the conformance kit unmodified; the printed next step works."""
    note = new(name)
    path = project.engines / f"{name}_engine.py"

    assert str(path) in note
    assert f"`gatewayx key set {name}`" in note
    assert f"`gatewayx {name} Hello`" in note
    assert len(path.read_text().splitlines()) < 20
    assert "14 rules" in repr(check(path, ask=True))
    with project.pool() as pool:
        assert pool.ask("Hello", model=name).text == f"[{name}] Hello"


def test_the_key_is_required_once_the_line_is_deleted(project, new):
    """The key is required once the marked line is deleted, as the note in the file says."""
    new("mine")
    path = project.engines / "mine_engine.py"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "requires_key" not in line))
    with project.pool() as pool:
        assert {row.name: row.state for row in pool.status()}["mine"] == "no key"
        project.set_keys("GATEWAYX_MINE_API_KEY=k\n")
        pool.refresh()
        assert pool.ask("x", model="mine").text == "[mine] x"


@pytest.mark.parametrize("here", [True, False])
def test_the_row_passes_every_rule_and_the_files_comments_are_kept(project, new, here):
    """The row is appended, the file's comments are kept, and a local server needs no key."""
    path = project.root / "config" / "engines.toml"
    path.write_text('# mine\n[old]\nbase_url = "https://old.example"  # stays')
    url = "http://127.0.0.1:9/v1" if here else "https://api.example.com/v1"

    note = new(f"fresh --url {url}")

    assert path.read_text().startswith('# mine\n[old]\nbase_url = "https://old.example"  # stays\n')
    assert f"[fresh] to {path}" in note
    assert ("key set fresh" in note) is not here
    file = RowFile(path, "project")
    file.refresh()
    fresh = next(row for row in file.rows if row.name == "fresh")
    assert (fresh.base_url, fresh.requires_key) == (url, not here)
    assert check(fresh.load().engine).rules
    with project.pool() as pool:
        states = {row.name: row.state for row in pool.status()}
    assert states["fresh"] == ("not running" if here else "no key")
    assert states["old"] == "no key"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Mine", "not 1 to 63 characters of a-z"),
        ("da-sh", "not 1 to 63 characters of a-z"),
        ("../up", "not 1 to 63 characters of a-z"),
        ("_mine", "would be a helper"),
        ("status", "reserved for the command"),
        ("mock", "an engine 'mock' already exists: .*mock_engine.py"),
        ("mistral", r"exists: \[mistral\] in .*engines.toml"),
        ("there", "exists: .*there_engine.py"),
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
def test_an_invalid_name_or_url_writes_nothing(project, new, line, message):
    """An invalid or taken name, or an invalid URL, is a one-line error, and no file is written."""
    project.engine("there", "x")
    before = sorted(project.root.rglob("*"))

    with pytest.raises(UsageError, match=message) as caught:
        new(line)

    assert "\n" not in caught.value.message
    assert "pw" not in str(caught.value)
    assert sorted(project.root.rglob("*")) == before


def test_an_existing_file_is_not_overwritten(project, new):
    """An existing file is not overwritten, and a symlink is not followed."""
    (project.engines / "mine_engine.py").symlink_to(project.root / "elsewhere")

    with pytest.raises(UsageError, match="already"):
        new("mine")
    assert not (project.root / "elsewhere").exists()


def test_an_invalid_engines_file_is_left_unchanged(project, new):
    """An invalid engines.toml is left unchanged; the error names the line to fix."""
    path = project.root / "config" / "engines.toml"
    path.write_text("[a\n")

    with pytest.raises(ConfigError, match=r"is not valid TOML.*line 1"):
        new("fresh --url https://h/v1")
    assert path.read_text() == "[a\n"


def test_the_file_may_run_under_any_umask(project, new):
    """Whatever the umask, only its owner can write the file, so that it may run."""
    before = os.umask(0)
    try:
        new("mine")
    finally:
        os.umask(before)

    assert (project.engines / "mine_engine.py").stat().st_mode & 0o777 == 0o644


def test_without_a_project_it_goes_into_the_user_folder(clean_environment, session_of):
    """Without a project the file goes into the user folder."""
    with engine_pool.EnginePool(env={"XDG_CONFIG_HOME": str(clean_environment / "config")}) as pool:
        note = repr(run(session_of(pool), "new mine"))
        assert "~/config/gatewayx/engines/mine_engine.py" in note
        assert pool.ask("x", model="mine").text == "[mine] x"
