"""A pool with one scripted engine."""

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.testing import ScriptedEngine


@pytest.fixture
def make_scripted_pool():
    """Yield a function that returns a pool with one scripted engine, and the engine."""
    pools = []

    def make(*scripts):
        engine = ScriptedEngine(*scripts)
        pools.append(EnginePool(env={}, engines=[engine]))
        return pools[-1], engine

    yield make
    for pool in pools:
        pool.close()
