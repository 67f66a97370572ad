"""What a call would send and cost, told before anything is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.engine_pool.budget import estimate, price
from gatewayx_nb.llm_engines import HTTPEngine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request, Usage


@dataclass(frozen=True, slots=True)
class Preview:
    """What a call would send.

    Attributes:
        engine: Name of the engine.
        model: Name of the model, as the provider spells it.
        where: Where it would go; empty where it stays in this process.
        body: The JSON of a provider's, or what an engine of another kind would be passed.
        usage: Tokens, estimated: one for four characters, and of the answer at most ``max_tokens``,
            or 1,024.
        cost: US dollars for these at most, or ``None`` where the price is not known.
    """

    engine: str
    model: str
    where: str
    body: Mapping[str, Any]
    usage: Usage
    cost: Decimal | None


async def preview(engine: LLMEngine, request: Request) -> Preview:
    """Give what an engine would send for a request; called on its loop, and nothing is sent."""
    where, body = "", {"prompt": request.prompt, **request.keywords()}
    if isinstance(engine, HTTPEngine):
        dialect = engine.dialect(request)
        where = f"{engine.base_url.rstrip('/')}/{dialect.route(request).lstrip('/')}"
        body = dialect.payload(request)
    usage = estimate(request)
    cost = await price(engine, request.model, usage, time.time())
    return Preview(engine.name, request.model, where, body, usage, cost)
