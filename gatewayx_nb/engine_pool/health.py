"""Health checks of all engines, run concurrently."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.probe import is_listening
from gatewayx_nb.errors import EngineNotFoundError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gatewayx_nb.engine_pool.probe import Prober
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import ModelRegistry, Target

HEALTH_TIMEOUT = 10.0
"""Seconds that each engine has to answer a health check."""

_CHECKED_STATES = ("ready", "failed", "refused")
"""States of the engines to check; engines in other states lack a key, weights or a name."""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """The result of an engine's health check.

    Attributes:
        engine: The engine's name.
        ok: Whether it works.
        latency: Seconds until it answered; ``None`` without an answer.
        error: The problem and its fix, in one line; empty if the engine works.
    """

    engine: str
    ok: bool
    latency: float | None = None
    error: str = ""


def check_health(
    prober: Prober, registry: ModelRegistry, names: Sequence[str]
) -> Coroutine[None, None, list[EngineHealth]]:
    """Find the engines to check and return the coroutine that checks them.

    Args:
        prober: Queries the engines.
        registry: The known engines.
        names: Engines; if empty, all that are ready.

    Raises:
        EngineNotFoundError: If a name is unknown.
    """
    servers = {} if names else registry.servers()
    wanted = names or [row.name for row in registry.rows() if row.state in _CHECKED_STATES]
    targets = {name: _resolve(registry, name) for name in dict.fromkeys([*wanted, *servers])}
    for name in names:
        unknown = targets[name]
        if isinstance(unknown, EngineNotFoundError):
            raise unknown
    return _check(prober, targets, servers)


def _resolve(registry: ModelRegistry, name: str) -> Target | GatewayError:
    try:
        return registry.resolve(name)
    except GatewayError as error:
        return error


async def _check(
    prober: Prober, targets: dict[str, Target | GatewayError], servers: dict[str, str]
) -> list[EngineHealth]:
    accepted = await asyncio.gather(*map(is_listening, servers.values()))
    silent = {name for name, accepts in zip(servers, accepted, strict=True) if not accepts}
    checked = {name: target for name, target in targets.items() if name not in silent}
    callable_ = [target for target in checked.values() if not isinstance(target, GatewayError)]
    answers = await prober.probe_all(callable_, _measure)
    return [
        _row(name, target if isinstance(target, GatewayError) else answers[target.name])
        for name, target in sorted(checked.items())
    ]


@dataclass(frozen=True, slots=True)
class _Measurement:
    ok: bool
    latency: float


async def _measure(engine: LLMEngine) -> _Measurement:
    start = time.monotonic()
    ok = bool(await engine.health_check())
    return _Measurement(ok, time.monotonic() - start)


def _row(name: str, answer: _Measurement | GatewayError) -> EngineHealth:
    if isinstance(answer, GatewayError):
        return EngineHealth(name, ok=False, error=" ".join(answer.describe().split()))
    return EngineHealth(
        name, answer.ok, answer.latency, "" if answer.ok else "its own health check failed."
    )
