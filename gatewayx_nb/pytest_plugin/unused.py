"""Reports entries and files of cassettes that no test uses, as `--gatewayx-unused` says."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEVELS = ("ignore", "warn", "error")
"""The values of ``--gatewayx-unused``."""


class UnusedCassetteWarning(UserWarning):
    """A cassette has entries that were not used, or belongs to no test."""


def report_unused(  # noqa: PLR0913, PLR0917 - the parts of a sentence
    item: pytest.Item, path: Path, unused: int, entries: int, by_whom: str, remedy: str
) -> None:
    """Warn about the unused entries of a cassette, or fail the item, as the option says.

    Args:
        item: The test, or the last cell of a notebook.
        path: The cassette.
        unused: The number of entries that were not used.
        entries: The number of all entries.
        by_whom: What did not use them.
        remedy: How to remove them.
    """
    level = item.config.getoption("--gatewayx-unused")
    if level == "ignore" or not unused:
        return
    shown = _short_path(item.config, path)
    counted = f"{unused} of {entries} {'entry' if entries == 1 else 'entries'}"
    message = f"{shown}: {counted} {'was' if unused == 1 else 'were'} not used by {by_whom}."
    if unused == entries:
        remedy = "Delete the file if no model should be called."  # nothing is pruned without calls
    if level == "error":
        pytest.fail(f"{message} {remedy}", pytrace=False)
    _warn(f"{message} {remedy}", item.path)


class StaleCassettes:
    """Finds cassettes of tests that were deleted or renamed, in the folders of collected modules.

    Args:
        config: pytest's configuration.
        cassette_path: Returns the path of a test's own cassette.
    """

    def __init__(self, config: pytest.Config, cassette_path: Callable[[pytest.Item], Path]) -> None:
        self._config, self._cassette_path = config, cassette_path
        self._expected: dict[Path, set[Path]] = {}
        self._count = 0

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note the cassette of a test, even if the test will be deselected."""
        path = self._cassette_path(item)
        named = [argument for marker in item.iter_markers("gatewayx") for argument in marker.args]
        named += [marker.kwargs.get("path") for marker in item.iter_markers("gatewayx")]
        expected = self._expected.setdefault(path.parent, set())
        expected |= {
            path,
            *(item.path.parent / name for name in named if isinstance(name, str | os.PathLike)),
        }

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Warn about the files that belong to no test."""
        # Each worker of xdist collects all tests.
        worker = getattr(self._config, "workerinput", {}).get("workerid", "")
        if worker not in ("", "gw0") or self._is_partial():
            return
        for folder, expected in self._expected.items():
            for path in sorted(set(folder.glob("*.jsonl")) - expected):
                shown = _short_path(session.config, path)
                message = f"{shown}: no test uses this cassette. Delete it, or restore its test."
                with warnings.catch_warnings():
                    if worker:  # xdist would wait for ever after an exception
                        warnings.simplefilter("always")
                    try:
                        _warn(message, folder)
                    except UnusedCassetteWarning as error:  # by `-W error`
                        raise pytest.UsageError(str(error)) from None

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str) -> None:
        """Count the files; xdist passes on the warnings of its workers."""
        if when == "collect" and issubclass(warning_message.category, UnusedCassetteWarning):
            self._count += 1

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail the run if files belong to no test and the option says so."""
        fails = self._count and self._config.getoption("--gatewayx-unused") == "error"
        if fails and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why the run failed."""
        if self._count and self._config.getoption("--gatewayx-unused") == "error":
            what = "1 cassette belongs" if self._count == 1 else f"{self._count} cassettes belong"
            terminalreporter.write_line(f"ERROR: {what} to no test; see the warnings.", red=True)

    def _is_partial(self) -> bool:
        """Return whether some tests of a module were not collected."""
        is_last_failed = bool(self._config.getoption("lf", default=False))
        return is_last_failed or any("::" in argument for argument in self._config.args)


def _warn(message: str, path: Path) -> None:
    # Line 0 has no text, which would be the whole of a notebook.
    warnings.warn_explicit(message, UnusedCassetteWarning, str(path), 0)


def _short_path(config: pytest.Config, path: Path) -> str:
    root = config.rootpath
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
