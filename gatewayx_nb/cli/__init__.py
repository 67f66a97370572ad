"""The command line ``gatewayx``, which runs the commands of a notebook in a shell."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatewayx_nb._lazy import attach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# These are imported on first use, because importing them takes longer than printing the help.
_import_lazily, _ = attach(
    __name__, {"run": "gatewayx_nb.cli.program", "__version__": "gatewayx_nb._version"}
)

_STATIC_FOLDER = Path(__file__).with_name("static")
"""The help and the completion scripts, which ``python -m gatewayx_nb.cli.static_files`` writes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: The words after ``gatewayx``; by default, those of this process.

    Returns:
        The exit status: 0 for success, 1 if a call failed or its answer is incomplete, 2 for an
        invalid command line, 3 for a problem with keys, permissions or settings, and 130 if the
        user has stopped the command.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # A stream is None if the parent process has closed it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")  # for scripts, independent of the locale
    try:
        if (text := _static_text(words)) is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return 0
        return _load_run()(words)
    except BrokenPipeError:  # as in `gatewayx ask … | head -1`
        # Otherwise, Python would write to the pipe again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # as in `gatewayx status > /dev/full`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with contextlib.suppress(OSError):
            sys.stderr.write(f"gatewayx: the output cannot be written: {error.strerror}.\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _load_run() -> Callable[[Sequence[str]], int]:
    """Import the function that runs a command line.

    The cyclic garbage collector is off during the import, because it would find nothing to free,
    but take a tenth of the time. At exit, `gc.freeze` keeps the collector from searching all
    modules again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        run = cast("Callable[[Sequence[str]], int]", _import_lazily("run"))
    finally:
        if was_enabled:
            gc.enable()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    return run


def _static_text(words: Sequence[str]) -> str | None:
    """Return the output of a command line if it is constant, else ``None``."""
    match words:
        case [] | ["-h"] | ["--help"] | ["help"]:
            return (_STATIC_FOLDER / "help.txt").read_text("utf-8")
        case ["completion", shell] if shell in ("bash", "zsh", "fish"):
            return (_STATIC_FOLDER / f"completion.{shell}").read_text("utf-8")
        case ["--version"]:
            return f"gatewayx {_import_lazily('__version__')}\n"
    return None
