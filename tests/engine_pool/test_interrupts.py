"""Ctrl-C at any step of a wait raises KeyboardInterrupt, and the event loop stays usable."""

import asyncio
import sys
import threading

import pytest

from gatewayx_nb.concurrency.portal import Portal

_FILES = ("threading.py", "portal.py", "streams.py", "_base.py")
_MAX_STEPS = 1000


class Interruption:
    """Raises KeyboardInterrupt at one step of the traced code, as a signal handler does.

    A step is a line, a call or a return in the waiting modules, where Python checks for signals.
    """

    def __init__(self, step):
        self._remaining_steps = step
        self.location = None

    def run(self, function):
        """Call the function and return the exception that it raised, or None."""
        sys.settrace(self._trace)
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - the test inspects whichever was raised
            return error
        finally:
            sys.settrace(None)
        return None

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(_FILES):
            return None
        self._remaining_steps -= 1
        if self._remaining_steps == 0:
            self.location = f"{event} in {frame.f_code.co_name}, line {frame.f_lineno}"
            raise KeyboardInterrupt
        return self._trace


def _finishes(ask):
    """Return whether a call finishes within 5 s; it runs on another thread, because it may hang."""
    finished = threading.Event()
    threading.Thread(target=lambda: (ask(), finished.set()), daemon=True).start()
    return finished.wait(5)


def _interrupt_at_each_step(wait, ask):
    """Interrupt a wait at its first step, its second, and so on until it finishes."""
    for step in range(1, _MAX_STEPS):
        interruption = Interruption(step)
        error = interruption.run(wait)
        if interruption.location is None:
            assert error is None
            return
        assert isinstance(error, KeyboardInterrupt), interruption.location
        assert _finishes(ask), interruption.location
    pytest.fail(f"the wait has more than {_MAX_STEPS} steps")


@pytest.fixture
def untraced():
    """Skip the test if a debugger or coverage is already tracing."""
    if sys.gettrace() is not None:
        pytest.skip("a debugger or coverage is tracing")


def test_a_stream_may_be_interrupted_at_any_step(project, untraced):
    """After Ctrl-C at any step of reading a stream, the pool's next call works."""
    with project.pool() as pool:

        def wait():
            next(streams[-1])

        def ask():
            streams.append(start_stream())
            return pool.ask("after", model="mock")

        def start_stream():
            stream = pool.stream("one two three", model="mock", params={"rate": 50})
            next(stream)
            return stream

        streams = [start_stream()]
        _interrupt_at_each_step(wait, ask)


# A coroutine that is interrupted before it reaches the event loop is never awaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_wait_may_be_interrupted_at_any_step(untraced):
    """After Ctrl-C at any step of a wait, the event loop runs the next coroutine."""
    portal = Portal("test")
    _interrupt_at_each_step(
        lambda: portal.run(asyncio.sleep(0.01)), lambda: portal.run(asyncio.sleep(0.02))
    )
    portal.close()
