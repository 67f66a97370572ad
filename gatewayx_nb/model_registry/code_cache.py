"""Keeps executed engine code until its files change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.files import FileStamp
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.loader import LoadFailure, try_load_file, try_load_package
from gatewayx_nb.model_registry.packages import EnginePackage
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatewayx_nb.model_registry.engine_sources import EngineSource
    from gatewayx_nb.model_registry.folders import EngineFile
    from gatewayx_nb.model_registry.loader import LoadedEngine


@dataclass(frozen=True, slots=True)
class _InstanceFailure:
    """The reason why a class could not be instantiated."""

    reason: str
    loaded: LoadedEngine


class EngineCodeCache:
    """Caches loaded engine code and load failures.

    The cache has no lock: each engine's host performs one load at a time, and a load that hangs
    must not block other engines.
    """

    def __init__(self) -> None:
        self._loaded_engines: dict[EngineSource, LoadedEngine] = {}
        self._load_failures: dict[EngineSource, LoadFailure] = {}
        self._instance_failures: dict[EngineSource, _InstanceFailure] = {}
        self._checked_engines: set[LoadedEngine] = set()

    def recheck(self) -> None:
        """Mark all code as unchecked, so that its files are checked again on their next use."""
        self._checked_engines.clear()

    def current(self, source: EngineSource) -> LoadedEngine | None:
        """Return an engine's code if it is loaded and was unchanged at the last check."""
        loaded_engine = self._loaded_engines.get(source)
        if loaded_engine and loaded_engine not in self._checked_engines:
            if not loaded_engine.is_current():
                return None
            self._checked_engines.add(loaded_engine)
        return loaded_engine

    def load(self, source: EngineSource, key: str = "") -> LoadedEngine:
        """Return an engine's code, loading it if it is not loaded or has changed.

        An import that hung is retried only after its files have changed. Any other failure is
        always retried, because its cause may be elsewhere, for example a missing package. ``key``
        is redacted in error messages.

        Raises:
            EngineLoadError: If the code cannot be used.
        """
        current_engine = self.current(source)
        if current_engine:
            return current_engine
        failure = self._load_failures.get(source)
        if failure is None or not failure.timed_out or not failure.is_current():
            outcome = _load_source(source)
            if not isinstance(outcome, LoadFailure):
                # The old code is retired only now, because it may be in use until the new code is
                # loaded.
                stale_engine = self._loaded_engines.get(source)
                self._loaded_engines[source] = outcome
                self._load_failures.pop(source, None)
                if stale_engine:
                    stale_engine.retire()
                return outcome
            outcome.error.message = redact(outcome.error.message, [key])
            self._load_failures[source] = failure = outcome
        # Raise a copy, because each `raise` extends the exception's traceback.
        error = failure.error
        copied_error = EngineLoadError(error.message, hint=error.hint, engine=error.engine)
        raise copied_error from error.__cause__

    def failure(self, source: EngineSource) -> str:
        """Return why an engine failed; empty if it did not fail or its files have changed since."""
        load_failure = self._load_failures.get(source)
        if load_failure and load_failure.is_current():
            return load_failure.error.message
        failure = self._instance_failures.get(source)
        return failure.reason if failure and failure.loaded is self.current(source) else ""

    def note_instance_failure(self, source: EngineSource, reason: str) -> None:
        """Store why an engine cannot be instantiated, until it works or its code changes."""
        if loaded_engine := self._loaded_engines.get(source):
            self._instance_failures[source] = _InstanceFailure(reason, loaded_engine)

    def note_file_failure(self, source: EngineFile, error: EngineLoadError) -> None:
        """Store why a file's source cannot define an engine, until the file changes."""
        self._load_failures[source] = LoadFailure(error, (FileStamp(source.path),))

    def clear_instance_failure(self, source: EngineSource) -> None:
        """Clear an engine's instance failure, because the engine has been instantiated."""
        self._instance_failures.pop(source, None)

    def forget_failures(self) -> None:
        """Clear all failures, so that the next use loads the code again."""
        self._load_failures.clear()
        self._instance_failures.clear()

    def keep_only(self, sources: Collection[EngineSource]) -> None:
        """Forget the engines that no longer exist."""
        for source in [source for source in self._loaded_engines if source not in sources]:
            self._loaded_engines.pop(source).retire()
        for failures in (self._load_failures, self._instance_failures):
            for source in [source for source in failures if source not in sources]:
                del failures[source]


def _load_source(source: EngineSource) -> LoadedEngine | LoadFailure:
    if isinstance(source, EngineEntry):
        return source.load()
    return try_load_package(source) if isinstance(source, EnginePackage) else try_load_file(source)
