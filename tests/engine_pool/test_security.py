"""`pool.security_status`: its schema, its findings, and the values that it must not reveal."""

import json
import os
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest

from gatewayx_nb.engine_pool import EnginePool
from tests.schemas import schema
from tests.users import NOBODY

CANARY = "sk-canary-7Hq2pVxN4mTzK9wB"


def _run_git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def _get_status(pool):
    """Return the JSON after validating it against the schema."""
    status = json.loads(json.dumps(pool.security_status().to_json()))
    jsonschema.validate(status, schema("security_status"))
    return status


def _find_file(status, kind="keys", location="project"):
    (file,) = [
        file for file in status["files"] if (file["kind"], file["place"]) == (kind, location)
    ]
    return file


def test_the_status_of_an_empty_project_matches_the_schema(project):
    """In an empty project the status matches the schema, and missing files are reported."""
    status = _get_status(project.pool())

    assert (status["counts"]["set"], status["started"], status["refused"]) == (0, [], [])
    assert _find_file(status) == {
        "place": "project",
        "kind": "keys",
        "path": "config/secrets/.env.local",
        "exists": False,
        "link": False,
        **dict.fromkeys(["mode", "yours", "root", "others_read", "others_write"]),
        "ignored": None,
        "tracked": None,
    }
    assert _find_file(status, "engines folder")["exists"]


def test_the_status_names_the_sources_of_keys(project):
    """The source of each key is environment, project or user.

    Placeholders and the vendors' own variables are reported, too.
    """
    project.set_keys(f"GATEWAYX_GROK_API_KEY={CANARY}\nGATEWAYX_COHERE_API_KEY=changeme\n")
    pool = EnginePool(home=project.root, env={"OPENAI_API_KEY": CANARY})
    pool.config.set_key("mistral", CANARY, user=True)

    status = _get_status(pool)

    keys = {key["engine"]: key for key in status["keys"]}
    assert keys["grok"]["source"] == "project"
    assert keys["mistral"]["source"] == "user"
    assert keys["openai"] == {
        "engine": "openai",
        "state": "set",
        "variable": "OPENAI_API_KEY",
        "source": "environment",
    }
    assert (status["counts"]["set"], status["counts"]["placeholder"]) == (3, 1)
    assert _find_file(status, location="user")["mode"] == "0600"


def test_the_status_lists_running_and_refused_engines(project):
    """An engine is started by its first call, and refused if anyone may write to its file."""
    project.engine("mine", "x")
    project.engine("unsafe", "x").chmod(0o666)
    project.keys.mkdir()
    with project.pool() as pool:
        assert _get_status(pool)["started"] == []
        pool.ask("x", model="mine")
        status = _get_status(pool)

    assert status["started"] == ["mine"]
    assert [refusal["what"] for refusal in status["refused"]] == ["unsafe", "file"]
    assert "is writable by everyone" in status["refused"][0]["why"]
    assert "'config/secrets/.env.local' is not a regular file" in status["refused"][1]["why"]


def test_the_status_reports_modes_and_owners_of_files(project):
    """Modes and owners of files are reported, with booleans for the access of other users."""
    project.settings("")
    (project.root / "config" / "gatewayx.toml").chmod(0o664)
    if os.getuid() == 0:
        os.chown(project.engines, NOBODY, NOBODY)
    status = _get_status(project.pool())

    settings, engines = _find_file(status, "settings"), _find_file(status, "engines folder")
    assert (settings["mode"], settings["others_read"], settings["others_write"]) == (
        "0664",
        True,
        True,
    )
    assert settings["yours"]
    assert engines["yours"] == (os.getuid() != 0)
    assert not engines["root"]


@pytest.mark.parametrize(
    ("commands", "ignored", "tracked"),
    [
        ([["init"]], False, False),
        ([["init"], ["ignore"]], True, False),
        ([["init"], ["add", "-f", "config/secrets/.env.local"]], False, True),
        ([["init"], ["ignore"], ["add", "-f", "config/secrets/.env.local"]], True, True),
    ],
    ids=["neither", "ignored", "tracked", "both"],
)
def test_the_status_reports_whether_git_ignores_the_key_file(project, commands, ignored, tracked):
    """The status reports whether git ignores or tracks the key file."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY={CANARY}\n")
    for command in commands:
        if command == ["ignore"]:
            (project.keys.parent / ".gitignore").write_text("*\n")
        else:
            _run_git(project.root, *command)

    file = _find_file(_get_status(project.pool()))

    assert (file["ignored"], file["tracked"]) == (ignored, tracked)


def _install_fake_git(folder, script):
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    return str(folder)


def test_the_git_status_is_unknown_if_git_does_not_answer(project, tmp_path, monkeypatch):
    """The git status is unknown if git is missing or does not answer within two seconds."""
    _run_git(project.root, "init")
    for path in ("/nowhere", _install_fake_git(tmp_path / "bin", "exec /bin/sleep 60")):
        monkeypatch.setenv("PATH", path)
        start = time.monotonic()
        file = _find_file(_get_status(project.pool()))
        assert (file["ignored"], file["tracked"]) == (None, None)
        assert time.monotonic() - start < 40  # `git` would take 60 s


def test_git_receives_no_key_and_runs_no_file_monitor(project, tmp_path, monkeypatch):
    """Git runs with a minimal environment and without the repository's file monitor."""
    _run_git(project.root, "init")
    project.set_keys("")
    _run_git(project.root, "config", "core.fsmonitor", str(tmp_path / "monitor"))
    (tmp_path / "monitor").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "monitor").chmod(0o755)
    _get_status(project.pool())
    assert not (tmp_path / "ran").exists()

    monkeypatch.setenv("XAI_API_KEY", CANARY)
    path = _install_fake_git(tmp_path / "bin", f"/usr/bin/env > {tmp_path}/env; exit 1")
    monkeypatch.setenv("PATH", path)
    _get_status(project.pool())
    assert CANARY not in (tmp_path / "env").read_text()
    assert "PATH=" in (tmp_path / "env").read_text()


def test_the_status_reveals_no_key_absolute_path_or_user(project, tmp_path):
    """The status contains no key, absolute path or user name."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY={CANARY}\n{CANARY}\n")
    project.engine("unsafe", "x").chmod(0o666)
    project.engine("Bad-Name", "x")
    (project.engines / "link_engine.py").symlink_to("/etc/hostname")
    (Path.home() / "config" / "gatewayx" / "engines").mkdir(parents=True)
    (Path.home() / "config" / "gatewayx" / "engines").chmod(0o777)
    user_file = Path.home() / "config" / "gatewayx" / "engines" / "own_engine.py"
    user_file.write_text("")
    path_folder = tmp_path / "elsewhere"
    path_folder.mkdir()
    (path_folder / "Worse-Name_engine.py").touch()
    env = {
        "XDG_CONFIG_HOME": str(Path.home() / "config"),
        "GATEWAYX_ENGINES_PATH": str(path_folder),
    }
    pool = EnginePool(home=project.root, env=env)
    pool.config.set_key("openai", CANARY, user=True)

    text = json.dumps(_get_status(pool))

    assert len(json.loads(text)["refused"]) >= 6
    for secret in (CANARY[:6], CANARY[-6:], str(project.root), str(Path.home()), "/tmp", "root/"):
        assert secret not in text
