"""Language models in the next notebook cell: drop in a key or an engine file, no code, no restart.

>>> import gatewayx_nb as gx
>>> print(gx.ask("Say this", model="mock"))
[mock] Say this

Names are loaded on first use to keep the import cheap: no IPython, no HTTP, no file, no socket.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.comparisons import Comparison
    from gatewayx_nb.engine_pool import EnginePool, pool
    from gatewayx_nb.llm_engines import Chunk, LLMEngine, Message, Reply, Usage
    from gatewayx_nb.magics import load_ipython_extension, unload_ipython_extension
    from gatewayx_nb.weights import pull
    from gatewayx_nb.widgets import compare_view, picker

    __version__: str
    _pool = EnginePool()
    aask, ask, astream, stream = _pool.aask, _pool.ask, _pool.astream, _pool.stream
    acompare, compare = _pool.acompare, _pool.compare
    aembed, embed = _pool.aembed, _pool.embed
    ahealth, health = _pool.ahealth, _pool.health
    cassette = _pool.cassette
    models, reload, status, use = _pool.models, _pool.reload, _pool.status, _pool.use

_HOMES = {
    "Chunk": "replies",
    "Comparison": "comparisons",
    "EnginePool": "engine_pool",
    "LLMEngine": "llm_engines",
    "Message": "messages",
    "Reply": "replies",
    "Usage": "replies",
    "compare_view": "widgets",
    "load_ipython_extension": "magics",
    "picker": "widgets",
    "pool": "engine_pool",
    "pull": "weights",
    "unload_ipython_extension": "magics",
}
_OF_POOL = (
    "aask",
    "acompare",
    "aembed",
    "ahealth",
    "ask",
    "astream",
    "cassette",
    "compare",
    "embed",
    "health",
    "models",
    "reload",
    "status",
    "stream",
    "use",
)

__all__ = [  # noqa: PLE0604 - the default pool's methods
    "Chunk",
    "Comparison",
    "EnginePool",
    "LLMEngine",
    "Message",
    "Reply",
    "Usage",
    "compare_view",
    "load_ipython_extension",
    "picker",
    "pool",
    "pull",
    "unload_ipython_extension",
    *_OF_POOL,
]


def __getattr__(name: str) -> object:
    """Return a public name, from its module or as a method of the default pool."""
    if name == "__version__":
        from importlib import metadata  # takes 15 ms, for a rarely used name

        return metadata.version("gatewayx-nb")
    if name in _OF_POOL:
        home = importlib.import_module("gatewayx_nb.engine_pool")
        return getattr(home.pool(), name)
    if name in _HOMES:
        return getattr(importlib.import_module(f"gatewayx_nb.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
