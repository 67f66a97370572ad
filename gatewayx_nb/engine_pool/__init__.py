"""`EnginePool` and the default pool."""

from __future__ import annotations

import threading

from gatewayx_nb.calls import CallOptions
from gatewayx_nb.engine_pool.health import EngineHealth
from gatewayx_nb.engine_pool.interface import EnginePool
from gatewayx_nb.engine_pool.preview import CallPreview
from gatewayx_nb.engine_pool.security import SecurityStatus
from gatewayx_nb.engine_pool.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.engine_pool.usage import ModelUsage

__all__ = [
    "AsyncReplyStream",
    "CallOptions",
    "CallPreview",
    "EngineHealth",
    "EnginePool",
    "ModelUsage",
    "ReplyStream",
    "SecurityStatus",
    "pool",
    "reset",
]

_default: list[EnginePool] = []
_lock = threading.Lock()


def pool() -> EnginePool:
    """Return the default pool, built on first use for the current folder."""
    with _lock:
        if not _default:
            _default.append(EnginePool())
        return _default[0]


def reset() -> None:
    """Close the default pool; the next use builds a new one."""
    with _lock:
        closing, _default[:] = _default[:], []
    for stale in closing:
        stale.close()
