"""Language models in the next notebook cell: drop in a key or an engine file, no code, no restart.

>>> import gatewayx_nb as gx
>>> print(gx.ask("Say this", model="mock"))
[mock] Say this

Names are imported on first use, so that the import costs nothing: no IPython, no HTTP, no file, no
socket.
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

_HOMES = {
    "Chunk": "replies",
    "Comparison": "comparisons",
    "EnginePool": "engine_pool",
    "LLMEngine": "llm_engines",
    "Message": "messages",
    "Reply": "replies",
    "Usage": "replies",
    "__version__": "_version",
    "compare_view": "widgets",
    "load_ipython_extension": "magics",
    "picker": "widgets",
    "pool": "engine_pool",
    "pull": "weights",
    "unload_ipython_extension": "magics",
}

__getattr__, __dir__ = attach(
    __name__,
    {name: f"{__name__}.{_HOMES.get(name, '_api')}" for name in (*__all__, "__version__")},
)
