"""The selectable engines, with their state, and their models, without widgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.messages import ModelRef
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry import EngineStatus

_UNUSED = ("shadowed",)
"""States of rows that are not separate engines."""


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """One selectable item.

    Attributes:
        reference: Its reference: ``engine`` or ``engine:model``.
        model: The engine's default model; empty if only its code knows, and for a reference that
            names its model.
        ready: Whether it can be called now.
        state: Its state, in a word or two.
        remedy: The command that fixes it, or the problem.
        whole: Whether it is an engine, whose models can be listed.
    """

    reference: str
    model: str = ""
    ready: bool = True
    state: str = "ready"
    remedy: str = ""
    whole: bool = False


class ModelCatalog:
    """Engines and models, updated as they change.

    Args:
        pool: Returns the pool.
    """

    def __init__(self, pool: Callable[[], EnginePool]) -> None:
        self._pool = pool
        self._engines: list[CatalogItem] = []
        self._live: dict[str, list[str]] = {}

    def look(self, *, probe: bool = False) -> bool:
        """Check keys, settings and engine files again; return whether anything changed.

        Args:
            probe: Whether to check if servers on this machine respond.
        """
        rows = self._pool().status(probe=probe)
        engines = [_entry(row) for row in rows if row.state not in _UNUSED]
        engines.sort(key=lambda entry: (not entry.ready, entry.reference))
        changed, self._engines = engines != self._engines, engines
        return changed

    def list_models(self, engine: str) -> int:
        """Add a provider's models to the shelf; return how many there are.

        Raises:
            GatewayError: If they cannot be listed.
        """
        listed: list[ModelInfo] = self._pool().models(engine, live=True)
        self._live[engine] = sorted({one.model for one in listed if _is_name(one.model)})
        return len(self._live[engine])

    @property
    def ready(self) -> list[str]:
        """The engines that can be called now."""
        return [entry.reference for entry in self._engines if entry.ready]

    def entries(self, search: str = "", chosen: Iterable[str] = ()) -> list[CatalogItem]:
        """Return the matching entries, ready ones first.

        Args:
            search: Words that an entry must all contain. A complete reference that is not listed
                is an entry too.
            chosen: References that are always returned, before the others if they do not match.
        """
        words = search.lower().split()
        known = list(self._known())
        found = [entry for entry in known if all(word in _words(entry) for word in words)]
        names = {entry.reference for entry in known}
        typed = search.strip()
        if ":" in typed and typed not in names and ModelRef.parse(typed).engine in self.ready:
            found.append(CatalogItem(typed, state="as typed"))
        shown = {entry.reference for entry in found}
        kept = [self._kept(reference, known) for reference in chosen if reference not in shown]
        return [*kept, *found]

    def _known(self) -> Iterator[CatalogItem]:
        for entry in self._engines:
            yield entry
            if entry.ready:
                for model in self._live.get(entry.reference, ()):
                    yield CatalogItem(f"{entry.reference}:{model}")

    def _kept(self, reference: str, known: list[CatalogItem]) -> CatalogItem:
        """Return the entry of a selected reference, even if it is no longer available."""
        engine = ModelRef.parse(reference).engine
        for entry in known:
            if entry.reference in (reference, engine):
                return CatalogItem(reference, "", entry.ready, entry.state, entry.remedy)
        return CatalogItem(reference, ready=False, state="gone", remedy="`%gatewayx status`")


def _entry(row: EngineStatus) -> CatalogItem:
    remedy = row.error or row.hint
    return CatalogItem(
        row.name, row.model, row.state in ("ready", "replay"), row.state, remedy, whole=True
    )


def _is_name(text: str) -> bool:
    """Return whether a text can be a model name: ipywidgets 7 renders labels as HTML."""
    return bool(text) and text == plain(text) and not set(text) & set("<>&")


def _words(entry: CatalogItem) -> str:
    return f"{entry.reference} {entry.model} {entry.state}".lower()
