import asyncio
import contextvars
import functools
import gc
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest

from gatewayx_nb.concurrency.cross_thread_queue import (
    _MAX_UNREAD_ITEMS,
    _MAX_UNREAD_SIZE,
    CrossThreadQueue,
)
from gatewayx_nb.concurrency.loop_inbox import LoopInbox
from gatewayx_nb.concurrency.portal import Portal, forbid_blocking_call
from gatewayx_nb.errors import UsageError


@pytest.fixture
def portal():
    """Yield a portal, which runs an event loop on a thread."""
    portal = Portal("test")
    yield portal
    portal.close()


async def _double(value):
    await asyncio.sleep(0)
    return 2 * value


def test_run_returns_the_result_of_a_coroutine(portal):
    """`run` returns the result of a coroutine or raises its exception."""
    assert portal.run(_double(2)) == 4
    with pytest.raises(TypeError):
        portal.run(_double(None))


def test_arun_awaits_a_coroutine_from_another_event_loop(portal):
    """`arun` returns the result of a coroutine to any event loop, even to several in sequence."""
    assert asyncio.run(portal.arun(_double(2))) == 4
    assert asyncio.run(portal.arun(_double(3))) == 6


def test_cancelling_arun_cancels_the_coroutine(portal):
    """Cancelling a task that awaits `arun` cancels the coroutine on the portal's event loop."""
    stopped = threading.Event()

    async def wait_forever():
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def main():
        task = asyncio.ensure_future(portal.arun(wait_forever()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert stopped.wait(5)


def test_a_blocking_call_on_the_event_loop_raises_an_error(portal):
    """A blocking call on the portal's event loop would deadlock, so it raises an error.

    The error names the async function to use instead.
    """

    async def call():
        forbid_blocking_call("aask")

    with pytest.raises(UsageError, match="aask"):
        portal.run(call())
    forbid_blocking_call("aask")


def test_closing_cancels_running_coroutines_and_ends_the_thread(portal):
    """Closing cancels running coroutines and ends the thread; closing twice is harmless."""
    future = portal.submit(asyncio.sleep(3600))

    portal.close()
    portal.close()

    assert future.cancelled()
    assert portal.loop.is_closed()


def test_a_coroutine_submitted_after_closing_is_cancelled():
    """Another thread may close a loop at any time, which neither raises nor leaks a coroutine."""
    portal = Portal("test")
    portal.close()

    future = portal.submit(asyncio.sleep(9))
    gc.collect()  # a coroutine that was never awaited warns here, which fails the test

    assert future.cancelled()
    assert wait([future], timeout=0).done == {future}


def test_a_queue_keeps_the_order_and_limits_unread_items(portal):
    """A queue keeps the order of its items, and its producer waits while it is full."""
    queue = CrossThreadQueue(lambda: None)
    produced_items = []

    async def produce():
        for number in range(3 * _MAX_UNREAD_ITEMS):
            produced_items.append(number)
            await queue.put(number)

    future = portal.submit(produce())
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert len(produced_items) == _MAX_UNREAD_ITEMS

    read_items = []
    while len(read_items) < 3 * _MAX_UNREAD_ITEMS:
        item = queue.take()
        if item is not None:
            read_items.append(item)

    assert read_items == list(range(3 * _MAX_UNREAD_ITEMS))
    future.result(5)


def test_a_queue_limits_the_size_of_unread_items(portal):
    """Large items fill the queue before there are many; none is lost, also one above the limit."""
    queue = CrossThreadQueue(lambda: None, len)
    items = ["x" * 60_000] * 50 + ["x" * 3 * _MAX_UNREAD_SIZE, "end"]
    produced = []

    async def produce():
        for item in items:
            produced.append(item)
            await queue.put(item)

    future = portal.submit(produce())
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert sum(map(len, produced)) < _MAX_UNREAD_SIZE + 60_000

    read = []
    while len(read) < len(items):
        if (item := queue.take()) is not None:
            read.append(item)
    assert read == items
    future.result(5)


def test_a_queue_wakes_only_a_waiting_reader(portal):
    """A queue calls its wake function only if the reader is waiting."""
    wake_calls = []
    queue = CrossThreadQueue(lambda: wake_calls.append(1))

    portal.run(queue.put("a"))
    assert wake_calls == []
    assert queue.take() == "a"
    assert queue.take() is None
    portal.run(queue.put("b"))

    assert wake_calls == [1]


def test_a_coroutine_runs_in_the_context_of_its_caller(portal):
    """Concurrent callers of one portal each keep their own context variables."""
    variable = contextvars.ContextVar("variable")

    async def read():
        return variable.get()

    async def call(value):
        variable.set(value)
        return await portal.arun(read())

    async def main():
        return await asyncio.gather(*map(call, range(10)))

    assert asyncio.run(main()) == list(range(10))


@pytest.mark.parametrize("has_readers", [True, False])
def test_an_inbox_wakes_its_loop_once_for_several_callbacks(has_readers):
    """Callbacks run in order, and the loop is woken once until it has run them."""

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *args):
            if not has_readers:
                raise NotImplementedError
            super().add_reader(*args)

    class CountedInbox(LoopInbox):
        wakes = 0

        def _wake(self):
            self.wakes += 1
            super()._wake()

    loop, called = Loop(), []
    inbox = CountedInbox(loop)
    for round_number in (1, 2):
        for number in range(3):
            inbox.call_soon(functools.partial(called.append, number))
        loop.run_until_complete(asyncio.sleep(0.01))
        assert (called, inbox.wakes) == ([0, 1, 2] * round_number, round_number)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            inbox.call_soon(called.clear)


@pytest.mark.skipif(sys.platform != "linux", reason="eventfd is a file of Linux")
def test_a_loop_that_no_longer_exists_leaves_no_file_open():
    """The inbox of each event loop has a file, which is closed with the loop."""
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        loop = asyncio.SelectorEventLoop()
        assert LoopInbox.of(loop) is LoopInbox.of(loop)
        loop.close()
    del loop
    gc.collect()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
