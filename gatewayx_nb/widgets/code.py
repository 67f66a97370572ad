"""A run as Python: the cell that asks the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.widgets.contest import Question


def as_code(question: Question, prompts: Sequence[str]) -> str:
    """Give a cell that asks what a run asked.

    Args:
        question: What it asked.
        prompts: The prompts that were sent, with values filled in; one for each input.
    """
    one = len(prompts) == 1
    asked = repr(prompts[0]) if one else "prompt"
    call = ["gx.compare(", *(f"    {line}," for line in _arguments(question, asked)), ")"]
    if one:
        body = [f"comparison = {call[0]}", *call[1:], "comparison.to_frame()"]
    else:
        body = [
            *("prompts = [", *(f"    {prompt!r}," for prompt in prompts), "]"),
            *("comparisons = [", *(f"    {line}" for line in call)),
            *("    for prompt in prompts", "]"),
            "[comparison.to_frame() for comparison in comparisons]",
        ]
    return "\n".join(["import gatewayx_nb as gx", "", *body])


def _arguments(question: Question, prompt: str) -> Iterator[str]:
    yield prompt
    many = f" * {question.samples}" if question.samples > 1 else ""
    yield f"models={list(question.references)!r}{many}"
    for name, value in question.options.items():
        yield f"{name}={value!r}"
    if question.images:
        yield f"images={list(question.images)!r}"
