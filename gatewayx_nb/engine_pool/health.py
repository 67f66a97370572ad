"""Whether engines answer: all of them asked at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.inquiry import listening
from gatewayx_nb.errors import EngineNotFoundError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gatewayx_nb.engine_pool.inquiry import Inquiry
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import ModelRegistry, Target

DEADLINE = 10.0
"""Seconds that each engine has to answer."""

_ASKED = ("ready", "failed", "refused")
"""States of the engines that are meant to answer; the others wait for a key, weights or a name."""


@dataclass(frozen=True, slots=True)
class Health:
    """What an engine answered when it was asked whether it works.

    Attributes:
        engine: The engine's name.
        ok: Whether it works.
        latency: Seconds until it answered; ``None`` where no answer came.
        error: What is wrong and what mends it, in one line; empty where it works.
    """

    engine: str
    ok: bool
    latency: float | None = None
    error: str = ""


def checkup(
    inquiry: Inquiry, registry: ModelRegistry, names: Sequence[str]
) -> Coroutine[None, None, list[Health]]:
    """Find who is to be asked, and give the coroutine that asks them.

    Args:
        inquiry: Asks them.
        registry: Knows them.
        names: Engines; all that have what they need where there are none.

    Raises:
        EngineNotFoundError: A name is no engine's.
    """
    servers = {} if names else registry.servers()
    meant = names or [row.name for row in registry.rows() if row.state in _ASKED]
    found = {name: _found(registry, name) for name in dict.fromkeys([*meant, *servers])}
    for name in names:
        unknown = found[name]
        if isinstance(unknown, EngineNotFoundError):
            raise unknown
    return _check(inquiry, found, servers)


def _found(registry: ModelRegistry, name: str) -> Target | GatewayError:
    try:
        return registry.resolve(name)
    except GatewayError as error:
        return error


async def _check(
    inquiry: Inquiry, found: dict[str, Target | GatewayError], servers: dict[str, str]
) -> list[Health]:
    heard = await asyncio.gather(*map(listening, servers.values()))
    silent = {name for name, hears in zip(servers, heard, strict=True) if not hears}
    asked = {name: target for name, target in found.items() if name not in silent}
    targets = [target for target in asked.values() if not isinstance(target, GatewayError)]
    answers = await inquiry.ask(targets, _measured)
    return [
        _row(name, target if isinstance(target, GatewayError) else answers[target.name])
        for name, target in sorted(asked.items())
    ]


@dataclass(frozen=True, slots=True)
class _Answer:
    ok: bool
    latency: float


async def _measured(engine: LLMEngine) -> _Answer:
    begun = time.monotonic()
    ok = bool(await engine.health_check())
    return _Answer(ok, time.monotonic() - begun)


def _row(name: str, answer: _Answer | GatewayError) -> Health:
    if isinstance(answer, GatewayError):
        return Health(name, ok=False, error=" ".join(str(answer).split()))
    return Health(
        name, answer.ok, answer.latency, "" if answer.ok else "its own check says that it fails."
    )
