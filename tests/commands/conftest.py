import pytest


class Session:
    """A session of a front end that is no notebook, with what most commands need."""

    prog = "gatewayx"
    ask_prog = "gatewayx ask"
    notebook = None
    limitations = ""

    def __init__(self, pool):
        self.pool = pool


@pytest.fixture
def session_of():
    """Return the class of sessions, to be called with a pool."""
    return Session
