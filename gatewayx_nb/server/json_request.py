"""Reads the JSON body of a request, and limits its size and complexity."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, NoReturn, TypeVar

from starlette.datastructures import Headers

from gatewayx_nb import bounded_json
from gatewayx_nb.server.api_errors import RequestRefusedError
from gatewayx_nb.server.request_fields import RequestFields

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope

T = TypeVar("T")

MAX_BODY_BYTES = 32 << 20
"""Maximum size of a body in bytes, as in Anthropic's API."""

_MAX_BYTES_PARSED_ON_LOOP = 100_000
"""Maximum size in bytes of a body to parse on the event loop; this takes about 1 ms."""


async def read_request(scope: Scope, receive: Receive, read: Callable[[RequestFields], T]) -> T:
    """Parse a request's body as a JSON object, and return ``read(fields)``.

    Args:
        scope: The connection.
        receive: The ASGI ``receive`` callable.
        read: Reads the fields; it runs in another thread if the body is large or has a schema.

    Raises:
        UsageError: If the body is not a JSON object or is too large, or ``read`` refuses it.
    """
    headers = Headers(scope=scope)
    # A web page can send other types, such as text/plain, without a CORS preflight.
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestRefusedError(415, "the content type must be application/json.")
    body = await _read_body(headers, receive)
    # Checking a JSON Schema takes longer than the size of the schema suggests.
    has_schema = b"schema" in body or b"strict" in body
    if len(body) <= _MAX_BYTES_PARSED_ON_LOOP and not has_schema:
        return read(_parse(body))
    return await asyncio.to_thread(lambda: read(_parse(body)))


def _parse(body: bytes) -> RequestFields:
    try:
        bounded_json.check_values(body)
        values = json.loads(
            body,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
            object_pairs_hook=_without_repeated_keys,
        )
        return RequestFields(values)
    except RecursionError:
        raise RequestRefusedError(400, "the body is nested too deeply.") from None
    except bounded_json.TooManyValuesError as error:
        raise RequestRefusedError(400, f"the body contains too many values: {error}.") from None
    except ValueError:  # the text of the error would quote the body
        raise RequestRefusedError(400, "the body is not valid JSON.") from None


def _parse_finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _without_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise RequestRefusedError(400, "the body contains an object with a duplicate key.")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # Python would accept NaN and Infinity, which JSON does not have


async def _read_body(headers: Headers, receive: Receive) -> bytes:
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _too_large_error()
    body_pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefusedError(400, "the client has closed the connection.")
        body_pieces.append(message.get("body", b""))
        size += len(body_pieces[-1])
        if size > MAX_BODY_BYTES:
            raise _too_large_error()
        if not message.get("more_body"):
            return b"".join(body_pieces)


def _too_large_error() -> RequestRefusedError:
    return RequestRefusedError(413, f"the body is larger than {MAX_BODY_BYTES >> 20} MiB.")
