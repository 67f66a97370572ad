"""A background thread that writes items in batches and survives every error."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
import weakref
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")

log = logging.getLogger("gatewayx_nb")

_BATCH_DELAY = 0.2
"""Seconds between two writes, to batch the items of many calls."""

_FILE_ERRORS = (OSError, sqlite3.OperationalError)
"""Errors caused by the file, such as a full disk or a lock; an item causes any other error."""


class BatchWriter(ABC, Generic[ItemT]):
    """Base class of files that are written in the background.

    Adding an item neither blocks nor raises. Items that cannot be written are dropped, and the
    reason is logged once. After a fork, the child starts with an empty queue and its own thread.

    Args:
        name: Name of the thread.

    Attributes:
        problem: Why the last write failed; empty once a write has succeeded again.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Start with an empty queue, no thread and a free lock."""
        self.problem = ""
        self._queue: queue.SimpleQueue[ItemT | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()  # many threads add items; only one creates the thread
        self._thread: threading.Thread | None = None
        self._flush_requested = threading.Event()

    @abstractmethod
    def write(self, items: list[ItemT]) -> None:
        """Write all items or none. Called only on the writer's thread; may raise anything."""

    def add(self, item: ItemT) -> None:
        """Add an item to be written."""
        self._queue.put(item)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._start()

    def flush(self, timeout: float = 5.0) -> None:
        """Block until pending items are written, for at most ``timeout`` seconds."""
        if self._thread is not None:
            written = threading.Event()
            self._queue.put(written)
            self._flush_requested.set()
            written.wait(timeout)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        with contextlib.suppress(RuntimeError):  # raised while the interpreter shuts down
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            with contextlib.suppress(BaseException):  # a log filter may raise, too
                self._write_batch([item for item in batch if not isinstance(item, threading.Event)])
            # Also if the write failed: `flush` waits for an attempt, and must not block for ever.
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _next_batch(self) -> list[ItemT | threading.Event]:
        batch = [self._queue.get()]
        if not isinstance(batch[0], threading.Event):  # a flush does not wait for more items
            self._flush_requested.wait(_BATCH_DELAY)
        self._flush_requested.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                batch.append(self._queue.get_nowait())
        return batch

    def _write_batch(self, items: list[ItemT]) -> None:
        if not items:
            return
        try:
            self.write(items)
        except BaseException as error:  # noqa: BLE001 - no error ends the thread
            if len(items) > 1 and not isinstance(error, _FILE_ERRORS):
                for item in items:  # an invalid item must not discard the rest of the batch
                    self._write_batch([item])
            else:
                self._report(error)
        else:
            self.problem = ""

    def _report(self, error: BaseException) -> None:
        problem = f"{self._name} cannot be written: {error}."
        if problem != self.problem:
            self.problem = problem
            log.warning("%s", problem)


_writers: weakref.WeakSet[BatchWriter[Any]] = weakref.WeakSet()


def _reset_all() -> None:
    for writer in _writers:
        writer._reset()  # noqa: SLF001 - same module


if hasattr(os, "register_at_fork"):
    # Before the child's own code runs: a lock held by another thread would stay locked there.
    os.register_at_fork(after_in_child=_reset_all)
