"""Anthropic's Message Batches API.

Source: https://platform.claude.com/docs/en/api/creating-message-batches
"""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatewayx_nb.llm_engines.batches import (
    BatchFormat,
    BatchResult,
    RemoteBatch,
    list_batches,
    payload_bytes,
    read_lines,
    read_object,
    row_error,
)
from gatewayx_nb.llm_engines.json_body import as_dict, as_int, as_str

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from gatewayx_nb.llm_engines.http import HTTPEngine, Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Request

_PATH = "v1/messages/batches"

_COUNT_FIELDS = ("processing", "succeeded", "errored", "canceled", "expired")


class AnthropicBatches:
    """Anthropic's batch API.

    Args:
        engine: The engine.
        parser: Creates the parser for the answers of an endpoint.
        statuses: HTTP statuses by error type.

    Attributes:
        format: One JSON object with at most 100,000 rows or, according to another page of the
            documentation, 10,000 rows, and at most 256 MB.
        keeps_digest: False, because a batch has no metadata.
    """

    format = BatchFormat(b'{"requests":[', b",", b"]}", 10_000, 100_000_000)
    keeps_digest = False

    def __init__(
        self,
        engine: HTTPEngine,
        parser: Callable[[str, ProviderErrors], Parser],
        statuses: Mapping[str, int],
    ) -> None:
        self._engine, self.parser, self._status_by_error_type = engine, parser, statuses

    def group(self, request: Request) -> tuple[str, str]:  # noqa: ARG002 - models may differ
        """Return the same value for all requests, because a batch may contain different models."""
        return "", ""

    def row(self, request: Request) -> bytes:
        """Return the part of a request's row after the custom ID."""
        body = payload_bytes(self._engine.dialect(request).payload(request), self._engine.name)
        return b'"params":%b}' % body

    async def upload(self, file: Path) -> str:  # noqa: ARG002 - `create` sends the rows
        """Return an empty string, because `create` uploads the rows itself."""
        return ""

    async def create(self, file: Path, uploaded: str, endpoint: str, digest: str) -> RemoteBatch:  # noqa: ARG002 - required by the protocol
        """Create a batch."""
        async with self._engine.http.post_file(_PATH, file) as response:
            return _batch(await read_object(self._engine, response, is_creation=True))

    async def find(self, digest: str, since: float) -> list[RemoteBatch]:  # noqa: ARG002 - batches have no digest
        """Return the account's batches that were created after ``since``."""
        recent_batches: list[RemoteBatch] = []
        async with aclosing(list_batches(self._engine, _PATH, "after_id", _batch)) as pages:
            async for page in pages:
                recent_batches += [batch for batch in page if batch.created_at >= since]
                if page and page[-1].created_at < since:
                    break
        return recent_batches

    async def state(self, batch: str) -> RemoteBatch:
        """Return the state of a batch."""
        async with self._engine.http.get(_path(batch)) as response:
            return _batch(await read_object(self._engine, response))

    async def cancel(self, batch: str) -> None:
        """Ask the provider to end a batch."""
        async with self._engine.http.post(f"{_path(batch)}/cancel", {}) as response:
            await read_object(self._engine, response)

    async def lines(self, batch: RemoteBatch) -> AsyncIterator[bytes | None]:
        """Yield the lines of the results.

        The provider states the URL of the results. If the URL is on another host, the documented
        path on the engine's host is used instead, so that the key is not sent elsewhere.
        """
        paths = (self._engine.http.own_path(url) for url in batch.results)
        path = next(filter(None, paths), f"{_path(batch.id)}/results")
        async with self._engine.http.download(path) as response:
            async for line in read_lines(response, self._engine):
                yield line

    def read(self, line: Mapping[str, Any], errors: ProviderErrors) -> BatchResult | None:
        """Return the result in a line."""
        name, result = as_str(line.get("custom_id")), as_dict(line.get("result"))
        match result.get("type"):
            case "succeeded":
                message = as_dict(result.get("message"))
                return BatchResult(name, json.dumps(message) if message else "")
            case "errored":
                error = as_dict(as_dict(result.get("error")).get("error"))
                status = self._status_by_error_type.get(as_str(error.get("type")))
                return BatchResult(name, error=errors.from_body({"error": error}, status))
            case "canceled" | "expired" as result_type:
                code = "expired" if result_type == "expired" else "cancelled"
                reason = "it expired first" if result_type == "expired" else "it was cancelled"
                error_of_row = row_error(self._engine.name, code, reason)
                return BatchResult(name, error=error_of_row, retry=True)
        return BatchResult(name) if name else None


def _path(batch: str) -> str:
    return f"{_PATH}/{quote(batch, safe='')}"


def _batch(body: Mapping[str, Any]) -> RemoteBatch:
    counts = as_dict(body.get("request_counts"))
    count_by_state = {name: as_int(counts.get(name)) or 0 for name in _COUNT_FIELDS}
    status = as_str(body.get("processing_status"))
    is_cancelled = bool(body.get("cancel_initiated_at"))
    return RemoteBatch(
        id=as_str(body.get("id")),
        status=status,
        has_ended=status == "ended",
        no_result_code="cancelled" if is_cancelled else "missing",
        rows=sum(count_by_state.values()) or None,
        done=sum(count_by_state.values()) - count_by_state["processing"],
        created_at=_time(body.get("created_at")) or 0.0,
        ended_at=_time(body.get("ended_at")),
        results=tuple(filter(None, [as_str(body.get("results_url"))])),
    )


def _time(value: object) -> float | None:
    try:
        return datetime.fromisoformat(as_str(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
