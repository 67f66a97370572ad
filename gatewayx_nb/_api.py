"""Public functions such as `ask`, which call the methods of the default pool.

The first call creates the pool; importing a function does not.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb._lazy import attach
from gatewayx_nb.arguments import argument_problem
from gatewayx_nb.batch import default_view, use_view
from gatewayx_nb.engine_pool import EnginePool, pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.batch import ProgressView
    from gatewayx_nb.display import NotebookMapView
    from gatewayx_nb.evaluation import aevaluate as aevaluate  # noqa: PLC0414 - exported
    from gatewayx_nb.evaluation import evaluate as evaluate  # noqa: PLC0414 - as above


# A script must not import IPython, which takes longer than this whole package.
_import_display, _ = attach(__name__, {"NotebookMapView": "gatewayx_nb.display"})

# These functions are imported on first use, because most notebooks do not evaluate. They are here
# because this module chooses the display of their progress.
__getattr__, _ = attach(
    __name__, dict.fromkeys(["evaluate", "aevaluate"], "gatewayx_nb.evaluation")
)


def _create_view() -> ProgressView:
    """Return the progress display of a map: the notebook's in a kernel, otherwise the default."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is None:
        return default_view()
    return cast("Callable[[], NotebookMapView]", _import_display("NotebookMapView"))()


use_view(_create_view)


class _DefaultPoolFunctions:
    """Provides the methods of `EnginePool` as functions that call them on the default pool."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(EnginePool, name)

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the method's own types
            try:
                return method(pool(), *args, **kwargs)
            except TypeError as error:
                problem = argument_problem(error, function, args, kwargs)
            raise problem

        async def acall(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            try:
                return await method(pool(), *args, **kwargs)
            except TypeError as error:
                problem = argument_problem(error, function, args, kwargs)
            raise problem

        # Frameworks await a function only if it is declared as a coroutine function.
        function: Any = acall if inspect.iscoroutinefunction(method) else call
        functools.update_wrapper(function, method)
        # `help` and completion show this signature, which has no `self`.
        signature = inspect.signature(method)
        _, *parameters = signature.parameters.values()
        function.__signature__ = signature.replace(parameters=parameters)
        function.__module__, function.__qualname__ = "gatewayx_nb", name
        return cast("Callable[..., Any]", function)


# The names are written out for type checkers and editors, which see bound methods of a pool,
# including their overloads.
_pool = cast("EnginePool", _DefaultPoolFunctions())

ask = _pool.ask
aask = _pool.aask
stream = _pool.stream
astream = _pool.astream
resume = _pool.resume
aresume = _pool.aresume
submit = _pool.submit
asubmit = _pool.asubmit
compare = _pool.compare
acompare = _pool.acompare
preview = _pool.preview
apreview = _pool.apreview
map = _pool.map  # noqa: A001 - the method's name
amap = _pool.amap
imap = _pool.imap
aimap = _pool.aimap
preview_map = _pool.preview_map
apreview_map = _pool.apreview_map
embed = _pool.embed
aembed = _pool.aembed
chat = _pool.chat
cassette = _pool.cassette
models = _pool.models
status = _pool.status
health = _pool.health
ahealth = _pool.ahealth
reload = _pool.reload
use = _pool.use
usage = _pool.usage
history = _pool.history
