"""Processor time, for rules about how much work something is."""

import sys
import time


def seconds(work):
    """Give the seconds of this process that a function takes; a busy neighbour does not count.

    A measurement of coverage stands still meanwhile: it would take most of the time.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        started = time.process_time()
        work()
        return time.process_time() - started
    finally:
        sys.settrace(tracer)
