"""pytest plugin for users' tests: replays tests from cassettes, and supports nbval.

pytest loads this at startup in every project, so it imports only its own small modules. The first
test with a cassette imports the engine pool.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import gatewayx_nb as gx
from gatewayx_nb.pytest_plugin.notebooks import NotebookCassettes
from gatewayx_nb.pytest_plugin.unused import LEVELS, StaleCassettes, report_unused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.engine_pool import EnginePool

SANITIZE = Path(__file__).with_name("nbval.cfg")
"""Rules for outputs that differ between runs of a notebook, for ``--nbval-sanitize-with``."""

_HAS_PASSED_KEY = pytest.StashKey[bool]()
"""Whether a test has passed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options."""
    group = parser.getgroup("gatewayx", "Gateway X")
    group.addoption(
        "--gatewayx-record",
        action="store_true",
        help="re-record the tests' cassettes, and remove entries that passed tests did not use",
    )
    group.addoption(
        "--gatewayx-unused",
        choices=LEVELS,
        default="warn",
        help="what to do about the entries of a cassette that a passed test or a whole notebook"
        " (nbval) has not used, and about the cassettes of tests that do not exist; default: warn",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and resolve ``--nbval-sanitize-with gatewayx``.

    Raises:
        UsageError: If ``--gatewayx-record`` contradicts the environment.
    """
    config.addinivalue_line(
        "markers",
        "gatewayx(path=None, mode='replay', tools='replay'): replay the calls of the default pool"
        " from a file, relative to the test's folder (as the fixture gatewayx_cassette does);"
        " tools='run' runs the functions that the model calls, instead of replaying their results",
    )
    mode = os.environ.get("GATEWAYX_CASSETTE_MODE", "").strip()
    if config.getoption("--gatewayx-record") and mode not in ("", "record"):
        raise pytest.UsageError(
            f"--gatewayx-record contradicts GATEWAYX_CASSETTE_MODE={mode} in the environment."
        )
    if getattr(config.option, "nbval_sanitize_with", None) == "gatewayx":
        config.option.nbval_sanitize_with = str(SANITIZE)
    if any(getattr(config.option, name, False) for name in ("nbval", "nbval_lax", "nbmake")):
        notebooks = NotebookCassettes(config, lambda path: _pools(config).read_usage(path))
        config.pluginmanager.register(notebooks, "gatewayx-notebooks")
    if config.getoption("--gatewayx-unused") != "ignore":
        config.pluginmanager.register(StaleCassettes(config, cassette_path), "gatewayx-stale")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test has passed."""
    report = yield
    if call.when == "call":
        item.stash[_HAS_PASSED_KEY] = report.passed
    return report


@pytest.fixture(autouse=True)
def _gatewayx_marker(request: pytest.FixtureRequest) -> None:
    """Use `gatewayx_cassette` in a test with the marker ``gatewayx``."""
    if request.node.get_closest_marker("gatewayx"):
        request.getfixturevalue("gatewayx_cassette")


@pytest.fixture
def gatewayx_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """Replay the calls of the default pool from ``cassettes/<module>/<test>.jsonl``.

    Calls of `gx.ask` in the functions under test are also replayed. A replayed test needs no key,
    no network and no model; ``--gatewayx-record`` calls the models and records the replies again.
    """
    node, config = request.node, request.config
    is_recording: bool = config.getoption("--gatewayx-record")
    arguments = marker_of(node)
    mode = arguments.mode or "replay"
    if is_recording and mode != "off":
        mode = "record"
    path = arguments.path or cassette_path(node)
    with _pools(config).default_cassette(path, mode, node, tools=arguments.tools) as cassette:
        yield cassette
        # A file in a marker may be shared with tests that are not running now.
        unused_count = 0
        if node.stash.get(_HAS_PASSED_KEY, False) and not arguments.path:
            if is_recording:
                cassette.prune()
            unused_count = len(cassette.unused)
        entries = len(cassette)
    remedy = f"`pytest --gatewayx-record {shlex.quote(node.nodeid)}` removes them."
    report_unused(node, path, unused_count, entries, "the test", remedy)


@pytest.fixture
def gatewayx_pool(gatewayx_cassette: Cassette) -> EnginePool:  # noqa: ARG001 - opens it
    """Return the default pool, with the cassette of `gatewayx_cassette`."""
    return gx.pool()


class MarkerArguments(NamedTuple):
    """The arguments of the marker ``gatewayx``."""

    path: Path | None = None
    mode: str | None = None
    tools: str | None = None


def marker_of(item: pytest.Item) -> MarkerArguments:
    """Return the arguments of an item's marker, which may be on its class or module."""
    arguments = MarkerArguments()
    for marker in reversed(list(item.iter_markers("gatewayx"))):  # the closest marker comes last
        try:
            path, mode, tools = MarkerArguments(*marker.args, **marker.kwargs)
        except TypeError:
            passed = ", ".join(map(repr, [*marker.args, *marker.kwargs]))
            pytest.fail(
                f"@pytest.mark.gatewayx accepts path, mode and tools, got {passed}.", pytrace=False
            )
        if problem := _pools(item.config).marker_problem(path, mode, tools):
            pytest.fail(f"@pytest.mark.gatewayx: {problem}", pytrace=False)
        arguments = MarkerArguments(
            arguments.path if path is None else item.path.parent / path,
            mode or arguments.mode,
            tools or arguments.tools,
        )
    return arguments


def cassette_path(item: pytest.Item) -> Path:
    """Return the path of a test's own cassette, which is unique in the test's folder."""
    classes = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    name = ".".join([*classes, item.name])
    # A parametrized test's name may be long and contain any character, such as a slash.
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-")
    if not re.fullmatch(r"[\w.-]{1,120}(\[[\w.-]{1,80}\])?", name):
        stem = f"{stem[:120]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return item.path.parent / "cassettes" / item.path.stem / f"{stem}.jsonl"


def _pools(config: pytest.Config) -> Any:  # noqa: ANN401 - a module
    """Return the module that imports the engine pool, registered as a plugin on first use."""
    name = f"{__name__}.pools"
    config.pluginmanager.import_plugin(name)
    return config.pluginmanager.get_plugin(name)
