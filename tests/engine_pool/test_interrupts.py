"""Ctrl-C at any step of a wait raises KeyboardInterrupt, and the event loop keeps working."""

import asyncio
import sys
import threading

import pytest

from gatewayx_nb.concurrency.portal import Portal

_FILES = ("threading.py", "portal.py", "streams.py", "_base.py")
_MOST = 1000


class Press:
    """Raises KeyboardInterrupt at one step of the traced code, as a signal handler does.

    A step is a line, a call or a return in the waiting modules, where Python checks for signals.
    """

    def __init__(self, step):
        self._left = step
        self.where = None

    def run(self, work):
        """Run the function; return the exception it raised, or None."""
        sys.settrace(self._trace)
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test inspects whichever was raised
            return error
        finally:
            sys.settrace(None)
        return None

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(_FILES):
            return None
        self._left -= 1
        if self._left == 0:
            self.where = f"{event} in {frame.f_code.co_name}, line {frame.f_lineno}"
            raise KeyboardInterrupt
        return self._trace


def _answers(ask):
    """Return whether a call finishes, on a thread that may hang."""
    done = threading.Event()
    threading.Thread(target=lambda: (ask(), done.set()), daemon=True).start()
    return done.wait(5)


def _each_step(wait, ask):
    """Interrupt a wait at its first step, its second, and so on until it finishes."""
    for step in range(1, _MOST):
        press = Press(step)
        came = press.run(wait)
        if press.where is None:
            assert came is None
            return
        assert isinstance(came, KeyboardInterrupt), press.where
        assert _answers(ask), press.where
    pytest.fail("the wait has no end")


@pytest.fixture
def untraced():
    """Skip the test if a debugger or coverage is already tracing."""
    if sys.gettrace() is not None:
        pytest.skip("something else traces this run")


def test_a_stream_may_be_interrupted_anywhere(project, untraced):
    """After Ctrl-C at any step of reading a stream, the pool's next call works."""
    with project.pool() as pool:

        def wait():
            next(streams[-1])

        def ask():
            streams.append(stream())
            return pool.ask("after", model="mock")

        def stream():
            begun = pool.stream("one two three", model="mock", params={"rate": 50})
            next(begun)
            return begun

        streams = [stream()]
        _each_step(wait, ask)


# A coroutine interrupted on its way to the loop is never awaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_wait_may_be_interrupted_anywhere(untraced):
    """After Ctrl-C at any step of a wait, the event loop runs the next coroutine."""
    loop = Portal("test")
    _each_step(lambda: loop.run(asyncio.sleep(0.01)), lambda: loop.run(asyncio.sleep(0.02)))
    loop.close()
