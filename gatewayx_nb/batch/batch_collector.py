"""Collects the results of a batch, so that each row has an answer or an error."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.batch.batch_engines import CollectedRow
from gatewayx_nb.batch.part_files import row_position
from gatewayx_nb.batch.stored_outcomes import encode_outcome
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.errors import ConfigError, GatewayError, ProviderError
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import row_error
from gatewayx_nb.storage import StoredRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.llm_engines import RemoteBatch
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.storage import JobFigures, JobPart, JobResults

_MAX_PENDING_ROWS = 256
"""Maximum number of results that may wait to be stored."""

_MAX_PENDING_BYTES = 16 * 2**20
"""Maximum size in bytes of the results that may wait to be stored."""

_STORE_TIMEOUT = 30.0
"""Maximum number of seconds to wait until results are durable."""

_NO_RESULT_REASONS = {
    "missing": "the provider returned no result for it",
    "expired": "the batch expired first",
    "cancelled": "the batch was cancelled first",
}


class BatchCollector:
    """Receives the results of one part; implements `ResultSink`.

    Args:
        part: The submitted part of the map.
        results: Stores the outcomes.
        prompts: The prompts of the rows, to be stored with the answers; empty to omit them.

    Attributes:
        foreign_count: Number of results that do not belong to a row of the part.
        unreadable_count: Number of lines that are not results.
    """

    def __init__(self, part: JobPart, results: JobResults, prompts: Sequence[str]) -> None:
        self.foreign_count = self.unreadable_count = 0
        self._part, self._results, self._prompts = part, results, prompts
        self._rows: dict[int, CollectedRow] = {}
        self._pending_rows = self._pending_bytes = 0
        self._engine = str(part.info.get("engine", ""))
        results.on_unstorable = self._replace_unstorable

    @property
    def rows(self) -> list[CollectedRow]:
        """The usage of the rows that have a result."""
        return list(self._rows.values())

    @property
    def has_only_foreign_rows(self) -> bool:
        """Whether all results belong to rows of other batches."""
        return bool(self.foreign_count) and not self._rows

    def position(self, name: str) -> int | None:
        """Return the position of the row with this custom ID; ``None`` to ignore its result.

        A second result for a row is ignored. A row of another part is counted as foreign.
        """
        position = row_position(name, self._part.digest, len(self._part.keys))
        self.foreign_count += position is None
        return None if position in self._rows else position

    def skip(self, reason: str) -> None:  # noqa: ARG002 - required by the protocol
        """Count a line that is not a result."""
        self.unreadable_count += 1

    async def add(
        self, position: int, outcome: Reply | GatewayError, row: CollectedRow, *, retry: bool
    ) -> None:
        """Store an outcome; if many are waiting, wait until all of them are durable.

        Raises:
            ConfigError: If the outcomes cannot be stored.
        """
        self._store(position, outcome, row, retry=retry)
        if self._pending_rows >= _MAX_PENDING_ROWS or self._pending_bytes >= _MAX_PENDING_BYTES:
            await asyncio.to_thread(self.flush)

    def close(self, remote: RemoteBatch) -> None:
        """Store an error for each row without a result, and wait until all outcomes are durable.

        Raises:
            ConfigError: If the outcomes cannot be stored.
        """
        refusal_by_position = remote.refused_lines or {}
        for position in range(len(self._part.keys)):
            if position not in self._rows:
                reason = refusal_by_position.get(position)
                error = self._no_result_error(remote, reason)
                partial = PartialReply(self._engine, str(self._part.info.get("model", "")))
                partial.attempts = 1
                row = CollectedRow(partial, type(error).__name__, error.message)
                # A row that the provider itself rejected must be changed; other rows may be sent
                # again.
                self._store(position, error, row, retry=reason is None)
        self.flush()

    def _no_result_error(self, remote: RemoteBatch, reason: str | None) -> ProviderError:
        code = remote.no_result_code
        if code == "refused":
            reason = reason or remote.problem or "no reason given"
            return row_error(self._engine, code, f"it was refused: {reason.rstrip('.')}")
        notes = [
            *(
                [f"{self.unreadable_count:,} lines were unreadable"]
                if self.unreadable_count
                else []
            ),
            *(
                [f"{self.foreign_count:,} results belonged to other rows"]
                if self.foreign_count
                else []
            ),
        ]
        return row_error(self._engine, code, "; ".join([_NO_RESULT_REASONS[code], *notes]))

    def flush(self) -> None:
        """Wait until all received outcomes are durable.

        Raises:
            ConfigError: If the outcomes cannot be stored.
        """
        self._pending_rows = self._pending_bytes = 0
        if not self._results.flush(_STORE_TIMEOUT):
            raise ConfigError(
                f"the results of batch {self._part.batch!r} cannot be stored.",
                hint=Hint("run_again"),
            )

    def figures(self, earlier_figures: JobFigures, *, is_last: bool) -> JobFigures:
        """Return the job's figures, including the figures of this part.

        Args:
            earlier_figures: The figures without this part.
            is_last: Whether no other part is open.
        """
        row_counts = self._row_counts()
        answered_count = sum(
            row_counts[position] for position, row in self._rows.items() if row.outcome == "ok"
        )
        failed_count = sum(row_counts[position] for position in self._rows) - answered_count
        usages = [(row.partial.total_usage, row.partial.cost) for row in self._rows.values()]
        return replace(
            earlier_figures,
            state="done" if is_last else "submitted",
            done=earlier_figures.done + answered_count,
            failed=earlier_figures.failed + failed_count,
            cost=earlier_figures.cost + sum((cost or Decimal(0) for _, cost in usages), Decimal(0)),
            unpriced=earlier_figures.unpriced + sum(map(_is_unpriced, self._rows.values())),
            input_tokens=earlier_figures.input_tokens
            + sum((tokens.input_tokens or 0) for tokens, _ in usages if tokens),
            output_tokens=earlier_figures.output_tokens
            + sum((tokens.output_tokens or 0) for tokens, _ in usages if tokens),
            problem="",
        )

    def _row_counts(self) -> Counter[int]:
        """Return how many equal rows of the map each row of the part represents."""
        row_counts = Counter(range(len(self._part.keys)))
        repeats = self._part.info.get("repeats")
        if isinstance(repeats, dict):  # an edited file may contain any value
            for position in row_counts:
                count = repeats.get(str(position))
                row_counts[position] += count if type(count) is int else 0
        return row_counts

    def _store(
        self, position: int, outcome: Reply | GatewayError, row: CollectedRow, *, retry: bool
    ) -> None:
        prompt = self._prompts[position] if self._prompts else ""
        content = encode_outcome(outcome, prompt)
        outcome_name = type(outcome).__name__ if isinstance(outcome, GatewayError) else "ok"
        self._rows[position] = row
        self._pending_rows += 1
        self._pending_bytes += len(content)
        key = self._part.keys[position]
        self._results.put(StoredRow(key, content, outcome_name, retry, time.time()))

    def _replace_unstorable(self, row: StoredRow, error: BaseException) -> None:
        """Store an error instead of an answer that can never be stored."""
        reason = f"its answer cannot be stored: {error}"
        outcome = row_error(self._engine, "too_large", reason)
        content = encode_outcome(outcome, "")
        self._results.put(StoredRow(row.key, content, "ProviderError", at=time.time()))


def _is_unpriced(row: CollectedRow) -> bool:
    """Return whether the row used tokens whose number or price is unknown."""
    return row.partial.cost is None and (row.outcome == "ok" or row.partial.total_usage is not None)
