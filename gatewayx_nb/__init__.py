"""Language models in the next notebook cell: drop in a key or an engine file, no code, no restart.

>>> import gatewayx_nb as gx
>>> print(gx.ask("Say this", model="mock"))
[mock] Say this

Names are imported on first use: importing the package loads neither IPython nor an HTTP client,
reads no file and opens no socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach

if TYPE_CHECKING:
    from gatewayx_nb._api import (
        aask,
        acompare,
        aembed,
        ahealth,
        ask,
        astream,
        cassette,
        compare,
        embed,
        health,
        models,
        reload,
        status,
        stream,
        use,
    )
    from gatewayx_nb._version import __version__  # noqa: F401 - not listed, as is usual
    from gatewayx_nb.comparisons import Comparison
    from gatewayx_nb.engine_pool import EnginePool, pool
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.magics import load_ipython_extension, unload_ipython_extension
    from gatewayx_nb.messages import Message
    from gatewayx_nb.replies import Chunk, Reply, Usage
    from gatewayx_nb.weights import pull
    from gatewayx_nb.widgets import compare_view, picker

__all__ = [
    "Chunk",
    "Comparison",
    "EnginePool",
    "LLMEngine",
    "Message",
    "Reply",
    "Usage",
    "aask",
    "acompare",
    "aembed",
    "ahealth",
    "ask",
    "astream",
    "cassette",
    "compare",
    "compare_view",
    "embed",
    "health",
    "load_ipython_extension",
    "models",
    "picker",
    "pool",
    "pull",
    "reload",
    "status",
    "stream",
    "unload_ipython_extension",
    "use",
]

_MODULES = {
    "_version": ["__version__"],
    "comparisons": ["Comparison"],
    "engine_pool": ["EnginePool", "pool"],
    "llm_engines": ["LLMEngine"],
    "magics": ["load_ipython_extension", "unload_ipython_extension"],
    "messages": ["Message"],
    "replies": ["Chunk", "Reply", "Usage"],
    "weights": ["pull"],
    "widgets": ["compare_view", "picker"],
}
"""The names that are not methods of the default pool, by module."""

__getattr__, __dir__ = attach(
    __name__,
    dict.fromkeys(__all__, f"{__name__}._api")
    | {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
)
