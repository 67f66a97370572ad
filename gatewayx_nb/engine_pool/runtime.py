"""The event loops of a pool's engines, and their handling after a fork."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.concurrency import Portal, is_being_cancelled
from gatewayx_nb.engine_pool.host import EngineHost
from gatewayx_nb.errors import GatewayError, TransportError
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gatewayx_nb.model_registry import ModelRegistry, Target

T = TypeVar("T")

_GRACE = 2.0
"""Seconds for all engines together to clean up."""

_inherited: list[list[EngineHost]] = []
"""The parent's hosts in a forked child: freeing them would close the parent's connections."""


class Runtime:
    """Creates hosts on first use: shipped engines share one loop, each other engine has its own."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._lock = threading.Lock()  # many threads make calls; each host is made once
        self._process = os.getpid()
        self._hosts: dict[tuple[str, bool], EngineHost] = {}
        self._leaving: set[EngineHost] = set()
        self._shared: Portal | None = None

    def host(self, target: Target) -> EngineHost:
        """Return the host of an engine."""
        if self._process != os.getpid():
            self._leave_to_parent()
        key = (target.name, target.may_share_loop)
        host = self._hosts.get(key)
        if host is None or host.portal.loop.is_closed():
            with self._lock:
                host = self._hosts.get(key)
                if host is None or host.portal.loop.is_closed():
                    portal = self._portal(target)
                    host = self._hosts[key] = EngineHost(portal, self._registry)
        return host

    def retire_removed(self) -> None:
        """Clean up engines that were removed or lost their key, once their calls have ended."""
        if self._process != os.getpid():
            return
        gone = [key for key in list(self._hosts) if not self._is_there(*key)]
        for host in [self._hosts.pop(key) for key in gone]:
            if not host.portal.loop.is_closed():
                self._leaving.add(host)
                leaving = host.portal.submit(host.retire())
                leaving.add_done_callback(functools.partial(self._left, host))

    @property
    def shared(self) -> Portal:
        """The event loop shared by the shipped engines."""
        if self._process != os.getpid():
            self._leave_to_parent()
        with self._lock:
            return self._shared_portal()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the shared loop and wait for it.

        Raises:
            TransportError: If the pool is closed meanwhile.
        """
        try:
            return self.shared.run(work)
        except asyncio.CancelledError:
            raise _closed_error() from None

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the shared loop and await it; see `run`."""
        try:
            return await self.shared.arun(work)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise _closed_error() from None

    def started(self) -> list[str]:
        """Return the names of the engines that have an instance."""
        if self._process != os.getpid():
            return []
        return [name for (name, _), host in self._hosts.items() if host.started]

    def close(self) -> None:
        """Clean up every engine and stop the loops."""
        if self._process != os.getpid():
            return
        with self._lock:
            hosts, shared = [*self._hosts.values(), *self._leaving], self._shared
            self._hosts, self._shared = {}, None
        portals = {id(host.portal): host.portal for host in hosts}
        if shared is not None:
            portals[id(shared)] = shared
        closing = [
            host.portal.submit(host.close()) for host in hosts if not host.portal.loop.is_closed()
        ]
        wait(closing, timeout=_GRACE)
        for portal in portals.values():
            portal.close()

    def _is_there(self, name: str, trusted_loop: bool) -> bool:  # noqa: FBT001 - part of the key
        try:
            return self._registry.resolve(name).may_share_loop is trusted_loop
        except GatewayError:
            return False

    def _left(self, host: EngineHost, _: object) -> None:
        self._leaving.discard(host)
        if host.portal is not self._shared:
            host.portal.close()

    def _portal(self, target: Target) -> Portal:
        if not target.may_share_loop:
            return Portal(f"gatewayx {target.name}")
        return self._shared_portal()

    def _shared_portal(self) -> Portal:
        if self._shared is None or self._shared.loop.is_closed():
            self._shared = Portal("gatewayx")
        return self._shared

    def _leave_to_parent(self) -> None:
        """Reset the state in a forked child; the parent's hosts are neither used nor closed."""
        _inherited.append([*self._hosts.values(), *self._leaving])
        self._lock = threading.Lock()  # the parent may have held the old one
        self._process, self._hosts, self._shared = os.getpid(), {}, None
        self._leaving = set()


def _closed_error() -> TransportError:
    return TransportError("the pool was closed while engines were queried.", hint=Hint("run_again"))
