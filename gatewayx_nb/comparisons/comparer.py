"""The methods of a pool that compare models: `compare` and its variants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

from gatewayx_nb._lazy import attach
from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.calls import OPTIONS, CompareOptions, select_prompt, show_options
from gatewayx_nb.concurrency import forbid_blocking_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Unpack

    from gatewayx_nb.calls import CallOptions, Planner
    from gatewayx_nb.comparisons.comparison import Comparison
    from gatewayx_nb.comparisons.run import ComparisonRun
    from gatewayx_nb.messages import Messages, Prompt

# Imported on first use, because most programs do not compare models.
_load, _ = attach(__name__, {"plan_comparison": "gatewayx_nb.comparisons.run"})

_COMPARE_KEYWORDS = frozenset({*OPTIONS, "prompt", "messages", "models"} - {"model"})


class Comparer(ABC):
    """The methods of a pool that call several models concurrently."""

    @property
    @abstractmethod
    def _comparison_planner(self) -> Planner:
        """The planner, after the configuration files have been checked for changes.

        An invalid settings file then fails the comparison instead of each of its calls.
        """

    @show_options(CompareOptions)
    def compare(
        self,
        prompt: Prompt | None = None,
        models: str | Iterable[str] = (),
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[CompareOptions],
    ) -> Comparison:
        """Call several models concurrently and wait for all of them.

        See also: the guide ``comparing``.

        Returns:
            The replies, or the errors of failed calls, in the order of ``models``.

        Raises:
            UsageError: If an option or the list of models is invalid; nothing is sent.
            EngineNotFoundError: If a reference names an unknown engine; nothing is sent.
            KeyboardInterrupt: If interrupted with Ctrl-C; its ``comparison`` contains the partial
                answers.
        """
        forbid_blocking_call("acompare")
        check_keywords(options.keys() - {"model"}, _COMPARE_KEYWORDS)
        selected_prompt = select_prompt(prompt, messages)
        return self.plan_comparison(selected_prompt, models, schema=schema, **options).run()

    @show_options(CompareOptions)
    async def acompare(
        self,
        prompt: Prompt | None = None,
        models: str | Iterable[str] = (),
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[CompareOptions],
    ) -> Comparison:
        """Call several models concurrently and await all of them; see `compare`."""
        check_keywords(options.keys() - {"model"}, _COMPARE_KEYWORDS)
        selected_prompt = select_prompt(prompt, messages)
        return await self.plan_comparison(selected_prompt, models, schema=schema, **options).arun()

    def plan_comparison(
        self, prompt: Prompt, models: str | Iterable[str], **options: Unpack[CallOptions]
    ) -> ComparisonRun:
        """Return a comparison that can be watched while the models answer; see `compare`.

        Nothing is sent before `start` is called, and only `join` and `run` block.
        """
        plan_comparison = cast("Callable[..., ComparisonRun]", _load("plan_comparison"))
        return plan_comparison(self._comparison_planner, prompt, models, options)
