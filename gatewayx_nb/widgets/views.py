"""Creates the widgets with the default pool and the notebook's namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.calls import CompareOptions, show_options
from gatewayx_nb.engine_pool import pool_getter
from gatewayx_nb.errors import EngineNotFoundError, GatewayError, UsageError
from gatewayx_nb.evaluation import Evaluation
from gatewayx_nb.text import short_repr
from gatewayx_nb.widgets.comparison_view import ComparisonView
from gatewayx_nb.widgets.evaluation_widget import EvaluationView
from gatewayx_nb.widgets.fields import ComparisonFields
from gatewayx_nb.widgets.model_picker import ModelPicker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Unpack

    from gatewayx_nb.engine_pool import EnginePool


def picker(value: str | Iterable[str] = (), *, pool: EnginePool | None = None) -> ModelPicker:
    """Return a widget for selecting models; its ``value`` contains the selected references.

    Args:
        value: The initially selected reference or references.
        pool: The pool; the default pool if omitted.

    Raises:
        UsageError: If ``value`` or ``pool`` is invalid.
    """
    return ModelPicker(pool_getter(pool), value)


@show_options(CompareOptions)
def compare_view(  # noqa: PLR0913 - most are keyword-only
    prompt: str = "",
    models: str | Iterable[str] = (),
    *,
    inputs: str | Iterable[str] = (),
    samples: int = 1,
    pool: EnginePool | None = None,
    schema: object = None,
    **options: Unpack[CompareOptions],
) -> ComparisonView:
    """Return a widget that prompts several models side by side.

    The options are the initial values of the widget's fields; an option without a field is passed
    to each call.

    Raises:
        UsageError: If an option is unknown or a value is invalid.
        EngineNotFoundError: If a reference names an unknown engine (probably a typo).
    """
    fields = ComparisonFields(prompt, {**options, "schema": schema}, inputs, samples)
    get_pool = pool_getter(pool)
    view = ComparisonView(get_pool, _namespace, fields, models)
    _check_engines(get_pool, view.picker.value)
    return view


def evaluation_view(evaluation: Evaluation) -> EvaluationView:
    """Return a widget with the summary of an evaluation and its answers side by side.

    Rows can be filtered by score, and answers can be labelled as good or bad. The labels are the
    score ``vote``, which `Evaluation.use_votes` keeps in a file.

    Args:
        evaluation: The result of `evaluate` or `load_evaluation`.

    Raises:
        UsageError: If ``evaluation`` is not an evaluation.
    """
    if not isinstance(evaluation, Evaluation):
        raise UsageError(
            f"evaluation must be an Evaluation, got {short_repr(evaluation)}.",
            hint="Pass the result of `gx.evaluate(…)` or `gx.load_evaluation(path)`.",
        )
    return EvaluationView(evaluation)


def _check_engines(get_pool: Callable[[], EnginePool], references: Iterable[str]) -> None:
    for reference in references:
        try:
            get_pool().features(reference)
        except EngineNotFoundError:
            raise
        except GatewayError:
            pass  # the view shows the problem, such as a missing key


def _namespace() -> Mapping[str, object]:
    """Return the notebook's namespace."""
    from IPython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell else {}  # a plain script has no namespace
