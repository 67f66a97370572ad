"""The default pool of a test with a cassette, and hints that name pytest's options.

This module imports the engine pool, so it is loaded by the first test that needs it.
"""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

import pytest

from gatewayx_nb import hints
from gatewayx_nb.cassettes import read_usage
from gatewayx_nb.engine_pool import with_cassette
from gatewayx_nb.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.hints import Wording


__all__ = ["default_cassette", "pytest_runtest_makereport", "read_usage"]


@contextlib.contextmanager
def default_cassette(path: Path, mode: str, node_id: str) -> Iterator[Cassette]:
    """Make a new pool with a cassette the default pool, and word hints for pytest, in the block.

    Args:
        path: The file; it may be missing.
        mode: The mode of the cassette, unless the environment names one.
        node_id: The test, for the hints.
    """
    previous = hints.set_wording(pytest_wording(node_id))
    try:
        with with_cassette(path, mode) as cassette:
            yield cassette
    finally:
        hints.set_wording(previous)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Word the hints of a test's errors for pytest before their text is put into the report."""
    if call.excinfo is not None:
        _reword(call.excinfo.value, pytest_wording(item.nodeid))


def _reword(error: BaseException | None, wording: Wording) -> None:
    while error is not None:
        if isinstance(error, GatewayError) and error.hint is not None:
            error.hint = hints.as_hint(hints.format_hint(error.hint, wording))
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                _reword(each, wording)
        error = error.__cause__ or error.__context__


def pytest_wording(node_id: str) -> Wording:
    """Return the wording of hints in a test."""
    command = f"`pytest --gatewayx-record {shlex.quote(node_id)}`"
    return {
        "open_cassette": 'Name a cassette with `@pytest.mark.gatewayx("{path}", mode="{mode}")`.',
        "record_cassette": f"Run {command} to record it.",
        "renew_recording": f"Run {command} to record it again.",
        "prune_cassette": (
            f"Run {command} to record it again, or keep the newer ones with"
            ' `gatewayx_nb.cassette("{path}").prune()`.'
        ),
    }
