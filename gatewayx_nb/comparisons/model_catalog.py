"""The engines that can be selected, with their states and models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.hints import Hint, render
from gatewayx_nb.messages import ModelRef
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry import EngineStatus


class ModelSource(Protocol):
    """Lists engines and models; `EnginePool` implements it."""

    def status(self, *, probe: bool = False) -> Sequence[EngineStatus]:
        """Return the status of all engines."""

    def models(self, engine: str | None = None, *, live: bool = False) -> Sequence[ModelInfo]:
        """Return an engine's models."""


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """An engine or a model that can be selected.

    Attributes:
        reference: ``engine`` or ``engine:model``.
        model: The engine's default model; empty if only the engine's code defines it, or if the
            reference names a model.
        is_ready: Whether the engine or model can be called now.
        state: The state, in a word or two.
        note: The problem, or how to fix it.
        is_engine: Whether the item is an engine, whose models can be listed.
    """

    reference: str
    model: str = ""
    is_ready: bool = True
    state: str = "ready"
    note: str = ""
    is_engine: bool = False

    @property
    def searched_text(self) -> str:
        """The lower-case text against which a query is matched."""
        return f"{self.reference} {self.model} {self.state}".lower()


class ModelCatalog:
    """The selectable engines and models; `refresh` updates them.

    Args:
        get_pool: Returns the pool.
    """

    def __init__(self, get_pool: Callable[[], ModelSource]) -> None:
        self._get_pool = get_pool
        self._engines: list[CatalogItem] = []
        self._models: dict[str, list[str]] = {}

    def refresh(self, *, probe: bool = False) -> bool:
        """Check keys, settings and engine files again; return whether anything changed.

        Args:
            probe: Whether to contact local servers.
        """
        rows = self._get_pool().status(probe=probe)
        # The engine of a shadowed row has been replaced by another with the same name.
        engines = [_engine_item(row) for row in rows if row.state != "shadowed"]
        engines.sort(key=lambda item: (not item.is_ready, item.reference))
        changed, self._engines = engines != self._engines, engines
        return changed

    def load_models(self, engine: str) -> int:
        """Add a provider's models to the catalog; return their number.

        Raises:
            GatewayError: If the models cannot be listed.
        """
        models = self._get_pool().models(engine, live=True)
        self._models[engine] = sorted({info.model for info in models if _is_model_name(info.model)})
        return len(self._models[engine])

    @property
    def ready_engines(self) -> list[str]:
        """The engines that can be called now."""
        return [item.reference for item in self._engines if item.is_ready]

    def search(self, query: str = "", selected: Iterable[str] = ()) -> list[CatalogItem]:
        """Return the matching items, ready ones first.

        Args:
            query: Words that must all occur in an item. A complete reference that is not listed is
                also returned.
            selected: References that are always returned; non-matching ones come first.
        """
        words = query.lower().split()
        items = list(self._items())
        matches = [item for item in items if all(word in item.searched_text for word in words)]
        references = {item.reference for item in items}
        typed_reference = query.strip()  # a provider may accept models that it does not list
        if (
            ":" in typed_reference
            and typed_reference not in references
            and ModelRef.parse(typed_reference).engine in self.ready_engines
        ):
            matches.append(CatalogItem(typed_reference, state="as typed"))
        listed = {item.reference for item in matches}
        unlisted = (reference for reference in selected if reference not in listed)
        return [*(self._selected_item(reference, items) for reference in unlisted), *matches]

    def _items(self) -> Iterator[CatalogItem]:
        for engine in self._engines:
            yield engine
            if engine.is_ready:
                for model in self._models.get(engine.reference, ()):
                    yield CatalogItem(f"{engine.reference}:{model}")

    def _selected_item(self, reference: str, items: list[CatalogItem]) -> CatalogItem:
        """Return the item of a selected reference, even if it is no longer available."""
        engine = ModelRef.parse(reference).engine
        for item in items:
            if item.reference == reference:
                return item
            if item.reference == engine:
                return CatalogItem(reference, "", item.is_ready, item.state, item.note)
        # Keep the item, because the selection must not change by itself.
        note = render(Hint("list_engines"))
        return CatalogItem(reference, is_ready=False, state="gone", note=note)


def _engine_item(row: EngineStatus) -> CatalogItem:
    is_ready, note = row.state in ("ready", "replay"), row.error or row.hint
    return CatalogItem(row.name, row.model, is_ready, row.state, note, is_engine=True)


def _is_model_name(text: str) -> bool:
    """Return whether a string can be a model name; ipywidgets 7 would render any HTML in it."""
    return bool(text) and text == plain(text) and not set(text) & set("<>&")
