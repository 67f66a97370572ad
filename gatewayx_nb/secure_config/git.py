"""Queries git about files without running commands from a repository's configuration.

A repository's configuration can make git run any command, for example as a file monitor or to fetch
missing objects. A clone can contain such a configuration in a folder that looks like a bare
repository, and an archive can contain it in ``.git``. Git therefore runs in an empty temporary
repository, with the real repository's index, objects and exclude file, which contain no commands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_SHORT_TIMEOUT = 0.5
"""Maximum seconds for a git command; two commands are run for each of at most two key files."""

_LONG_TIMEOUT = 5.0
"""Maximum seconds for the command on which a permission depends; it is rarely run."""

_MAX_FILE_BYTES = 1 << 20
"""Maximum number of bytes to read from a small file in a repository."""

_INHERITED_VARIABLES = ("HOME", "SYSTEMROOT", "XDG_CONFIG_HOME")
"""Environment variables that are passed to git; other variables may contain keys."""

# The user's own configuration is read, so a file monitor and fetches are disabled here as well.
_SETTINGS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.precomposeUnicode=true")
_OPTIONS = ("--no-pager", *(word for setting in _SETTINGS for word in ("-c", setting)))
_OBJECT_FORMAT = re.compile(
    rb"^[ \t\r\f\v]*+objectFormat\s*=\s*\"?sha256\b", re.IGNORECASE | re.MULTILINE
)
# On a file system that ignores case, another spelling is the same file.
_LS_FILES = ("--icase-pathspecs", "ls-files", "--error-unmatch")
_SHA256_CONFIG = "[core]\nrepositoryFormatVersion = 1\n[extensions]\nobjectFormat = sha256\n"
_RESTRICTIONS = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


def is_tracked(path: Path) -> bool | None:
    """Return whether git tracks a file; ``None`` if unknown."""
    return _query(path, _SHORT_TIMEOUT, *_LS_FILES)


def may_be_tracked(path: Path) -> bool:
    """Return whether git may track a file.

    Also return True if a repository exists and git does not answer, or tracks the file under
    another spelling: on some file systems, ``conﬁg`` and ``config`` are the same folder.
    """
    answer = _query(path, _LONG_TIMEOUT, *_LS_FILES)
    folder = Path(os.path.realpath(path.parent))
    folders = (folder, *folder.parents)
    worktree = next((parent for parent in folders if os.path.lexists(parent / ".git")), None)
    if answer or worktree is None:
        return bool(answer)
    paths_in_worktree = (folder / path.name, *folders[: folders.index(worktree)])
    return answer is None or (os.path.exists(path) and not all(map(_is_listed, paths_in_worktree)))


def _is_listed(path: Path) -> bool:
    """Return whether a path's folder lists its name with exactly this spelling."""
    try:
        return any(path.name == sibling.name for sibling in path.parent.iterdir())
    except OSError:
        return False


def is_ignored(path: Path) -> bool | None:
    """Return whether git ignores a file; ``None`` if unknown."""
    # Without --no-index, a tracked file would count as not ignored.
    return _query(path, _SHORT_TIMEOUT, "check-ignore", "--quiet", "--no-index")


def _query(path: Path, timeout: float, *command: str) -> bool | None:
    """Query git about a file; return ``None`` if git does not answer or there is no repository."""
    folder = Path(os.path.realpath(path.parent))
    for worktree in (folder, *folder.parents):
        git_dir = _git_dir(worktree / ".git")
        if git_dir is not None:
            relative = (folder / path.name).relative_to(worktree)
            # Git would interpret a path that begins with a colon as a pattern.
            command = (*command, "--", f"./{relative.as_posix()}")
            return _run_git(worktree, git_dir, command, timeout)
    return None


def _git_dir(path: Path) -> Path | None:
    """Return the folder that ``.git`` is or refers to; ``None`` if it is not a repository."""
    if os.path.isfile(path):  # in a linked worktree or a submodule
        _, _, target = os.fsdecode(_read_beginning(path)).partition("gitdir: ")
        path = path.parent / target.rstrip("\r\n")
    return path if os.path.lexists(path / "HEAD") else None


def _find_git() -> tuple[str, str] | None:
    """Return the path of git and the search path; ``None`` if git is not installed.

    The current folder and other relative folders are not searched, because a project may contain a
    program of that name.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(filter(os.path.isabs, folders))
    program = shutil.which("git", path=path)
    # On Windows, the current folder is always searched first.
    return (program, path) if program and Path(program).is_absolute() else None


def _run_git(
    worktree: Path, git_dir: Path, command: tuple[str, ...], timeout: float
) -> bool | None:
    program_and_path = _find_git()
    if program_and_path is None:
        return None
    program, path = program_and_path
    env = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ} | {
        "PATH": path
    }
    try:
        with tempfile.TemporaryDirectory(prefix="gatewayx-") as folder:
            empty_git_dir = Path(folder)
            for name in ("refs", "info"):
                (empty_git_dir / name).mkdir()
            (empty_git_dir / "HEAD").write_text("ref: refs/heads/main\n")
            # A linked worktree uses the main worktree's exclude file.
            common_dir = git_dir / os.fsdecode(_read_beginning(git_dir / "commondir")).rstrip(
                "\r\n"
            )
            (empty_git_dir / "info" / "exclude").write_bytes(
                _read_beginning(common_dir / "info" / "exclude")
            )
            # The length of the hashes in the index depends on the object format.
            if _OBJECT_FORMAT.search(_read_beginning(common_dir / "config")):
                (empty_git_dir / "config").write_text(_SHA256_CONFIG)
            repository_variables = {
                "GIT_DIR": folder,
                "GIT_WORK_TREE": str(worktree),
                "GIT_INDEX_FILE": str(git_dir / "index"),
                # A sparse index refers to tree objects.
                "GIT_OBJECT_DIRECTORY": str(common_dir / "objects"),
            }
            result = subprocess.run(  # noqa: S603 - fixed words, and a path after `--`
                [program, *_OPTIONS, *command],
                cwd=worktree,
                env={**env, **_RESTRICTIONS, **repository_variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=timeout,
                check=False,
            )
    except (OSError, ValueError, subprocess.TimeoutExpired):  # a path may contain a NUL
        return None
    return {0: True, 1: False}.get(result.returncode)  # any other status is an error


def _read_beginning(path: Path) -> bytes:
    """Return the beginning of a file; empty if it is not a regular file or cannot be read."""
    with contextlib.suppress(OSError):
        if os.path.isfile(path):  # reading a pipe might never end
            with path.open("rb") as file:
                return file.read(_MAX_FILE_BYTES)
    return b""
