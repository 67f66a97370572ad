"""Creates JSON responses, from which the paths of folders can be removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gatewayx_nb.server.hidden_paths import without_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Responses are outdated immediately, so they must not be cached. Browsers must not guess another
# content type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(
    content: Any,  # noqa: ANN401 - JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    hidden_folders: Iterable[str] | None = None,
) -> Response:
    """Return a JSON response.

    The response is pure ASCII, because file names may be invalid UTF-8.

    Args:
        content: The data, or its JSON as bytes.
        status: The HTTP status.
        headers: Additional headers.
        hidden_folders: If not ``None``, absolute paths are shortened to their last component. A
            folder whose path has a space or a quotation mark is removed only if it is listed here.
    """
    all_headers = {**(headers or {}), **_HEADERS}
    # A model's answer is not searched for paths, because base64 may look like one.
    if hidden_folders is not None:
        content = without_paths(content, hidden_folders)
    body = content if isinstance(content, bytes) else json.dumps(content)
    return Response(body, status, all_headers, "application/json")


def error_response(
    status: int,
    message: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    hidden_folders: Iterable[str] = (),
) -> Response:
    """Return an error response with the message and the hint."""
    error = {"message": message, "hint": hint}
    return json_response({"error": error}, status, headers, hidden_folders)
