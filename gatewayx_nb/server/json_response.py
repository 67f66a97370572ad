"""Responses, always in JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# A path begins after a space, a quotation mark or a bracket; the path of a URL follows its host.
_FOLDERS = re.compile(r"""(?<![^\s'"`(\[=])(?:[A-Za-z]:)?[/\\]+(?:[^/\\\s'"`]+[/\\]+)+""")
"""Pattern of the folders in an absolute path."""

# Responses are outdated immediately, so they must not be cached. They must not be read as another
# type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(
    content: Any,  # noqa: ANN401 - JSON
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    hidden_folders: Iterable[str] = (),
) -> Response:
    """Return a JSON response with folder paths removed.

    The response is pure ASCII, because file names may be invalid UTF-8. A folder whose path has a
    space or a quotation mark is removed only if ``hidden_folders`` lists it.
    """
    all_headers = {**(headers or {}), **_HEADERS}
    body = json.dumps(_without_paths(content, _pattern(hidden_folders)))
    return Response(body, status, all_headers, "application/json")


def _pattern(folders: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of these folders, verbatim and as `repr` and `shlex.quote` escape them."""
    forms = {
        form
        for folder in folders
        for form in (folder, repr(folder)[1:-1], folder.replace("'", "'\"'\"'"))
    }
    # The longest path comes first, because a project is usually inside the home folder.
    longest_first = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])(?:{longest_first})(?![\w-])" if forms else "(?!)")


def _without_paths(content: Any, folders: re.Pattern[str]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data with the folders of absolute paths removed from each str and key."""
    if isinstance(content, str):
        return _FOLDERS.sub("…/", folders.sub("/…", content))
    if isinstance(content, dict):
        return {
            _without_paths(name, folders): _without_paths(value, folders)
            for name, value in content.items()
        }
    if isinstance(content, list | tuple):
        return [_without_paths(value, folders) for value in content]
    return content


def error_response(
    status: int,
    message: str,
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    hidden_folders: Iterable[str] = (),
) -> Response:
    """Return an error response with the message and, if known, the fix."""
    error = {"message": message, "hint": hint}
    return json_response({"error": error}, status, headers, hidden_folders)
