"""Preview of what a call would send and cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.engine_pool.limits import cost_of, estimate_usage
from gatewayx_nb.llm_engines import HTTPEngine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.replies import Usage


@dataclass(frozen=True, slots=True)
class CallPreview:
    """What a call would send.

    Attributes:
        engine: Name of the engine.
        model: Name of the model, as the provider spells it.
        where: URL of the request; empty if nothing leaves this process.
        body: The JSON body of the request, or the arguments for an engine that does not use HTTP.
        usage: Estimated tokens: one per four characters, plus ``max_tokens`` (or 1,024) for the
            reply.
        cost: The cost of these tokens in US dollars, or ``None`` if the price is unknown.
    """

    engine: str
    model: str
    where: str
    body: Mapping[str, Any]
    usage: Usage
    cost: Decimal | None


async def preview(engine: LLMEngine, request: Request) -> CallPreview:
    """Return what an engine would send for a request; call it on the engine's loop."""
    where, body = "", {"prompt": request.prompt, **request.keywords()}
    if isinstance(engine, HTTPEngine):
        dialect = engine.dialect(request)
        where = f"{engine.base_url.rstrip('/')}/{dialect.route(request).lstrip('/')}"
        body = dialect.payload(request)
    usage = estimate_usage(request)
    cost = await cost_of(engine, request.model, usage, time.time())
    return CallPreview(engine.name, request.model, where, body, usage, cost)
