"""The calls of a map on one event loop."""

import threading

from gatewayx_nb.batch.lane import Lane, RowCall
from gatewayx_nb.concurrency import Portal
from gatewayx_nb.replies import Reply


class InstantCall:
    """A call that ends at once."""

    async def run(self):
        return Reply("x", "e", "m")


def test_rows_that_arrive_while_the_last_task_ends_are_called():
    """A task that has ended, but is not yet removed, once counted as one that makes calls.

    The rows were then never called, and the map waited forever.
    """
    finished, done = [], threading.Event()

    def finish(row, _):
        finished.append(row.key)
        if row.key < 50:  # runs after this task has ended, and before it is removed
            portal.loop.call_soon(lane._add_calls, [RowCall(row.key + 1, InstantCall(), None)])
        else:
            done.set()

    portal = Portal("test")
    try:
        lane = Lane(portal, 1, finish, lambda _: InstantCall())
        lane.submit([RowCall(0, InstantCall(), None)])
        assert done.wait(60)
    finally:
        portal.close()

    assert finished == list(range(51))
