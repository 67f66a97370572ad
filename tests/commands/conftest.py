import pytest

from gatewayx_nb import commands


class Session:
    """A session without a notebook, with the attributes that commands use."""

    prog = "gatewayx"
    commands = commands.COMMANDS
    ask_prog = "gatewayx ask"
    notebook = None
    limitations = ""

    def __init__(self, pool):
        self.pool = pool


@pytest.fixture
def session_of():
    """Return the session class, which takes a pool."""
    return Session
