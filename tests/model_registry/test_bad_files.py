"""Invalid engine files: each is one row with a one-line error, and affects no other engine."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.model_registry import loader, safety

GOOD = """\
from ..llm_engines import LLMEngine
class Engine(LLMEngine):
    requires_key = False
    async def generate(self, prompt, **kwargs):
        return "ran"
"""
CONSTRUCTOR = GOOD + "    def __init__"
IS_ROOT = os.getuid() == 0


@dataclass(frozen=True)
class Broken:
    """The content of a file, and the error in its row after its first call."""

    name: str
    text: str
    expected_message: str


BROKEN = [
    Broken("syntax", "def f(:\n", "SyntaxError in line 1"),
    Broken("nul", "'\0'", "SyntaxError"),
    Broken("no utf-8", "x = '\udcff'\n", "SyntaxError"),
    Broken("no class", "x = 1\n", "one subclass of LLMEngine, got none."),
    Broken("two classes", GOOD + "class Two(Engine): pass\n", "got Engine, Two"),
    Broken(
        "abstract",
        "import abc\n"
        + GOOD.replace("LLMEngine)", "LLMEngine, abc.ABC)")
        + "    @abc.abstractmethod\n    def what(self): ...\n",
        "got none but Engine, which is abstract",
    ),
    Broken("idle", GOOD.replace("generate", "other"), "must define `generate` or `stream`"),
    Broken("missing import", "import not_there\n" + GOOD, "No module named 'not_there'"),
    Broken("missing helper", "from . import _none\n" + GOOD, "ImportError"),
    Broken("sys.exit()", "import sys; sys.exit(3)\n" + GOOD, "SystemExit: 3"),
    Broken("interrupt", "raise KeyboardInterrupt\n" + GOOD, "KeyboardInterrupt"),
    Broken("deep", "def f(): f()\nf()\n" + GOOD, "RecursionError"),
    Broken("many lines", "raise ValueError('a\\nb\\nc')\n" + GOOD, "ValueError: a b c"),
    Broken("constructor raises", CONSTRUCTOR + "(self, *a, **k): raise OSError('no')\n", "OSError"),
    Broken("constructor exits", CONSTRUCTOR + "(self, *a, **k): raise SystemExit\n", "SystemExit"),
    Broken("constructor wants nothing", CONSTRUCTOR + "(self): pass\n", "TypeError"),
    Broken("constructor wants more", CONSTRUCTOR + "(self, api_key, region): pass\n", "region"),
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_file_is_one_row_and_harms_no_other(project, case):
    """A broken file is listed as ready until its first call, which puts the error in its row.

    Once fixed, it answers.
    """
    path = project.engine("bad")
    path.write_bytes(case.text.encode(errors="surrogateescape"))
    project.engine("whole", "fine")
    before = set(sys.modules)
    with project.pool() as pool:
        if "requires_key = False" not in case.text:
            project.set_keys("GATEWAYX_BAD_API_KEY=k\n")
        assert "bad" in {model.engine for model in pool.models()}
        with pytest.raises(EngineLoadError) as caught:
            pool.ask("x", model="bad")
        (row,) = [row for row in pool.status() if row.name == "bad"]
        assert (row.state, case.expected_message in row.error) == ("failed", True), row.error
        assert "\n" not in str(caught.value) + row.error
        assert str(path) in str(caught.value.hint)
        assert pool.ask("x", model="whole").text == "fine"
        assert "bad" not in {model.engine for model in pool.models()}

        path.write_text(GOOD)
        assert "bad" in {model.engine for model in pool.models()}
        assert pool.ask("x", model="bad").text == "ran"
    left = [name for name in set(sys.modules) - before if name.endswith(".bad_engine")]
    assert len(left) == 1  # the last, valid one


@dataclass(frozen=True)
class Refused:
    """A change to a file whose code would leave a mark, and the expected error in its row."""

    name: str
    harm: Callable
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


def _replaced_by(make):
    def harm(path):
        path.unlink()
        make(path)

    return harm


REFUSED = [
    Refused("capitals", lambda path: None, "not 1 to 63 characters of a-z", "Bad"),
    Refused("dash", lambda path: None, "not 1 to 63 characters of a-z", "ba-d"),
    Refused("dot", lambda path: None, "not 1 to 63 characters of a-z", "ba.d"),
    Refused("too long", lambda path: None, "1 to 63 characters", "b" * 64),
    Refused("a command", lambda path: None, "reserved for the command", "status"),
    Refused("link out", _link_out, "is a symlink that leaves its folder"),
    Refused("link into another folder", _link_folder_out, "is a symlink that leaves its folder"),
    Refused("dangling link", _replaced_by(lambda path: path.symlink_to("none")), "cannot be read"),
    Refused("link to itself", _replaced_by(lambda path: path.symlink_to(path)), "read|link"),
    Refused("folder", _replaced_by(lambda path: path.mkdir()), "is not a regular file"),
    Refused("pipe", _replaced_by(os.mkfifo), "is not a regular file"),
    Refused("world-writable file", lambda path: path.chmod(0o646), "is writable by everyone"),
    Refused(
        "world-writable folder",
        lambda path: path.parent.chmod(0o757),
        "its folder is writable by everyone",
    ),
    *(
        [
            Refused("foreign", lambda path: os.chown(path, 12345, -1), "belongs to another user"),
            Refused(
                "foreign folder",
                lambda path: os.chown(path.parent, 12345, -1),
                "its folder belongs to another user",
            ),
        ]
        if IS_ROOT  # only root can change the owner of a file
        else []
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_refused_file_has_not_one_line_executed(project, tmp_path, case):
    """No line of a refused file is run; its row and the error of a call name file and reason.

    Other engines are unaffected.
    """
    mark = tmp_path / "was run"
    path = project.engine(case.engine)
    path.write_text(f"open({str(mark)!r}, 'w').close()\n" + GOOD)
    case.harm(path)
    named = tmp_path / "named"
    named.mkdir()
    (named / "whole_engine.py").write_text(GOOD)
    with project.pool() as pool:
        pool.config.env["GATEWAYX_ENGINES_PATH"] = str(named)
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
        assert pool.ask("x", model="whole").text == "ran"
        assert pool.ask("x", model="mock").text == "[mock] x"
    assert not mark.exists()


def test_a_refused_file_keeps_its_name(project):
    """A refused file keeps its name, so that a shipped engine does not silently replace it."""
    project.engine("mock", "mine").chmod(0o646)

    with project.pool() as pool, pytest.raises(EngineLoadError, match="refused"):
        pool.ask("x", model="mock")


def test_an_engine_that_was_opened_to_everyone_is_not_run_again(project):
    """The mode of an engine file is checked again after its first call."""
    path = project.engine("mine", "x")
    with project.pool() as pool:
        pool.ask("x", model="mine")
        path.chmod(0o646)
        pool.refresh()
        with pytest.raises(EngineLoadError, match="writable by everyone"):
            pool.ask("x", model="mine")


def test_a_file_that_its_group_may_write_runs_with_a_warning(project, monkeypatch):
    """A group-writable file runs with a warning, which disappears once fixed.

    The user's own group has no other members and needs no warning.
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


