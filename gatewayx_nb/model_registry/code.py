"""The code of engines: run once, kept while its files stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.model_registry.loader import Failure, attempt, attempt_package
from gatewayx_nb.model_registry.packages import EnginePackage
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatewayx_nb.model_registry.loader import Loaded
    from gatewayx_nb.model_registry.sources import Source


@dataclass(frozen=True, slots=True)
class _Unmade:
    """Why no instance of a class could be made."""

    why: str
    loaded: Loaded


class Code:
    """What was run of the engines, and what failed.

    No lock: an engine's host loads it, one load at a time, and one that hangs must not hold up the
    others.
    """

    def __init__(self) -> None:
        self._loaded: dict[Source, Loaded] = {}
        self._failed: dict[Source, Failure] = {}
        self._unmade: dict[Source, _Unmade] = {}
        self._looked: set[Loaded] = set()

    def look_again(self) -> None:
        """Take nothing for unchanged any more: its files are looked at when it is next used."""
        self._looked.clear()

    def current(self, source: Source) -> Loaded | None:
        """Give an engine's code if it was run and nothing of it had changed at the last look."""
        loaded = self._loaded.get(source)
        if loaded and loaded not in self._looked:
            if not loaded.is_current():
                return None
            self._looked.add(loaded)
        return loaded

    def load(self, source: Source, key: str = "") -> Loaded:
        """Give an engine's code, running it unless that was done and nothing changed.

        One that hung is not tried again until it changes; any other failure may have been mended
        elsewhere, by an installation for instance. What it says is told without its ``key``.

        Raises:
            EngineLoadError: It cannot be used.
        """
        known = self.current(source)
        if known:
            return known
        failed = self._failed.get(source)
        if failed is None or not failed.hung or not failed.is_current():
            outcome = _run(source)
            if not isinstance(outcome, Failure):
                self._replace(source, outcome)
                return outcome
            outcome.error.what = redact(outcome.error.what, [key])
            self._failed[source] = failed = outcome
        error = failed.error
        raise EngineLoadError(error.what, mend=error.mend, engine=error.engine) from error.__cause__

    def failure(self, source: Source) -> str:
        """Tell what went wrong with an engine; nothing once its files have changed."""
        failed, unmade = self._failed.get(source), self._unmade.get(source)
        if failed and failed.is_current():
            return failed.error.what
        return unmade.why if unmade and unmade.loaded is self.current(source) else ""

    def note_unmade(self, source: Source, why: str) -> None:
        """Keep why an instance could not be made, until its code changes or one can be made."""
        loaded = self._loaded.get(source)
        if loaded:
            self._unmade[source] = _Unmade(why, loaded)

    def note_made(self, source: Source) -> None:
        """Forget why an instance could not be made."""
        self._unmade.pop(source, None)

    def forget_failures(self) -> None:
        """Drop what is known of failures, so that the next use tries again."""
        self._failed.clear()
        self._unmade.clear()

    def keep_only(self, sources: Collection[Source]) -> None:
        """Drop what is known of engines that are gone."""
        for source in [source for source in self._loaded if source not in sources]:
            self._loaded.pop(source).retire()
        for known in (self._failed, self._unmade):
            for source in [source for source in known if source not in sources]:
                del known[source]

    def _replace(self, source: Source, loaded: Loaded) -> None:
        stale = self._loaded.get(source)
        self._loaded[source] = loaded
        self._failed.pop(source, None)
        if stale:
            stale.retire()


def _run(source: Source) -> Loaded | Failure:
    if isinstance(source, EngineRow):
        return source.load()
    return attempt_package(source) if isinstance(source, EnginePackage) else attempt(source)
