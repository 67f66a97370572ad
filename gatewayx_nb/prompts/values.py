"""How a value is written into a prompt: a table, a source, or its own text."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts import sources, tables

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 20
"""Most rows of a table that goes into a prompt, where the settings say nothing else."""


class Writer:
    """Writes values.

    Args:
        rows: Most rows of a table.
        forbidden: Types whose instances must not get in by a table either.
    """

    def __init__(self, rows: int, forbidden: tuple[type, ...]) -> None:
        self._rows = rows
        self._forbidden = forbidden

    def written(self, name: str, value: object, spec: str) -> str:
        """Write a value out; its own code runs, and may raise anything.

        Raises:
            UsageError: It can not be written, or as the specification asks.
        """
        try:
            return self._way(name, value, spec)()
        except UsageError:
            raise
        except Exception as error:
            as_spec = f" as '{spec}'" if spec else ""
            raise UsageError(
                f"The prompt's '{name}' ({type(value).__name__}) can not be written{as_spec}: "
                f"{type(error).__name__}.",
                mend=f"See it with: format({name}, {spec!r})",
            ) from error

    def _way(self, name: str, value: Any, spec: str) -> Callable[[], str]:  # noqa: ANN401 - any value
        if not spec:
            if tables.is_table(value):
                return lambda: tables.markdown(name, value, self._rows, self._forbidden)
            if inspect.isroutine(value) or inspect.isclass(value):
                return lambda: sources.source(name, value)
        return lambda: format(value, spec)
