"""Processor time, for tests of the time complexity of an operation."""

import sys
import time


def seconds(function):
    """Return the processor time of a call in seconds, which other processes do not affect.

    Coverage is paused, because it would take most of that time.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        started_at = time.process_time()
        function()
        return time.process_time() - started_at
    finally:
        sys.settrace(tracer)
