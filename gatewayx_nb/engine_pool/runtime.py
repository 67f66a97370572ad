"""Manages the hosts and event loops of a pool's engines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.concurrency import Portal, is_being_cancelled
from gatewayx_nb.engine_pool.host import EngineHost
from gatewayx_nb.errors import GatewayError, TransportError
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    import weakref
    from collections.abc import Coroutine

    from gatewayx_nb.model_registry import ModelRegistry, Target
    from gatewayx_nb.storage import Ledger

T = TypeVar("T")

_CLOSE_TIMEOUT = 1.8
"""Maximum seconds for all engines together to clean up and stop."""

_CLOSE_TIMEOUT_WITH_LEDGER = 2.0
"""Maximum seconds for closing a pool, including writing the ledger."""

_STOP_TIMEOUT = 0.4
"""The part of `_CLOSE_TIMEOUT` that is reserved for stopping the loops."""

_parent_hosts: list[list[EngineHost]] = []
"""The parent's hosts, in a forked child: freeing them would close the parent's connections."""


class Runtime:
    """Creates hosts on first use; shipped engines share a loop, other engines have their own."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()  # many threads make calls, but each host is created once
        self._process_id = os.getpid()
        self._hosts: dict[tuple[str, bool], EngineHost] = {}
        self._retiring_hosts: set[EngineHost] = set()
        self._shared_portal: Portal | None = None
        self._is_retired = False
        self._share = 1.0

    def set_share(self, share: float) -> None:
        """Use only a share of each engine's limits; see `Governor.set_share`."""
        with self._lock:
            self._share, hosts = share, list(self._hosts.values())
        for host in hosts:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                host.portal.inbox.call_soon(functools.partial(host.governor.set_share, share))

    def host(self, target: Target) -> EngineHost:
        """Return the host of an engine."""
        self._reset_if_forked()
        # A user's file may replace the shipped engine of that name, and then needs its own loop.
        key = (target.name, target.may_share_loop)
        # No lock is needed here, because reading a dict is atomic; nearly every call finds its
        # host.
        host = self._hosts.get(key)
        if host is None or host.portal.loop.is_closed():
            with self._lock:
                host = self._hosts.get(key)  # another thread may have created it meanwhile
                if host is None or host.portal.loop.is_closed():
                    separate_portal = (
                        None if target.may_share_loop else Portal(f"gatewayx {target.name}")
                    )
                    host = EngineHost(separate_portal or self._get_shared_portal(), self._registry)
                    host.governor.set_share(self._share)
                    self._hosts[key] = host
        return host

    def retire_removed(self) -> None:
        """Clean up engines that were removed or lost their key, once their calls have ended."""
        self._reset_if_forked()
        # Copy the keys, because other threads may add hosts.
        self._retire([key for key in list(self._hosts) if not self._exists(*key)])

    def retire(self) -> None:
        """Clean up every engine, and stop the loops, once the running calls have ended."""
        self._reset_if_forked()
        self._is_retired = True
        self._retire(list(self._hosts))

    @property
    def shared_portal(self) -> Portal:
        """The event loop shared by the shipped engines."""
        self._reset_if_forked()
        with self._lock:
            return self._get_shared_portal()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the shared loop and block this thread until it finishes.

        Raises:
            TransportError: If the pool is closed in the meantime.
        """
        try:
            return self.shared_portal.run(coroutine)
        except asyncio.CancelledError:
            raise _closed_error() from None

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the shared loop and await it; see `run`."""
        try:
            return await self.shared_portal.arun(coroutine)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise _closed_error() from None

    def started_engines(self) -> list[str]:
        """Return the names of the engines that have an instance."""
        self._reset_if_forked()
        return [name for (name, _), host in self._hosts.items() if host.is_started]

    def close(self) -> None:
        """Clean up every engine and stop the loops, in at most two seconds.

        If an engine blocks its loop, its thread continues to run until the process ends.
        """
        deadline = time.monotonic() + _CLOSE_TIMEOUT
        self._reset_if_forked()
        with self._lock:
            hosts, shared_portal = (
                [*self._hosts.values(), *self._retiring_hosts],
                self._shared_portal,
            )
            self._hosts, self._shared_portal = {}, None
        # The lock is released by now, because a call on another thread may need it in order to end.
        cleanups = [host.portal.submit(host.close()) for host in hosts]
        wait(cleanups, timeout=_CLOSE_TIMEOUT - _STOP_TIMEOUT)
        portals = {host.portal for host in hosts} | ({shared_portal} if shared_portal else set())
        for portal in portals:  # stop all of them before waiting for the first one
            portal.stop()
        for portal in portals:
            portal.close(max(0.0, deadline - time.monotonic()))

    def _retire(self, keys: list[tuple[str, bool]]) -> None:
        for host in [self._hosts.pop(key) for key in keys]:
            self._retiring_hosts.add(host)
            retirement = host.portal.submit(host.retire())
            retirement.add_done_callback(functools.partial(self._close_portal, host))

    def _exists(self, name: str, may_share_loop: bool) -> bool:  # noqa: FBT001 - part of the key
        try:
            return self._registry.resolve(name).may_share_loop is may_share_loop
        except GatewayError:
            return False

    def _close_portal(self, host: EngineHost, _: object) -> None:
        self._retiring_hosts.discard(host)
        is_last = self._is_retired and not (self._retiring_hosts or self._hosts)
        if host.portal is not self._shared_portal or is_last:
            host.portal.close()

    def _get_shared_portal(self) -> Portal:
        if self._shared_portal is None or self._shared_portal.loop.is_closed():
            self._shared_portal = Portal("gatewayx", never_blocks=True)
        return self._shared_portal

    def _reset_if_forked(self) -> None:
        """Reset the state in a forked child; the parent's hosts are neither used nor closed.

        A fork copies the hosts but not the threads that run their loops.
        """
        if self._process_id == os.getpid():
            return
        _parent_hosts.append([*self._hosts.values(), *self._retiring_hosts])
        self._lock = threading.Lock()  # another thread may have held the old lock at the fork
        self._process_id, self._hosts, self._shared_portal = os.getpid(), {}, None
        self._retiring_hosts = set()


def _closed_error() -> TransportError:
    return TransportError("the pool was closed while engines were queried.", hint=Hint("run_again"))


def close_runtime(runtime: Runtime, ledger: Ledger) -> None:
    """Close a runtime, then write its ledger, in at most two seconds."""
    start = time.monotonic()
    runtime.close()
    ledger.flush(max(0.2, _CLOSE_TIMEOUT_WITH_LEDGER - (time.monotonic() - start)))


def close_at_exit(runtime: weakref.ref[Runtime], ledger: weakref.ref[Ledger]) -> None:
    """Close a runtime and its ledger, unless they have been garbage-collected."""
    if (open_runtime := runtime()) is not None and (open_ledger := ledger()) is not None:
        close_runtime(open_runtime, open_ledger)
