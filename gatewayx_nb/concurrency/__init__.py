"""Background event loops, interruptible waits, and queues between threads."""

from gatewayx_nb.concurrency.caller_thread import CallerThread
from gatewayx_nb.concurrency.cross_thread_queue import CrossThreadQueue
from gatewayx_nb.concurrency.loop_inbox import LoopInbox
from gatewayx_nb.concurrency.portal import (
    InterruptibleEvent,
    Portal,
    call_after_step,
    forbid_blocking_call,
    gather_or_cancel,
    interruptible,
    is_being_cancelled,
    on_portal_thread,
    run_in_thread,
)
from gatewayx_nb.concurrency.worker_threads import OverdueThreadsError, WorkerThreads

__all__ = [
    "CallerThread",
    "CrossThreadQueue",
    "InterruptibleEvent",
    "LoopInbox",
    "OverdueThreadsError",
    "Portal",
    "WorkerThreads",
    "call_after_step",
    "forbid_blocking_call",
    "gather_or_cancel",
    "interruptible",
    "is_being_cancelled",
    "on_portal_thread",
    "run_in_thread",
]
