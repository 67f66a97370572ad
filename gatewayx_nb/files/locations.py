"""Locates the project folder, the user folder and shipped files."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from gatewayx_nb.errors import ConfigError, UsageError, did_you_mean
from gatewayx_nb.files.reading import read_toml
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Owner = Literal["project", "user"]
StatStamp = tuple[int, int, int, int]

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class ConfigDir:
    """A project or user folder; both have the same inner layout."""

    root: Path
    owner: Owner

    @property
    def engines(self) -> Path:
        """The folder of engine files."""
        return self.root / "engines"

    @property
    def settings(self) -> Path:
        """The settings file."""
        return self.root / "config" / "gatewayx.toml"

    @property
    def engines_toml(self) -> Path:
        """The file of engine entries."""
        return self.root / "config" / "engines.toml"

    @property
    def keys(self) -> Path:
        """The key file."""
        return self.root / "config" / "secrets" / ".env.local"

    def label(self, path: Path) -> str:
        """Return a short path, relative to ``root`` in a project and to ``~`` elsewhere."""
        return (
            str(path.relative_to(self.root)) if self.owner == "project" else _relative_to_home(path)
        )


def display_path(path: Path) -> str:
    """Return a path as a person would type it: relative if it is in the current folder.

    Other paths are shown relative to ``~`` or in full.
    """
    try:
        current_folder = Path.cwd()
    except FileNotFoundError:  # a notebook may delete its own current folder
        return _relative_to_home(path)
    if current_folder in path.parents and not Path.home().is_relative_to(current_folder):
        return str(path.relative_to(current_folder))
    return _relative_to_home(path)


def quoted_path(path: Path | str) -> str:
    """Quote a path, which may be from `display_path`, as an argument of a shell command.

    >>> quoted_path("~/my project/.env")
    "~/'my project/.env'"
    """
    text = str(path)
    home = "~/" if text.startswith("~/") else ""  # within quotation marks, `~` is not expanded
    return home + shlex.quote(text.removeprefix(home))


def checked_path(path: object) -> Path:
    """Return the absolute path of a file.

    Raises:
        UsageError: If it is not a path.
        ConfigError: If it has no absolute path; see `absolute_path`.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UsageError(f"path must be a str or a Path, got {short_repr(path)}.")
    return absolute_path(os.fspath(path))


def existing_folder(folder: object, name: str) -> Path:
    """Return the absolute path of a folder.

    Args:
        folder: The folder.
        name: Name of the argument, for an error.

    Raises:
        UsageError: If it is not the path of an existing folder.
        ConfigError: If it has no absolute path; see `absolute_path`.
    """
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise UsageError(f"{name} must be a str or a Path, got {short_repr(folder)}.")
    path = absolute_path(os.fspath(folder))
    if not path.is_dir():
        raise UsageError(
            f"{name} must be an existing folder, got {short_repr(os.fspath(folder))}.",
            hint="Create that folder first, or correct the path.",
        )
    return path


def path_to_write(path: object, suffixes: Sequence[str], example: str) -> Path:
    """Return the absolute path of a file to write, whose suffix is its format.

    Args:
        path: The path of the file.
        suffixes: The known suffixes, at least two.
        example: The name of such a file, for an error.

    Raises:
        UsageError: If it is not a path, or has another suffix.
        ConfigError: If it has no absolute path; see `absolute_path`.
    """
    target = checked_path(path)
    suffix = target.suffix.lower()
    if suffix not in suffixes:
        *other_suffixes, last_suffix = suffixes
        raise UsageError(
            f"the file must end with {', '.join(other_suffixes)} or {last_suffix}, got"
            f" {short_repr(str(path))}."
            f"{did_you_mean(suffix, suffixes)}",
            hint=f"For example, `{example}`.",
        )
    return target


