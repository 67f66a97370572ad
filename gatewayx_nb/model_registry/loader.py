"""Imports an engine's code and returns its class or the failure."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import operator
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.model_registry.isolation import IsolatedPackage, unload
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from gatewayx_nb.model_registry.folders import EngineFile
    from gatewayx_nb.model_registry.packages import EnginePackage
    from gatewayx_nb.secure_config import FileStamp

IMPORT_TIMEOUT = 10.0
"""Maximum duration of the import of an engine file, in seconds."""

_MAX_SOURCE_LENGTH = 80
"""Maximum number of characters of a source line in an error message."""


class LoadedEngine:
    """The class of an engine, and the files that were read for it.

    The modules remain in `sys.modules` until the engine is retired and has no instances, because
    running calls may import modules, pickle objects, or look up types by module name.

    Reading an attribute may run the class's code, so the attributes for the status are read only
    here, in the thread that imports the class.

    Attributes:
        engine: The class.
        requires_key: Whether the engine needs a key.
        model_name: The default model; empty if unknown.
        features: The supported features.
        unsupported_options: The options that the engine does not support.
    """

    def __init__(
        self, engine: type[LLMEngine], package: str = "", stamps: Iterable[FileStamp] = ()
    ) -> None:
        self.engine = engine
        self.requires_key = bool(engine.requires_key)
        self.model_name = _plain_text(engine.model_name)
        self.features = frozenset(map(_plain_text, engine.features))
        self.unsupported_options = frozenset(map(_plain_text, engine.unsupported_options))
        self._package = package
        self._stamps = stamps
        self._instance_count = 0
        self._is_retired = False

    def is_current(self) -> bool:
        """Return whether all files are unchanged; installed files are not checked."""
        # The list is copied, because an import in another thread may add files in the meantime.
        return not any(stamp.has_changed() for stamp in list(self._stamps))

    def hold(self) -> None:
        """Count an additional instance."""
        self._instance_count += 1

    def release(self) -> None:
        """Count one fewer instance."""
        self._instance_count -= 1
        self._forget_if_unused()

    def retire(self) -> None:
        """Declare that no new instances will be created."""
        self._is_retired = True
        self._forget_if_unused()

    def _forget_if_unused(self) -> None:
        if self._is_retired and self._instance_count <= 0 and self._package:
            unload(self._package)


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """The reason why an engine cannot be used, and the files read before the failure.

    Attributes:
        error: The error.
        stamps: The stamps of the files.
        timed_out: Whether the import timed out.
    """

    error: EngineLoadError
    stamps: tuple[FileStamp, ...]
    timed_out: bool = False

    def is_current(self) -> bool:
        """Return whether none of the files has changed since the failure."""
        return not any(stamp.has_changed() for stamp in self.stamps)


def load(file: EngineFile) -> LoadedEngine:
    """Import an engine file and return its class; block for at most `IMPORT_TIMEOUT` seconds.

    Raises:
        EngineLoadError: If the file raises an exception, hangs, or defines no engine or several.
    """
    outcome = try_load_file(file)
    if isinstance(outcome, LoadFailure):
        raise outcome.error
    return outcome


def try_load_file(file: EngineFile) -> LoadedEngine | LoadFailure:
    """Import an engine file and return its class or the failure."""
    package = IsolatedPackage(file.path)

    def load_class(module: ModuleType) -> LoadedEngine:
        return LoadedEngine(_only_engine(module), package.name, package.stamps.values())

    try:
        name = f"{package.name}.{file.path.stem}"
        return _import_in_thread(name, load_class, file.name, file.path.parent)
    except _UnusableError as failure:
        unload(package.name)
        hint = as_hint(f"Fix {display_path(file.path)}; it is reloaded on the next call.")
        cause = failure.__cause__
        missing_module = cause.name if type(cause) is ModuleNotFoundError else None
        if missing_module and not missing_module.startswith(package.name):
            hint = Hint("install_package", package=missing_module.partition(".")[0]) | hint
        return _load_failure(failure, file.name, "", hint, package.stamps.values())


def try_load_package(source: EnginePackage) -> LoadedEngine | LoadFailure:
    """Import an installed entry point's module and return its class or the failure."""

    def load_class(module: ModuleType) -> LoadedEngine:
        name = source.attribute
        return LoadedEngine(_named_engine(module, name) if name else _only_engine(module))

    try:
        return _import_in_thread(source.module, load_class, source.name)
    except _UnusableError as failure:
        hint = f"Reinstall it: `pip install --force-reinstall {source.package.split()[0]}`."
        return _load_failure(failure, source.name, f" from {source.where}", hint)


def _load_failure(
    failure: _UnusableError,
    name: str,
    place: str,
    hint: Hint | str,
    stamps: Iterable[FileStamp] = (),
) -> LoadFailure:
    message = f"engine {name!r} cannot be loaded{place}: {failure}."
    error = EngineLoadError(message, hint=hint, engine=name)
    error.__cause__ = failure.__cause__
    return LoadFailure(error, tuple(stamps), failure.timed_out)


class _UnusableError(Exception):
    """The module does not provide an engine."""

    timed_out = False


class _ImportTimeoutError(_UnusableError):
    timed_out = True


