"""Public functions such as `ask`, which call the methods of the default pool.

The first call builds the pool; importing a function does not.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from gatewayx_nb.engine_pool import EnginePool, pool

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def _of_default_pool(method: Callable[Concatenate[EnginePool, P], T]) -> Callable[P, T]:
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(pool(), *args, **kwargs)

    async def acall(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - the awaited result
        return await method(pool(), *args, **kwargs)  # type: ignore[misc]

    # Frameworks await a function only if it is declared as a coroutine function.
    function: Any = acall if inspect.iscoroutinefunction(method) else call
    functools.update_wrapper(function, method)
    # `help` and completion show this signature, which has no `self`.
    signature = inspect.signature(method)
    _, *parameters = signature.parameters.values()
    function.__signature__ = signature.replace(parameters=parameters)
    function.__module__, function.__qualname__ = "gatewayx_nb", method.__name__
    return cast("Callable[P, T]", function)


# Written out, not generated in a loop, so that type checkers and editors see each name and its
# signature.
ask = _of_default_pool(EnginePool.ask)
aask = _of_default_pool(EnginePool.aask)
stream = _of_default_pool(EnginePool.stream)
astream = _of_default_pool(EnginePool.astream)
compare = _of_default_pool(EnginePool.compare)
acompare = _of_default_pool(EnginePool.acompare)
embed = _of_default_pool(EnginePool.embed)
aembed = _of_default_pool(EnginePool.aembed)
cassette = _of_default_pool(EnginePool.cassette)
models = _of_default_pool(EnginePool.models)
status = _of_default_pool(EnginePool.status)
health = _of_default_pool(EnginePool.health)
ahealth = _of_default_pool(EnginePool.ahealth)
reload = _of_default_pool(EnginePool.reload)
use = _of_default_pool(EnginePool.use)
