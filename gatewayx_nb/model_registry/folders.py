"""Discovers engine files by name; no file is read or executed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from gatewayx_nb.model_registry import safety
from gatewayx_nb.secure_config import FileStamp, shipped_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.secure_config import Config

Origin = Literal["path", "project", "user", "package", "shipped", "variable"]
"""The origin of an engine.

An engine comes from ``GATEWAYX_ENGINES_PATH``, the project or user folder, an installed package,
this package, or a variable that holds a URL.
"""

SUFFIX = "_engine.py"

_COMMANDS = """
    ask cancel cassette chat compare explain health help history init jobs key keys models nest new
    pull reload security serve settings status tools trust usage use
"""
RESERVED_NAMES = frozenset(_COMMANDS.split())
"""Names of commands, which take precedence over engines, so no engine can have such a name."""

ENGINE_NAME = re.compile(r"[a-z0-9_]{1,63}")


def why_unusable(name: str) -> str | None:
    """Return why a name is invalid for an engine; ``None`` if it is valid."""
    if not ENGINE_NAME.fullmatch(name):
        return "has a name that does not consist of 1 to 63 characters from a-z, 0-9 and _"
    if name in RESERVED_NAMES:
        return f"has a name that is reserved for the command {name!r}"
    return None


def suggested_name(path: Path) -> str:
    """Return a valid file name for an engine file.

    >>> suggested_name(Path("My-Model_engine.py"))
    'my_model_engine.py'
    """
    stem = path.stem.lower().removesuffix("_engine")
    name = re.sub("[^a-z0-9]+", "_", stem).strip("_")[:63] or "my"
    return f"{f'my_{name}' if name in RESERVED_NAMES else name}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file ``<name>_engine.py``.

    Attributes:
        name: The engine's name.
        path: The file.
        origin: Where it comes from.
        refusal_reason: Why the file is not executed; ``None`` if it may be executed.
        warning: A warning about the file, if any.
        shadowed_by: Location of the engine that already has the name, if any.
    """

    name: str
    path: Path
    origin: Origin
    refusal_reason: str | None = None
    warning: str = ""
    shadowed_by: str = ""

    @property
    def label(self) -> str:
        """The location of the file, in short form."""
        return self.path.name if self.origin == "shipped" else f"{self.origin}: {self.path.name}"

    @property
    def where(self) -> str:
        """The full location of the file, for users to open."""
        return str(self.path)

    @override
    def __hash__(self) -> int:
        return hash(self.name)  # with a thousand engines, faster than hashing the path


class EngineFolder:
    """A folder of engine files; it is listed again when it changes.

    Args:
        path: The folder, which need not exist.
        origin: The origin of the folder's engines.
        is_installed: Whether an installer created it, so that file modes are not checked.

    Attributes:
        files: The engine files, by name.
        problem: Why the folder cannot be listed, in one line; empty if it can be listed.
    """

    def __init__(self, path: Path, origin: Origin, *, is_installed: bool = False) -> None:
        self.path = path
        self.origin = origin
        self.problem = ""
        self._is_installed = is_installed
        self.files: list[EngineFile] = []
        self._stamps: list[FileStamp] = []

    def refresh(self) -> bool:
        """List the folder again if it or a suspect file changed; return whether it was listed.

        Changing a file's mode does not change its folder, so refused files and those with a warning
        are checked each time; `LoadedEngine.is_current` checks loaded files.
        """
        if self._stamps and not any(stamp.has_changed() for stamp in self._stamps):
            return False
        if not self.path.is_absolute():  # it could be in a project that is the current folder
            is_new_problem, self.problem = not self.problem, _relative_path_problem(self.path)
            return is_new_problem
        stamp = FileStamp(self.path)
        self.problem, files = "", []
        try:
            files = sorted(self._scan(), key=lambda file: file.name) if stamp.exists else []
        except OSError as error:
            self.problem = f"the folder {str(self.path)!r} cannot be read: {error.strerror}."
        suspect_stamps = [
            FileStamp(file.path) for file in files if file.refusal_reason or file.warning
        ]
        self.files, self._stamps = files, [stamp, *suspect_stamps]
        return True

    def _scan(self) -> Iterator[EngineFile]:
        folder_reason = None if self._is_installed else self._refusal_reason()
        has_warning = not self._is_installed and bool(
            safety.permission_warning(self.path, self.path)
        )
        for path in self.path.iterdir():  # faster than `os.scandir` and a path for each entry
            file_name = path.name
            if not file_name.endswith(SUFFIX) or file_name.startswith("_"):
                continue
            file = EngineFile(file_name.removesuffix(SUFFIX), path, self.origin)
            reason = folder_reason and f"is in a folder that {folder_reason}"
            if name_problem := why_unusable(file.name):
                reason = f"{name_problem}; rename it to {suggested_name(path)}"
            if reason:
                yield replace(file, refusal_reason=reason)
            # One `stat` is enough for nearly all files; the full check takes several.
            elif self._is_installed or (safety.is_safe_file(path) and not has_warning):
                yield file
            elif reason := safety.code_refusal_reason(path, self.path):
                yield replace(file, refusal_reason=reason)
            else:
                yield replace(file, warning=safety.permission_warning(path, self.path))

    def _refusal_reason(self) -> str | None:
        """Return why the files in the folder must not be executed; ``None`` if they may be."""
        # The user chose the folders in GATEWAYX_ENGINES_PATH, so those may be symlinks.
        if self.origin in ("project", "user") and os.path.islink(self.path):
            return "is a symlink; name its target in GATEWAYX_ENGINES_PATH to use it"
        return safety.folder_refusal_reason(self.path)


def _relative_path_problem(path: Path) -> str:
    return (
        f"GATEWAYX_ENGINES_PATH must contain only absolute paths, got {str(path)!r}, which is"
        " ignored."
    )


def engine_folders(config: Config) -> list[EngineFolder]:
    """Return the folders to search, in order of precedence.

    If the project's folder is the shipped one, as in a clone, it counts as shipped.
    """
    paths = config.env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep)
    shipped_folder = shipped_path("engines").resolve()
    candidates: list[tuple[Path, Origin]] = [
        *((Path(path).expanduser(), "path") for path in paths if path),
        *((folder.engines, folder.owner) for folder in config.config_dirs),
        (shipped_folder, "shipped"),
    ]
    # The keys are real paths, so that a folder with two paths is listed once. A symlink or a
    # relative path, which is refused in a project, must neither hide its target folder nor count as
    # that folder.
    folders: dict[Path, EngineFolder] = {}
    for path, origin in candidates:
        is_link = origin in ("project", "user") and os.path.islink(path)
        is_refused = is_link or not path.is_absolute()
        real_path = path if is_refused else path.resolve()
        if real_path == shipped_folder:
            folder = EngineFolder(path, "shipped", is_installed=is_installed(real_path))
        else:
            folder = EngineFolder(path, origin)
        folders.setdefault(real_path, folder)
    return list(folders.values())


def is_installed(path: Path) -> bool:
    """Return whether a path is inside this package: true in a wheel, false in a clone."""
    return path.is_relative_to(Path(__file__).resolve().parents[1])
