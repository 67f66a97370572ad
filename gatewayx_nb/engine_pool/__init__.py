"""`EnginePool` and the default pool."""

from gatewayx_nb.engine_pool.default_pool import (
    expect_changes,
    pool,
    pool_getter,
    rebuild,
    reset,
    with_cassette,
)
from gatewayx_nb.engine_pool.dry_run import DryRun
from gatewayx_nb.engine_pool.facade import EnginePool
from gatewayx_nb.engine_pool.health import EngineHealth
from gatewayx_nb.engine_pool.preview import CallPreview
from gatewayx_nb.engine_pool.security import SecurityStatus
from gatewayx_nb.engine_pool.token_estimates import estimate_request_tokens
from gatewayx_nb.engine_pool.usage import ModelUsage

__all__ = [
    "CallPreview",
    "DryRun",
    "EngineHealth",
    "EnginePool",
    "ModelUsage",
    "SecurityStatus",
    "estimate_request_tokens",
    "expect_changes",
    "pool",
    "pool_getter",
    "rebuild",
    "reset",
    "with_cassette",
]
