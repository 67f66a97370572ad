"""Exports the results of comparisons to a file, and a run as code for a cell."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import images
from gatewayx_nb.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.comparisons.history import ComparisonHistory
    from gatewayx_nb.comparisons.request import ComparisonRequest

FILE_FORMATS = {".csv": "CSV", ".jsonl": "JSON lines", ".md": "Markdown"}
"""The supported file suffixes and their formats."""


def save_history(history: ComparisonHistory, path: str | Path) -> Path:
    """Write all results to a new file, in the format of its suffix.

    Raises:
        UsageError: If there are no results, or the suffix is not supported.
        ConfigError: If the file exists or cannot be written.
    """
    file = Path(path).expanduser()
    formatters = {".csv": history.to_csv, ".jsonl": history.to_jsonl, ".md": history.to_markdown}
    if file.suffix not in formatters:
        known_formats = ", ".join(f"{suffix} ({name})" for suffix, name in FILE_FORMATS.items())
        raise UsageError(
            f"the file name must end in one of {known_formats}, got {file.name!r}.",
            hint="For example, `results.csv`.",
        )
    if not history.records:
        raise UsageError("There are no results yet.", hint="Run a comparison first.")
    # A provider may send a lone surrogate, which cannot be encoded.
    content = formatters[file.suffix]().encode("utf-8", "replace")
    try:
        with file.open("xb") as output:  # "x" does not overwrite another run's results
            output.write(content)
    except FileExistsError:
        raise ConfigError(f"{str(file)!r} already exists.", hint="Use another name.") from None
    except OSError as error:
        raise ConfigError(
            f"{str(file)!r} cannot be written: {error.strerror or error}.",
            hint="Choose an existing folder that you can write to.",
        ) from None
    return file


def unused_path(stem: str, suffix: str) -> Path:
    """Return an unused file name in the current folder."""
    numbered_paths = (Path(f"{stem}-{number}{suffix}") for number in itertools.count(2))
    paths = itertools.chain([Path(f"{stem}{suffix}")], numbered_paths)
    return next(itertools.filterfalse(Path.exists, paths))


def to_code(
    request: ComparisonRequest, prompts: Sequence[str], image_names: Sequence[str] = ()
) -> str:
    """Return the code of a cell that repeats a run.

    Args:
        request: The run's request.
        prompts: The prompts that were sent, with placeholders filled in; one for each input.
        image_names: The notebook expressions for the images in a prompt.
    """
    # One prompt is more readable as a single call; several prompts need a loop.
    has_single_prompt = len(prompts) == 1
    prompt = repr(prompts[0]) if has_single_prompt else "prompt"
    arguments = _argument_lines(request, prompt, [*image_names, *_file_names(request)])
    call = ["gx.compare(", *(f"    {argument}," for argument in arguments), ")"]
    if has_single_prompt:
        body = [f"comparison = {call[0]}", *call[1:], "comparison.to_frame()"]
    else:
        body = [
            *("prompts = [", *(f"    {prompt!r}," for prompt in prompts), "]"),
            *("comparisons = [", *(f"    {line}" for line in call)),
            *("    for prompt in prompts", "]"),
            "[comparison.to_frame() for comparison in comparisons]",
        ]
    # The names are escaped, because a line break in a file name would end the comment.
    uploads = ", ".join(map(ascii, request.images))
    note = [f"# Put the uploaded files beside the notebook: {uploads}"] if uploads else []
    return "\n".join(["import gatewayx_nb as gx", "", *note, *body])


def _file_names(request: ComparisonRequest) -> Iterator[str]:
    """Yield the images as code: their file names, or ``...`` for an image without a name."""
    for image in images.as_list(request.options.get("images", ())):
        yield repr(str(image)) if isinstance(image, str | Path) else "..."
    yield from map(repr, request.images)


def _argument_lines(
    request: ComparisonRequest, prompt: str, images: Sequence[str]
) -> Iterator[str]:
    yield prompt
    samples = f" * {request.samples}" if request.samples > 1 else ""
    yield f"models={list(request.references)!r}{samples}"
    for name, value in request.options.items():
        # Images have no literal form; their names are added below.
        if name != "images":
            yield f"{name}={_as_literal(value)}"
    if images:
        yield f"images=[{', '.join(images)}]"


def _as_literal(value: object) -> str:
    """Return code for a value: the name of a class, a literal, or ``...`` if there is none."""
    text = value.__name__ if isinstance(value, type) else repr(value)
    try:
        ast.parse(text, mode="eval")  # it is not evaluated, because the value may be any object
    except SyntaxError:
        return "..."
    return text
