"""The thread that polls for changes."""

import gc
import threading

from gatewayx_nb.widgets.polling import ChangePoller


class Listener:
    """A listener that counts its notifications, and may raise an exception."""

    def __init__(self, *, raises=False):
        self.raises, self.calls = raises, threading.Semaphore(0)

    def follow(self):
        self.calls.release()
        if self.raises:
            raise RuntimeError


def wait_for_call(listener):
    """Wait for a notification; return whether it arrived."""
    return listener.calls.acquire(timeout=10)


def test_listeners_are_notified_repeatedly_even_if_one_raises():
    """Listeners are notified repeatedly.

    An exception in one listener does not stop notifications to it or to the others.
    """
    poller, failing, working = ChangePoller(0.001), Listener(raises=True), Listener()
    poller.add(failing)
    poller.add(working)
    assert all(wait_for_call(listener) for listener in (failing, working, failing, working))
    poller.discard(failing)
    poller.discard(working)


def test_the_thread_ends_after_the_last_listener_and_restarts_with_the_next():
    """The thread ends after the last listener leaves or is garbage-collected.

    It restarts with the next listener.
    """
    poller, listener = ChangePoller(0.001), Listener()
    poller.add(listener)
    assert wait_for_call(listener)
    thread = poller._thread
    poller.discard(listener)
    thread.join(10)
    assert not thread.is_alive()

    poller.add(listener)
    assert wait_for_call(listener)
    thread = poller._thread
    del listener
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
