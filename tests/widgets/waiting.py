"""Waiting for events in other threads."""

import time


def wait_until(condition, seconds=10):
    """Poll until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.005)
