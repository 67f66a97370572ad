"""Runs an engine file, from source alone, in a package of its own.

The package ``gatewayx_nb.engines_<digest>`` has the file's folder as its whole ``__path__``: there
``from ..llm_engines import LLMEngine`` and ``from ._shared import x`` work, and two folders never
mix. Every load makes a new package, so that a call that still runs on the old code keeps it, and a
helper that was changed is read again. No bytecode is read or written: a cache compares times of
whole seconds and would serve the code before an edit.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import itertools
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.secure_config import Stamp, stamp, why_refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

    from gatewayx_nb.model_registry.folders import EngineFile

IMPORT_DEADLINE = 10.0
"""Seconds that an engine file may take to import."""

_ROOT = "gatewayx_nb.engines_"
_serial = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The class of an engine, and the files that were read for it as they were then.

    Attributes:
        engine: The class.
        package: The package that its file was loaded in; ``None`` for a row, which has no code.
        read: The files, with their stamps before they were read.
    """

    engine: type[LLMEngine]
    package: str | None
    read: dict[Path, Stamp | None]

    def is_current(self) -> bool:
        """Tell whether none of the files has changed since."""
        return all(stamp(path) == then for path, then in self.read.items())

    def forget(self) -> None:
        """Take its modules out of `sys.modules`; what runs keeps them alive."""
        if self.package is not None:
            _forget(self.package)


def load(file: EngineFile, deadline: float = IMPORT_DEADLINE) -> Loaded:
    """Import an engine file and give its class; blocks for ``deadline`` seconds at most.

    Raises:
        EngineLoadError: It raised, hung, or holds no engine or several.
    """
    package = _Package(file)
    failure = package.run(deadline)
    if failure is None:
        try:
            return Loaded(package.engine(), package.name, package.read)
        except EngineLoadError as error:
            failure = error
    _forget(package.name)
    raise failure


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
    _Finder.folders.pop(package, None)


class _Package:
    """One load of an engine file."""

    def __init__(self, file: EngineFile) -> None:
        self._file = file
        self._folder = file.path.parent
        self.read: dict[Path, Stamp | None] = {}
        digest = hashlib.blake2b(str(file.path).encode(errors="replace"), digest_size=6).hexdigest()
        self.name = f"{_ROOT}{digest}_{next(_serial)}"

    def run(self, deadline: float) -> EngineLoadError | None:
        """Import the file on a thread that is left behind if it hangs; give what went wrong."""
        outcome: list[BaseException | None] = []

        def work() -> None:
            try:
                importlib.import_module(f"{self.name}.{self._file.path.stem}")
                outcome.append(None)
            except BaseException as error:  # noqa: BLE001 - sys.exit() in an engine file is one
                outcome.append(error)

        self._install()
        thread = threading.Thread(target=work, name=f"import {self._file.name}", daemon=True)
        thread.start()
        thread.join(deadline)
        if not outcome:
            return self._error(f"it was still importing after {deadline:g} s")
        error = outcome[0]
        return None if error is None else self._error(_said(error), error)

    def engine(self) -> type[LLMEngine]:
        """Give the one engine that the file defines."""
        module = sys.modules[f"{self.name}.{self._file.path.stem}"]
        defined = {
            value: None
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, LLMEngine)
            and value.__module__ == module.__name__
            and not name.startswith("_")
            and not inspect.isabstract(value)
        }
        if len(defined) != 1:
            found = ", ".join(engine.__name__ for engine in defined) or "none"
            raise self._error(f"it must define one subclass of LLMEngine; found {found}")
        (engine,) = defined
        if engine.generate is LLMEngine.generate and engine.stream is LLMEngine.stream:
            raise self._error(f"{engine.__name__} defines neither `generate` nor `stream`")
        return engine

    def _install(self) -> None:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        module = ModuleType(self.name)
        spec = importlib.machinery.ModuleSpec(self.name, None, is_package=True)
        spec.submodule_search_locations = [str(self._folder)]
        module.__spec__ = spec
        module.__path__ = [str(self._folder)]
        _Finder.folders[self.name] = self
        sys.modules[self.name] = module

    def _error(self, why: str, cause: BaseException | None = None) -> EngineLoadError:
        error = EngineLoadError(
            f"engine {self._file.name!r} cannot be loaded: {why}.",
            mend=f"Mend {self._file.path}; the next call loads it again.",
            engine=self._file.name,
        )
        error.__cause__ = cause
        return error

    def find(self, relative: str) -> Path | None:
        """Give the source file of a module below the package."""
        base = self._folder.joinpath(*relative.split("."))
        candidates = (base.with_name(f"{base.name}.py"), base / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)

    def admit(self, path: Path) -> None:
        """Note that a file is read now, unless it must not be run.

        Raises:
            ImportError: It may be changed by others, or leaves its folder.
        """
        refusal = why_refused(path, self._folder)
        if refusal:
            raise ImportError(f"{path.name} {refusal}")
        self.read[path] = stamp(path)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the packages made here, and no others."""

    folders: dict[str, _Package] = {}  # noqa: RUF012 - one for the process, as sys.modules is

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_ROOT):
            return None
        root, _, relative = fullname.removeprefix("gatewayx_nb.").partition(".")
        package = self.folders.get(f"gatewayx_nb.{root}")
        source = package.find(relative) if package and relative else None
        if package is None or source is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            source,
            loader=_Loader(fullname, str(source), package),
            submodule_search_locations=(
                [str(source.parent)] if source.name == "__init__.py" else None
            ),
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a source file each time."""

    def __init__(self, fullname: str, path: str, package: _Package) -> None:
        super().__init__(fullname, path)
        self._package = package

    @override
    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.path)
        self._package.admit(path)
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)


def _said(error: BaseException) -> str:
    """Give an exception as one line, with the line of the file for a syntax error."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
