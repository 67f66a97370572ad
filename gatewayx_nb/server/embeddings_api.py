"""Implements OpenAI's API for embeddings.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.server.request_fields import InvalidFieldError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.server.request_fields import RequestFields

_MAX_INPUTS = 2_048
"""Maximum number of texts in a request, as in OpenAI's API."""


_MAX_NUMBERS_ENCODED_ON_LOOP = 2_000
"""Maximum count of numbers to encode on the event loop; this many take about 1 ms."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request for embeddings.

    Attributes:
        model: The reference of the model.
        texts: The texts.
        is_base64: Whether each embedding is returned as little-endian float32 numbers in base64.
    """

    model: str
    texts: list[str]
    is_base64: bool


def read_embedding_request(body: RequestFields) -> EmbeddingRequest:
    """Return the request that a body contains.

    Raises:
        InvalidFieldError: If a field is invalid or not supported.
    """
    model = body.require("model", str)
    texts = _read_texts(body.take_any("input"))
    encoding = "float"
    if "encoding_format" in body:
        encoding = body.require_choice("encoding_format", ("float", "base64"))
    body.accept({}, ignored_names=("user",))
    body.check_all_known()
    return EmbeddingRequest(model, texts, encoding == "base64")


async def embed(pool: EnginePool, request: EmbeddingRequest) -> bytes:
    """Return the embeddings in the format of the API, as JSON.

    Raises:
        GatewayError: If the call fails.
    """
    vectors = await pool.aembed(request.texts, request.model)
    if vectors.size <= _MAX_NUMBERS_ENCODED_ON_LOOP:
        return _encode(vectors, request)
    return await asyncio.to_thread(_encode, vectors, request)


def _encode(vectors: npt.NDArray[np.float32], request: EmbeddingRequest) -> bytes:
    if not (abs(vectors) < math.inf).all():
        raise ProviderError("an embedding contains a value that is not a finite number.")
    if request.is_base64:
        rows = vectors.astype("<f4")
        encoded_vectors: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in rows]
    else:
        encoded_vectors = vectors.tolist()
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(encoded_vectors)
    ]
    # The pool does not know the tokens of embeddings, and the SDKs require the field.
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    answer = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return json.dumps(answer).encode()


def _read_texts(value: object) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise InvalidFieldError("input", "must be a string or a list of strings")
    if isinstance(texts[0], (int, list)):
        raise InvalidFieldError(
            "input",
            "must be text, not token IDs; with LangChain, use"
            " `OpenAIEmbeddings(check_embedding_ctx_length=False)`",
        )
    if len(texts) > _MAX_INPUTS:
        raise InvalidFieldError("input", f"has more than {_MAX_INPUTS:,} strings")
    for index, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise InvalidFieldError(f"input[{index}]", "must be a non-empty string")
    return texts