def _import_in_thread(
    module: str,
    load_class: Callable[[ModuleType], LoadedEngine],
    engine: str,
    folder: Path | None = None,
) -> LoadedEngine:
    """Import a module and load its class in a thread that is abandoned if it hangs.

    Reading the class and describing an exception may also run the module's code.
    """
    outcome: list[LoadedEngine | _UnusableError] = []

    def run_import() -> None:
        try:
            outcome.append(load_class(importlib.import_module(module)))
        except _UnusableError as failure:
            outcome.append(failure)
        except BaseException as error:  # noqa: BLE001 - an engine file may call sys.exit()
            described_error = _UnusableError(_one_line(error, folder))
            described_error.__cause__ = error
            outcome.append(described_error)

    # The thread is a daemon, so that an import that hangs cannot keep the interpreter from exiting.
    thread = threading.Thread(target=run_import, name=f"import {engine}", daemon=True)
    thread.start()
    thread.join(IMPORT_TIMEOUT)
    if not outcome:
        raise _ImportTimeoutError(f"its import took longer than {IMPORT_TIMEOUT:g} s")
    if isinstance(outcome[0], _UnusableError):
        raise outcome[0]
    return outcome[0]


def _only_engine(module: ModuleType) -> type[LLMEngine]:
    """Return the engine class that a module defines; raise if it does not define exactly one."""
    # The dict removes duplicates, because a module may give one class two names.
    defined_engines = {
        value: None
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, LLMEngine)
        and value.__module__ == module.__name__  # excludes imported base classes
        and not name.startswith("_")
    }
    usable_engines = [engine for engine in defined_engines if not inspect.isabstract(engine)]
    if len(usable_engines) != 1:
        class_names = ", ".join(engine.__name__ for engine in usable_engines) or "none"
        abstract_names = ", ".join(
            engine.__name__ for engine in defined_engines if not usable_engines
        )
        abstract_note = f" but {abstract_names}, which is abstract" if abstract_names else ""
        raise _UnusableError(
            f"it must define one subclass of LLMEngine, got {class_names}{abstract_note}"
        )
    return _checked_class(usable_engines[0])


def _named_engine(module: ModuleType, attribute: str) -> type[LLMEngine]:
    """Return the engine with this name from a module."""
    try:
        engine = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise _UnusableError(f"it has no attribute {attribute!r}") from None
    if not (isinstance(engine, type) and issubclass(engine, LLMEngine)):
        raise _UnusableError(f"{attribute} is not a subclass of LLMEngine")
    return _checked_class(engine)


def _checked_class(engine: type[LLMEngine]) -> type[LLMEngine]:
    if engine.generate is LLMEngine.generate and engine.stream is LLMEngine.stream:
        raise _UnusableError(f"{engine.__name__} must define `generate` or `stream`")
    if inspect.isgeneratorfunction(engine.stream):
        raise _UnusableError(f"{engine.__name__}.stream must be `async def`")
    for name in ("features", "unsupported_options", "params"):
        value: Any = getattr(engine, name)  # whatever the engine's author has assigned
        is_collection = isinstance(value, set | frozenset | list | tuple)
        is_valid = is_collection and all(isinstance(item, str) for item in value)
        if not is_valid and not (name == "params" and value is None):
            raise _UnusableError(
                f"{engine.__name__}.{name} must be a set of strings, got {value!r}"
            )
        if is_valid:
            _set_plain(engine, name, value, frozenset(map(_plain_text, value)))
    if not isinstance(engine.prices, str):
        raise _UnusableError(
            f"{engine.__name__}.prices must be a provider's name in genai-prices, got"
            f" {engine.prices!r}; define `get_cost_per_token` to set your own price"
        )
    for name in ("prices", "model_name"):
        value = getattr(engine, name)
        if isinstance(value, str):
            _set_plain(engine, name, value, _plain_text(value))
    return engine


def _set_plain(engine: type[LLMEngine], name: str, value: object, class_value: object) -> None:
    """Replace a class attribute that is computed, or whose value is not of a built-in type."""
    is_plain = type(value) is str or (
        isinstance(value, set | frozenset | list | tuple)
        and type(value) in (set, frozenset, list, tuple)
        and all(type(item) is str for item in value)
    )
    if not is_plain or inspect.getattr_static(engine, name) is not value:
        type.__setattr__(engine, name, class_value)


def _plain_text(value: object) -> str:
    """Return a plain str, converting a subclass instance; empty for any other value."""
    return str.__str__(value) if isinstance(value, str) else ""


def location(error: BaseException, folder: Path | None) -> str:
    """Return the place in the engine's code that raised an exception, as the end of a message.

    >>> location(ValueError(), None)
    ''

    Args:
        error: The exception.
        folder: The folder of the engine's files; ``None`` if there is none.
    """
    frames = traceback.extract_tb(error.__traceback__)
    engine_frames = [frame for frame in frames if folder and Path(frame.filename).parent == folder]
    if not engine_frames:
        return ""
    frame = engine_frames[-1]  # the innermost
    source = f": `{shorten(frame.line, _MAX_SOURCE_LENGTH)}`" if frame.line else ""
    return f" in {Path(frame.filename).name}, line {frame.lineno}{source}"


def _one_line(error: BaseException, folder: Path | None = None) -> str:
    """Format an exception on one line, with the line that raised it."""
    try:
        if isinstance(error, SyntaxError):
            return f"SyntaxError in line {error.lineno}: {error.msg}"
        text = " ".join(str(error).split())
        name = type(error).__name__
        return f"{name}: {text}{location(error, folder)}" if text else str.__str__(name)
    except BaseException:  # noqa: BLE001 - formatting an engine's exception may raise anything
        return "an exception that cannot be shown"
