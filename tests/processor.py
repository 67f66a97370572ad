"""Processor time, for tests of the cost of an operation."""

import sys
import time


def seconds(work):
    """Return the CPU seconds of this process for a function, independent of other processes.

    Coverage is paused, because it would take most of the time.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        sys.settrace(tracer)
