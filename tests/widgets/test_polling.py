"""The thread that checks for changes."""

import gc
import threading

from gatewayx_nb.widgets.polling import ChangePoller


class Follower:
    """Counts its notifications."""

    def __init__(self, *, fails=False):
        self.fails, self.calls = fails, threading.Semaphore(0)

    def follow(self):
        self.calls.release()
        if self.fails:
            raise RuntimeError


def wait_for_call(follower):
    """Wait until the follower is notified."""
    return follower.calls.acquire(timeout=10)


def test_followers_are_called_repeatedly_even_if_one_fails():
    """Followers are notified repeatedly.

    An exception in one stops neither the others' notifications nor its own.
    """
    watch, broken, other = ChangePoller(0.001), Follower(fails=True), Follower()
    watch.add(broken)
    watch.add(other)
    assert all(wait_for_call(follower) for follower in (broken, other, broken, other))
    watch.discard(broken)
    watch.discard(other)


def test_the_thread_ends_after_the_last_follower_and_restarts_with_the_next():
    """The thread ends after the last follower leaves or is garbage-collected.

    It restarts with the next follower.
    """
    watch, follower = ChangePoller(0.001), Follower()
    watch.add(follower)
    assert wait_for_call(follower)
    thread = watch._thread
    watch.discard(follower)
    thread.join(10)
    assert not thread.is_alive()

    watch.add(follower)
    assert wait_for_call(follower)
    thread = watch._thread
    del follower
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
