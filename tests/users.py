"""What a user may do whom modes hold: for root, which most containers run tests as, they do not."""

import contextlib
import os

NOBODY = 65534


@contextlib.contextmanager
def as_nobody():
    """Act as a user who owns nothing; whoever is no root stays who they are."""
    import filelock  # noqa: F401 - now, because nobody may read what root has installed

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
