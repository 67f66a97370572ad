"""pytest plugin for users' tests: the fixture `gatewayx_pool` and sanitizing rules for nbval.

pytest loads this at startup in every project, so it imports only pytest and the package itself,
which loads its public names on first use.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gatewayx_nb as gx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.cassettes import Mode
    from gatewayx_nb.engine_pool import EnginePool

SANITIZE = Path(__file__).with_name("nbval.cfg")
"""Rules for outputs that differ between runs of a notebook, for ``--nbval-sanitize-with``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--gatewayx-record``."""
    group = parser.getgroup("gatewayx", "Gateway X")
    group.addoption(
        "--gatewayx-record",
        action="store_true",
        help="call the models again and replace the cassettes that gatewayx_pool replays",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Resolve ``--nbval-sanitize-with gatewayx`` to the file in this package."""
    if getattr(config.option, "nbval_sanitize_with", None) == "gatewayx":
        config.option.nbval_sanitize_with = str(SANITIZE)


@pytest.fixture
def gatewayx_pool(request: pytest.FixtureRequest) -> Iterator[EnginePool]:
    """Yield a pool that replays ``cassettes/<module>/<test>.jsonl`` next to the test file.

    A replayed test needs no key, no network and no model; ``--gatewayx-record`` calls the models
    and records the replies again.
    """
    # A parametrized test's name may contain any character, such as a slash.
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    path = request.path.parent / "cassettes" / request.path.stem / f"{name}.jsonl"
    mode: Mode = "record" if request.config.getoption("--gatewayx-record") else "replay"
    with gx.EnginePool() as pool, pool.cassette(path, mode):
        yield pool
