"""The parts of a job that were submitted to a provider as batches: intents, identifiers, states."""

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

from gatewayx_nb.storage.job_record import number, parse_object
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
"""The intent is stored; the provider has accepted the part; its batch has ended; its results are
stored."""

_FIRST_VERSION = 2
"""The first schema version with parts."""

_MAX_PROMPTS = 32 * 1024 * 1024
"""Maximum number of bytes of the compressed prompts of a part; larger ones are left out."""

_MAX_UNPACKED = 256 * 1024 * 1024
"""Maximum number of bytes of the prompts of a part, which a forged file may exceed."""

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
        digest: What identifies the part at the provider.
        keys: The keys of its rows, in the order in which they were sent.
        state: Its state; see `PartState`.
        batch: The provider's identifier; empty until the provider has answered.
        info: What else is needed to submit and collect it, as JSON values.
        at: Time of the intent in seconds since the epoch.
        number: Its number in the job; 0 before it is stored.
        id: Its number in the file; 0 before it is stored.
    """

    digest: str
    keys: tuple[int, ...]
    state: PartState = "submitting"
    batch: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    number: int = 0
    id: int = 0

    @property
    def is_open(self) -> bool:
        """Whether rows of the part may still be at the provider."""
        return self.state != "collected"


class JobParts:
    """The parts of one job; each change is durable when its method returns.

    Args:
        path: The file.
        job: The digest of the job, which is in the file.
        mounts: The list of mounted file systems.
    """

    def __init__(self, path: Path, job: bytes, mounts: Path) -> None:
        self._path, self._job, self._mounts = path, job, mounts

    def all(self) -> list[JobPart]:
        """Return the parts in the order of their numbers.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._reading() as opened:
            rows = opened.execute(_SELECT, (self._job,)).fetchall() if opened else []
        return [part for part in map(_part, rows) if part is not None]

    def open(self) -> list[JobPart]:
        """Return the parts whose results are not stored yet.

        Raises:
            ConfigError: If the file cannot be read.
        """
        return [part for part in self.all() if part.is_open]

    def known_batches(self) -> set[str]:
        """Return the providers' identifiers of the parts of all jobs in the file.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._reading() as opened:
            rows = opened.execute("SELECT batch FROM parts").fetchall() if opened else []
        return {batch for (batch,) in rows if isinstance(batch, str) and batch}

    def prompts(self, part: JobPart) -> list[str]:
        """Return the prompts of the rows of a part; empty if they were not stored.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._reading() as opened:
            query = "SELECT prompts FROM parts WHERE id = ?"
            row = opened.execute(query, (part.id,)).fetchone() if opened else None
        if not (row and isinstance(row[0], bytes)):
            return []
        with contextlib.suppress(zlib.error, msgspec.MsgspecError, ValueError):
            packed = zlib.decompressobj().decompress(row[0], _MAX_UNPACKED)
            texts = msgspec.json.decode(packed, type=list[str])
            return texts if len(texts) == len(part.keys) else []
        return []

    def add(self, part: JobPart, prompts: Iterable[str], figures: JobFigures) -> JobPart:
        """Store the intent to submit a part, and the job's figures; return the stored part.

        Args:
            part: The part.
            prompts: The prompts of its rows, to be stored with the answers; empty to omit them.
            figures: The figures of the job.

        Raises:
            ConfigError: If the file cannot be written; the part must not be sent then.
        """
        texts = [well_formed(text) for text in prompts]
        packed = zlib.compress(msgspec.json.encode(texts), 1) if texts else None
        if packed is not None and len(packed) > _MAX_PROMPTS:
            packed = None
        keys, info = _pack(part.keys), json.dumps(part.info)
        with self._writing() as (opened, job):
            (next_number,) = opened.execute(_NEXT_NUMBER, (job,)).fetchone()
            values = (job, next_number, part.state, part.digest, keys, info, part.at, packed)
            inserted = opened.execute(_INSERT, values)
            _set_figures(opened, job, figures)
        return replace(part, number=next_number, id=int(inserted.lastrowid or 0))

    def update(self, part: JobPart, figures: JobFigures | None = None) -> None:
        """Store the state of a part, and the job's figures in the same transaction.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._writing() as (opened, job):
            values = (part.state, part.batch, json.dumps(part.info), part.state, part.id)
            opened.execute(_UPDATE, values)
            if figures is not None:
                _set_figures(opened, job, figures)

    def set_figures(self, figures: JobFigures) -> None:
        """Store the job's figures.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._writing() as (opened, job):
            _set_figures(opened, job, figures)

    def remove(self, parts: Iterable[JobPart]) -> None:
        """Forget parts, whose rows then count as not submitted.

        Raises:
            ConfigError: If the file cannot be written.
        """
        with self._writing() as (opened, _):
            opened.executemany("DELETE FROM parts WHERE id = ?", [(part.id,) for part in parts])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Yield the open file; ``None`` if there is none, or its version has no parts."""
        if not os.path.exists(self._path):
            yield None
            return
        with (
            errors_as_config_error(self._path),
            contextlib.closing(open_to_read(self._path)) as opened,
        ):
            (version,) = opened.execute("PRAGMA user_version").fetchone()
            yield opened if version >= _FIRST_VERSION else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        # Another connection lets this process store rows in the meantime.
        with (
            errors_as_config_error(self._path, "written"),
            contextlib.closing(open_to_write(self._path, self._mounts).connection) as opened,
            write_transaction(opened),
        ):
            found = opened.execute("SELECT id FROM jobs WHERE digest = ?", (self._job,)).fetchone()
            if found is None:
                raise FileNotFoundError("the job has been removed")
            yield opened, int(found[0])


def _set_figures(opened: sqlite3.Connection, job: int, figures: JobFigures) -> None:
    values = (figures.to_json(), time.time(), job)
    opened.execute("UPDATE jobs SET figures = ?, last_used = ? WHERE id = ?", values)


def _pack(keys: Iterable[int]) -> bytes:
    """Return keys as little-endian integers of 64 bits."""
    packed = array("q", keys)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _part(row: tuple[Any, ...]) -> JobPart | None:
    """Return a part from its values in the file; ``None`` if they are of other types."""
    part_id, part_number, state, batch, digest, keys, info, at = row
    is_valid = state in get_args(PartState) and isinstance(keys, bytes) and len(keys) % 8 == 0
    if not (is_valid and isinstance(digest, str) and isinstance(part_number, int)):
        return None
    unpacked = array("q", keys)
    if sys.byteorder == "big":
        unpacked.byteswap()
    return JobPart(
        digest=digest,
        keys=tuple(unpacked),
        state=state,
        batch=batch if isinstance(batch, str) else "",
        info=parse_object(info),
        at=number(at),
        number=part_number,
        id=part_id,
    )
