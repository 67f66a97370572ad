"""Stores the parts of a job that are submitted as batches: their identifiers and states."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import zlib
from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from gatewayx_nb.storage.job_record import parse_object, parse_time
from gatewayx_nb.storage.results_file import (
    errors_as_config_error,
    open_to_read,
    open_to_write,
    write_transaction,
)
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gatewayx_nb.storage.job_record import JobFigures

PartState = Literal["submitting", "submitted", "ended", "collected"]
"""The states in order: about to be submitted, accepted by the provider, ended at the provider, and
stored with all results."""

_FIRST_VERSION_WITH_PARTS = 2
"""The first schema version that has a table of parts."""

_MAX_PROMPT_BYTES = 32 * 1024 * 1024
"""Maximum size in bytes of a part's compressed prompts; larger prompts are not stored."""

_MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""Maximum size in bytes of a part's decompressed prompts; a forged file may contain more."""

_COLUMNS = "id, number, state, batch, digest, keys, info, at"
_SELECT = (
    f"SELECT {_COLUMNS} FROM parts WHERE job = (SELECT id FROM jobs WHERE digest = ?)"  # noqa: S608 - constants
    " ORDER BY number"
)
_NEXT_NUMBER = "SELECT coalesce(max(number), 0) + 1 FROM parts WHERE job = ?"
_INSERT = (
    "INSERT INTO parts (job, number, state, batch, digest, keys, info, at, prompts)"
    " VALUES (?, ?, ?, '', ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE parts SET state = ?, batch = ?, info = ?,"
    " prompts = CASE WHEN ? = 'collected' THEN NULL ELSE prompts END WHERE id = ?"
)


@dataclass(frozen=True, slots=True)
class JobPart:
    """A part of a job, which is one batch at the provider.

    Attributes:
        digest: The digest by which the provider's batch is recognized.
        keys: The keys of the rows, in the order in which they were sent.
        state: The state; see `PartState`.
        batch: The provider's batch identifier; empty until the provider has responded.
        info: Further JSON values needed to submit and collect the part.
        submitted_at: Time just before the submission, in seconds since the epoch.
        number: Number of the part in the job; 0 before the part is stored.
        id: ID of the part in the file; 0 before the part is stored.
    """

    digest: str
    keys: tuple[int, ...]
    state: PartState = "submitting"
    batch: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    submitted_at: float = field(default_factory=time.time)
    number: int = 0
    id: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the part's results have yet to be stored."""
        return self.state != "collected"