def absolute_path(path: Path | str) -> Path:
    """Return an absolute path, with ``~`` expanded.

    Raises:
        ConfigError: If the path is relative and the current folder has been deleted, or if it is in
            the home folder of an unknown user.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(
            f"the home folder in {str(path)!r} does not exist.", hint="Use a path without `~`."
        ) from None
    except FileNotFoundError:
        raise ConfigError(
            f"the relative path {str(path)!r} cannot be used: the current folder has been deleted.",
            hint="Use an absolute path, or another folder: `os.chdir(…)`.",
        ) from None


def _relative_to_home(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def user_config_dir(env: Mapping[str, str]) -> ConfigDir:
    """Return platformdirs' configuration folder ``gatewayx``, which need not exist."""
    # Read the variable here, because platformdirs reads only the process's environment.
    config_home = env.get("XDG_CONFIG_HOME") if sys.platform.startswith("linux") else None
    if config_home and not Path(config_home).is_absolute():
        config_home = str(Path.home() / ".config")  # the specification says to ignore it
    base = Path(config_home, "gatewayx") if config_home else None
    return ConfigDir(base or platformdirs.user_config_path("gatewayx"), "user")


def find_project(env: Mapping[str, str], start: Path | None = None) -> ConfigDir | None:
    """Find the project folder.

    It is ``GATEWAYX_HOME`` if set. Otherwise it is the nearest folder that contains
    ``config/gatewayx.toml`` or ``config/secrets/``, at or above ``start``; by default, at or above
    the current folder or, failing that, the running script's folder.

    Raises:
        ConfigError: If ``GATEWAYX_HOME`` is not a folder.
    """
    home = env.get("GATEWAYX_HOME")
    if home:
        root = absolute_path(home)
        if not os.path.isdir(root):
            raise ConfigError(
                f"GATEWAYX_HOME must be an existing folder, got {home!r}.",
                hint="Create that folder, or unset GATEWAYX_HOME.",
            )
        return ConfigDir(root, "project")
    for folder in [start] if start else [*_current_folder(), *_script_folder()]:
        for candidate in _upwards(folder.absolute()):
            project = ConfigDir(candidate, "project")
            if os.path.isfile(project.settings) or os.path.isdir(project.keys.parent):
                return project
    return None


def find_repository(folder: Path) -> Path | None:
    """Return the root of the git repository that contains a folder; ``None`` if there is none."""
    return next((parent for parent in _upwards(folder) if os.path.lexists(parent / ".git")), None)


def _upwards(folder: Path) -> Iterator[Path]:
    """Yield a folder and its parents, up to a repository root, the home folder or a mount."""
    for candidate in (folder, *folder.parents):
        yield candidate
        # A `config` folder above such a folder does not belong to the project.
        is_boundary = candidate == Path.home() or os.path.ismount(candidate)
        if is_boundary or os.path.exists(candidate / ".git"):
            return


def _current_folder() -> Iterator[Path]:
    try:
        current_folder = Path.cwd()
    except FileNotFoundError:  # the current folder has been deleted
        return
    yield current_folder


def _script_folder() -> Iterator[Path]:
    # Notebooks and interactive sessions have no `__file__`.
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script:
        return
    folder = Path(script).resolve().parent
    # A command such as `gatewayx` or `pytest` is not the user's script: the project that contains
    # its environment need not be the one in which the user works.
    is_command = Path(script).absolute().parent == Path(sys.executable).absolute().parent
    if not (is_command or folder.is_relative_to(_PACKAGE)):
        yield folder


def shipped_path(name: str) -> Path:
    """Return the location of a shipped folder or file.

    In a wheel, it is inside the package. In a clone, it is next to the package. A folder next to
    the package is used only if this project's ``pyproject.toml`` is there, too, because the
    neighbours of an installed package belong to other packages.

    Args:
        name: Path relative to the package or the clone, such as ``"engines"``.
    """
    inside = _PACKAGE / name
    if not inside.exists() and _is_clone(_PACKAGE.parent):
        return _PACKAGE.parent / name
    return inside


@functools.cache  # fixed for the process after import
def _is_clone(folder: Path) -> bool:
    try:
        project = read_toml(folder / "pyproject.toml")
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "gatewayx-nb")


def stat_stamp(path: Path | int, *, follow: bool = True) -> StatStamp | None:
    """Return a stamp that changes when a file changes; ``None`` if the file does not exist.

    The stamp includes the ctime, which also changes with the file's mode and which no program can
    set.

    Args:
        path: The file or folder, or the descriptor of an open file.
        follow: Whether to follow a symlink.
    """
    try:
        stat = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - faster; runs on each call
    except OSError:
        return None
    # Include the inode, because an atomic write may keep the size and the times.
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
