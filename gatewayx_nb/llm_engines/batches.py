"""Providers' batch APIs: many requests in one job, answered within a day, at half the price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import (
    GatewayError,
    ProviderError,
    RequestError,
    TransportError,
    UnsupportedFeatureError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.json_body import as_dicts
from gatewayx_nb.llm_engines.provider_errors import FIRST_ERROR_STATUS, ProviderErrors
from gatewayx_nb.transport import encode_payload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from pathlib import Path

    from gatewayx_nb.llm_engines.http import HTTPEngine, Parser
    from gatewayx_nb.messages import Request
    from gatewayx_nb.transport import Response

MAX_LINE_BYTES = 64 * 2**20
"""Maximum size in bytes of a line of results, which is the answer to one row."""

MAX_DOWNLOAD_BYTES = 8 * 2**30
"""Maximum size in bytes of the results of one batch."""

_UNSENT_CODES = ("dns", "connect", "proxy", "tls")
"""Codes of transport errors that occur before a request is sent."""

_PAGE_SIZE = 100
"""Number of batches on a page of the list."""

_MAX_PAGES = 100
"""Maximum number of pages of the list that are read."""

_STREAM_FIELDS = ("stream", "stream_options")

_UNKNOWN_PATH_STATUSES = (404, 405, 501)
"""Statuses with which servers reject unknown paths."""


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """The file format of a batch's rows, and the maximum number of rows.

    Attributes:
        start: The bytes before the first row.
        separator: The bytes between two rows.
        end: The bytes after the last row.
        max_rows: Maximum number of rows.
        max_bytes: Maximum size of the file in bytes.
    """

    start: bytes
    separator: bytes
    end: bytes
    max_rows: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """The provider's description of a batch.

    Attributes:
        id: The provider's identifier.
        status: The state, in the provider's words.
        has_ended: Whether the batch has ended, so that no more rows will be answered.
        no_result_code: Why a row has no result in a batch that has ended: ``"missing"``,
            ``"expired"``, ``"cancelled"`` or ``"refused"``.
        rows: Number of rows; ``None`` if the provider does not report it.
        done: Number of rows that have been answered or have failed.
        created_at: Time of the creation in seconds since the epoch.
        ended_at: Time of the end; ``None`` if the provider does not report it.
        digest: The digest that was submitted with the batch; empty if the provider does not store
            it.
        results: Location of the results.
        problem: Why the provider refused the whole batch.
        refused_lines: The reasons for single rows of a refused batch, by position.
    """

    id: str
    status: str
    has_ended: bool = False
    no_result_code: str = "missing"
    rows: int | None = None
    done: int = 0
    created_at: float = 0.0
    ended_at: float | None = None
    digest: str = ""
    results: tuple[str, ...] = ()
    problem: str = ""
    refused_lines: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of one row: the body of an answer, or an error.

    Attributes:
        name: The custom ID of the row.
        body: The body; empty if there is an error.
        error: The error.
        retry: Whether the row failed because of the batch, not because of its content, so that it
            may be sent again.
    """

    name: str
    body: str = ""
    error: GatewayError | None = None
    retry: bool = False


class BatchInterface(Protocol):
    """The batch API of an engine's provider; it runs on the engine's event loop.

    Attributes:
        format: The file format of the rows.
        keeps_digest: Whether the provider stores the digest that is submitted with a batch.
    """

    format: BatchFormat
    keeps_digest: bool

    def group(self, request: Request) -> tuple[str, str]:
        """Return the endpoint and the model, which must be the same for all rows of a batch."""
        ...

    def row(self, request: Request) -> bytes:
        """Return the part of a request's row that follows ``{"custom_id":"…",``."""
        ...

    async def upload(self, file: Path) -> str:
        """Upload the rows; return the part of the response that `create` needs.

        Raises:
            GatewayError: If the rows were not accepted; no batch has then been created.
        """
        ...

    async def create(self, file: Path, uploaded: str, endpoint: str, digest: str) -> RemoteBatch:
        """Create a batch.

        Raises:
            GatewayError: If the provider refused the batch or its response was lost; see
                `was_refused`.
        """
        ...

    async def find(self, digest: str, since: float) -> list[RemoteBatch]:
        """Return the account's batches created after ``since`` that may have this digest.

        Raises:
            GatewayError: If the batches cannot be listed.
        """
        ...

    async def state(self, batch: str) -> RemoteBatch:
        """Return the state of a batch.

        Raises:
            GatewayError: If the batch cannot be queried.
        """
        ...

    async def cancel(self, batch: str) -> None:
        """Ask the provider to end a batch early; answered rows are kept.

        Raises:
            GatewayError: If the request failed.
        """
        ...

    def lines(self, batch: RemoteBatch) -> AsyncIterator[bytes | None]:
        """Yield the lines of the results, in any order; ``None`` for a line that is too long.

        Raises:
            GatewayError: If the results cannot be read completely.
        """
        ...

    def read(self, line: Mapping[str, Any], errors: ProviderErrors) -> BatchResult | None:
        """Return the result in a line; ``None`` if the line contains no result."""
        ...

    def parser(self, endpoint: str, errors: ProviderErrors) -> Parser:
        """Return the parser for the body of one answer."""
        ...


