"""Waiting for events in other threads."""

import time


def until(reached, seconds=10):
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)
