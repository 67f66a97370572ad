"""The interface through which a map with ``batch=True`` uses the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from gatewayx_nb.batch.figures import MapUsage
    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.calls import CallOptions, PartialReply
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.llm_engines import BatchFormat, RemoteBatch
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobPart

LOOK_BACK = 300.0
"""Maximum number of seconds by which a provider's clock may be slow.

The search for a lost batch begins this much before its submission.
"""


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A row in the form in which it is sent in a batch.

    Attributes:
        engine: Name of the engine.
        base_url: Base URL of its provider.
        endpoint: The endpoint, which is the same for all rows of a batch.
        model: The model, which is the same for all rows of a batch; empty if the provider accepts
            several.
        content: The rest of the row's line in the batch file, after its custom ID.
        format: The format of the provider's batch files.
        max_cost: Maximum cost of the row in US dollars; 0 if no cost limit is set.
    """

    engine: str
    base_url: str
    endpoint: str
    model: str
    content: bytes
    format: BatchFormat
    max_cost: Decimal

    @property
    def group(self) -> tuple[str, str, str]:
        """The values that are the same for all rows of a batch."""
        return self.engine, self.endpoint, self.model


@dataclass(frozen=True, slots=True)
class CollectedRow:
    """The usage and the outcome of a row whose result has been collected.

    Attributes:
        partial: The tokens, cost and attempts, in a partial reply without text.
        outcome: ``"ok"``, or the name of the error's class.
        message: The error's message; empty for an answer.
    """

    partial: PartialReply
    outcome: str
    message: str = ""


class ResultSink(Protocol):
    """Receives the results of a batch, on the engine's event loop."""

    def position(self, name: str) -> int | None:
        """Return the position of the row with this custom ID; ``None`` to ignore its result."""

    def skip(self, reason: str) -> object:
        """Record a line that is not a result, with the reason."""

    async def add(
        self, position: int, outcome: Reply | GatewayError, row: CollectedRow, *, retry: bool
    ) -> None:
        """Store the outcome of a row.

        Args:
            position: Position of the row in its part.
            outcome: The reply or the error.
            row: The usage and the outcome of the row.
            retry: Whether the next run of the map submits the row again.

        Raises:
            ConfigError: If the outcome cannot be stored.
        """


class BatchEngines(Protocol):
    """Submits parts of a map to providers, and collects their results."""

    def prepare(
        self, rows: Sequence[RowRequest], options: CallOptions
    ) -> list[PreparedRow | GatewayError]:
        """Return each row in the form in which it is sent, or its error; nothing is sent.

        Raises:
            GatewayError: If an error concerns every row: an engine cannot be used, or has no batch
                API.
        """

    @property
    def usage(self) -> MapUsage:
        """The usage of the rows that have been collected."""

    def check_budget(self, max_cost: Decimal, rows: int, other_jobs_cost: Decimal) -> None:
        """Check that the maximum cost of the rows does not exceed a limit.

        Args:
            max_cost: Maximum cost of the rows to submit and of the rows in the job's open batches.
            rows: Number of rows to submit.
            other_jobs_cost: Maximum cost of other jobs' open batches.

        Raises:
            BudgetError: If a limit could be exceeded.
        """

    def submit(self, part: JobPart, file: Path) -> RemoteBatch | GatewayError:
        """Submit a part; return the error if it is unknown whether the provider has accepted it.

        Raises:
            GatewayError: If the part was not submitted.
        """

    def find(self, part: JobPart) -> list[RemoteBatch]:
        """Return the provider's batches that may contain a part whose submission got no response.

        Raises:
            GatewayError: If the batches cannot be listed.
        """

    def state(self, part: JobPart) -> RemoteBatch:
        """Return the state of a part.

        Raises:
            GatewayError: If the provider cannot be queried.
        """

    def cancel(self, part: JobPart) -> object:
        """Ask the provider to end a part early.

        Raises:
            GatewayError: If the request failed.
        """

    def collect(
        self, part: JobPart, remote: RemoteBatch, schema: ResponseSchema | None, sink: ResultSink
    ) -> None:
        """Read the results of a part that has ended.

        Raises:
            GatewayError: If the results cannot be read completely.
        """

    def record_usage(self, rows: Sequence[CollectedRow], job: str) -> object:
        """Add the usage of the rows to the totals, and write the sums to the ledger."""
