import os
import time

import pytest

from gatewayx_nb.files import stamps
from gatewayx_nb.secure_config import FileStamp


def test_an_untouched_path_has_not_changed(tmp_path):
    """A stamp of an untouched file, an untouched folder or a missing path has not changed."""
    file = tmp_path / "file"
    file.write_text("one")
    file_stamps = [FileStamp(file), FileStamp(tmp_path), FileStamp(tmp_path / "none")]

    assert not any(stamp.has_changed() for stamp in file_stamps)


@pytest.mark.parametrize("name", ["file", "new"])
def test_an_edit_of_equal_size_and_time_is_detected(tmp_path, name):
    """An edit of equal size and mtime is detected, in place and by a replacement of the file."""
    file = tmp_path / "file"
    file.write_text("one")
    os.utime(file, (1, 1))
    stamp = FileStamp(file)

    (tmp_path / name).write_text("two")
    os.utime(tmp_path / name, (1, 1))
    (tmp_path / name).replace(file)

    assert file.stat().st_mtime == 1
    assert stamp.has_changed()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_two_changes_within_one_clock_tick_are_detected(tmp_path, monkeypatch, kind):
    """Two changes within one clock tick are detected by the content.

    `stat_stamp` is replaced, because a test cannot slow down the clock of the file system.
    """
    path = tmp_path / kind
    file = path if kind == "file" else path / "a"
    file.parent.mkdir(exist_ok=True)
    file.write_text("one")
    now = time.time_ns()
    monkeypatch.setattr(stamps, "stat_stamp", lambda path: (now, now, 3, 1))
    stamp = FileStamp(path)
    assert not stamp.has_changed()

    (file if kind == "file" else path / "b").write_text("two")

    assert stamp.has_changed()


def test_a_file_is_not_read_again_after_a_second(tmp_path, monkeypatch):
    """A file whose last change was a second ago is not read again; its stamp is compared."""
    file = tmp_path / "file"
    file.write_text("one")
    stamp = FileStamp(file)
    monkeypatch.setattr(stamps.time, "time_ns", lambda: file.stat().st_mtime_ns + 10**9)
    assert not stamp.has_changed()
    monkeypatch.setattr(stamps, "_content", lambda path: pytest.fail("the file was read"))

    assert not stamp.has_changed()


def test_a_pipe_is_never_read(tmp_path):
    """A pipe is never read, because reading would block until a process writes to it."""
    os.mkfifo(tmp_path / "pipe")

    assert not FileStamp(tmp_path / "pipe").has_changed()
