"""Links and pipes that take the place of an open cassette, or of a folder on its path."""

import os

import pytest

from gatewayx_nb.cassettes import Cassette, Redaction, cassette_lines
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError
from tests.cassettes.test_cassette_lines import make_entry

PARTS = ["cassettes", "cassettes/a.jsonl", "cassettes/.gatewayx"]


class Swap:
    """A part of a cassette's path that is replaced by a symlink to the user's own file or folder.

    Args:
        project: The project.
        part: The part, relative to the project folder.
        tmp_path: The folder of the user's place.
    """

    def __init__(self, project, part, tmp_path):
        self.path = project.root / "cassettes" / "a.jsonl"
        self.part, self.old = project.root / part, project.root / "old"
        self.target = tmp_path / "target"

    def make(self):
        """Replace the part."""
        if self.part.is_file():
            self.target.touch()
        else:
            self.target.mkdir()
        self.part.rename(self.old)
        self.part.symlink_to(self.target)

    def undo(self):
        """Restore the part."""
        self.part.unlink()
        self.old.rename(self.part)

    def is_target_empty(self):
        """Return whether nothing was written to the user's place."""
        if self.target.is_dir():
            return not list(self.target.iterdir())
        return not self.target.read_bytes()


@pytest.fixture(params=PARTS)
def swap(request, project, tmp_path):
    """Return a part of the path of a cassette."""
    return Swap(project, request.param, tmp_path)


def test_a_call_that_cannot_be_recorded_is_not_made(project, swap):
    """If a link has taken the place of a part of the path, the next call is not paid for."""
    with project.pool() as pool, pool.cassette(swap.path, "record") as cassette:
        pool.ask("one", "mock")
        swap.make()
        with pytest.raises(ConfigError, match=f"{swap.part.name}' is a symlink"):
            pool.ask("two", "mock")
        assert (cassette.recorded, cassette.problem) == (1, "")

    assert swap.is_target_empty()


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_link_that_appears_during_a_call_is_not_followed(project, swap, is_repeated):
    """The reply is kept, and recorded when the link is gone, whether it replaces one or not."""
    redaction = Redaction(str, dict)
    with Cassette(swap.path, "record", redaction, root=project.root) as cassette:
        cassette.record(make_entry)
    with Cassette(swap.path, "record", redaction, root=project.root) as cassette:
        swap.make()
        cassette.record(lambda: make_entry("Hi" if is_repeated else "Hello", "Another."))
        assert "is a symlink" in cassette.problem
        assert swap.is_target_empty()
        swap.undo()
    assert (cassette.recorded, cassette.problem) == (1, "")

    assert len(cassette_lines.read(swap.path).lines) == (1 if is_repeated else 2)


@pytest.mark.parametrize("is_restored", [False, True])
@pytest.mark.parametrize("part", PARTS[:2])
def test_a_link_that_appears_before_the_file_is_opened(
    project, tmp_path, monkeypatch, part, is_restored
):
    """What was opened is checked, because the path may change between a check and its use."""
    swap = Swap(project, part, tmp_path)
    cassette_lines.append(swap.path, b"{}", root=project.root)
    content = swap.path.read_bytes()
    open_file = os.open

    def replace_and_open(path, *args, **kwargs):
        if path != swap.path:
            return open_file(path, *args, **kwargs)
        swap.make()
        try:
            return open_file(path, *args, **kwargs)
        finally:
            if is_restored:
                swap.undo()

    monkeypatch.setattr(os, "open", replace_and_open)
    with pytest.raises(ConfigError):
        cassette_lines.append(swap.path, b"{}", root=project.root)

    written = [path for path in (swap.target, *swap.target.rglob("*")) if path.is_file()]
    assert not any(map(os.path.getsize, written))
    if not is_restored:
        swap.undo()
    assert swap.path.read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_a_cassette_is_not_written_to(project):
    """Opening a pipe could wait forever."""
    path = project.root / "a.jsonl"
    with project.pool() as pool, pool.cassette(path, "record") as cassette:
        pool.ask("one", "mock")
        path.unlink()
        os.mkfifo(path)
        assert pool.ask("two", "mock").text == "[mock] two"
        assert "not a regular file" in cassette.problem
        path.unlink()

    assert cassette.problem == ""


def test_a_link_outside_a_project_is_followed(project, tmp_path):
    """The user's own links work: only a project is not trusted."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "mine").symlink_to(tmp_path / "disk")
    with project.pool() as pool, pool.cassette(tmp_path / "mine" / "a.jsonl", "record"):
        pool.ask("one", "mock")

    assert (tmp_path / "disk" / "a.jsonl").is_file()


@pytest.mark.parametrize("name", ["a.jsonl", ".gatewayx"])
def test_no_link_of_a_repository_without_settings_is_followed(tmp_path, monkeypatch, name):
    """A clone that is not a project may also contain links."""
    clone, outside = tmp_path / "clone", tmp_path / "outside"
    (clone / ".git").mkdir(parents=True)
    (clone / "cassettes").mkdir()
    outside.mkdir()
    (clone / "cassettes" / name).symlink_to(outside / ("new" if name == "a.jsonl" else "."))
    monkeypatch.chdir(clone)
    with EnginePool(env={}) as pool, pytest.raises(ConfigError, match="is a symlink"):
        pool.cassette("cassettes/a.jsonl")
    assert list(outside.iterdir()) == []