class JobParts:
    """The parts of one job; each change is durable when its method returns.

    Args:
        path: The file.
        job_digest: The digest of the job, which must be in the file.
        mounts: The file that lists the mounted file systems.
    """

    def __init__(self, path: Path, job_digest: bytes, mounts: Path) -> None:
        self._path, self._job_digest, self._mounts = path, job_digest, mounts

    def all(self) -> list[JobPart]:
        """Return the parts, ordered by number.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._read_connection() as connection:
            rows = connection.execute(_SELECT, (self._job_digest,)).fetchall() if connection else []
        return [part for part in map(_part, rows) if part is not None]

    def open(self) -> list[JobPart]:
        """Return the parts whose results have yet to be stored.

        Raises:
            ConfigError: If the file cannot be read.
        """
        return [part for part in self.all() if part.is_open]

    def known_batches(self) -> set[str]:
        """Return the batch identifiers of the parts of all jobs in the file.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._read_connection() as connection:
            rows = connection.execute("SELECT batch FROM parts").fetchall() if connection else []
        return {batch for (batch,) in rows if isinstance(batch, str) and batch}

    def prompts(self, part: JobPart) -> list[str]:
        """Return the prompts of a part's rows; empty if they were not stored.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._read_connection() as connection:
            query = "SELECT prompts FROM parts WHERE id = ?"
            row = connection.execute(query, (part.id,)).fetchone() if connection else None
        if not (row and isinstance(row[0], bytes)):
            return []
        with contextlib.suppress(zlib.error, msgspec.MsgspecError, ValueError):
            prompts_json = zlib.decompressobj().decompress(row[0], _MAX_UNPACKED_BYTES)
            stored_prompts = msgspec.json.decode(prompts_json, type=list[str])
            return stored_prompts if len(stored_prompts) == len(part.keys) else []
        return []

    def add(self, part: JobPart, prompts: Iterable[str], figures: JobFigures) -> JobPart:
        """Store a part before it is submitted, and the job's progress; return the stored part.

        Args:
            part: The part, not yet submitted.
            prompts: The prompts of the rows, to be stored with the answers; empty to omit them.
            figures: The job's progress and totals.

        Raises:
            ConfigError: If the file cannot be written; the part must then not be submitted.
        """
        stored_prompts = [well_formed(prompt) for prompt in prompts]
        packed_prompts = (
            zlib.compress(msgspec.json.encode(stored_prompts), 1) if stored_prompts else None
        )
        if packed_prompts is not None and len(packed_prompts) > _MAX_PROMPT_BYTES:
            packed_prompts = None
        keys, info = _pack(part.keys), json.dumps(part.info)
        with self._job_transaction() as (connection, job_id):
            (next_number,) = connection.execute(_NEXT_NUMBER, (job_id,)).fetchone()
            values = (
                job_id,
                next_number,
                part.state,
                part.digest,
                keys,
                info,
                part.submitted_at,
                packed_prompts,
            )
            insertion = connection.execute(_INSERT, values)
            _set_figures(connection, job_id, figures)
        return replace(part, number=next_number, id=int(insertion.lastrowid or 0))

    def update(self, part: JobPart, figures: JobFigures | None = None) -> None:
        """Store a part's state, batch identifier and ``info``.

        Args:
            part: The changed part.
            figures: The job's progress and totals, to be stored in the same transaction.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._job_transaction() as (connection, job_id):
            values = (part.state, part.batch, json.dumps(part.info), part.state, part.id)
            connection.execute(_UPDATE, values)
            if figures is not None:
                _set_figures(connection, job_id, figures)

    def set_figures(self, figures: JobFigures) -> None:
        """Store the job's progress and totals.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._job_transaction() as (connection, job_id):
            _set_figures(connection, job_id, figures)

    def remove(self, parts: Iterable[JobPart]) -> None:
        """Forget parts, whose rows then count as not submitted.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._job_transaction() as (connection, _):
            connection.executemany("DELETE FROM parts WHERE id = ?", [(part.id,) for part in parts])

    @contextlib.contextmanager
    def _read_connection(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection; ``None`` if the file is missing or its version has no parts."""
        if not os.path.exists(self._path):
            yield None
            return
        with (
            errors_as_config_error(self._path),
            contextlib.closing(open_to_read(self._path)) as connection,
        ):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            yield connection if version >= _FIRST_VERSION_WITH_PARTS else None

    @contextlib.contextmanager
    def _job_transaction(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        # With a separate connection, this process can store rows at the same time.
        with (
            errors_as_config_error(self._path, "written"),
            contextlib.closing(open_to_write(self._path, self._mounts).connection) as connection,
            write_transaction(connection),
        ):
            job_row = connection.execute(
                "SELECT id FROM jobs WHERE digest = ?", (self._job_digest,)
            ).fetchone()
            if job_row is None:
                raise FileNotFoundError("the job has been removed")
            yield connection, int(job_row[0])


def _set_figures(connection: sqlite3.Connection, job_id: int, figures: JobFigures) -> None:
    values = (figures.to_json(), time.time(), job_id)
    connection.execute("UPDATE jobs SET figures = ?, last_used = ? WHERE id = ?", values)


def _pack(keys: Iterable[int]) -> bytes:
    """Return keys as little-endian 64-bit integers."""
    packed_keys = array("q", keys)
    if sys.byteorder == "big":
        packed_keys.byteswap()
    return packed_keys.tobytes()


def _part(row: tuple[Any, ...]) -> JobPart | None:
    """Return a part from its values in the file; ``None`` if a value is invalid."""
    part_id, part_number, state, batch, digest, keys, info, at = row
    is_valid = state in get_args(PartState) and isinstance(keys, bytes) and len(keys) % 8 == 0
    if not (is_valid and isinstance(digest, str) and isinstance(part_number, int)):
        return None
    unpacked_keys = array("q", keys)
    if sys.byteorder == "big":
        unpacked_keys.byteswap()
    return JobPart(
        digest=digest,
        keys=tuple(unpacked_keys),
        state=state,
        batch=batch if isinstance(batch, str) else "",
        info=parse_object(info),
        submitted_at=parse_time(at),
        number=part_number,
        id=part_id,
    )
