"""Creates a separate package for each engine file; its modules are always compiled from source.

The package ``gatewayx_nb.engines_<digest>`` has the file's folder as its ``__path__``, so that
``from ..llm_engines import LLMEngine`` and ``from ._shared import x`` work, and so that folders do
not share modules. Each load creates a new package, so that running calls keep the old code, and
changed helper modules are read again. Bytecode is neither read nor written: its cache compares
times in whole seconds, so it could return code from before an edit. Compiled files, such as
``_shared.pyc`` and ``_shared.so``, are not imported, because only source files are checked.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.model_registry import safety
from gatewayx_nb.secure_config import FileStamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

_PACKAGE_PREFIX = "gatewayx_nb.engines_"
_load_numbers = itertools.count()  # no lock is needed, because `next` is atomic in CPython


class IsolatedPackage:
    """The importable package that one load of an engine file creates."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self.stamps: dict[Path, FileStamp] = {}
        digest = hashlib.blake2b(str(path).encode(errors="replace"), digest_size=6).hexdigest()
        self.name = f"{_PACKAGE_PREFIX}{digest}_{next(_load_numbers)}"
        self._install()

    def _install(self) -> None:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            # This finder goes first, because the standard finder would also find the files, and
            # would cache bytecode.
            sys.meta_path.insert(0, _Finder())
        module = ModuleType(self.name)
        # The spec has no loader: the package has no code, only a path.
        spec = importlib.machinery.ModuleSpec(self.name, None, is_package=True)
        spec.submodule_search_locations = [str(self._folder)]
        module.__spec__ = spec
        module.__path__ = [str(self._folder)]
        _Finder.folders[self.name] = self
        sys.modules[self.name] = module

    def find(self, relative_name: str) -> Path | None:
        """Return the source file of a module in the package, or the folder of a subpackage."""
        base = self._folder.joinpath(*relative_name.split("."))
        for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if path.is_file():
                return path
            self.stamps[path] = FileStamp(path)  # so that the creation of the file is noticed
        return base if base.is_dir() else None

    def check_and_record(self, path: Path) -> None:
        """Record a file's stamp before it is read, and check that it may be executed.

        Raises:
            ImportError: If other users can change the file or its folder, or if the file is outside
                the folder.
        """
        self.stamps[path] = FileStamp(path)
        refusal = safety.code_refusal_reason(path, self._folder)
        for folder in path.parents[: len(path.relative_to(self._folder).parts) - 1]:
            problem = safety.folder_refusal_reason(folder)
            refusal = refusal or (problem and f"is in a folder that {problem}")
        if refusal:
            raise ImportError(f"{path.name} {refusal}")


class _Finder(importlib.abc.MetaPathFinder):
    """Finder for modules in isolated packages."""

    folders: dict[str, IsolatedPackage] = {}  # noqa: RUF012 - one per process, like sys.modules

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_PACKAGE_PREFIX):
            return None
        root, _, relative_name = fullname.removeprefix("gatewayx_nb.").partition(".")
        package = self.folders.get(f"gatewayx_nb.{root}")
        if not relative_name:
            return None
        source = package.find(relative_name) if package else None
        if package is None or source is None:
            # After None, Python's own finder would import a compiled file.
            missing_file = f"{relative_name.replace('.', '/')}.py"
            raise ModuleNotFoundError(f"the engine's folder has no {missing_file}", name=fullname)
        if source.is_dir():
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(source)]
            return spec
        locations = [str(source.parent)] if source.name == "__init__.py" else None
        loader = _Loader(fullname, str(source), package)
        return importlib.util.spec_from_file_location(
            fullname, source, loader=loader, submodule_search_locations=locations
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Loader that compiles the source file each time."""

    def __init__(self, fullname: str, path: str, package: IsolatedPackage) -> None:
        super().__init__(fullname, path)
        self._package = package

    @override
    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.path)
        self._package.check_and_record(path)
        # By default, `compile` would apply this module's own `from __future__` imports.
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


def unload(package: str) -> None:
    """Remove a package's modules from `sys.modules`; running code keeps them alive."""
    for name in [name for name in list(sys.modules) if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
    _Finder.folders.pop(package, None)
