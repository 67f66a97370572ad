"""Runs an engine's code and gives its class, or why there is none."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import operator
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.model_registry.isolation import OwnPackage, forget
from gatewayx_nb.secure_config import brief

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from gatewayx_nb.model_registry.folders import EngineFile
    from gatewayx_nb.model_registry.packages import EnginePackage
    from gatewayx_nb.secure_config import Watch

IMPORT_DEADLINE = 10.0
"""Seconds that an engine file may take to import."""


class Loaded:
    """The class of an engine, and the files that were read for it.

    Its modules stay in `sys.modules` until it is retired and nobody holds it: a call that still
    runs may import, pickle or look up a type by its module's name.

    Attributes:
        engine: The class.
    """

    def __init__(
        self, engine: type[LLMEngine], package: str = "", read: Iterable[Watch] = ()
    ) -> None:
        self.engine = engine
        self._package = package
        self._read = read
        self._holders = 0
        self._retired = False

    def is_current(self) -> bool:
        """Tell whether nothing of it has changed; what is installed is taken as it is."""
        return not any(watch.changed() for watch in list(self._read))

    def hold(self) -> None:
        """Count one more instance of it."""
        self._holders += 1

    def release(self) -> None:
        """Count one instance less."""
        self._holders -= 1
        self._forget_if_unused()

    def retire(self) -> None:
        """Say that no new instance will be made."""
        self._retired = True
        self._forget_if_unused()

    def _forget_if_unused(self) -> None:
        if self._retired and self._holders <= 0 and self._package:
            forget(self._package)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an engine cannot be used, and the files that were read before that showed.

    Attributes:
        error: What went wrong.
        read: The files.
        hung: Whether its import was cut off.
    """

    error: EngineLoadError
    read: tuple[Watch, ...]
    hung: bool = False

    def is_current(self) -> bool:
        """Tell whether none of the files has changed since."""
        return not any(watch.changed() for watch in self.read)


def load(file: EngineFile) -> Loaded:
    """Import an engine file and give its class; blocks for `IMPORT_DEADLINE` seconds at most.

    Raises:
        EngineLoadError: It raised, hung, or holds no engine or several.
    """
    outcome = attempt(file)
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def attempt(file: EngineFile) -> Loaded | Failure:
    """Import an engine file and give its class, or why that cannot be had."""
    package = OwnPackage(file.path)
    try:
        module = _imported(f"{package.name}.{file.path.stem}", file.name)
        engine = _only_engine(module)
    except _UnusableError as why:
        error = EngineLoadError(
            f"engine {file.name!r} cannot be loaded: {why}.",
            mend=f"Mend {brief(file.path)}; the next call loads it again.",
            engine=file.name,
        )
        error.__cause__ = why.__cause__
        forget(package.name)
        return Failure(error, tuple(package.read.values()), why.hung)
    return Loaded(engine, package.name, package.read.values())


def attempt_package(source: EnginePackage) -> Loaded | Failure:
    """Import what an entry point names, as it is installed, and give its class, or why not."""
    try:
        module = _imported(source.module, source.name)
        engine = _named(module, source.attribute) if source.attribute else _only_engine(module)
    except _UnusableError as why:
        error = EngineLoadError(
            f"engine {source.name!r} cannot be loaded from {source.where}: {why}.",
            mend=f"Install it anew: `%pip install --force-reinstall {source.package.split()[0]}`.",
            engine=source.name,
        )
        error.__cause__ = why.__cause__
        return Failure(error, (), why.hung)
    return Loaded(engine)


class _UnusableError(Exception):
    """Why a module gives no engine."""

    def __init__(self, why: str, *, hung: bool = False) -> None:
        super().__init__(why)
        self.hung = hung


def _imported(module: str, engine: str) -> ModuleType:
    """Import a module on a thread that is left behind if it hangs."""
    outcome: list[ModuleType | BaseException] = []

    def work() -> None:
        try:
            outcome.append(importlib.import_module(module))
        except BaseException as error:  # noqa: BLE001 - sys.exit() in an engine file is one
            outcome.append(error)

    thread = threading.Thread(target=work, name=f"import {engine}", daemon=True)
    thread.start()
    thread.join(IMPORT_DEADLINE)
    if not outcome:
        raise _UnusableError(f"it was still importing after {IMPORT_DEADLINE:g} s", hung=True)
    if isinstance(outcome[0], BaseException):
        raise _UnusableError(_said(outcome[0])) from outcome[0]
    return outcome[0]


def _only_engine(module: ModuleType) -> type[LLMEngine]:
    """Give the one engine that a module defines."""
    defined = {
        value: None
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, LLMEngine)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }
    usable = [engine for engine in defined if not inspect.isabstract(engine)]
    if len(usable) != 1:
        found = ", ".join(engine.__name__ for engine in usable) or "none"
        abstract = ", ".join(engine.__name__ for engine in defined if not usable)
        only = f" but {abstract}, which is abstract" if abstract else ""
        raise _UnusableError(f"it must define one subclass of LLMEngine; found {found}{only}")
    return _answering(usable[0])


def _named(module: ModuleType, attribute: str) -> type[LLMEngine]:
    """Give the engine of a name in a module."""
    try:
        engine = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise _UnusableError(f"it has no {attribute}") from None
    if not (isinstance(engine, type) and issubclass(engine, LLMEngine)):
        raise _UnusableError(f"{attribute} is no subclass of LLMEngine")
    return _answering(engine)


def _answering(engine: type[LLMEngine]) -> type[LLMEngine]:
    if engine.generate is LLMEngine.generate and engine.stream is LLMEngine.stream:
        raise _UnusableError(f"{engine.__name__} defines neither `generate` nor `stream`")
    return engine


def _said(error: BaseException) -> str:
    """Give an exception as one line, with the line of the file for a syntax error."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError in line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
