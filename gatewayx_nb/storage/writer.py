"""Writes items in batches, in a background thread that survives every error."""

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

from gatewayx_nb.text import plain

ItemT = TypeVar("ItemT")

log = logging.getLogger("gatewayx_nb")

_BATCH_DELAY = 0.2
"""Seconds between two writes, to batch the items of many calls."""

_RETRY_DELAY = 2.0
"""Seconds between two attempts to write the items of a failed write."""

_MAX_UNWRITTEN_ITEMS = 10_000
"""Maximum number of items that are kept for another attempt."""

_FILE_ERRORS = (OSError, sqlite3.OperationalError)
"""Errors caused by the file, such as a full disk or a lock; other errors are caused by an item."""


class BatchWriter(ABC, Generic[ItemT]):
    """Base class for files that are written in the background.

    Adding an item neither blocks nor raises. While the file is locked or its disk is full, the
    latest items are kept and written later. An invalid item is dropped. The reason is logged once.
    After a fork, the child starts with an empty queue and its own thread.

    Args:
        name: Name of the thread.

    Attributes:
        batch_delay: Seconds between two writes.
    """

    batch_delay = _BATCH_DELAY

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Start with an empty queue, no thread and a free lock."""
        self._failure = ""
        self._unwritten: list[ItemT] = []
        self._lost_count = 0
        self._queue: queue.SimpleQueue[ItemT | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()  # many threads add items; only one creates the thread
        self._thread: threading.Thread | None = None
        self._flush_requested = threading.Event()

    @abstractmethod
    def write(self, items: list[ItemT]) -> None:
        """Write all items or none. Called only on the writer's thread; may raise any exception."""

    def add(self, item: ItemT) -> None:
        """Add an item to be written."""
        self._queue.put(item)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._start()

    @property
    def problem(self) -> str:
        """Why items are missing, and how many; empty if no item is missing."""
        parts = [self._failure] if self._failure else []
        if count := len(self._unwritten):
            parts.append(f"{count:,} {_entries_text(count)} not written yet.")
        if self._lost_count:
            parts.append(f"{self._lost_count:,} {_entries_text(self._lost_count)} lost.")
        return " ".join(parts)

    def flush(self, timeout: float = 5.0) -> None:
        """Block until pending items are written, for at most ``timeout`` seconds."""
        if self._thread is not None:
            is_written = threading.Event()
            self._queue.put(is_written)
            self._flush_requested.set()
            is_written.wait(timeout)

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
            # The events are set even if the write failed, because `flush` must not block forever.
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()

    def _next_batch(self) -> list[ItemT | threading.Event]:
        batch: list[ItemT | threading.Event] = []
        # If items are left from a failed write, try again even if no new item arrives.
        with contextlib.suppress(queue.Empty):
            batch.append(self._queue.get(timeout=_RETRY_DELAY if self._unwritten else None))
            if not isinstance(batch[0], threading.Event):  # a flush does not wait for more items
                self._flush_requested.wait(self.batch_delay)
        self._flush_requested.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                batch.append(self._queue.get_nowait())
        return batch

    def _write_batch(self, items: list[ItemT]) -> None:
        items = [*self._unwritten, *items]
        if not items:
            return
        try:
            self.write(items)
        except _FILE_ERRORS as error:
            self._keep_latest(items)
            self._report(error)
        except BaseException as error:  # noqa: BLE001 - no error ends the thread
            self._unwritten = []
            if len(items) > 1:
                for item in items:  # an invalid item must not discard the others
                    self._write_batch([item])
            else:
                self._lost_count += 1
                self._report(error)
        else:
            self._unwritten, self._failure = [], ""

    def _keep_latest(self, items: list[ItemT]) -> None:
        """Keep the latest items for another attempt."""
        self._lost_count += max(0, len(items) - _MAX_UNWRITTEN_ITEMS)
        self._unwritten = items[-_MAX_UNWRITTEN_ITEMS:]

    def _report(self, error: BaseException) -> None:
        failure = plain(f"{self._name} cannot be written: {error}.")
        if failure != self._failure:
            self._failure = failure
            log.warning("%s", failure)


def _entries_text(count: int) -> str:
    return "entry is" if count == 1 else "entries are"


_writers: weakref.WeakSet[BatchWriter[Any]] = weakref.WeakSet()


def _reset_all() -> None:
    for writer in _writers:
        writer._reset()  # noqa: SLF001 - same module


if hasattr(os, "register_at_fork"):
    # The lock is replaced before the child's code runs: a lock that another thread held at the fork
    # would stay locked in the child.
    os.register_at_fork(after_in_child=_reset_all)
