"""Writes the rows of a map to files for a provider's batch API."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from gatewayx_nb.errors import UsageError
from gatewayx_nb.llm_engines import row_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.batch.batch_engines import PreparedRow

_BASE_36_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

_DIGEST_CHARS = 8
"""Number of characters of the part's digest in each custom ID."""


def row_name(position: int, digest: str) -> str:
    """Return the custom ID of a row in a batch: its position, and the start of its part's digest.

    The digest shows whether a result belongs to this part. The ID reveals nothing about the row.

    >>> row_name(71, "a1b2c3d4e5")
    'r1z-a1b2c3d4'
    """
    digits = ""
    while position or not digits:
        position, digit = divmod(position, 36)
        digits = _BASE_36_DIGITS[digit] + digits
    return f"r{digits}-{digest[:_DIGEST_CHARS]}"


def row_position(name: str, digest: str, count: int) -> int | None:
    """Return the position of the row with this custom ID; ``None`` if the part has no such row.

    Args:
        name: The custom ID.
        digest: The digest of the part.
        count: Number of rows of the part.
    """
    number, _, part_digest = name.removeprefix("r").partition("-")
    with suppress(ValueError):
        position = int(number, 36)
        is_in_part = 0 <= position < count and name == row_name(position, digest)
        return position if is_in_part and part_digest else None
    return None


@dataclass(slots=True)
class PartFile:
    """A file with the rows of one part.

    Attributes:
        path: The file.
        first_row: The first row.
        digest: The digest by which the provider's batch is recognized.
        keys: The keys of the rows.
        prompts: The prompts of the rows, to be stored with the answers; empty to omit them.
        max_cost: Maximum cost of the rows in US dollars.
        size: Size of the file in bytes.
    """

    path: Path
    first_row: PreparedRow
    digest: str = field(default_factory=lambda: secrets.token_hex(12))
    keys: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    max_cost: Decimal = Decimal(0)
    size: int = 0
    _file: BinaryIO | None = None

    def add(self, key: int, row: PreparedRow, prompt: str | None) -> bool:
        """Add a row; return whether the file had room for it."""
        batch_format = row.format
        name = row_name(len(self.keys), self.digest)
        separator = batch_format.separator if self.keys else batch_format.start
        line = separator + row_prefix(name) + row.content
        is_full = len(self.keys) >= batch_format.max_rows
        if self.keys and (
            is_full or self.size + len(line) + len(batch_format.end) > batch_format.max_bytes
        ):
            return False
        if self._file is None:
            self._file = self.path.open("xb")
        self._file.write(line)
        self.size += len(line)
        self.keys.append(key)
        self.max_cost += row.max_cost
        if prompt is not None:
            self.prompts.append(prompt)
        return True

    def close(self) -> None:
        """Write what the format requires at the end of a file, and close the file."""
        if self._file is not None:
            self._file.write(self.first_row.format.end)
            self._file.close()
            self._file = None


class PartFiles:
    """Distributes rows over files, each of which becomes a batch.

    The files are in a folder that only the user can read, and that is removed at the end of the
    ``with`` block.
    """

    def __init__(self) -> None:
        self._open_files: dict[tuple[str, str, str], PartFile] = {}
        self._part_files: list[PartFile] = []

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="gatewayx-batch-"))
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._part_files:
            part.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, key: int, row: PreparedRow, prompt: str | None) -> None:
        """Add a row to the file of its group, or to a new file if that file is full.

        Raises:
            UsageError: If the row is larger than the maximum size of a batch.
        """
        batch_format = row.format
        # 100 bytes are reserved for the custom ID.
        max_request_bytes = (
            batch_format.max_bytes - len(batch_format.start) - len(batch_format.end) - 100
        )
        if len(row.content) > max_request_bytes:
            raise UsageError(
                f"the row's request is {len(row.content):,} bytes long, but a batch accepts at"
                f" most {max_request_bytes:,}.",
                hint="Shorten the row, or run the map without `batch=True`.",
            )
        part = self._open_files.get(row.group)
        if part is None or not part.add(key, row, prompt):
            if part is not None:
                part.close()
            part = self._new_file(row)
            part.add(key, row, prompt)

    def _new_file(self, row: PreparedRow) -> PartFile:
        part = PartFile(self._folder / f"batch-{len(self._part_files) + 1}.jsonl", row)
        self._open_files[row.group] = part
        self._part_files.append(part)
        return part

    @property
    def max_cost(self) -> Decimal:
        """Maximum cost of all rows in US dollars."""
        return sum((part.max_cost for part in self._part_files), Decimal(0))

    @property
    def count(self) -> int:
        """Number of rows."""
        return sum(len(part.keys) for part in self._part_files)

    def finished(self) -> Iterator[PartFile]:
        """Yield each complete file; it is removed when the next file is requested."""
        for part in self._part_files:
            part.close()
        for part in self._part_files:
            yield part
            part.path.unlink(missing_ok=True)
