"""How a value is written into a prompt: as a table, source code or plain text."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts import sources, tables

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 20
"""Default maximum rows of a table in a prompt."""


class Writer:
    """Formatter of values.

    Args:
        rows: Maximum rows of a table.
        forbidden: Types whose instances must not get in through a table either.
    """

    def __init__(self, rows: int, forbidden: tuple[type, ...]) -> None:
        self._rows = rows
        self._forbidden = forbidden

    def written(self, name: str, value: object, spec: str) -> str:
        """Write a value as text; its own code runs and may raise anything.

        Raises:
            UsageError: If it cannot be written, or not with this format specification.
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
                hint=f"See it with: format({name}, {spec!r})",
            ) from error

    def _way(self, name: str, value: Any, spec: str) -> Callable[[], str]:  # noqa: ANN401 - any value
        if not spec:
            if tables.is_table(value):
                return lambda: tables.markdown(name, value, self._rows, self._forbidden)
            if inspect.isroutine(value) or inspect.isclass(value):
                return lambda: sources.source(name, value)
        return lambda: format(value, spec)
