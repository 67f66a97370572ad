"""A pool with one engine that plays scripts."""

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.testing import ScriptedEngine


@pytest.fixture
def scripted():
    """Yield a function that returns a pool with one engine that plays the scripts."""
    pools = []

    def make(*scripts):
        engine = ScriptedEngine(*scripts)
        pools.append(EnginePool(env={}, engines=[engine]))
        return pools[-1], engine

    yield make
    for pool in pools:
        pool.close()
