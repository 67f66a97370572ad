"""Resolves the notebook values that a cell uses: prompt variables, images, schemas and tools."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gatewayx_nb import images, prompts
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.function_tools import read_tools
from gatewayx_nb.magics import type_expression
from gatewayx_nb.mcp_server import MCPServer
from gatewayx_nb.prompts import FilledPrompt
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.secure_config import Secret
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.images import Image

_FORBIDDEN_TYPES = (Secret,)
_SERVER_PREFIX = "mcp:"
"""The prefix of ``--tools mcp:NAME``, an MCP server in the settings."""

_MAX_QUOTED_LENGTH = 60
"""Maximum number of characters of a file name in an error message."""

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


@dataclass(frozen=True, slots=True)
class NotebookValues:
    """The notebook's values that are available to a cell.

    Attributes:
        namespace: The notebook's namespace.
        max_rows: Maximum number of table rows in a prompt.
        is_literal: Whether ``{{name}}`` is sent as typed.
    """

    namespace: Mapping[str, object]
    max_rows: int = prompts.ROWS
    is_literal: bool = False

    def prompt(self, text: str) -> FilledPrompt:
        """Fill in a prompt.

        Raises:
            UsageError: If a ``{{name}}`` is undefined or cannot be converted to text.
        """
        if self.is_literal:
            return FilledPrompt(text)
        return prompts.compose(text, self.namespace, _FORBIDDEN_TYPES, rows=self.max_rows)

    def text(self, text: str) -> str:
        """Fill in text that cannot contain images; see `prompt`."""
        if self.is_literal:
            return text
        return prompts.fill(text, self.namespace, _FORBIDDEN_TYPES, rows=self.max_rows)

    def option(self, text: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401 - any value
        """Return an option's value: the object of a lone ``{{name}}``, otherwise the parsed string.

        For an option that takes a string, an object such as a table or a function is converted as
        in a prompt.

        Raises:
            UsageError: If a ``{{name}}`` is undefined.
        """
        expression = None if self.is_literal or parse is str else prompts.only_expression(text)
        if expression is not None:
            return prompts.resolve(expression, self.namespace, _FORBIDDEN_TYPES)
        filled_text = self.text(text)
        try:
            return parse(filled_text)
        except ValueError:
            return filled_text  # the option's check reports an invalid type

    def images(self, expression: str) -> list[Image]:
        """Load the images of ``--image``: a URL, a file, or a variable, which may contain a list.

        Raises:
            UsageError: If the value is not an image, or is an empty list.
        """
        expression = prompts.only_expression(expression) or expression
        if prompts.is_variable(expression, self.namespace):
            value = prompts.resolve(expression, self.namespace, _FORBIDDEN_TYPES)
            if not isinstance(value, list | tuple):
                return [_load_image(expression, value)]
            if not value:
                raise UsageError(
                    f"`--image {expression}`: the list is empty.", hint="Omit the option."
                )
            return [_load_image(f"{expression}[{n}]", item) for n, item in enumerate(value)]
        if "://" in expression or os.path.isfile(Path(expression).expanduser()):
            return [images.load(expression)]
        files = [path.name for path in Path().iterdir() if path.suffix in _IMAGE_SUFFIXES]
        raise UsageError(
            f"`--image` refers to {expression!r}, but there is no such variable in this notebook"
            f" and no such file in {Path.cwd().name!r}."
            f"{did_you_mean(expression, [*files, *prompts.own_names(self.namespace)])}",
            hint="A figure needs no file: `--image fig` sends the figure in the variable `fig`.",
        )

    def schema(self, expression: str) -> ResponseSchema:
        """Return the schema in ``--schema``: a type such as ``list[City]``, or a dict.

        Raises:
            UsageError: If a name is undefined, or the value is not a schema.
        """
        expression = prompts.only_expression(expression) or expression
        is_file = expression.endswith(".json") or os.path.isfile(Path(expression).expanduser())
        if is_file and not prompts.is_variable(expression, self.namespace):
            file = shorten(expression, _MAX_QUOTED_LENGTH)
            raise UsageError(
                f"`--schema` must be a name in this notebook, got the file {file!r}.",
                hint=f"First load it: schema = json.load(open({file!r})). Then use `--schema"
                " schema`.",
            )
        value = type_expression.evaluate(expression, self.namespace, _FORBIDDEN_TYPES)
        try:
            return ResponseSchema(value)
        except UsageError as error:
            raise UsageError(f"`--schema {expression}`: {error.message}", hint=error.hint) from None

    def tools(self, names: Iterable[str]) -> tuple[Tool | MCPServer, ...]:
        """Return the functions and MCP servers in ``--tools``.

        A name is a variable, whose value may be a list, or an attribute. ``mcp:NAME`` is an MCP
        server in the settings.

        Raises:
            UsageError: If a name is undefined, or its value is not a function that a model can
                call.
        """
        tool_values: list[object] = []
        for expression in names:
            name = prompts.only_expression(expression) or expression
            if name.startswith(_SERVER_PREFIX):
                tool_values.append(MCPServer(name.removeprefix(_SERVER_PREFIX)))
                continue
            if not prompts.is_variable(name, self.namespace):
                raise UsageError(
                    f"`--tools` refers to {name!r}, which is not defined in this notebook."
                    f"{did_you_mean(name, tool_names(self.namespace))}",
                    hint="Define the function in a cell above, with type hints and a docstring. An"
                    f" MCP server in the settings is `{_SERVER_PREFIX}NAME`.",
                )
            value = prompts.resolve(name, self.namespace, _FORBIDDEN_TYPES)
            tool_values += value if isinstance(value, list | tuple) else [value]
        try:
            return read_tools(tool_values)
        except UsageError as error:
            raise UsageError(f"`--tools`: {error.message}", hint=error.hint) from None


def tool_names(namespace: Mapping[str, object]) -> list[str]:
    """Return the names of a notebook's functions and MCP servers."""
    names = prompts.own_names(namespace)
    return [
        name
        for name in names
        if inspect.isroutine(namespace[name]) or isinstance(namespace[name], MCPServer)
    ]


def image_names(namespace: Mapping[str, object]) -> list[str]:
    """Return the names of a notebook's figures, axes and images, and of lists of them."""
    return [name for name in prompts.own_names(namespace) if _is_drawable(namespace[name])]


def _is_drawable(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(images.is_drawable, value))
    # `plt` can also be drawn, but is not a figure.
    return not isinstance(value, ModuleType) and images.is_drawable(value)


def _load_image(expression: str, value: object) -> Image:
    """Convert a value to an image; this runs the value's own code, which may raise anything."""
    try:
        return images.load(value)
    except UsageError as error:
        raise UsageError(
            f"`--image {expression}`: {error.message}", hint="For example, `--image figure`."
        ) from None
    except Exception as error:
        raise UsageError(
            f"`--image {expression}` cannot be drawn: {type(error).__name__}: {error}.",
            hint=f"To see the whole error, show the value in a separate cell: {expression}",
        ) from error  # the cause's traceback shows where drawing failed
