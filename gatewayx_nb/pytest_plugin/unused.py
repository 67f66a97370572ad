"""Reports unused cassette entries and files, depending on `--gatewayx-unused`."""

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
    item: pytest.Item, path: Path, unused_count: int, entry_count: int, consumer: str, remedy: str
) -> None:
    """Warn about a cassette's unused entries or fail the item, depending on the option.

    Args:
        item: The test, or the last cell of a notebook.
        path: The cassette.
        unused_count: The number of entries that were not used.
        entry_count: The number of all entries.
        consumer: What did not use them: ``"the test"`` or ``"the notebook"``.
        remedy: How to remove the entries.
    """
    level = item.config.getoption("--gatewayx-unused")
    if level == "ignore" or not unused_count:
        return
    shown_path = _short_path(item.config, path)
    unused_share = f"{unused_count} of {entry_count} {'entry' if entry_count == 1 else 'entries'}"
    verb = "was" if unused_count == 1 else "were"
    message = f"{shown_path}: {unused_share} {verb} not used by {consumer}."
    if unused_count == entry_count:
        remedy = "Delete the file if no model should be called."  # without calls, nothing is pruned
    if level == "error":
        pytest.fail(f"{message} {remedy}", pytrace=False)
    _warn_unused(f"{message} {remedy}", item.path)


class StaleCassettes:
    """Finds cassettes of tests that were deleted or renamed, in the folders of collected modules.

    Args:
        config: pytest's configuration.
        cassette_path: Returns the path of a test's own cassette.
    """

    def __init__(self, config: pytest.Config, cassette_path: Callable[[pytest.Item], Path]) -> None:
        self._config, self._cassette_path = config, cassette_path
        self._expected: dict[Path, set[Path]] = {}
        self._stale_count = 0

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Record a test's cassette, even if the test will be deselected."""
        path = self._cassette_path(item)
        marker_paths = [
            argument for marker in item.iter_markers("gatewayx") for argument in marker.args
        ]
        marker_paths += [marker.kwargs.get("path") for marker in item.iter_markers("gatewayx")]
        expected = self._expected.setdefault(path.parent, set())
        expected |= {
            path,
            *(
                item.path.parent / name
                for name in marker_paths
                if isinstance(name, str | os.PathLike)
            ),
        }

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Warn about cassettes that do not belong to a test."""
        # Each xdist worker collects all tests.
        worker = getattr(self._config, "workerinput", {}).get("workerid", "")
        if worker not in ("", "gw0") or self._is_partial():
            return
        for folder, expected in self._expected.items():
            for path in sorted(set(folder.glob("*.jsonl")) - expected):
                shown_path = _short_path(session.config, path)
                message = (
                    f"{shown_path}: no test uses this cassette. Delete it, or restore its test."
                )
                with warnings.catch_warnings():
                    if worker:  # xdist would wait forever after an exception
                        warnings.simplefilter("always")
                    try:
                        _warn_unused(message, folder)
                    except UnusedCassetteWarning as error:  # raised with `-W error`
                        raise pytest.UsageError(str(error)) from None

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str) -> None:
        """Count the stale cassettes; xdist forwards its workers' warnings."""
        if when == "collect" and issubclass(warning_message.category, UnusedCassetteWarning):
            self._stale_count += 1

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail the run if cassettes do not belong to a test and the option is ``error``."""
        is_failure = self._stale_count and self._config.getoption("--gatewayx-unused") == "error"
        if is_failure and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Report why the run failed."""
        if self._stale_count and self._config.getoption("--gatewayx-unused") == "error":
            count = self._stale_count
            subject = "1 cassette belongs" if count == 1 else f"{count} cassettes belong"
            terminalreporter.write_line(f"ERROR: {subject} to no test; see the warnings.", red=True)

    def _is_partial(self) -> bool:
        """Return whether some tests of a module were not collected."""
        is_last_failed = bool(self._config.getoption("lf", default=False))
        return is_last_failed or any("::" in argument for argument in self._config.args)


def _warn_unused(message: str, path: Path) -> None:
    # Line 0 has no text; pytest would otherwise show a whole notebook.
    warnings.warn_explicit(message, UnusedCassetteWarning, str(path), 0)


def _short_path(config: pytest.Config, path: Path) -> str:
    root = config.rootpath
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
