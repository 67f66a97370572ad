"""Python code of a run: a cell that repeats it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.comparisons import ComparisonInput


def as_code(question: ComparisonInput, prompts: Sequence[str], drawn: Sequence[str] = ()) -> str:
    """Return a cell that repeats a run.

    Args:
        question: The run's question.
        prompts: The prompts sent, with fields filled in; one for each input.
        drawn: The notebook names of the images in a prompt.
    """
    one = len(prompts) == 1
    asked = repr(prompts[0]) if one else "prompt"
    lines = _arguments(question, asked, [*drawn, *_files(question)])
    call = ["gx.compare(", *(f"    {line}," for line in lines), ")"]
    if one:
        body = [f"comparison = {call[0]}", *call[1:], "comparison.to_frame()"]
    else:
        body = [
            *("prompts = [", *(f"    {prompt!r}," for prompt in prompts), "]"),
            *("comparisons = [", *(f"    {line}" for line in call)),
            *("    for prompt in prompts", "]"),
            "[comparison.to_frame() for comparison in comparisons]",
        ]
    uploads = ", ".join(map(ascii, question.images))
    note = [f"# Put what was uploaded beside the notebook: {uploads}"] if uploads else []
    return "\n".join(["import gatewayx_nb as gx", "", *note, *body])


def _files(question: ComparisonInput) -> Iterator[str]:
    """Yield the images as code: file names, and ``...`` for one without a name."""
    for one in question.options.get("images", ()):
        yield repr(str(one)) if isinstance(one, str | Path) else "..."
    yield from map(repr, question.images)


def _arguments(question: ComparisonInput, prompt: str, pictures: Sequence[str]) -> Iterator[str]:
    yield prompt
    many = f" * {question.samples}" if question.samples > 1 else ""
    yield f"models={list(question.references)!r}{many}"
    for name, value in question.options.items():
        if name != "images":
            yield f"{name}={_written(value)}"
    if pictures:
        yield f"images=[{', '.join(pictures)}]"


def _written(value: object) -> str:
    """Write a value as code: a class by its name, and ``...`` if it has no literal form."""
    text = value.__name__ if isinstance(value, type) else repr(value)
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "..."
    return text
