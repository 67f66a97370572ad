"""Waiting for events in other threads."""

import time


def until(reached, seconds=10):
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.005)
