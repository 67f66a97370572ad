"""Responses, always in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401 - JSON
    """Return a JSON response in ASCII: file names may be invalid in UTF-8."""
    return Response(
        json.dumps(content),
        status,
        headers={**(headers or {}), **_HEADERS},
        media_type="application/json",
    )


def fault(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response with the message and, if known, the fix."""
    return answer({"error": {"message": message, "mend": hint}}, status, headers)
