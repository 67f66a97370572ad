"""Runs one command line: finds the command, shows its output, and returns the exit status."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from gatewayx_nb import hints
from gatewayx_nb.cli import asking, wording
from gatewayx_nb.cli.key_guard import refuse_keys
from gatewayx_nb.cli.shell_session import ShellSession
from gatewayx_nb.cli.standard_error import warn
from gatewayx_nb.commands import COMMANDS, SHELL_COMMANDS
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    EngineNotFoundError,
    GatewayError,
    UnsupportedFeatureError,
    UsageError,
    did_you_mean,
)
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_SETTINGS, EXIT_STOPPED = 0, 1, 2, 3, 130
"""The exit statuses of a command."""

_HELP_FLAGS = frozenset({"-h", "--help"})


def run(words: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    Args:
        words: The words after ``gatewayx``, at least one.
    """
    previous_wording = hints.set_wording(wording.SHELL)
    session = ShellSession()
    try:
        return _run_command(session, words[0], list(words[1:]))
    except GatewayError as error:
        warn(one_line(error))
        return status_of(error)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    finally:
        session.close()
        hints.set_wording(previous_wording)


def one_line(error: GatewayError) -> str:
    """Return the message and the hint of an error in one line."""
    return " ".join(plain(error.describe()).split("\n"))


def status_of(error: GatewayError) -> int:
    """Return the exit status of a command that ended with this error."""
    if isinstance(error, UsageError | EngineNotFoundError | UnsupportedFeatureError):
        return EXIT_USAGE
    return EXIT_SETTINGS if isinstance(error, ConfigError | AuthenticationError) else EXIT_FAILED


def _run_command(session: ShellSession, name: str, words: list[str]) -> int:
    command = SHELL_COMMANDS.get(name)
    # The words of `ask`, `map` and `eval` may be prompts.
    refuse_keys(session, [name] if name in ("ask", "map", "eval") else [name, *words])
    if command is None:
        raise _unknown_command_error(session, name, words)
    # The prompt of `ask` may contain `-h`.
    if _HELP_FLAGS.intersection(words[:1] if name == "ask" else words):
        name, words, command = "help", [name], SHELL_COMMANDS["help"]
    if name == "ask":  # the words are not joined and split again, because they are a prompt
        return asking.ask(session, words)
    if command.raw:
        text = " ".join(words) if name == "help" else shlex.join(words)
        args = argparse.Namespace(text=text)
    else:
        args = command.parser(session.prog).read_words(words)
    output = command.run(session, args)
    if isinstance(output, int):
        return output
    if output is not None:
        session.show(output)
    # The rows of `health` and `doctor` have the attribute `ok`.
    is_ok = all(getattr(row, "ok", True) for row in output) if isinstance(output, list) else True
    return EXIT_OK if is_ok else EXIT_FAILED


def _unknown_command_error(session: ShellSession, name: str, words: Sequence[str]) -> UsageError:
    """Return the error for a word that is not a command; the error does not repeat a key."""
    if name in COMMANDS:
        return UsageError(
            f"`{name}` works only in a notebook.", hint="`gatewayx help` lists the commands."
        )
    if session.is_reference(name):
        example = shlex.join(["gatewayx", "ask", name, *(words or ["Hi"])])
        return UsageError(f"{name!r} is a model.", hint=f"Call it with `{example}`.")
    return UsageError(
        f"there is no command {name[:40]!r}.{did_you_mean(name, SHELL_COMMANDS)}",
        hint="`gatewayx help` lists the commands.",
    )
