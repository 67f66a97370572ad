"""Public functions such as `ask`, which call the methods of the default pool.

The first call builds the pool; importing a function does not.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.arguments import argument_problem
from gatewayx_nb.engine_pool import EnginePool, pool

if TYPE_CHECKING:
    from collections.abc import Callable


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


# The names are written out, so that type checkers and editors see each one. To them, the
# functions are bound methods of a pool, including their overloads.
_pool = cast("EnginePool", _DefaultPoolFunctions())

ask = _pool.ask
aask = _pool.aask
stream = _pool.stream
astream = _pool.astream
compare = _pool.compare
acompare = _pool.acompare
preview = _pool.preview
apreview = _pool.apreview
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
