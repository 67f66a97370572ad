"""Fills in a prompt: each value becomes a table, source code, an image or plain text."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts.markdown_table import is_table, to_markdown
from gatewayx_nb.prompts.placeholders import substitute
from gatewayx_nb.prompts.source_code import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.images import Image

ROWS = 20
"""Default maximum number of table rows in a prompt."""


@dataclass(frozen=True, slots=True)
class FilledPrompt:
    """A prompt with its placeholders filled in.

    Attributes:
        text: The text; ``[image 1]`` marks the position of the first image.
        images: The images, in the order of their marks.
        image_names: The expression for each image, such as ``fig`` or ``plots["a"]``.
    """

    text: str
    images: tuple[Image, ...] = ()
    image_names: tuple[str, ...] = ()


def compose(
    template: str,
    namespace: Mapping[str, object],
    forbidden_types: tuple[type, ...] = (),
    *,
    rows: int = ROWS,
) -> FilledPrompt:
    """Replace all placeholders with their values, which are not scanned for placeholders.

    Placeholders are ``{{name}}``, ``{{obj.attr}}``, ``{{d["k"]}}``, ``{{Out[3]}}`` and any chain
    of these, with an optional format specification as in ``{{x:.2f}}``. Everything else is literal.

    Args:
        template: The prompt as typed.
        namespace: The values by name; a placeholder starts with one of these names.
        forbidden_types: Types whose instances, such as keys, must never become part of a prompt.
        rows: Maximum number of table rows.

    Raises:
        UsageError: If a name, attribute or key does not exist, is private or has a forbidden type,
            or its value cannot be written as text.
    """
    loaded_images: list[Image] = []
    image_names: list[str] = []

    def write(name: str, value: object, spec: str) -> str:
        # With a format specification, a value is text even if it could be drawn.
        if spec or not images.is_drawable(value):
            return to_text(name, value, spec, rows, forbidden_types)
        loaded_images.append(to_image(name, value))
        image_names.append(name)
        return f"[image {len(loaded_images)}]"

    text = substitute(template, namespace, forbidden_types, write)
    return FilledPrompt(text, tuple(loaded_images), tuple(image_names))


def fill(
    template: str,
    namespace: Mapping[str, object],
    forbidden_types: tuple[type, ...] = (),
    *,
    rows: int = ROWS,
) -> str:
    """Fill in text that cannot contain images; see `compose`.

    >>> fill('{{n:.1f}} of {"a": {{d["k"]}}}, {n} $n', {"n": 2, "d": {"k": "{{n}}"}})
    '2.0 of {"a": {{n}}}, {n} $n'
    """
    filled_prompt = compose(template, namespace, forbidden_types, rows=rows)
    if filled_prompt.images:
        raise UsageError(
            f"{filled_prompt.image_names[0]!r} is an image, but only text is allowed here.",
            hint="Put the image into the prompt instead.",
        )
    return filled_prompt.text


def to_text(
    name: str, value: object, spec: str, rows: int, forbidden_types: tuple[type, ...]
) -> str:
    """Convert a value to text; this runs the value's own code, which may raise any exception."""
    _check_has_text(name, value)
    try:
        if not spec and is_table(value):
            return to_markdown(name, value, rows, forbidden_types)
        if not spec and (inspect.isroutine(value) or inspect.isclass(value)):
            return source_of(name, value)
        return format(value, spec)
    # The message of a UsageError already names the value.
    except UsageError:
        raise
    except Exception as error:
        problem = f"formatted as '{spec}'" if spec else "converted to text"
        raise UsageError(
            f"'{name}' in the prompt ({type(value).__name__}) cannot be {problem}: "
            f"{type(error).__name__}.",
            hint=f"Reproduce the error with: format({name}, {spec!r})",
        ) from error


def _check_has_text(name: str, value: object) -> None:
    """Check that the text of a value contains more than its type and address.

    Raises:
        UsageError: If the value is a module, or a job, future or task, of which only the result has
            a text.
    """
    value_type = type(value)
    if inspect.ismodule(value):
        raise UsageError(
            f"the prompt refers to '{name}', which is a module and cannot be converted to text.",
            hint=f"Name one of its attributes: {{{{{name}.NAME}}}}.",
        )
    has_result = callable(getattr(value_type, "done", None)) and callable(
        getattr(value_type, "result", None)
    )
    if has_result and value_type.__str__ is object.__str__:
        raise UsageError(
            f"the prompt refers to '{name}', which is a {value_type.__name__}, not its result.",
            hint=f"First assign the result: answer = {name}.result(). Then write {{{{answer}}}}.",
        )


def to_image(name: str, value: object) -> Image:
    """Convert a value to an image; this runs the value's own code, which may raise anything."""
    try:
        return images.load(value)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"'{name}' in the prompt cannot be drawn: {type(error).__name__}: {error}.",
            hint=f"Reproduce the error by displaying it: {name}",
        ) from error