def was_refused(error: GatewayError) -> bool:
    """Return whether an error proves that the provider has not created a batch."""
    if isinstance(error, TransportError):
        return error.code in _UNSENT_CODES
    if not isinstance(error, RequestError):  # raised before anything is sent, or for a 404
        return True
    status = 0 if error.code == "compressed" else error.status or 0
    return 300 <= status < 500  # noqa: PLR2004 - redirects and client errors


def row_prefix(name: str) -> bytes:
    """Return the beginning of a row with this custom ID, whose characters need no escaping."""
    return f'{{"custom_id":"{name}",'.encode()


def payload_bytes(payload: Mapping[str, Any], engine: str) -> bytes:
    """Return a request's body as JSON, without the fields about streaming.

    Raises:
        UsageError: If the body cannot be written as JSON.
    """
    kept_fields = {name: value for name, value in payload.items() if name not in _STREAM_FIELDS}
    return encode_payload(kept_fields, engine)


async def read_object(
    engine: HTTPEngine, response: Response, *, is_creation: bool = False
) -> dict[str, Any]:
    """Return the JSON object of a response.

    Args:
        engine: The engine.
        response: The response.
        is_creation: Whether the request creates a batch; an unknown path then means that there is
            no batch API.

    Raises:
        UnsupportedFeatureError: If the server has no batch API.
        GatewayError: If the response is an error or not a JSON object.
    """
    content = await response.read()
    if is_creation and response.status in _UNKNOWN_PATH_STATUSES:
        raise without_interface(engine.name, f" at {engine.base_url!r}")
    if response.status >= FIRST_ERROR_STATUS:
        errors = ProviderErrors(engine.name, None, engine.api_key)
        raise errors.from_response(response.status, response.headers, content)
    return json_body.parse(content)


async def list_batches(
    engine: HTTPEngine,
    path: str,
    cursor: str,
    read_batch: Callable[[Mapping[str, Any]], RemoteBatch],
) -> AsyncGenerator[list[RemoteBatch]]:
    """Yield the pages of the account's list of batches, the newest batch first.

    Args:
        engine: The engine.
        path: Path of the list.
        cursor: Name of the parameter with the last batch of the previous page.
        read_batch: Parses an item of the list.

    Raises:
        GatewayError: If the batches cannot be listed, or the list does not end.
    """
    cursor_query = ""
    for _ in range(_MAX_PAGES):
        async with engine.http.get(f"{path}?limit={_PAGE_SIZE}{cursor_query}") as response:
            body = await read_object(engine, response)
        page = [read_batch(item) for item in as_dicts(body.get("data"))[:_PAGE_SIZE]]
        yield page
        if not page or not body.get("has_more"):
            return
        cursor_query, previous_query = f"&{cursor}={quote(page[-1].id, safe='')}", cursor_query
        if cursor_query == previous_query:
            break
    raise ProviderError(
        f"the batch list of {engine.name!r} has no end.",
        hint=Hint("run_again"),
        engine=engine.name,
        code="protocol",
    )


def without_interface(engine: str, location: str = "") -> UnsupportedFeatureError:
    """Return the error for an engine whose provider does not accept batches."""
    return UnsupportedFeatureError(
        f"engine {engine!r} has no batch API{location}; nothing was submitted.",
        hint=Hint("omit_option", option="batch") | "Use `openai` or `anthropic`.",
        engine=engine,
    )


def row_error(engine: str, code: str, reason: str) -> ProviderError:
    """Return the error for a row that a batch did not answer."""
    return ProviderError(
        f"{engine!r} did not answer this row of the batch: {reason}.",
        hint=Hint("run_again"),
        engine=engine,
        code=code,
    )


async def read_lines(response: Response, engine: HTTPEngine) -> AsyncIterator[bytes | None]:
    """Yield the lines of a response with results.

    Raises:
        GatewayError: If the response is an error or cannot be read completely.
    """
    if response.status >= FIRST_ERROR_STATUS:
        errors = ProviderErrors(engine.name, None, engine.api_key)
        raise errors.from_response(response.status, response.headers, await response.read())
    response.start_read_timeout()
    async for line in response.lines(MAX_LINE_BYTES, MAX_DOWNLOAD_BYTES):
        yield line


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line; an empty dict if the line contains no object."""
    try:
        value = bounded_json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
