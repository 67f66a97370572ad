"""Responses, always in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

# A path begins after a space, a quotation mark or a bracket; that of a URL begins after its host.
_FOLDERS = re.compile(r"""(?<![^\s'"`(\[=])(?:[A-Za-z]:)?[/\\]+(?:[^/\\\s'"`]+[/\\]+)+""")
"""The folders of an absolute path."""

# A status is out of date at once, and no browser may guess another type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(
    content: Any,  # noqa: ANN401 - JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a JSON response in ASCII, as file names may be invalid, and without folders."""
    all_headers = {**(headers or {}), **_HEADERS}
    body = json.dumps(_without_paths(content))
    return Response(body, status, all_headers, "application/json")


def _without_paths(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data in which the folders of absolute paths are left out of each str."""
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
