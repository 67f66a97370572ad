"""Responses, always in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

# A path begins after a space, a quotation mark or a bracket; the path of a URL follows its host.
_FOLDERS = re.compile(r"""(?<![^\s'"`(\[=])(?:[A-Za-z]:)?[/\\]+(?:[^/\\\s'"`]+[/\\]+)+""")
"""Pattern of the folders in an absolute path."""

# A status is immediately out of date, and a browser must not guess another type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(
    content: Any,  # noqa: ANN401 - JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a JSON response without folders, in ASCII, because file names may be invalid UTF-8."""
    all_headers = {**(headers or {}), **_HEADERS}
    body = json.dumps(_without_paths(content))
    return Response(body, status, all_headers, "application/json")


def _without_paths(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data with the folders of absolute paths removed from each str."""
    if isinstance(content, str):
        return _FOLDERS.sub("…/", content)
    if isinstance(content, dict):
        return {name: _without_paths(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_paths(value) for value in content]
    return content


def error_response(
    status: int, message: str, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response with the message and, if known, the fix."""
    return json_response({"error": {"message": message, "hint": hint}}, status, headers)
