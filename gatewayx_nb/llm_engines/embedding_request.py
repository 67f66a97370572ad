"""Sends embedding requests over HTTP, and checks the vectors in the responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.provider_errors import FIRST_ERROR_STATUS, ProviderErrors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.llm_engines.http import HTTPEngine


async def post_json(
    engine: HTTPEngine, path: str, payload: Mapping[str, object], model: str
) -> dict[str, Any]:
    """Send a request and return the JSON object of the response.

    Raises:
        GatewayError: If the response is an error or not a JSON object.
    """
    errors = ProviderErrors(engine.name, model, engine.api_key)
    async with engine.http.post(path, payload) as response:
        content = await response.read()
        if response.status >= FIRST_ERROR_STATUS:
            raise errors.from_response(response.status, response.headers, content)
    body = json_body.parse(content)
    if body.get("error"):
        raise errors.from_body(body)
    return body


def check_vectors(
    candidates: Sequence[object], texts: Sequence[str], engine: str
) -> list[list[float]]:
    """Check the vectors of a response and return them: one list of numbers per text.

    Raises:
        ProviderError: If the number of vectors is wrong, or a vector is not a list of numbers.
    """
    valid_vectors = [
        vector
        for vector in candidates
        # `isinstance` would accept a bool, because bool is a subclass of int.
        if isinstance(vector, list)
        and vector
        and all(type(component) in (int, float) for component in vector)
    ]
    if len(valid_vectors) != len(texts) or len(valid_vectors) != len(candidates):
        raise ProviderError(
            f"engine {engine!r} returned {len(valid_vectors)} vectors for {len(texts)} texts.",
            hint=Hint("run_again") | Hint("name_model", engine=engine),
            engine=engine,
        )
    return valid_vectors
