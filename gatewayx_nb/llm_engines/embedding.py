"""Embeddings over HTTP: one request, and the vectors in its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines import body
from gatewayx_nb.llm_engines.faults import FIRST_FAULT, Faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.llm_engines.http import HTTPEngine


async def ask(
    engine: HTTPEngine, path: str, payload: Mapping[str, object], model: str
) -> dict[str, Any]:
    """Send a request and give the JSON object that answers it.

    Raises:
        GatewayError: The answer tells of a fault, or is no JSON object.
    """
    faults = Faults(engine.name, model, engine.api_key)
    async with engine.http.post(path, payload) as response:
        data = await response.read()
        if response.status >= FIRST_FAULT:
            raise faults.status(response.status, response.headers, data)
    answer = body.parse(data)
    if answer.get("error"):
        raise faults.within(answer)
    return answer


def vectors(found: Sequence[object], texts: Sequence[str], engine: str) -> list[list[float]]:
    """Give the vectors of an answer, checked: one for each text, all of numbers.

    Raises:
        ProviderError: There are fewer or more, or one is no list of numbers.
    """
    sound = [
        vector
        for vector in found
        if isinstance(vector, list) and vector and all(type(x) in (int, float) for x in vector)
    ]
    if len(sound) != len(texts) or len(sound) != len(found):
        raise ProviderError(
            f"{engine!r} gave {len(sound)} vectors for {len(texts)} texts.",
            mend="Run the cell again, or name another model.",
            engine=engine,
        )
    return sound
