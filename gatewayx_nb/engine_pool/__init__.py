"""`EnginePool`, and the one that is used where none is named."""

from __future__ import annotations

import threading

from gatewayx_nb.engine_pool.figures import Spending
from gatewayx_nb.engine_pool.health import Health
from gatewayx_nb.engine_pool.interface import EnginePool
from gatewayx_nb.engine_pool.options import CallOptions
from gatewayx_nb.engine_pool.preview import Preview
from gatewayx_nb.engine_pool.security import SecurityStatus
from gatewayx_nb.engine_pool.streams import AsyncReplyStream, ReplyStream

__all__ = [
    "AsyncReplyStream",
    "CallOptions",
    "EnginePool",
    "Health",
    "Preview",
    "ReplyStream",
    "SecurityStatus",
    "Spending",
    "pool",
    "reset",
]

_default: list[EnginePool] = []
_lock = threading.Lock()


def pool() -> EnginePool:
    """Give the default pool; it is built on first use, for the folder that is current then."""
    with _lock:
        if not _default:
            _default.append(EnginePool())
        return _default[0]


def reset() -> None:
    """Close the default pool; the next use builds another."""
    with _lock:
        closing, _default[:] = _default[:], []
    for stale in closing:
        stale.close()
