"""OpenAI's Batch API, for Chat Completions and Responses.

Source: https://platform.openai.com/docs/guides/batch
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines import json_body
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
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_str
from gatewayx_nb.llm_engines.provider_errors import FIRST_ERROR_STATUS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from gatewayx_nb.llm_engines.http import Dialect, HTTPEngine, Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Request

_DIGEST_KEY = "gatewayx"
"""The key under which a batch's metadata contains the digest."""

_NO_RESULT_CODE_BY_STATE = {
    "completed": "missing",
    "expired": "expired",
    "cancelled": "cancelled",
    "failed": "refused",
}
"""Maps each final state to the reason why a row has no result in that state."""


class OpenAIBatches:
    """OpenAI's batch API.

    Args:
        engine: The engine.
        dialect: Returns the dialect for a request.
        parser: Creates the parser for the answers of an endpoint.

    Attributes:
        format: JSON lines: at most 50,000 lines and 190 MB; OpenAI allows 200 MB.
        keeps_digest: True, because a batch has metadata.
    """

    format = BatchFormat(b"", b"\n", b"\n", 50_000, 190_000_000)
    keeps_digest = True

    def __init__(
        self,
        engine: HTTPEngine,
        dialect: Callable[[Request], Dialect],
        parser: Callable[[str, ProviderErrors], Parser],
    ) -> None:
        self._engine, self._dialect_of, self.parser = engine, dialect, parser

    def group(self, request: Request) -> tuple[str, str]:
        """Return the endpoint and the model, which must be the same for all rows of a batch."""
        return f"/v1/{self._dialect_of(request).route(request)}", request.model

    def row(self, request: Request) -> bytes:
        """Return the part of a request's row after the custom ID."""
        endpoint, _ = self.group(request)
        body = payload_bytes(self._dialect_of(request).payload(request), self._engine.name)
        return b'"method":"POST","url":"%b","body":%b}' % (endpoint.encode(), body)

    async def upload(self, file: Path) -> str:
        """Upload the rows; return the file's identifier."""
        form = self._engine.http.post_file("files", file, {"purpose": "batch"})
        async with form as response:
            body = await read_object(self._engine, response, is_creation=True)
        if not as_str(body.get("id")):
            raise ProviderError(f"{self._engine.name!r} returned no ID for the uploaded file.")
        return as_str(body["id"])

    async def create(self, file: Path, uploaded: str, endpoint: str, digest: str) -> RemoteBatch:  # noqa: ARG002 - the file has been uploaded
        """Create a batch."""
        payload = {
            "completion_window": "24h",
            "endpoint": endpoint,
            "input_file_id": uploaded,
            "metadata": {_DIGEST_KEY: digest},
        }
        async with self._engine.http.post("batches", payload) as response:
            return _batch(await read_object(self._engine, response, is_creation=True))

    async def find(self, digest: str, since: float) -> list[RemoteBatch]:
        """Return the batch with this digest, if it exists."""
        async with aclosing(list_batches(self._engine, "batches", "after", _batch)) as pages:
            async for page in pages:
                matching_batches = [batch for batch in page if batch.digest == digest]
                if matching_batches or (page and page[-1].created_at < since):
                    return matching_batches
        return []

    async def state(self, batch: str) -> RemoteBatch:
        """Return the state of a batch."""
        async with self._engine.http.get(f"batches/{quote(batch, safe='')}") as response:
            return _batch(await read_object(self._engine, response))

    async def cancel(self, batch: str) -> None:
        """Ask the provider to end a batch."""
        path = f"batches/{quote(batch, safe='')}/cancel"
        async with self._engine.http.post(path, {}) as response:
            await read_object(self._engine, response)

    async def lines(self, batch: RemoteBatch) -> AsyncIterator[bytes | None]:
        """Yield the lines of the output file and of the error file."""
        for file in batch.results:
            path = f"files/{quote(file, safe='')}/content"
            async with self._engine.http.download(path) as response:
                async for line in read_lines(response, self._engine):
                    yield line

    def read(self, line: Mapping[str, Any], errors: ProviderErrors) -> BatchResult | None:
        """Return the result in a line."""
        name, response = as_str(line.get("custom_id")), as_dict(line.get("response"))
        status, body = as_int(response.get("status_code")) or 0, as_dict(response.get("body"))
        if response and status < FIRST_ERROR_STATUS and body:
            return BatchResult(name, json.dumps(body))
        if response:
            content = json.dumps(body).encode()
            return BatchResult(name, error=errors.from_response(status or 500, {}, content))
        code, message = json_body.error_code_and_message(line)
        if not as_dict(line.get("error")):
            return BatchResult(name) if name else None
        if "expired" in (code or "") or "cancel" in (code or ""):
            code_name = "expired" if "expired" in (code or "") else "cancelled"
            reason = "it expired first" if code_name == "expired" else "it was cancelled"
            return BatchResult(
                name, error=row_error(self._engine.name, code_name, reason), retry=True
            )
        return BatchResult(
            name, error=errors.from_body({"error": {"code": code, "message": message}})
        )


def _batch(body: Mapping[str, Any]) -> RemoteBatch:
    status, counts = as_str(body.get("status")), as_dict(body.get("request_counts"))
    end_times = (body.get(f"{name}_at") for name in ("completed", "expired", "cancelled", "failed"))
    errors = as_dicts(as_dict(body.get("errors")).get("data"))
    reasons = [as_str(fault.get("message")) or as_str(fault.get("code")) for fault in errors]
    files = [as_str(body.get(name)) for name in ("output_file_id", "error_file_id")]
    return RemoteBatch(
        id=as_str(body.get("id")),
        status=status,
        has_ended=status in _NO_RESULT_CODE_BY_STATE,
        no_result_code=_NO_RESULT_CODE_BY_STATE.get(status, "missing"),
        rows=as_int(counts.get("total")) or None,
        done=(as_int(counts.get("completed")) or 0) + (as_int(counts.get("failed")) or 0),
        created_at=_time(body.get("created_at")) or 0.0,
        ended_at=next(filter(None, map(_time, end_times)), None),
        digest=as_str(as_dict(body.get("metadata")).get(_DIGEST_KEY)),
        results=tuple(filter(None, files)),
        problem=next(filter(None, reasons), ""),
        refused_lines={
            line - 1: reason
            for fault, reason in zip(errors, reasons, strict=True)
            if (line := as_int(fault.get("line")))
        },
    )


_MAX_TIME = 2.0**53
"""Larger numbers are not times; JSON may contain integers that have no float."""


def _time(value: object) -> float | None:
    is_time = isinstance(value, int | float) and 0 < value < _MAX_TIME
    return float(value) if is_time else None  # type: ignore[arg-type]
