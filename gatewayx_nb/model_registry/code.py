"""The code of engines: executed once, kept until its files change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.model_registry.loader import LoadFailure, attempt, attempt_package
from gatewayx_nb.model_registry.packages import EnginePackage
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatewayx_nb.model_registry.loader import LoadedEngine
    from gatewayx_nb.model_registry.sources import Source


@dataclass(frozen=True, slots=True)
class _Unmade:
    """The reason why a class could not be instantiated."""

    why: str
    loaded: LoadedEngine


class EngineCode:
    """The loaded code of engines, and the failures.

    It has no lock: an engine's host loads it, one load at a time, and a load that hangs must not
    block the others.
    """

    def __init__(self) -> None:
        self._loaded: dict[Source, LoadedEngine] = {}
        self._failed: dict[Source, LoadFailure] = {}
        self._unmade: dict[Source, _Unmade] = {}
        self._looked: set[LoadedEngine] = set()

    def look_again(self) -> None:
        """Mark all code as unchecked: its files are checked again on next use."""
        self._looked.clear()

    def current(self, source: Source) -> LoadedEngine | None:
        """Return an engine's code if it is loaded and was unchanged at the last check."""
        loaded = self._loaded.get(source)
        if loaded and loaded not in self._looked:
            if not loaded.is_current():
                return None
            self._looked.add(loaded)
        return loaded

    def load(self, source: Source, key: str = "") -> LoadedEngine:
        """Return an engine's code, loading it if it is not loaded or has changed.

        An import that hung is not retried until the files change; any other failure may have been
        fixed elsewhere, for example by an installation. ``key`` is redacted in error messages.

        Raises:
            EngineLoadError: If the code cannot be used.
        """
        known = self.current(source)
        if known:
            return known
        failed = self._failed.get(source)
        if failed is None or not failed.hung or not failed.is_current():
            outcome = _run(source)
            if not isinstance(outcome, LoadFailure):
                self._replace(source, outcome)
                return outcome
            outcome.error.message = redact(outcome.error.message, [key])
            self._failed[source] = failed = outcome
        error = failed.error
        raise EngineLoadError(
            error.message, hint=error.hint, engine=error.engine
        ) from error.__cause__

    def failure(self, source: Source) -> str:
        """Return an engine's failure; empty once its files have changed."""
        failed, unmade = self._failed.get(source), self._unmade.get(source)
        if failed and failed.is_current():
            return failed.error.message
        return unmade.why if unmade and unmade.loaded is self.current(source) else ""

    def note_unmade(self, source: Source, why: str) -> None:
        """Keep the reason why an engine has no instance until its code changes or one is made."""
        loaded = self._loaded.get(source)
        if loaded:
            self._unmade[source] = _Unmade(why, loaded)

    def note_made(self, source: Source) -> None:
        """Clear the reason why an instance could not be made."""
        self._unmade.pop(source, None)

    def forget_failures(self) -> None:
        """Clear all failures, so that the next use tries again."""
        self._failed.clear()
        self._unmade.clear()

    def keep_only(self, sources: Collection[Source]) -> None:
        """Forget the engines that no longer exist."""
        for source in [source for source in self._loaded if source not in sources]:
            self._loaded.pop(source).retire()
        for known in (self._failed, self._unmade):
            for source in [source for source in known if source not in sources]:
                del known[source]

    def _replace(self, source: Source, loaded: LoadedEngine) -> None:
        stale = self._loaded.get(source)
        self._loaded[source] = loaded
        self._failed.pop(source, None)
        if stale:
            stale.retire()


def _run(source: Source) -> LoadedEngine | LoadFailure:
    if isinstance(source, EngineRow):
        return source.load()
    return attempt_package(source) if isinstance(source, EnginePackage) else attempt(source)
