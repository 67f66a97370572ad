"""Requests the embeddings of many texts, and stores them as they arrive."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from gatewayx_nb.batch.identity import row_key
from gatewayx_nb.batch.row_prompt import RowRequest
from gatewayx_nb.storage import JobFigures, StoredRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np
    import numpy.typing as npt

    from gatewayx_nb.storage import JobResults

    Vectors = npt.NDArray[np.float32]
    Embed = Callable[[list[str]], Awaitable[Vectors]]

MANY_TEXTS = 100
"""Minimum number of texts whose embeddings are stored; fewer can quickly be requested again."""

_CHUNK_TEXTS = 2048
"""Number of texts whose embeddings are requested and stored at a time."""

_FLUSH_TIMEOUT = 30.0


async def embed_stored(texts: list[str], embed: Embed, results: JobResults) -> Vectors:
    """Return the embeddings of texts, in order; request only those that are not stored.

    Args:
        texts: The texts; equal texts are requested once.
        embed: Returns the embeddings of texts.
        results: Stores the embeddings.
    """
    import numpy as np

    keys = [row_key(RowRequest(text)) for text in texts]
    text_by_key = dict(zip(keys, texts, strict=True))
    figures = JobFigures("failed", len(texts))
    try:
        # The file is read in a thread, because disk I/O would block the loop.
        vectors = await asyncio.to_thread(_load_vectors, results, list(text_by_key))
        missing_keys = [key for key in text_by_key if key not in vectors]
        for start in range(0, len(missing_keys), _CHUNK_TEXTS):
            chunk_keys = missing_keys[start : start + _CHUNK_TEXTS]
            for key, vector in zip(
                chunk_keys, await embed([text_by_key[key] for key in chunk_keys]), strict=True
            ):
                vectors[key] = vector
                content = vector.astype("<f4").tobytes()
                results.put(StoredRow(key, content, "ok", retry=False, at=time.time()))
        figures = JobFigures("done", len(texts), len(texts), asked=len(missing_keys))
    finally:
        results.set_figures(figures)
        await asyncio.to_thread(results.close, _FLUSH_TIMEOUT)
    return np.stack([vectors[key] for key in keys])


def _load_vectors(results: JobResults, keys: list[int]) -> dict[int, Any]:
    """Return the stored vectors by key, without vectors of an unusual length."""
    import numpy as np

    results.try_drive()
    results.load()
    stored_vectors = {
        key: np.frombuffer(row.content, "<f4").astype(np.float32)
        for start in range(0, len(keys), _CHUNK_TEXTS)
        for key, row in results.get_many(keys[start : start + _CHUNK_TEXTS]).items()
        if row.outcome == "ok" and row.content and len(row.content) % 4 == 0
    }
    lengths = [len(vector) for vector in stored_vectors.values()]
    usual_length = max(set(lengths), key=lengths.count, default=0)
    return {key: vector for key, vector in stored_vectors.items() if len(vector) == usual_length}
