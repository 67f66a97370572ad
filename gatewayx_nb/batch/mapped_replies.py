"""The replies of a map, in the order of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.batch.columns import replies_frame
from gatewayx_nb.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from gatewayx_nb.batch.columns import Columns
    from gatewayx_nb.replies import Reply

_MAX_SHOWN_ERRORS = 5
"""Maximum number of errors that the representation shows."""


class MappedReplies(list[Any]):
    """The replies of a map, in the order of its rows.

    Each item is a `Reply`, the `GatewayError` of a row that failed, or ``None`` for a row that was
    not sent, because the map was stopped.

    Args:
        outcomes: The replies and errors.
        columns: The columns of `to_frame`.
        job: Name of the job, for ``gx.job``.
    """

    def __init__(
        self, outcomes: Iterable[Reply | GatewayError | None], columns: Columns, job: str
    ) -> None:
        super().__init__(outcomes)
        self._columns = columns
        self.job = job

    @property
    def failed(self) -> dict[int, GatewayError]:
        """The errors of the rows that failed, by position."""
        return {
            position: outcome
            for position, outcome in enumerate(self)
            if isinstance(outcome, GatewayError)
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas DataFrame with the columns that a map adds, and a row for each reply.

        Raises:
            UsageError: If pandas is not installed.
        """
        return replies_frame(self, self._columns)

    @override
    def __repr__(self) -> str:
        errors, unsent_count = self.failed, sum(1 for outcome in self if outcome is None)
        count = len(self) - len(errors) - unsent_count
        parts = [f"{count:,} {'reply' if count == 1 else 'replies'}"]
        parts += [f"{len(errors):,} failed"] if errors else []
        parts += [f"{unsent_count:,} not sent"] if unsent_count else []
        lines = [
            f"  row {position}: {type(error).__name__}: {error.message}"
            for position, error in list(errors.items())[:_MAX_SHOWN_ERRORS]
        ]
        return "\n".join([", ".join(parts), *lines])
