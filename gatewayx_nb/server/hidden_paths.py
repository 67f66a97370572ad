"""Removes folders and keys from error messages, which may be shown or logged elsewhere."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.files import find_project, user_config_dir
from gatewayx_nb.masking import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.engine_pool import EnginePool

# A path begins after a space, a quotation mark or a bracket; the path of a URL follows its host.
_FOLDERS = re.compile(r"""(?<![^\s'"`(\[=])(?:[A-Za-z]:)?[/\\]+(?:[^/\\\s'"`]+[/\\]+)+""")
"""Matches the folders of an absolute path."""


def without_paths(content: Any, folders: Iterable[str]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data with the folders of absolute paths removed from each string and key.

    Args:
        content: The data.
        folders: Known folders. A folder whose path has a space or a quotation mark is removed only
            if it is listed here.
    """
    return _without_paths(content, _pattern(folders))


def without_keys(text: str, pool: Callable[[], EnginePool]) -> str:
    """Return an error message in which the keys of a pool are masked.

    The message may quote a part of the request, such as a pattern of a JSON Schema.
    """
    try:
        keys = pool().config.keys.secrets_by_name()
    except GatewayError:  # without valid settings, there is no pool
        return text
    return redact(text, keys.values())


def known_folders(pool: Callable[[], EnginePool]) -> set[str]:
    """Return the folders of the project, the user, the environment and this package."""
    roots = [Path.home(), Path(__file__).parents[2]]
    env: Mapping[str, str] = os.environ
    try:
        config = pool().config
        env, folders = config.env, config.config_dirs
    except GatewayError:  # without valid settings, there is no pool
        folders = (user_config_dir(env),)
        with contextlib.suppress(GatewayError):
            folders += tuple(filter(None, [find_project(env)]))
    roots += [folder.root for folder in folders]
    configured_folders = [
        env.get("GATEWAYX_HOME", ""),
        *env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep),
    ]
    roots += [Path(name).expanduser().absolute() for name in configured_folders if name]
    paths = [path for root in roots for path in (str(root), os.path.realpath(root))]
    return {path for path in paths if path != Path(path).anchor}


def _pattern(folders: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that matches these folders as they are, or escaped by `repr` or `quote`."""
    variants = {
        variant
        for folder in folders
        for variant in (folder, repr(folder)[1:-1], folder.replace("'", "'\"'\"'"))
    }
    # The longest path comes first, because a project is usually inside the home folder.
    alternatives = "|".join(map(re.escape, sorted(variants, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])(?:{alternatives})(?![\w-])" if variants else "(?!)")


def _without_paths(content: Any, folders: re.Pattern[str]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON data with the folders of absolute paths removed from each string and key."""
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
