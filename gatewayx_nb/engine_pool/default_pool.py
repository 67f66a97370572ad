"""The default pool, which the module functions and the magics use."""

from __future__ import annotations

import threading

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.engine_pool.facade import EnginePool


class _DefaultPool:
    """The pool used by the module functions, created on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # concurrent first calls must get the same pool
        self._pool: EnginePool | None = None

    def get(self) -> EnginePool:
        """Return the default pool; the first use creates it for the current folder."""
        with self._lock:
            self._pool = self._pool or EnginePool()
            return self._pool

    def expect_changes(self) -> None:
        """Make the default pool, if it exists, check for changed files on its next call."""
        pool = self._pool
        if pool is not None:
            pool._live.expect_changes()  # noqa: SLF001 - a class of this package

    def reset(self) -> None:
        """Close the default pool; the next use creates a new one."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()  # not under the lock, because closing waits for the engines

    def rebuild(self) -> None:
        """Replace the default pool with one for the current project folder.

        The chosen default model, the open cassette and all conversations move to the new pool.
        Running calls finish in the old one, which closes after the last of them.
        """
        with self._lock:
            old, self._pool = self._pool, EnginePool()
            if old is not None:
                self._pool._take_over(old)  # noqa: SLF001 - a class of this package


_default = _DefaultPool()
pool = with_one_line_errors(_default.get, "pool")
rebuild, reset = _default.rebuild, _default.reset
expect_changes = _default.expect_changes
