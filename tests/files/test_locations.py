import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import locations
from gatewayx_nb.files.locations import (
    display_path,
    find_project,
    quoted_path,
    shipped_path,
    stat_stamp,
    user_config_dir,
)
from tests.users import as_nobody


def _make_project(folder):
    (folder / "config" / "secrets").mkdir(parents=True)
    return folder


def test_the_nearest_folder_upwards_is_the_project(tmp_path):
    """The project of a notebook is the nearest folder above it that is a project."""
    root = _make_project(tmp_path / "a")
    subfolder = root / "b" / "c"
    subfolder.mkdir(parents=True)

    assert find_project({}, subfolder).root == root


def test_settings_alone_make_a_project(tmp_path):
    """A folder with only `config/gatewayx.toml` is a project."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gatewayx.toml").touch()

    assert find_project({}, tmp_path).root == tmp_path


def test_the_search_stops_at_the_root_of_a_repository(tmp_path):
    """A folder above the root of the repository is not the project."""
    _make_project(tmp_path)
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)

    assert find_project({}, repository) is None


def test_the_search_stops_at_the_home_folder(tmp_path, monkeypatch):
    """A folder above the home folder is not the project."""
    _make_project(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))

    assert find_project({}, home) is None


def test_gatewayx_home_overrides_the_search(tmp_path):
    """`GATEWAYX_HOME` is the project folder, without a search; it must be a folder."""
    assert find_project({"GATEWAYX_HOME": str(tmp_path)}, Path("/")).root == tmp_path
    with pytest.raises(ConfigError, match="GATEWAYX_HOME"):
        find_project({"GATEWAYX_HOME": str(tmp_path / "none")})


def test_the_user_folder_has_the_layout_of_a_project(tmp_path):
    """The user folder has the same layout as a project."""
    folder = user_config_dir({"XDG_CONFIG_HOME": str(tmp_path)})

    assert folder.root == tmp_path / "gatewayx"
    assert folder.keys == tmp_path / "gatewayx" / "config" / "secrets" / ".env.local"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the variable is Linux's")
@pytest.mark.parametrize("path", [".", "config", "../x"])
def test_a_relative_user_folder_is_ignored(tmp_path, monkeypatch, path):
    """It could lead into a cloned project, which would then hold the user's permissions."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert user_config_dir({"XDG_CONFIG_HOME": path}).root == tmp_path / ".config" / "gatewayx"


def test_a_folder_next_to_an_installed_package_is_ignored(tmp_path, monkeypatch):
    """`site-packages/engines` does not belong to this package and is ignored."""
    package = tmp_path / "site-packages" / "gatewayx_nb"
    package.mkdir(parents=True)
    (package.parent / "engines").mkdir()
    (package.parent / "pyproject.toml").write_text('[project]\nname = "other"\n')
    monkeypatch.setattr(locations, "_PACKAGE", package)

    assert shipped_path("engines") == package / "engines"


def test_in_a_clone_the_shipped_engines_are_next_to_the_package():
    """In a clone of the repository, the folder of shipped engines is next to the package."""
    assert (shipped_path("engines") / "mock_engine.py").is_file()


def test_a_stamp_changes_with_the_file(tmp_path):
    """A stamp changes with the content, even if the size is equal, and with the permissions."""
    path = tmp_path / "file"
    stamps = [stat_stamp(path)]
    for text in ("aa", "bb"):
        path.write_text(text)
        stamps.append(stat_stamp(path))
    path.chmod(0o600)
    stamps.append(stat_stamp(path))

    assert len(set(stamps)) == 4
    assert stat_stamp(path) == stamps[-1]


@pytest.mark.parametrize(
    "path", ["a/b.py", "/my project/.env", "~/my project/it's", "$(touch x)", "~/plain"]
)
def test_a_quoted_path_is_one_argument_of_a_shell_command(tmp_path, path):
    """A shell reads a quoted path as a single argument, with `~` as the home folder."""
    command = f"printf %s {quoted_path(path)}"
    shell = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert shell.stdout == path.replace("~", str(tmp_path))


def test_a_path_is_displayed_in_its_shortest_form(tmp_path, monkeypatch):
    """A path is displayed relative to the current folder, otherwise to `~`, otherwise in full.

    If the current folder is the home folder, paths in it start with `~`.
    """
    home, work = tmp_path / "home", tmp_path / "home" / "work"
    work.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    paths = [work / "engines" / "a.py", home / "b", tmp_path / "c", work]

    monkeypatch.chdir(work)
    assert list(map(display_path, paths)) == ["engines/a.py", "~/b", str(tmp_path / "c"), "~/work"]
    monkeypatch.chdir(home)
    assert list(map(display_path, paths)) == [
        "~/work/engines/a.py",
        "~/b",
        str(tmp_path / "c"),
        "~/work",
    ]


def test_a_path_is_displayed_if_the_current_folder_was_deleted(tmp_path, monkeypatch):
    """If the current folder was deleted, a path is displayed in full."""
    folder = tmp_path / "deleted"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    assert display_path(tmp_path / "c") == str(tmp_path / "c")


def test_without_a_current_folder_only_absolute_paths_can_be_used(tmp_path, monkeypatch):
    """If the current folder was deleted, a pool has no project, and a relative path is an error."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with EnginePool(env={}) as pool:
        assert pool.ask("x", model="mock").text == "[mock] x"
        for use in (lambda: pool.cassette("x.jsonl"), lambda: find_project({"GATEWAYX_HOME": "a"})):
            with pytest.raises(ConfigError, match="the current folder has been deleted"):
                use()
        with pool.cassette(tmp_path / "x.jsonl"):
            assert pool.ask("x", model="mock").text == "[mock] x"
    monkeypatch.chdir(tmp_path)


def _save_default(pool, _):
    pool.use("mock", save=True)


def _set_key(pool, _):
    pool.config.set_key("grok", "xai-0123456789")


def _record(pool, folder):
    with pool.cassette(folder / "a.jsonl"):
        pool.ask("hi", "mock")


def test_a_home_that_cannot_be_read_is_a_problem_and_not_an_error(unprivileged, tmp_path):
    """Without access to the home folder, calls work; a write to it raises one typed error."""
    home = unprivileged / "home"
    home.mkdir(mode=0)
    for folder in (tmp_path, home):  # the first one imports what root alone may read
        env = {f"XDG_{kind}_HOME": str(folder / kind) for kind in ("CONFIG", "DATA", "CACHE")}
        with contextlib.ExitStack() as stack:
            if folder == home:
                stack.enter_context(as_nobody())
            pool = stack.enter_context(EnginePool(env=env))
            assert pool.ask("hi", "mock").text == "[mock] hi"
            is_closed = any("Permission denied" in problem for problem in pool.problems)
            assert is_closed == (folder == home)
            for write in (_save_default, _set_key, _record):
                with pytest.raises(ConfigError) if folder == home else contextlib.nullcontext():
                    write(pool, folder)
