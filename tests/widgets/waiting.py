"""Waiting for events in other threads."""

import time


def wait_until(condition, seconds=10):
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.005)
