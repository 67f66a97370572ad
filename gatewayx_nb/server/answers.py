"""What is sent: JSON, always."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:  # noqa: ANN401 - JSON
    """Give JSON in ASCII: the name of a file may hold what UTF-8 cannot."""
    return Response(
        json.dumps(content),
        status,
        headers={**(headers or {}), **_HEADERS},
        media_type="application/json",
    )


def fault(
    status: int, message: str, mend: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Give what happened and, where that is known, what mends it."""
    return answer({"error": {"message": message, "mend": mend}}, status, headers)
