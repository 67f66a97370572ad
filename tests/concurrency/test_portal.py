import asyncio
import threading

import pytest

from gatewayx_nb.concurrency.cross_thread_queue import _HIGH_WATER, CrossThreadQueue
from gatewayx_nb.concurrency.portal import Portal, forbid_blocking_call
from gatewayx_nb.errors import UsageError


@pytest.fixture
def portal():
    """Yield an event loop on a thread, and end it."""
    portal = Portal("test")
    yield portal
    portal.close()


async def _double(value):
    await asyncio.sleep(0)
    return 2 * value


def test_a_thread_waits_for_a_coroutine(portal):
    """`run` returns the result of a coroutine or raises its exception."""
    assert portal.run(_double(2)) == 4
    with pytest.raises(TypeError):
        portal.run(_double(None))


def test_an_event_loop_awaits_a_coroutine_of_another(portal):
    """`arun` works from any event loop, also from several in sequence."""
    assert asyncio.run(portal.arun(_double(2))) == 4
    assert asyncio.run(portal.arun(_double(3))) == 6


def test_cancelling_a_task_cancels_its_coroutine_on_the_other_loop(portal):
    """Cancelling a waiting task cancels the coroutine."""
    stopped = threading.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def main():
        waiting = asyncio.ensure_future(portal.arun(work()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert stopped.wait(5)


def test_a_blocking_call_on_the_loop_itself_raises_an_error(portal):
    """A blocking call on the loop itself raises an error that names the call to await.

    It would deadlock.
    """

    async def work():
        forbid_blocking_call("aask")

    with pytest.raises(UsageError, match="aask"):
        portal.run(work())
    forbid_blocking_call("aask")


def test_closing_cancels_running_coroutines_and_ends_the_thread(portal):
    """Closing cancels running coroutines and ends the thread; closing twice is harmless."""
    future = portal.submit(asyncio.sleep(3600))

    portal.close()
    portal.close()

    assert future.cancelled()
    assert portal.loop.is_closed()


def test_a_queue_keeps_the_order_and_bounds_unread_items(portal):
    """A relay keeps the order and pauses its producer while a slow reader lags."""
    relay = CrossThreadQueue(lambda: None)
    made = []

    async def make():
        for number in range(3 * _HIGH_WATER):
            made.append(number)
            await relay.put(number)

    future = portal.submit(make())
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert len(made) == _HIGH_WATER

    read = []
    while len(read) < 3 * _HIGH_WATER:
        item = relay.take()
        if item is not None:
            read.append(item)

    assert read == list(range(3 * _HIGH_WATER))
    future.result(5)


def test_a_queue_wakes_only_a_waiting_reader(portal):
    """A relay wakes its reader only if it is waiting."""
    woken = []
    relay = CrossThreadQueue(lambda: woken.append(1))

    portal.run(relay.put("a"))
    assert woken == []
    assert relay.take() == "a"
    assert relay.take() is None
    portal.run(relay.put("b"))

    assert woken == [1]
