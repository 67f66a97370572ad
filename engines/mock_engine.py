"""Mock engine without a model: the same prompt always gets the same reply."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from typing_extensions import override

from ..errors import UsageError, classify
from ..llm_engines import Chunk, LLMEngine, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..llm_engines import Request


class MockEngine(LLMEngine):
    """Engine that echoes the prompt word by word.

    ``params`` control it: ``latency`` (seconds before the first chunk), ``rate`` (chunks per
    second) and ``fail`` (an HTTP status whose error to raise). It counts words as tokens.
    """

    requires_key = False
    model_name = "mock"
    keywords = frozenset()

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        latency, rate = _number(request, "latency"), _number(request, "rate")
        if latency:
            await asyncio.sleep(latency)
        if fault := request.params.get("fail"):
            raise _fault(str(fault))
        words = re.findall(r"\s*\S+\s*$|\s*\S+", _answer(request))
        spoken = words[: request.max_tokens]
        for word in spoken:
            yield Chunk(text=word)
            if rate:
                await asyncio.sleep(1 / rate)
        read = sum(len(message.content.split()) for message in request.messages)
        yield Chunk(
            finish_reason="stop" if len(spoken) == len(words) else "length",
            usage=Usage(input_tokens=read, output_tokens=len(spoken)),
        )

    @override
    def get_cost_per_token(self) -> float:
        return 0.0


def _answer(request: Request) -> str:
    spoken_to = f" (system: {request.system})" if request.system else ""
    return f"[mock{spoken_to}] {request.prompt}"


def _number(request: Request, name: str) -> float:
    value = request.params.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise UsageError(
            f"mock takes a number of at least 0 as {name!r}, not {value!r}.",
            hint=f"For instance `-p {name}=0.5`.",
        )
    return float(value)


def _fault(status: str) -> Exception:
    number = int(status) if status.isdigit() else 500
    return classify(number)(
        f"mock fails with {status}, as it was told.",
        hint="Leave `fail` out of its parameters.",
        status=number,
    )
