"""The default pool, which the module functions and the magics use."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.engine_pool.facade import EnginePool
from gatewayx_nb.engine_pool.router import cassette_path
from gatewayx_nb.errors import UsageError
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayx_nb.cassettes import Cassette


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
            pool._live_catalog.expect_changes()  # noqa: SLF001 - a class of this package

    def reset(self) -> None:
        """Close the default pool; the next use creates a new one."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()  # not under the lock, because closing waits for the engines

    def rebuild(self) -> None:
        """Replace the default pool with one for the current project folder.

        The chosen default model, the open cassette and all conversations move to the new pool.
        Running calls finish in the old pool, which closes after the last of them.
        """
        with self._lock:
            old_pool, self._pool = self._pool, EnginePool()
            if old_pool is not None:
                self._pool._take_over(old_pool)  # noqa: SLF001 - a class of this package

    @contextlib.contextmanager
    def with_cassette(self, path: str | Path, mode: str | None) -> Iterator[Cassette]:
        """In the ``with`` block, replace the default pool with a new one that has an open cassette.

        The file may be missing; in mode ``replay``, the first call then fails. The previous default
        pool, if any, also uses the cassette in the block, because a module may hold the pool or one
        of its conversations.
        """
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(EnginePool())
            router = pool._router  # noqa: SLF001 - a class of this package
            cassette = router.open(cassette_path(path), mode, None, must_exist=False)
            stack.enter_context(cassette)
            with self._lock:
                previous_pool, self._pool = self._pool, pool
            stack.callback(self._restore, previous_pool)
            if previous_pool is not None:
                pool._registry.references.default = previous_pool._registry.references.default  # noqa: SLF001
                stack.enter_context(previous_pool._router.borrowed(cassette))  # noqa: SLF001
            yield cassette

    def _restore(self, previous_pool: EnginePool | None) -> None:
        """Make the previous pool the default pool again, and close the current pool."""
        with self._lock:
            pool, self._pool = self._pool, previous_pool
        if pool is not None:
            pool.close()


_default_pool = _DefaultPool()
pool = with_one_line_errors(_default_pool.get, "pool")
rebuild, reset = _default_pool.rebuild, _default_pool.reset
expect_changes, with_cassette = _default_pool.expect_changes, _default_pool.with_cassette


def pool_getter(chosen_pool: EnginePool | None) -> Callable[[], EnginePool]:
    """Return a function that returns the chosen pool, or the current default pool if omitted.

    Raises:
        UsageError: If ``chosen_pool`` is not a pool.
    """
    if chosen_pool is None:
        return pool
    if not isinstance(chosen_pool, EnginePool):
        raise UsageError(
            f"pool must be an EnginePool or None, got {short_repr(chosen_pool)}.",
            hint="Omit it to use the default pool.",
        )
    return lambda: chosen_pool
