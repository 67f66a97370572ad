"""Run as an unprivileged user, because file modes do not restrict root."""

import contextlib
import os
from pathlib import Path

import pytest

NOBODY = 65534


@contextlib.contextmanager
def as_nobody():
    """Become the user `nobody` if the tests run as root, who must be able to read the package."""
    import filelock  # noqa: F401 - imported before root's packages become unreadable

    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        if not _can_read_repository():
            pytest.skip("root runs the tests in a folder that other users may not enter")
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _can_read_repository() -> bool:
    try:
        with os.scandir(Path(__file__).parent):
            return True
    except PermissionError:
        return False
