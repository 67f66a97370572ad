"""Pickers and comparisons for the mouse, built of ipywidgets.

State and logic are in `shelf` and `contest`, which know no widget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb import engine_pool
from gatewayx_nb.widgets.comparison_view import ComparisonView
from gatewayx_nb.widgets.model_picker import ModelPicker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.engine_pool import EnginePool

__all__ = ["ComparisonView", "ModelPicker", "compare_view", "picker"]


def picker(value: str | Iterable[str] = (), *, pool: EnginePool | None = None) -> ModelPicker:
    """Give a widget that picks models; its ``value`` is the references that are ticked.

    Args:
        value: References that are ticked at first, or one.
        pool: The pool; the default one where it is left out.
    """
    return ModelPicker(_getter(pool), value)


def compare_view(
    prompt: str = "",
    models: str | Iterable[str] = (),
    *,
    pool: EnginePool | None = None,
    **options: Any,  # noqa: ANN401 - as calls take them
) -> ComparisonView:
    """Give a widget that asks several models side by side.

    Args:
        prompt: The prompt at first.
        models: References that are ticked at first, or one.
        pool: The pool; the default one where it is left out.
        **options: What the fields hold at first: ``system``, ``temperature``, ``top_p``,
            ``max_tokens``, ``stop``, ``seed``. Others, such as ``params`` and ``timeout``, have no
            field and go along with each call.
    """
    return ComparisonView(_getter(pool), _names, prompt, models, options)


def _getter(pool: EnginePool | None) -> Callable[[], EnginePool]:
    return engine_pool.pool if pool is None else lambda: pool


def _names() -> Mapping[str, object]:
    """Give the notebook's names."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell else {}
