"""Opens the default pool for a test with a cassette, and words hints for pytest.

This module imports the engine pool, so it is loaded by the first test that needs it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatewayx_nb import hints
from gatewayx_nb.cassettes import MODES, read_usage
from gatewayx_nb.engine_pool import with_cassette
from gatewayx_nb.errors import CassetteMissError, GatewayError, did_you_mean
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.hints import Wording


__all__ = ["default_cassette", "marker_problem", "pytest_runtest_makereport", "read_usage"]


_PACKAGE_FOLDER = Path(hints.__file__).parent

_TOOLS_VARIABLE = "GATEWAYX_CASSETTE_TOOLS"

_CASSETTE_PATH = pytest.StashKey[Path]()
"""The cassette file of a test's fixture."""


@contextlib.contextmanager
def default_cassette(
    path: Path, mode: str, item: pytest.Item, *, tools: str | None = None
) -> Iterator[Cassette]:
    """Use a new default pool with a cassette, and hints worded for pytest, in the ``with`` block.

    Args:
        path: The file, which may be missing.
        mode: The mode of the cassette, unless the environment sets the mode.
        item: The test, for the hints.
        tools: ``"run"`` to run the functions that a replayed model calls, ``"replay"`` to replay
            their results; ``GATEWAYX_CASSETTE_TOOLS`` takes precedence.
    """
    item.stash[_CASSETTE_PATH] = path
    previous = hints.set_wording(pytest_wording(item.nodeid, path, item.path.parent))
    try:
        with with_cassette(path, mode) as cassette:
            if tools and not os.environ.get(_TOOLS_VARIABLE, "").strip():
                cassette.runs_tools = tools == "run"
            yield cassette
    finally:
        hints.set_wording(previous)


def marker_problem(path: object, mode: object, tools: object = None) -> str:
    """Return why a marker's arguments are invalid; empty if they are valid."""
    if path is not None and not isinstance(path, str | Path):
        return f"path must be a str, got {short_repr(path)}."
    if path is not None and not str(path).strip():
        return f"path must not be empty, got {path!r}."
    if path in MODES:
        return f"path must be a file, got the mode {path!r}. Use `mode={path!r}`."
    if mode is not None and mode not in MODES:
        suggestion = did_you_mean(str(mode), MODES)
        return f"mode must be one of {', '.join(MODES)}, got {short_repr(mode)}.{suggestion}"
    if tools not in (None, "replay", "run"):
        return f"tools must be 'run' or 'replay', got {short_repr(tools)}."
    return ""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Word the hints of a test's errors for pytest before the report is created.

    For a call that is not recorded, the report shows only the test's frames, unless
    ``--full-trace`` is set.
    """
    if call.excinfo is not None:
        _hide_package(call.excinfo.value)
        path = item.stash.get(_CASSETTE_PATH, None)
        if path is not None:
            _reword_hints(call.excinfo.value, pytest_wording(item.nodeid, path, item.path.parent))


def _hide_package(error: BaseException) -> None:
    """Make pytest hide the package's frames for a call that is not recorded."""
    if not isinstance(error, CassetteMissError):
        return
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if _PACKAGE_FOLDER in Path(frame.f_code.co_filename).parents:
            # pytest also looks for this name in the frame's module.
            frame.f_globals["__tracebackhide__"] = _is_cassette_miss


def _is_cassette_miss(raised: pytest.ExceptionInfo[BaseException]) -> bool:
    return isinstance(raised.value, CassetteMissError)


def _reword_hints(error: BaseException, wording: Wording) -> None:
    pending: list[BaseException | None] = [error]
    visited: set[int] = set()  # `raise error from error` makes a cycle
    while pending:
        chained_error = pending.pop()
        if chained_error is None or id(chained_error) in visited:
            continue
        visited.add(id(chained_error))
        if isinstance(chained_error, GatewayError) and chained_error.hint is not None:
            chained_error.hint = hints.as_hint(hints.format_hint(chained_error.hint, wording))
        grouped_errors = (
            chained_error.exceptions if isinstance(chained_error, BaseExceptionGroup) else ()
        )
        pending += [chained_error.__cause__, chained_error.__context__, *grouped_errors]


def pytest_wording(node_id: str, cassette: Path, folder: Path) -> Wording:
    """Return the wording of hints in a test.

    Args:
        node_id: pytest's ID of the test.
        cassette: The file of the test's fixture; the test itself opened any other file.
        folder: The test's folder, to which the paths in a marker are relative.
    """
    command = f"`pytest --gatewayx-record {shlex.quote(node_id)}`"

    def open_cassette(path: Path | str, mode: str) -> str:
        if Path(path) != cassette:
            return hints.format_hint(hints.Hint("open_cassette", path=path, mode=mode), {})
        shown_path = cassette.relative_to(folder) if cassette.is_relative_to(folder) else cassette
        marker = f'@pytest.mark.gatewayx("{shown_path.as_posix()}", mode="{mode}")'
        return f"Name a cassette with `{marker}`."

    def prune_cassette(path: Path | str) -> str:
        pruning = hints.format_hint(hints.Hint("prune_cassette", path=path), {})
        if Path(path) != cassette:
            return pruning
        return f"Run {command} to record it again, or {pruning[0].lower()}{pruning[1:]}"

    return {
        "open_cassette": open_cassette,
        "record_cassette": f"Run {command} to record it.",
        "renew_recording": f"Run {command} to record it again.",
        "prune_cassette": prune_cassette,
    }
