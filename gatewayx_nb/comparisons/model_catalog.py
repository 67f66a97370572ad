"""Lists and searches the engines and models that can be selected."""

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
        state: The state of the engine, in one or two words.
        note: The problem, or how to fix it; empty if there is no problem.
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
        # A shadowed engine has been replaced by another engine with the same name.
        engines = [_engine_item(row) for row in rows if row.state != "shadowed"]
        engines.sort(key=lambda item: (not item.is_ready, item.reference))
        has_changed, self._engines = engines != self._engines, engines
        return has_changed

    def load_models(self, engine: str) -> int:
        """Add the models of an engine's provider to the catalog; return their number.

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
        """Return the matching items; engines that are ready, and their models, come first.

        Args:
            query: Words that must all occur in an item. A reference that no item has becomes an
                item of its own.
            selected: References that are always returned; those that do not match come first.
        """
        words = query.lower().split()
        items = list(self._items())
        matching_items = [
            item for item in items if all(word in item.searched_text for word in words)
        ]
        references = {item.reference for item in items}
        typed_reference = query.strip()  # a provider may accept models that it does not list
        if (
            ":" in typed_reference
            and typed_reference not in references
            and ModelRef.parse(typed_reference).engine in self.ready_engines
        ):
            matching_items.append(CatalogItem(typed_reference, state="as typed"))
        matching_references = {item.reference for item in matching_items}
        other_references = (
            reference for reference in selected if reference not in matching_references
        )
        return [
            *(self._selected_item(reference, items) for reference in other_references),
            *matching_items,
        ]

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
        # The item is kept, because the selection must not change by itself.
        note = render(Hint("list_engines"))
        return CatalogItem(reference, is_ready=False, state="gone", note=note)


def _engine_item(row: EngineStatus) -> CatalogItem:
    is_ready, note = row.state in ("ready", "replay"), row.error or row.hint
    return CatalogItem(row.name, row.model, is_ready, row.state, note, is_engine=True)


def _is_model_name(text: str) -> bool:
    """Return whether a string is a safe model name; ipywidgets 7 would render HTML in it."""
    return bool(text) and text == plain(text) and not set(text) & set("<>&")
