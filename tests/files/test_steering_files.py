"""Files that decide where keys are sent and which code runs are read only if they are safe."""

import os
import re
import sqlite3
import stat
import sys
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    drop_reason_if_modes_unreliable,
    endpoint_file_problem,
    link_in,
    make_ignored_folder,
    permission_problem,
    refuse_link_in,
)
from gatewayx_nb.storage import Ledger, LedgerEntry

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the modes and links of POSIX")

SETTINGS = '[engines.mistral]\nbase_url = "http://127.0.0.1:9/v1"\n'


def _link(path, target):
    target.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)


def _link_folder(path, target):
    path.parent.rename(target)
    path.parent.symlink_to(target)


def _replace_with_fifo(path, _):
    path.unlink()
    os.mkfifo(path)


def _replace_with_folder(path, _):
    path.unlink()
    path.mkdir()


@dataclass(frozen=True)
class Change:
    """A change to a file, and the problem that it causes; empty if the file is still read."""

    name: str
    make: object
    problem: str = ""


CHANGES = [
    Change("as it is", lambda path, _: path.chmod(0o644)),
    Change("private", lambda path, _: path.chmod(0o600)),
    Change("a hard link", os.link),
    Change("world-writable", lambda path, _: path.chmod(0o666), "is writable by everyone"),
    Change("a symlink", _link, "is reached through a symlink: config/"),
    Change("in a symlink", _link_folder, "is reached through a symlink: config"),
    Change("a FIFO", _replace_with_fifo, "is not a regular file"),
    Change("a folder", _replace_with_folder, "is not a regular file"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("name", ["gatewayx.toml", "engines.toml"])
def test_settings_and_entries_are_read_only_from_safe_files(project, tmp_path, change, name):
    """Settings and entries decide where keys are sent, so an unsafe file is refused."""
    path = project.root / "config" / name
    row = '[acme]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    path.write_text(SETTINGS if name == "gatewayx.toml" else row)
    (project.root / "config" / "gatewayx.toml").touch()

    change.make(path, tmp_path / "elsewhere")

    problem = endpoint_file_problem(path, project.root) or ""
    assert change.problem in problem
    assert bool(problem) == bool(change.problem)
    with project.pool() as pool:
        rows = {row.name: row for row in pool.status()}
        is_read = (
            "mistral" in pool.config.settings.engines
            if name == "gatewayx.toml"
            else "acme" in rows and rows["acme"].state != "refused"
        )
        messages = [*pool.problems, *(row.error for row in rows.values())]
        assert is_read is not bool(change.problem)
        assert bool(change.problem) == any(name in line for line in messages)
        assert pool.ask("hi", "mock").text == "[mock] hi"


def test_the_command_for_a_link_quotes_its_path(tmp_path):
    """The path in the command of a hint may contain spaces."""
    link = tmp_path / "my project" / "config"
    link.parent.mkdir()
    link.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=re.escape(f"run `rm '{link}'`.")):
        refuse_link_in(link, link.parent)


def test_a_reason_is_kept_on_windows(tmp_path, monkeypatch):
    """Windows has neither owners nor modes, so that every reason for a refusal is another one."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "getuid")
    reason = permission_problem(tmp_path, tmp_path)

    assert reason == "is not a regular file"
    assert drop_reason_if_modes_unreliable(reason, tmp_path, tmp_path) == reason


@pytest.mark.parametrize("link", ["config/secrets", "config", "config/secrets/.env.local"])
def test_a_key_is_never_written_through_a_link(project, tmp_path, link):
    """A key is not written through a link, and the mode of a linked folder is not changed."""
    public = tmp_path / "public"
    part = project.root / link
    project.keys.touch()
    if part.is_file():
        part.unlink()
        public.write_text("A=1\n")
    else:
        part.rename(public)
    public.chmod(0o755)
    part.symlink_to(public)
    before = sorted(public.rglob("*")) if public.is_dir() else public.read_text()

    with project.pool() as pool, pytest.raises(ConfigError, match="is a symlink"):
        pool.config.set_key("grok", "xai-0123456789")

    assert before == (sorted(public.rglob("*")) if public.is_dir() else public.read_text())
    assert stat.S_IMODE(public.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["store.sqlite", "store.sqlite-journal", ""])
def test_the_ledger_does_not_follow_a_link(tmp_path, name):
    """Through a link in a project's folder, SQLite would write to another file of the user."""
    other = tmp_path / "app.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    folder = tmp_path / "project" / ".gatewayx"
    if name:
        folder.mkdir(parents=True)
        (folder / name).symlink_to(other)
    else:
        folder.parent.mkdir()
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    content = other.read_bytes()

    ledger = Ledger(folder / "store.sqlite")
    ledger.add(LedgerEntry(1.0, "mock", "", "ok"))
    ledger.flush()

    assert "is a symlink" in ledger.problem
    assert other.read_bytes() == content
    assert not list((tmp_path / "elsewhere").glob("*")) if not name else True


@pytest.mark.parametrize("link", ["cassettes", "cassettes/a.jsonl", "cassettes/.gatewayx"])
@pytest.mark.parametrize("mode", ["auto", "record", "replay"])
def test_a_cassette_in_a_project_is_not_a_link(project, tmp_path, mode, link):
    """A cloned project cannot cause a recording to be read from or written to another place."""
    other = tmp_path / "other"
    (project.root / "cassettes").mkdir()
    if link == "cassettes":
        (project.root / "cassettes").rename(other)
    elif link.endswith(".jsonl"):
        other.write_text("mine")
    else:
        other.mkdir()
    (project.root / link).symlink_to(other)

    with project.pool() as pool, pytest.raises(ConfigError, match="is a symlink"):
        pool.cassette(project.root / "cassettes" / "a.jsonl", mode)

    assert not list(other.glob("*")) if other.is_dir() else other.read_text() == "mine"


def test_a_folder_itself_may_be_a_link(tmp_path):
    """Only links below a project or user folder are refused, as a home may be on another disk."""
    (tmp_path / "real" / "config").mkdir(parents=True)
    (tmp_path / "project").symlink_to(tmp_path / "real")
    path = tmp_path / "project" / "config" / "gatewayx.toml"
    path.touch()

    assert link_in(path, tmp_path / "project") is None
    assert endpoint_file_problem(path, tmp_path / "project") is None


def test_a_gitignore_is_not_written_through_a_link(tmp_path):
    """A dangling link with the name of the file is not changed."""
    (tmp_path / ".gitignore").symlink_to(tmp_path / "elsewhere")

    make_ignored_folder(tmp_path)

    assert not (tmp_path / "elsewhere").exists()


def test_very_large_settings_are_one_error(project):
    """A settings file of many megabytes is refused before it is parsed."""
    (project.root / "config" / "gatewayx.toml").write_text("# x\n" * 2**19)

    with pytest.raises(ConfigError, match="it is larger than 1 MiB"):
        project.pool()


@pytest.mark.parametrize("spelling", ["alias", "project/config/.."])
def test_a_link_is_found_however_the_project_is_spelled(project, tmp_path, monkeypatch, spelling):
    """A cassette in the current folder is in the project, even if that has another spelling."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (project.root / "linked").symlink_to(outside)
    (tmp_path / "alias").symlink_to(project.root)
    monkeypatch.chdir(project.root)
    env = {"GATEWAYX_HOME": str(tmp_path / spelling)}
    with EnginePool(env=env) as pool, pytest.raises(ConfigError, match="is a symlink"):
        pool.cassette("linked/a.jsonl", "record")
    assert list(outside.iterdir()) == []
