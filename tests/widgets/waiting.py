"""Waiting for what other threads bring about."""

import time


def until(reached, seconds=10):
    """Look again and again until it has come about."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.005)
