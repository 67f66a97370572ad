"""Checks the ownership and the permissions of files."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files.locations import display_path, quoted_path

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("gatewayx_nb")


def ownership_problem(path: Path) -> str | None:
    """Return why a file or folder for code or keys is unsafe; ``None`` if it is safe.

    A file is unsafe if another user owns it or everyone can write to it. Modes have no meaning on
    Windows, where every file counts as safe.
    """
    if sys.platform == "win32":
        return None
    status = path.stat()
    # Root is trusted, because it can change every file anyway.
    if status.st_uid not in (os.getuid(), 0):
        return "belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everyone; fix it with `chmod o-w`"
    return None


def permission_problem(path: Path, folder: Path) -> str | None:
    """Return why a code file must not be executed; ``None`` if it may be."""
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            return "is a symlink to a file outside its folder"
        return ownership_problem(path) if path.is_file() else "is not a regular file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except RuntimeError:  # raised by Python 3.11 and 3.12
        return "is a symlink to itself"


def link_in(path: Path, root: Path) -> Path | None:
    """Return the first symlink on a path below a folder; ``None`` if there is none.

    The folder itself may be a symlink. For a path that is not below the folder, return ``None``.
    """
    parts = [path, *path.parents]
    if path.is_relative_to(root):
        top = parts.index(root)
    else:  # either path may contain `..`, or a symlink above the folder
        real_root = os.path.realpath(root)
        matching_indexes = [
            index for index, part in enumerate(parts) if os.path.realpath(part) == real_root
        ]
        if not matching_indexes:
            return None
        top = matching_indexes[-1]
    below = reversed(parts[:top])
    # `os.path.islink` returns False, not an error, without permission.
    return next((part for part in below if os.path.islink(part)), None)


def _relative_text(path: Path, root: Path) -> str:
    """Return a path relative to a folder, or only its name if the folder is not its prefix."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def refuse_link_in(path: Path, root: Path) -> None:
    """Check that a path below a folder contains no symlink; see `link_in`.

    Raises:
        ConfigError: If a part of the path is a symlink.
    """
    if link := link_in(path, root):
        shell_path = quoted_path(display_path(link))
        raise ConfigError(
            f"{display_path(path)} is not used: {_relative_text(link, root)!r} is a symlink.",
            hint=f"Replace the symlink with its target, or run `rm {shell_path}`.",
            topic="unsafe-file",
        )


def refuse_unsafe(path: Path, root: Path) -> None:
    """Check that a file that decides where keys are sent may be read; see `endpoint_file_problem`.

    Call this before writing the file, because a file that is refused when read has no effect.

    Raises:
        ConfigError: If the file must not be read.
    """
    refuse_link_in(path, root)
    problem = endpoint_file_problem(path, root) if os.path.exists(path) else None
    if problem:
        raise ConfigError(
            f"{display_path(path)} is not used: it {problem}.",
            hint="Fix that, then try again.",
            topic="unsafe-file",
        )


def endpoint_file_problem(path: Path, root: Path) -> str | None:
    """Return why a file that decides where keys are sent must not be read; ``None`` if it may be.

    Args:
        path: The file, which exists.
        root: The project or user folder that contains it.
    """
    link = link_in(path, root)
    if link is not None:
        return f"is reached through a symlink: {_relative_text(link, root)}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "is not a regular file"
        return drop_reason_if_modes_unreliable(ownership_problem(path), path, path.parent)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def drop_reason_if_modes_unreliable(reason: str | None, path: Path, folder: Path) -> str | None:
    """Return the reason, or ``None`` if it concerns only the mode and modes are unreliable here."""
    is_mode_only = reason is not None and _is_refused_for_mode_only(path, reason)
    device = folder.stat().st_dev if is_mode_only else 0
    return None if is_mode_only and not _are_modes_reliable_on(device, folder) else reason


def _is_refused_for_mode_only(path: Path, reason: str) -> bool:
    """Return whether a file is refused only because of its mode.

    Other reasons are that it is a symlink, is not a regular file or has another owner.
    """
    if sys.platform == "win32":
        return False
    try:
        return path.stat().st_uid in (os.getuid(), 0) and reason == ownership_problem(path)
    except OSError:
        return False


# The device is only part of the cache key: another device may be mounted at the same folder.
@functools.cache
def _are_modes_reliable_on(_device: int, folder: Path) -> bool:
    """Return whether a new private file stays private; it does not on FAT and some mounts."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gatewayx-") as file:
            return not os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    except OSError:
        # A folder that is not writable cannot be tested, so the stricter rule applies.
        return True


def open_private(path: Path, *, is_own: bool) -> int:
    """Open a key file for reading.

    The checks use the open file, because its name may refer to another file a moment later.

    Args:
        path: The file.
        is_own: Whether it is the package's own key file. Its mode is then set to 0600, and it is
            refused if it is a symlink or belongs to another user.

    Returns:
        The file descriptor, which the caller must close.

    Raises:
        ConfigError: If the file is refused or cannot be opened.
    """
    if is_own:
        refuse_links(path)
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if is_own else 0))
    except OSError as error:
        raise ConfigError(
            f"the key file {str(path)!r} cannot be read: {error.strerror}.",
            hint=f"Run `chmod 600 {quoted_path(path)}`, or move the file away."
            if isinstance(error, PermissionError)
            else "Use the path of an existing file.",
        ) from None
    try:
        _check_regular_and_owned(os.fstat(handle), path, is_own=is_own)
    except BaseException:
        os.close(handle)
        raise
    return handle


def restrict_to_owner(descriptor: int, path: Path) -> str | None:
    """Make an open file readable only by its owner; return a warning if this fails."""
    if sys.platform == "win32" or not os.fstat(descriptor).st_mode & 0o077:
        return None
    with contextlib.suppress(OSError):  # the mode is checked again below
        os.fchmod(descriptor, 0o600)
    if os.fstat(descriptor).st_mode & 0o077:
        return (
            f"the key file {str(path)!r} is still readable by others;"
            f" run `chmod 600 {quoted_path(path)}`."
        )
    log.warning("%s was readable by others; its mode is now 0600.", display_path(path))
    return None


def refuse_links(path: Path) -> None:
    """Refuse a key file that is a symlink, or whose ``config`` or ``secrets`` folder is one.

    Otherwise, a project could present the user's keys as its own, or have them written elsewhere.

    Raises:
        ConfigError: If the file or one of the folders is a symlink.
    """
    for candidate in (path, path.parent, path.parent.parent):
        if os.path.islink(candidate):
            raise ConfigError(
                f"the key file {str(path)!r} is not used: {candidate.name!r} is a symlink.",
                hint=f"Replace the symlink with its target, or run `rm {quoted_path(candidate)}`.",
                topic="unsafe-file",
            )


def _check_regular_and_owned(status: os.stat_result, path: Path, *, is_own: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        shell_path = quoted_path(path)
        raise ConfigError(
            f"the key file {str(path)!r} is not a regular file.",
            hint=f"Move it away with `mv {shell_path} {shell_path}.off`, then set the keys again.",
        )
    if is_own and sys.platform != "win32" and status.st_uid not in (os.getuid(), 0):
        raise ConfigError(
            f"the key file {str(path)!r} belongs to another user.",
            hint=f"Run `chown $(id -u) {quoted_path(path)}`, or move the file away and set the keys"
            " again.",
            topic="unsafe-file",
        )
