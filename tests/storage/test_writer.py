"""The batch writer: no error ends its thread, and each problem is reported once."""

import logging
import sqlite3
import time

import pytest

from gatewayx_nb.storage.writer import BatchWriter


class ListWriter(BatchWriter):
    """A writer that appends to a list, after raising each error in ``failures``."""

    def __init__(self):
        super().__init__("the list")
        self.failures = []
        self.written = []

    def write(self, items):
        if self.failures:
            raise self.failures.pop(0)
        if None in items:
            raise ValueError("None is not an item")
        self.written += items


@pytest.fixture
def writer():
    """Return a writer that has written one item."""
    writer = ListWriter()
    writer.add(1)
    writer.flush()
    return writer


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("database or disk is full"),
        PermissionError("read-only"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        MemoryError("no memory"),
        SystemExit("stop"),
        KeyboardInterrupt("stop"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_does_not_end_the_thread(writer, error, caplog):
    """An exception while writing is reported once.

    Items that the file refused are written later; those that cannot be written are counted.
    """
    is_kept = isinstance(error, OSError | sqlite3.OperationalError)
    writer.failures = [error, error]
    for item in (2, 3):
        writer.add(item)
        writer.flush()

    count = "2 entries are not written yet." if is_kept else "2 entries are lost."
    assert writer.problem == f"the list cannot be written: {error}. {count}"
    assert caplog.messages == [f"the list cannot be written: {error}."]

    writer.add(4)
    writer.flush()

    assert writer.problem == ("" if is_kept else count)
    assert writer.written == ([1, 2, 3, 4] if is_kept else [1, 4])


def test_a_failed_write_is_retried_without_a_new_item(writer, monkeypatch):
    """After a failed write, the thread tries again, and keeps only the latest items."""
    monkeypatch.setattr("gatewayx_nb.storage.writer._RETRY_DELAY", 0.01)
    monkeypatch.setattr("gatewayx_nb.storage.writer._MAX_UNWRITTEN_ITEMS", 2)
    writer.failures = [OSError("full")]
    for item in (2, 3, 4):
        writer.add(item)
    while len(writer.written) < 3:
        time.sleep(0.01)
    writer.flush()

    assert writer.written == [1, 3, 4]
    assert writer.problem == "1 entry is lost."


def test_an_invalid_item_does_not_discard_the_rest_of_the_batch(writer):
    """A batch with an invalid item is written without that item."""
    for item in (2, None, 3):
        writer.add(item)
    writer.flush()

    assert writer.written == [1, 2, 3]


def test_a_log_filter_that_raises_does_not_end_the_thread(writer):
    """If logging a problem raises an exception, later items are still written."""

    def raise_error(_record):
        raise RuntimeError

    writer.failures = [OSError("full")]
    log = logging.getLogger("gatewayx_nb")
    log.addFilter(raise_error)
    try:
        writer.add(2)
        writer.flush()
    finally:
        log.removeFilter(raise_error)
    writer.add(3)
    writer.flush()

    assert writer.written == [1, 2, 3]


def test_flush_returns_after_its_timeout():
    """`flush` returns after its timeout, even if the thread never writes."""
    writer = ListWriter()
    writer.flush()
    with writer._lock:
        writer._thread = object()  # a thread that never writes
        writer.flush(0.01)
