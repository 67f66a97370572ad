"""Writes the entries of a session to a cassette's file, and puts its lines in order."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.cassettes.cassette_file import flush
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayx_nb.cassettes.entry import CassetteEntry
    from gatewayx_nb.cassettes.index import CallKey, CassetteIndex

_ARRANGE_SHARE = 0.05
"""Maximum share of running time spent on putting the lines of a file in order."""

_SYNC_SHARE = 0.1
"""Maximum share of running time spent on flushing a file to disk."""


@dataclass(frozen=True, slots=True)
class CassetteSession:
    """The state of an open cassette, which ``lock`` guards.

    Attributes:
        index: The recorded calls.
        calls: The calls that were made, in the order in which they were planned.
        lock: Held while ``index`` or ``calls`` is read or changed.
    """

    index: CassetteIndex
    calls: dict[CallKey, None]
    lock: threading.Lock


class CassetteWriter:
    """Writes each new entry before the call that created it returns.

    Lines are put in order and flushed to disk immediately if calls are infrequent, and only
    occasionally if they come in quick succession.

    Args:
        path: The cassette.
        root: The project or repository folder, below which no symlink is followed.
        session: The state of the cassette.

    Attributes:
        is_arranged: Whether the lines of the file are in order.
    """

    def __init__(self, path: Path, root: Path | None, session: CassetteSession) -> None:
        self._path, self._root, self._session = path, root, session
        self._write_lock = threading.Lock()  # acquired before the session's lock
        self._unwritten_lines: list[bytes] = []
        self._unwanted_lines: list[bytes] = []
        self._added_keys: set[CallKey] = set()
        self._arrange_limit = _TimeShareLimit(_ARRANGE_SHARE)
        self._sync_limit = _TimeShareLimit(_SYNC_SHARE)
        self.is_arranged = self._is_synced = True

    @property
    def unwritten_count(self) -> int:
        """Number of lines that are not in the file yet."""
        return len(self._unwritten_lines)

    def add(self, entry: CassetteEntry) -> bool:
        """Add an entry to be written, and return whether its answer is new.

        The caller must hold the session's lock.
        """
        index, calls = self._session.index, self._session.calls
        key = ((entry.request.digest, entry.engine, entry.model), entry.repeat)
        recorded_line = index.line(key)
        is_new = recorded_line is None or not recorded_line.entry.has_same_answer(entry)
        if recorded_line is None:
            # The tools have returned different results, so the call continues differently.
            self._unwanted_lines += [
                line.data for line in index.remove(index.calls_with_different_results(entry, calls))
            ]
        if is_new:
            line = cassette_lines.CassetteLine(entry, encode(entry))
            index.put(line)
            self._unwritten_lines.append(
                cassette_lines.replacement_line(recorded_line.data, line.data)
                if recorded_line
                else line.data
            )
            if recorded_line is None:
                self._added_keys.add(key)
            is_last_line = recorded_line is None and len(calls) == len(index)
            if next(reversed(calls), key) != key or not is_last_line or self._unwanted_lines:
                self.is_arranged = False
        if duplicates := index.forget_duplicates(key):
            self._unwanted_lines += [line.data for line in duplicates]
            self.is_arranged = False
        return is_new

    def write(self) -> int:
        """Write the entries that are not in the file yet, including entries of other threads.

        Returns:
            The number of lines written.

        Raises:
            ConfigError: If the file cannot be written; the entries are kept.
        """
        with self._write_lock:
            lines = list(self._unwritten_lines)
            if not lines:
                return 0
            start = time.monotonic()
            sync = self._sync_limit.is_due(start)
            cassette_lines.append(self._path, *lines, root=self._root, sync=sync)
            self._is_synced = sync
            if sync:
                self._sync_limit.record(start)
            with self._session.lock:
                del self._unwritten_lines[: len(lines)]
            start = time.monotonic()
            if not self.is_arranged and self._arrange_limit.is_due(start):
                with contextlib.suppress(ConfigError):  # the unordered entries are valid
                    self._arrange()
                self._arrange_limit.record(start)
            return len(lines)

    def prune(self) -> int:
        """Remove unused lines from the file; see `Cassette.prune`.

        Raises:
            ConfigError: If the file cannot be written.
        """
        index, calls = self._session.index, self._session.calls
        with self._write_lock:
            with self._session.lock:
                unused_keys = {key for key, _ in index.keyed_lines() if key not in calls}
                # After a merge, the cells of the other branch have often not been run yet.
                removed_lines = index.remove(unused_keys) if calls and not index.conflicts else []
                removed_lines += index.forget_duplicates()
                self._unwanted_lines += [line.data for line in removed_lines]
                count = len(self._unwanted_lines)
            if os.path.exists(self._path):
                self._arrange()
            return count

    def finish(self) -> None:
        """Put the lines of the file in order, and flush it to disk."""
        with self._write_lock:
            if (self._added_keys or not self.is_arranged) and os.path.exists(self._path):
                with contextlib.suppress(ConfigError):  # the unordered entries are valid
                    self._arrange()
            if not self._is_synced:
                flush(self._path)

    def _arrange(self) -> None:
        """Put the lines of the file in order; the caller must hold the write lock."""
        index, calls = self._session.index, self._session.calls
        with self._session.lock:
            lines = {key: line.data for key in calls if (line := index.line(key))}
            added_lines = {lines[key] for key in self._added_keys if key in lines}
            unwanted_lines = list(self._unwanted_lines)
            self.is_arranged = True
        try:
            cassette_lines.arrange(
                self._path, list(lines.values()), added_lines, set(unwanted_lines), self._root
            )
        except ConfigError:
            self.is_arranged = False
            raise
        with self._session.lock:
            del self._unwanted_lines[: len(unwanted_lines)]


class _TimeShareLimit:
    """Limits the share of running time that is spent on an operation.

    The operation is not repeated for every call in a burst, but runs immediately if calls are
    infrequent.
    """

    def __init__(self, share: float) -> None:
        self._share, self._next_start = share, 0.0

    def is_due(self, now: float) -> bool:
        """Return whether the operation may start now."""
        return now >= self._next_start

    def record(self, start: float) -> None:
        """Record that an operation that began at ``start`` has just ended."""
        now = time.monotonic()
        self._next_start = now + (now - start) / self._share
