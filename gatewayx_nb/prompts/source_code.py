"""Finds the source code of functions and classes, even if they are defined in notebook cells."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
from typing import TYPE_CHECKING

from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def source_of(name: str, value: type | Callable[..., object]) -> str:
    """Return the source of a function or class, exactly as it was written.

    Raises:
        UsageError: If there is no source, for example for built-ins.
    """
    # `inspect` searches for a class in its module's file, which a notebook does not have.
    if inspect.isclass(value) and value.__module__ == "__main__":
        source = _class_source(value.__qualname__)
        if source is not None:
            return source
    try:
        return textwrap.dedent(inspect.getsource(value)).rstrip("\n")
    except (OSError, TypeError):
        noun = "class" if inspect.isclass(value) else "function"
        raise UsageError(
            f"the prompt refers to '{name}', a {noun} whose source is unavailable.",
            hint="Paste its source, or use text that describes it.",
        ) from None


def _class_source(name: str) -> str | None:
    """Return the source of a class from the latest executed cell that defines the class."""
    # The name refers to the latest definition.
    for cell in reversed(_executed_cells()):
        if f"class {name.rpartition('.')[2]}" not in cell:
            continue
        for path, node in _nested_classes(ast.parse(cell).body):
            if path == name:
                first_line = min(
                    [node.lineno, *(decorator.lineno for decorator in node.decorator_list)]
                )
                lines = cell.splitlines()[first_line - 1 : node.end_lineno]
                return textwrap.dedent("\n".join(lines))
    return None


def _executed_cells() -> list[str]:
    """Return the sources of the executed cells, which IPython keeps in linecache."""
    entries = list(linecache.cache.values())
    return ["".join(entry[2]) for entry in entries if len(entry) > 2 and entry[1] is None]  # noqa: PLR2004


def _nested_classes(body: list[ast.stmt], outer: str = "") -> Iterator[tuple[str, ast.ClassDef]]:
    for node in reversed(body):
        if isinstance(node, ast.ClassDef):
            yield f"{outer}{node.name}", node
            yield from _nested_classes(node.body, f"{outer}{node.name}.")
