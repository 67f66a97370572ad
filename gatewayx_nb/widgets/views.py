"""Functions that create the widgets, with the default pool and the notebook's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb import engine_pool
from gatewayx_nb.widgets.comparison_view import ComparisonView
from gatewayx_nb.widgets.model_picker import ModelPicker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.engine_pool import EnginePool


def picker(value: str | Iterable[str] = (), *, pool: EnginePool | None = None) -> ModelPicker:
    """Return a widget that picks models; its ``value`` contains the selected references.

    Args:
        value: Initially selected references, or one.
        pool: The pool; the default one if omitted.
    """
    return ModelPicker(_pool_getter(pool), value)


def compare_view(
    prompt: str = "",
    models: str | Iterable[str] = (),
    *,
    pool: EnginePool | None = None,
    **options: Any,  # noqa: ANN401 - the options of calls
) -> ComparisonView:
    """Return a widget that prompts several models side by side.

    Args:
        prompt: The initial prompt.
        models: Initially selected references, or one.
        pool: The pool; the default one if omitted.
        **options: Initial values of the fields: ``system``, ``temperature``, ``top_p``,
            ``max_tokens``, ``stop``, ``seed``. Others, such as ``params`` and ``timeout``, have no
            field and are passed to each call.
    """
    return ComparisonView(_pool_getter(pool), _namespace, prompt, models, options)


def _pool_getter(pool: EnginePool | None) -> Callable[[], EnginePool]:
    return engine_pool.pool if pool is None else lambda: pool


def _namespace() -> Mapping[str, object]:
    """Return the notebook's namespace."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell else {}  # a plain script has no namespace
