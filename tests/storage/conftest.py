"""Stores are closed after each test."""

import pytest

from gatewayx_nb.storage import results_store


@pytest.fixture(autouse=True)
def close_stores():
    """Close the stores that a test has left open, as the interpreter does when it ends."""
    yield
    results_store.close_all()
