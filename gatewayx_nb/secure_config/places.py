"""The folders that are read: the project's, the user's and the shipped one."""

from __future__ import annotations

import functools
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Owner = Literal["project", "user"]
Stamp = tuple[int, int, int, int]

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Place:
    """A project or user folder; both have the same inner layout."""

    root: Path
    owner: Owner

    @property
    def engines(self) -> Path:
        """Folder of engine files."""
        return self.root / "engines"

    @property
    def settings(self) -> Path:
        """File of settings."""
        return self.root / "config" / "gatewayx.toml"

    @property
    def rows(self) -> Path:
        """File of engine rows."""
        return self.root / "config" / "engines.toml"

    @property
    def keys(self) -> Path:
        """File of keys."""
        return self.root / "config" / "secrets" / ".env.local"

    def label(self, path: Path) -> str:
        """Name a file of this place briefly: relative to the root, or from ``~``."""
        return str(path.relative_to(self.root)) if self.owner == "project" else _from_home(path)


def brief(path: Path) -> str:
    """Name a path as a person would type it: from the current folder where it lies in that.

    A path outside of it is named from ``~``, or whole.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # a notebook may delete the folder that it is in
        return _from_home(path)
    if here in path.parents and not Path.home().is_relative_to(here):
        return str(path.relative_to(here))
    return _from_home(path)


def _from_home(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def user_place(env: Mapping[str, str]) -> Place:
    """Give platformdirs' configuration folder ``gatewayx``; it need not exist."""
    configured = env.get("XDG_CONFIG_HOME") if sys.platform.startswith("linux") else None
    root = (
        Path(configured) / "gatewayx" if configured else platformdirs.user_config_path("gatewayx")
    )
    return Place(root, "user")


def project_place(env: Mapping[str, str], start: Path | None = None) -> Place | None:
    """Find the project folder.

    It is ``GATEWAYX_HOME``; else the nearest folder, from ``start`` (the current folder) upwards
    and then from the running script's, that holds ``config/gatewayx.toml`` or ``config/secrets/``.

    Raises:
        ConfigError: ``GATEWAYX_HOME`` names no folder.
    """
    named = env.get("GATEWAYX_HOME")
    if named:
        root = Path(named).expanduser().absolute()
        if not root.is_dir():
            raise ConfigError(
                f"GATEWAYX_HOME names {named!r}, which is no folder.",
                mend="Unset it, or make the folder: `%gatewayx init` there.",
            )
        return Place(root, "project")
    starts = [start] if start else [Path.cwd(), *_script_folder()]
    for folder in starts:
        for candidate in _upwards(folder.absolute()):
            place = Place(candidate, "project")
            if place.settings.is_file() or place.keys.parent.is_dir():
                return place
    return None


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield a folder and its parents, up to a repository's root, the home folder or a mount."""
    for candidate in (folder, *folder.parents):
        yield candidate
        if (candidate / ".git").exists() or candidate == Path.home() or candidate.is_mount():
            return


def _script_folder() -> Iterator[Path]:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script:
        yield Path(script).resolve().parent


def shipped(name: str) -> Path:
    """Give the place of a shipped folder or file.

    A wheel holds it inside the package. In a clone it lies beside the package, and is taken only
    where our own ``pyproject.toml`` lies there too: in an installed wheel, what lies beside the
    package belongs to somebody else.

    Args:
        name: Path relative to the package or the clone, such as ``"engines"``.
    """
    inside = _PACKAGE / name
    if not inside.exists() and _is_clone(_PACKAGE.parent):
        return _PACKAGE.parent / name
    return inside


@functools.cache  # what this process was imported from stays what it is
def _is_clone(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "gatewayx-nb")


def stamp(path: Path, *, follow: bool = True) -> Stamp | None:
    """Give what changes when a file does; ``None`` where there is none.

    The change time is there because an edit within one tick of the clock and of equal size keeps
    the modification time and the size.

    Args:
        path: The file or folder.
        follow: Whether a link stands for what it points to.
    """
    try:
        stat = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - runs on each call
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
