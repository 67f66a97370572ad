"""``{{name}}`` fields in a prompt: one pass over notebook values, with the rest left unchanged.

A DataFrame becomes a Markdown table of its head, a function or class its source, a figure an
image, and any other value text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts.grammar import is_named, substitute, take
from gatewayx_nb.prompts.values import ROWS, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.messages import Image

__all__ = ["ROWS", "Filled", "compose", "fill", "is_named", "take"]


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt with its fields filled in.

    Attributes:
        text: The text; ``[image 1]`` is the placeholder of the first image.
        images: The images, in that order.
        names: The notebook expression of each: ``fig``, ``plots["a"]``.
    """

    text: str
    images: tuple[Image, ...] = ()
    names: tuple[str, ...] = ()


def compose(
    template: str,
    lookup: Mapping[str, object],
    forbidden: tuple[type, ...] = (),
    *,
    rows: int = ROWS,
) -> Filled:
    """Replace all fields by their values, in one pass: values are never scanned for fields.

    Fields are ``{{name}}``, ``{{obj.attr}}``, ``{{d["k"]}}``, ``{{Out[3]}}`` and any chain of
    these, with an optional format specification as in ``{{x:.2f}}``. Everything else is literal.

    Args:
        template: The prompt as typed.
        lookup: The names that a field may begin with.
        forbidden: Types whose instances must never get into a prompt, above all keys.
        rows: Maximum rows of a table.

    Raises:
        UsageError: If a name, attribute or key does not exist, is private or of a forbidden type,
            or its value cannot be written as text.
    """
    pictures: list[Image] = []
    names: list[str] = []

    def write(name: str, value: object, spec: str) -> str:
        if spec or not images.shows(value):
            return writer.written(name, value, spec)
        pictures.append(_pictured(name, value))
        names.append(name)
        return f"[image {len(pictures)}]"

    writer = Writer(rows, forbidden)
    text = substitute(template, lookup, forbidden, write)
    return Filled(text, tuple(pictures), tuple(names))


def fill(
    template: str,
    lookup: Mapping[str, object],
    forbidden: tuple[type, ...] = (),
    *,
    rows: int = ROWS,
) -> str:
    """Do the same for a text without images; a figure is refused.

    >>> fill('{{n:.1f}} of {"a": {{d["k"]}}}, {n} $n', {"n": 2, "d": {"k": "{{n}}"}})
    '2.0 of {"a": {{n}}}, {n} $n'
    """
    filled = compose(template, lookup, forbidden, rows=rows)
    if filled.images:
        raise UsageError("an image stands where only text can.", hint="Name it in the prompt.")
    return filled.text


def _pictured(name: str, value: object) -> Image:
    """Convert a value to an image; its own drawing code runs and may raise anything."""
    try:
        return images.load(value)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"the prompt's '{name}' cannot be drawn: {type(error).__name__}: {error}.",
            hint=f"See it in a cell of its own: {name}",
        ) from error
