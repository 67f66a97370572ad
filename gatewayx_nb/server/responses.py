"""Responses, always in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

# A status is out of date at once, and no browser may guess another type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(
    content: Any,  # noqa: ANN401 - JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a JSON response in ASCII: file names may be invalid in UTF-8."""
    all_headers = {**(headers or {}), **_HEADERS}
    return Response(json.dumps(content), status, all_headers, "application/json")


def error_response(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response with the message and, if known, the fix."""
    return json_response({"error": {"message": message, "hint": hint}}, status, headers)
