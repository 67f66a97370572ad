import os
import time

import pytest

from gatewayx_nb.files import stamps
from gatewayx_nb.secure_config import FileStamp


def test_what_was_not_touched_has_not_changed(tmp_path):
    """An untouched file, folder or missing path has not changed."""
    file = tmp_path / "file"
    file.write_text("one")
    watches = [FileStamp(file), FileStamp(tmp_path), FileStamp(tmp_path / "none")]

    assert not any(stamp.has_changed() for stamp in watches)


@pytest.mark.parametrize("name", ["file", "new"])
def test_an_edit_of_equal_size_and_time_is_seen(tmp_path, name):
    """An edit of equal size and mtime is detected by ctime or inode, in place or replaced."""
    file = tmp_path / "file"
    file.write_text("one")
    os.utime(file, (1, 1))
    before = FileStamp(file)

    (tmp_path / name).write_text("two")
    os.utime(tmp_path / name, (1, 1))
    (tmp_path / name).replace(file)

    assert file.stat().st_mtime == 1
    assert before.has_changed()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_two_changes_within_one_tick_of_the_clock_are_seen(tmp_path, monkeypatch, what):
    """Two changes within one clock tick are detected by content.

    The stamp is fixed, because a test cannot slow down the clock.
    """
    path = tmp_path / what
    file = path if what == "file" else path / "a"
    file.parent.mkdir(exist_ok=True)
    file.write_text("one")
    now = time.time_ns()
    monkeypatch.setattr(stamps, "stat_stamp", lambda path: (now, now, 3, 1))
    before = FileStamp(path)
    assert not before.has_changed()

    (file if what == "file" else path / "b").write_text("two")

    assert before.has_changed()


def test_what_has_come_to_rest_is_not_read_again(tmp_path, monkeypatch):
    """A file that has not changed for a while is not read again: its stamp is enough."""
    file = tmp_path / "file"
    file.write_text("one")
    before = FileStamp(file)
    monkeypatch.setattr(stamps.time, "time_ns", lambda: file.stat().st_mtime_ns + 10**9)
    assert not before.has_changed()
    monkeypatch.setattr(stamps, "_content", lambda path: pytest.fail("it was read"))

    assert not before.has_changed()


def test_a_pipe_is_never_read(tmp_path):
    """A pipe is never read, because reading would block until there is a writer."""
    os.mkfifo(tmp_path / "pipe")

    assert not FileStamp(tmp_path / "pipe").has_changed()
