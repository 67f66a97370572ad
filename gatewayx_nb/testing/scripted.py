"""An engine that replies according to a script, for tests."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.errors import UsageError
from gatewayx_nb.llm_engines import Chunk, LLMEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gatewayx_nb.llm_engines import Request

ScriptItem = str | Chunk | Exception | float
"""An item of a script: a str or chunk to yield, an error to raise, or seconds to sleep."""


class ScriptedEngine(LLMEngine):
    """An engine that plays one script per call; the last script is repeated.

    Its name in a pool is ``scripted``, and its price is 0.001 dollars per token.

    >>> from gatewayx_nb import EnginePool
    >>> engine = ScriptedEngine(["Hel", "lo.", Chunk(finish_reason="stop")])
    >>> with EnginePool(env={}, engines=[engine]) as pool:
    ...     print(pool.ask("Hi", model="scripted", temperature=0))
    Hello.
    >>> engine.requests[0].temperature
    0

    Args:
        *scripts: The scripts of the calls, in order; the last script is repeated. Without a script,
            a call raises a `UsageError`.

    Attributes:
        scripts: The remaining scripts.
        requests: The requests received.
        cleanups: Number of times that `cleanup` ran.
        ended: Set when a call has ended, successfully or not.
    """

    requires_key = False
    model_name = "script"
    features = frozenset({"system", "history", "schema", "tools"})

    def __init__(self, *scripts: Sequence[ScriptItem]) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.cleanups = 0
        self.ended = threading.Event()
        self.scripts = list(scripts)

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        self.requests.append(request)
        if not self.scripts:
            raise UsageError(
                "a call of ScriptedEngine requires a script.",
                hint='For example, `ScriptedEngine(["Hello."])`.',
            )
        # Keep the last script, so that any number of calls can be made.
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for item in script:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, (int, float)):
                    await asyncio.sleep(item)
                else:
                    yield item if isinstance(item, Chunk) else Chunk(text=item)
        finally:
            self.ended.set()

    @override
    def get_cost_per_token(self) -> float:
        return 0.001

    @override
    async def cleanup(self) -> None:
        self.cleanups += 1
