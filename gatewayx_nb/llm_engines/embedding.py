"""Embeddings over HTTP: one request and the vectors in its response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.provider_errors import FIRST_FAULT, ProviderErrors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.llm_engines.http import HTTPEngine


async def ask(
    engine: HTTPEngine, path: str, payload: Mapping[str, object], model: str
) -> dict[str, Any]:
    """Send a request and return the JSON object of the response.

    Raises:
        GatewayError: If the response is an error or not a JSON object.
    """
    faults = ProviderErrors(engine.name, model, engine.api_key)
    async with engine.http.post(path, payload) as response:
        data = await response.read()
        if response.status >= FIRST_FAULT:
            raise faults.status(response.status, response.headers, data)
    answer = json_body.parse(data)
    if answer.get("error"):
        raise faults.within(answer)
    return answer


def vectors(found: Sequence[object], texts: Sequence[str], engine: str) -> list[list[float]]:
    """Return the vectors of a response, after checking that there is one of numbers per text.

    Raises:
        ProviderError: If their number is wrong, or one is not a list of numbers.
    """
    sound = [
        vector
        for vector in found
        if isinstance(vector, list) and vector and all(type(x) in (int, float) for x in vector)
    ]
    if len(sound) != len(texts) or len(sound) != len(found):
        raise ProviderError(
            f"{engine!r} gave {len(sound)} vectors for {len(texts)} texts.",
            hint="Run the cell again, or name another model.",
            engine=engine,
        )
    return sound
