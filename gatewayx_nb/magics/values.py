"""What a cell takes from the notebook: values of its prompt, pictures, a schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import images, prompts
from gatewayx_nb.errors import UsageError, nearest
from gatewayx_nb.prompts import Filled
from gatewayx_nb.schema import Shape
from gatewayx_nb.secure_config import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.messages import Image

_FORBIDDEN = (Secret,)


@dataclass(frozen=True, slots=True)
class Values:
    """The notebook's values, as one cell may take them.

    Attributes:
        names: The notebook's names.
        rows: Most rows of a table that goes into a prompt.
        literal: Whether ``{{name}}`` is left as it stands.
    """

    names: Mapping[str, object]
    rows: int = prompts.ROWS
    literal: bool = False

    def prompt(self, text: str) -> Filled:
        """Fill in a prompt.

        Raises:
            UsageError: A ``{{name}}`` is undefined, or cannot be written.
        """
        if self.literal:
            return Filled(text)
        return prompts.compose(text, self.names, _FORBIDDEN, rows=self.rows)

    def text(self, text: str) -> str:
        """Fill in a text that can hold no pictures; see `prompt`."""
        if self.literal:
            return text
        return prompts.fill(text, self.names, _FORBIDDEN, rows=self.rows)

    def image(self, expression: str) -> Image:
        """Load what ``--image`` names: a value of the notebook, else an address, else a file.

        Raises:
            UsageError: It is none of them, or no image.
        """
        if prompts.is_named(expression, self.names):
            return _loaded(expression, prompts.take(expression, self.names, _FORBIDDEN))
        if "://" in expression or Path(expression).expanduser().is_file():
            return images.load(expression)
        raise UsageError(
            f"{expression!r} is no name of the notebook, no file and no https address."
            f"{nearest(expression, self.names)}",
            mend="For instance `--image figure` or `--image plot.png`.",
        )

    def schema(self, expression: str) -> Shape:
        """Give what ``--schema`` names: a class or a JSON Schema of the notebook.

        Raises:
            UsageError: There is none of that name, or it is no schema.
        """
        try:
            return Shape(prompts.take(expression, self.names, _FORBIDDEN))
        except UsageError as error:
            if "is no schema" not in error.what:
                raise
            raise UsageError(f"`--schema {expression}`: {error.what}", mend=error.mend) from None


def _loaded(expression: str, value: object) -> Image:
    try:
        return images.load(value)
    except UsageError as error:
        raise UsageError(
            f"`--image {expression}`: {error.what}", mend="For instance `--image figure`."
        ) from None
    except Exception as error:
        raise UsageError(
            f"`--image {expression}` cannot be drawn: {type(error).__name__}: {error}.",
            mend=f"See it in a cell of its own: {expression}",
        ) from error
