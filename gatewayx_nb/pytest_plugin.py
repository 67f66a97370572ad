"""For tests of your own: the fixture `gatewayx_pool`, and what nbval is to pass over.

pytest loads this at its start in every project, so that it imports nothing but pytest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gatewayx_nb as gx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb import EnginePool
    from gatewayx_nb.cassettes import Mode

SANITIZE = Path(__file__).with_name("nbval.cfg")
"""What differs from run to run in a notebook's outputs, for ``--nbval-sanitize-with``."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--gatewayx-record``."""
    group = parser.getgroup("gatewayx", "Gateway X")
    group.addoption(
        "--gatewayx-record",
        action="store_true",
        help="ask the models again and renew the cassettes of gatewayx_pool",
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let ``--nbval-sanitize-with gatewayx`` mean the file that comes with the package."""
    if getattr(config.option, "nbval_sanitize_with", None) == "gatewayx":
        config.option.nbval_sanitize_with = str(SANITIZE)


@pytest.fixture
def gatewayx_pool(request: pytest.FixtureRequest) -> Iterator[EnginePool]:
    """Give a pool whose replies come from ``cassettes/<module>/<test>.jsonl`` beside the test.

    They are played back, so that a test needs no key, no network and no model;
    ``--gatewayx-record`` asks the models and renews them.
    """
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    path = request.path.parent / "cassettes" / request.path.stem / f"{name}.jsonl"
    mode: Mode = "record" if request.config.getoption("--gatewayx-record") else "replay"
    with gx.EnginePool() as pool, pool.cassette(path, mode):
        yield pool
