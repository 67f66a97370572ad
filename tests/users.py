"""Run as an unprivileged user, because file modes do not restrict root."""

import contextlib
import os

NOBODY = 65534


@contextlib.contextmanager
def as_nobody():
    """Become the user `nobody` if the tests run as root."""
    import filelock  # noqa: F401 - imported before root's packages become unreadable

    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