def test_where_modes_do_not_hold_a_file_runs_with_a_warning(project, monkeypatch):
    """On FAT and some mounts every file looks world-writable, so it runs with a warning."""
    path = project.engine("mine", "x")
    path.chmod(0o666)
    path.parent.chmod(0o777)
    fstat = os.fstat

    def open_to_all(handle):
        status = fstat(handle)
        return os.stat_result((status.st_mode | 0o666, *status[1:]))

    monkeypatch.setattr(os, "fstat", open_to_all)  # no such mount is available
    safety._are_modes_reliable_on.cache_clear()
    with project.pool() as pool:
        (row,) = [row for row in pool.status() if row.name == "mine"]
        assert (row.state, "without reliable modes" in row.warning) == ("ready", True)
        assert pool.ask("x", model="mine").text == "x"
    safety._are_modes_reliable_on.cache_clear()


def test_an_import_that_hangs_is_cut_off_once(project, monkeypatch):
    """An import that hangs is cut off and not repeated until the file is edited.

    Other engines answer meanwhile.
    """
    path = project.engine("hangs")
    path.write_text("import threading\nthreading.Event().wait(60)\n" + GOOD)
    assert loader.IMPORT_TIMEOUT == 10
    monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 0.3)  # the default is ten seconds
    with project.pool() as pool:
        with pytest.raises(EngineLoadError, match=r"import took longer than 0.3 s"):
            pool.ask("x", model="hangs")
        monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 20)
        began = time.monotonic()
        with pytest.raises(EngineLoadError, match="import took longer"):
            pool.ask("x", model="hangs")
        assert time.monotonic() - began < 5
        (row,) = [row for row in pool.status() if row.name == "hangs"]
        assert (row.state, "import took longer" in row.error) == ("failed", True)
        assert pool.ask("x", model="mock").text == "[mock] x"

        path.write_text(GOOD)
        pool.refresh()
        assert pool.ask("x", model="hangs").text == "ran"


@pytest.mark.parametrize("make", ["file", "closed"])
def test_a_folder_that_cannot_be_listed_is_a_problem_and_no_failure(project, make):
    """A file of the folder's name or an unreadable folder is a problem, not an exception."""
    if make == "file":
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
