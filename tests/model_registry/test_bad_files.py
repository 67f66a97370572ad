"""Invalid engine files: each is reported in one line and does not affect other engines."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import EngineLoadError, EngineNotFoundError
from gatewayx_nb.files import permissions
from gatewayx_nb.model_registry import loader, safety

VALID_ENGINE = """\
from ..llm_engines import LLMEngine
class Engine(LLMEngine):
    requires_key = False
    async def generate(self, prompt, **kwargs):
        return "valid"
"""
CONSTRUCTOR = VALID_ENGINE + "    def __init__"
IS_ROOT = os.getuid() == 0


@dataclass(frozen=True)
class BrokenFile:
    """The content of an engine file, and the error in its status after a call.

    Attributes:
        is_known_before: Whether its text already shows the error.
    """

    name: str
    text: str
    expected_message: str
    is_known_before: bool = False


BROKEN_FILES = [
    BrokenFile("syntax", "def f(:\n", "SyntaxError in line 1", is_known_before=True),
    BrokenFile("nul", "'\0'", "SyntaxError", is_known_before=True),
    BrokenFile("no utf-8", "x = '\udcff'\n", "SyntaxError", is_known_before=True),
    BrokenFile("signs", f"x = {'-' * 200_000}1\n", "is nested too deeply", is_known_before=True),
    BrokenFile(
        "attributes", f"x = a{'.b' * 100_000}\n", "is nested too deeply", is_known_before=True
    ),
    BrokenFile(
        "branches",
        "if a: pass\n" + "elif b: pass\n" * 10_000,
        "is nested too deeply",
        is_known_before=True,
    ),
    BrokenFile("huge", VALID_ENGINE + "#" * 2**20, "it is larger than 1 MiB", is_known_before=True),
    BrokenFile("no class", "x = 1\n", "one subclass of LLMEngine, got none.", is_known_before=True),
    BrokenFile(
        "two classes",
        VALID_ENGINE + "class Two(Engine): pass\n",
        "got Engine, Two",
        is_known_before=True,
    ),
    BrokenFile(
        "abstract",
        "import abc\n"
        + VALID_ENGINE.replace("LLMEngine)", "LLMEngine, abc.ABC)")
        + "    @abc.abstractmethod\n    def what(self): ...\n",
        "got none but Engine, which is abstract",
    ),
    BrokenFile(
        "no method", VALID_ENGINE.replace("generate", "other"), "must define `generate` or `stream`"
    ),
    BrokenFile(
        "missing import", "import not_there\n" + VALID_ENGINE, "No module named 'not_there'"
    ),
    BrokenFile("missing helper", "from . import _none\n" + VALID_ENGINE, "ImportError"),
    BrokenFile("sys.exit()", "import sys; sys.exit(3)\n" + VALID_ENGINE, "SystemExit: 3"),
    BrokenFile("interrupt", "raise KeyboardInterrupt\n" + VALID_ENGINE, "KeyboardInterrupt"),
    BrokenFile("recursion", "def f(): f()\nf()\n" + VALID_ENGINE, "RecursionError"),
    BrokenFile(
        "multi-line error", "raise ValueError('a\\nb\\nc')\n" + VALID_ENGINE, "ValueError: a b c"
    ),
    BrokenFile(
        "constructor raises", CONSTRUCTOR + "(self, *a, **k): raise OSError('no')\n", "OSError"
    ),
    BrokenFile(
        "constructor exits", CONSTRUCTOR + "(self, *a, **k): raise SystemExit\n", "SystemExit"
    ),
    BrokenFile("constructor without parameters", CONSTRUCTOR + "(self): pass\n", "TypeError"),
    BrokenFile(
        "constructor with another parameter",
        CONSTRUCTOR + "(self, api_key, region): pass\n",
        "region",
    ),
]


@pytest.mark.parametrize("case", BROKEN_FILES, ids=lambda case: case.name)
def test_a_broken_file_does_not_affect_other_engines(project, case):
    """A broken file is listed until its first call, after which its status shows the error.

    Once corrected, it answers; other engines answer throughout.
    """
    path = project.engine("bad")
    path.write_bytes(case.text.encode(errors="surrogateescape"))
    project.engine("working", "works")
    modules_before = set(sys.modules)
    with project.pool() as pool:
        if "requires_key = False" not in case.text:
            project.set_keys("GATEWAYX_BAD_API_KEY=k\n")
        is_listed = "bad" in {model.engine for model in pool.models()}
        assert is_listed != case.is_known_before
        with pytest.raises(EngineLoadError) as error:
            pool.ask("x", model="bad")
        (row,) = [row for row in pool.status() if row.name == "bad"]
        assert (row.state, case.expected_message in row.error) == ("failed", True), row.error
        assert "\n" not in str(error.value) + row.error
        assert str(path) in str(error.value.hint)
        assert pool.ask("x", model="working").text == "works"
        assert "bad" not in {model.engine for model in pool.models()}

        path.write_text(VALID_ENGINE)
        assert "bad" in {model.engine for model in pool.models()}
        assert pool.ask("x", model="bad").text == "valid"
    bad_modules = [
        name for name in set(sys.modules) - modules_before if name.endswith(".bad_engine")
    ]
    assert len(bad_modules) == 1  # the corrected file


@dataclass(frozen=True)
class RefusedFile:
    """A change to an engine file that makes it refused, and the expected error."""

    name: str
    change: Callable
    expected_message: str
    engine: str = "bad"


def _link_out(path):
    path.rename(path.parents[2] / "outside.py")
    path.symlink_to(path.parents[2] / "outside.py")


def _link_folder_out(path):
    outside = path.parents[2] / "outside"
    outside.mkdir()
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)


def _replace_by(create):
    def change(path):
        path.unlink()
        create(path)

    return change


REFUSED_FILES = [
    RefusedFile("capitals", lambda path: None, "not consist of 1 to 63 characters from a-z", "Bad"),
    RefusedFile("dash", lambda path: None, "not consist of 1 to 63 characters from a-z", "ba-d"),
    RefusedFile("dot", lambda path: None, "not consist of 1 to 63 characters from a-z", "ba.d"),
    RefusedFile("too long", lambda path: None, "1 to 63 characters", "b" * 64),
    RefusedFile("name of a command", lambda path: None, "reserved for the command", "status"),
    RefusedFile("link out", _link_out, "is a symlink to a file outside its folder"),
    RefusedFile(
        "link into another folder", _link_folder_out, "is a symlink to a file outside its folder"
    ),
    RefusedFile(
        "dangling link", _replace_by(lambda path: path.symlink_to("none")), "cannot be read"
    ),
    RefusedFile("link to itself", _replace_by(lambda path: path.symlink_to(path)), "read|link"),
    RefusedFile("folder", _replace_by(lambda path: path.mkdir()), "is not a regular file"),
    RefusedFile("pipe", _replace_by(os.mkfifo), "is not a regular file"),
    RefusedFile("world-writable file", lambda path: path.chmod(0o646), "is writable by everyone"),
    RefusedFile(
        "world-writable folder",
        lambda path: path.parent.chmod(0o757),
        "is in a folder that is writable by everyone",
    ),
    *(
        [
            RefusedFile(
                "another user's file",
                lambda path: os.chown(path, 12345, -1),
                "belongs to another user",
            ),
            RefusedFile(
                "another user's folder",
                lambda path: os.chown(path.parent, 12345, -1),
                "is in a folder that belongs to another user",
            ),
        ]
        if IS_ROOT  # only root can change the owner of a file
        else []
    ),
]


@pytest.mark.parametrize("case", REFUSED_FILES, ids=lambda case: case.name)
def test_a_refused_file_is_not_run(project, tmp_path, case):
    """A refused file is not run, and its status names the file and the reason.

    Calling it raises an error; other engines are unaffected.
    """
    side_effect = tmp_path / "was run"
    path = project.engine(case.engine)
    path.write_text(f"open({str(side_effect)!r}, 'w').close()\n" + VALID_ENGINE)
    case.change(path)
    path_folder = tmp_path / "named"
    path_folder.mkdir()
    (path_folder / "working_engine.py").write_text(VALID_ENGINE)
    with project.pool() as pool:
        pool.config.env["GATEWAYX_ENGINES_PATH"] = str(path_folder)
        (row,) = [row for row in pool.status() if row.name == case.engine]
        assert row.state == "refused"
        assert str(path) in row.error
        assert any(
            expected_message in row.error for expected_message in case.expected_message.split("|")
        ), row.error
        assert "\n" not in row.error
        with pytest.raises(EngineLoadError, match="refused"):
            pool.ask("x", model=case.engine)
        assert case.engine not in {model.engine for model in pool.models()}
        assert pool.ask("x", model="working").text == "valid"
        assert pool.ask("x", model="mock").text == "[mock] x"
    assert not side_effect.exists()


def test_a_refused_file_still_overrides_a_shipped_engine(project):
    """A shipped engine does not silently replace a refused file with the same name."""
    project.engine("mock", "mine").chmod(0o646)

    with project.pool() as pool, pytest.raises(EngineLoadError, match="refused"):
        pool.ask("x", model="mock")


def test_an_engine_that_becomes_world_writable_is_refused(project):
    """The mode of an engine file is checked on every call, not only on the first."""
    path = project.engine("mine", "x")
    with project.pool() as pool:
        pool.ask("x", model="mine")
        path.chmod(0o646)
        pool.refresh()
        with pytest.raises(EngineLoadError, match="writable by everyone"):
            pool.ask("x", model="mine")


def test_a_group_writable_file_runs_with_a_warning(project, monkeypatch):
    """A group-writable file runs with a warning, which disappears once the mode is corrected.

    There is no warning if the group is the user's own, which has no other members.
    """
    path = project.engine("mine", "x")
    path.chmod(0o664)
    with project.pool() as pool:
        monkeypatch.setattr(safety, "_is_own_group", lambda group: False)  # needs a second user
        path.parent.touch()
        pool.refresh()
        os.utime(path.parent)
        (row,) = [row for row in pool.status() if row.name == "mine"]
        assert row.state == "ready"
        assert row.warning == f"is writable by its group; `chmod g-w {path}`"
        assert pool.ask("x", model="mine").text == "x"

        path.chmod(0o644)
        (row,) = [row for row in pool.status() if row.name == "mine"]
        assert row.warning == ""
        path.parent.chmod(0o775)
        (row,) = [row for row in pool.status() if row.name == "mine"]
        assert "is in a folder that is writable by its group" in row.warning


def test_a_file_without_reliable_modes_runs_with_a_warning(project, monkeypatch):
    """On a file system without modes, such as FAT, a file runs with a warning.

    Every file on it looks world-writable.
    """
    path = project.engine("mine", "x")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    fstat = os.fstat

    def world_writable_fstat(handle):
        status = fstat(handle)
        return os.stat_result((status.st_mode | 0o666, *status[1:]))

    monkeypatch.setattr(os, "fstat", world_writable_fstat)  # no such mount is available
    permissions._are_modes_reliable_on.cache_clear()
    with project.pool() as pool:
        (row,) = [row for row in pool.status() if row.name == "mine"]
        assert (row.state, "without reliable modes" in row.warning) == ("ready", True)
        assert pool.ask("x", model="mine").text == "x"
    permissions._are_modes_reliable_on.cache_clear()


def test_an_import_that_hangs_is_not_repeated(project, monkeypatch):
    """An import that timed out is not repeated until the file is edited.

    Other engines answer meanwhile.
    """
    path = project.engine("hangs")
    path.write_text("import threading\nthreading.Event().wait(90)\n" + VALID_ENGINE)
    assert loader.IMPORT_TIMEOUT == 10
    monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 0.3)  # the default is ten seconds
    with project.pool() as pool:
        with pytest.raises(EngineLoadError, match=r"import took longer than 0.3 s"):
            pool.ask("x", model="hangs")
        monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 60)
        started_at = time.monotonic()
        with pytest.raises(EngineLoadError, match="import took longer"):
            pool.ask("x", model="hangs")
        assert time.monotonic() - started_at < 40
        (row,) = [row for row in pool.status() if row.name == "hangs"]
        assert (row.state, "import took longer" in row.error) == ("failed", True)
        assert pool.ask("x", model="mock").text == "[mock] x"

        path.write_text(VALID_ENGINE)
        pool.refresh()
        assert pool.ask("x", model="hangs").text == "valid"


@pytest.mark.parametrize("obstacle", ["file", "no permission"])
def test_a_folder_that_cannot_be_listed_is_reported(project, obstacle):
    """An engines folder that is a file or unreadable is reported, and shipped engines work."""
    if obstacle == "file":
        project.engines.rmdir()
        project.engines.write_text("")
    else:
        if IS_ROOT:
            pytest.skip("root may read everything")
        project.engines.chmod(0)
    with project.pool() as pool:
        (problem,) = pool.problems
        assert f"{str(project.engines)!r} cannot be read" in problem
        assert pool.ask("x", model="mock").text == "[mock] x"
    project.engines.chmod(0o755)


@pytest.mark.parametrize("body", ["class MineEngine:\n    pass\n", "class Foo: ...\n"])
def test_a_class_without_a_base_is_not_an_engine(project, body):
    """If a file's class is not an engine, the error says so instead of asking for a key."""
    (project.engines / "mine_engine.py").write_text(body)
    with project.pool() as pool:
        with pytest.raises(EngineLoadError, match="one subclass of LLMEngine, got none"):
            pool.ask("hi", "mine")
        row = next(row for row in pool.status() if row.name == "mine")
    assert row.state == "failed"


def test_an_engine_file_outside_a_project_is_pointed_out(tmp_path, monkeypatch):
    """For an engine file in a folder that is not a project, the error says why it is not found."""
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "mine_engine.py").write_text("class MineEngine: ...\n")
    monkeypatch.chdir(tmp_path)
    with EnginePool(env={}) as pool, pytest.raises(EngineNotFoundError, match="not a project"):
        pool.ask("hi", "mine")
