"""What can be chosen: engines with their state, and models of theirs; no widgets here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb import rendering
from gatewayx_nb.messages import ModelRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry import EngineStatus

_UNUSED = ("shadowed",)
"""States of rows that are no engine of their own."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of what can be chosen.

    Attributes:
        reference: What is asked: ``engine`` or ``engine:model``.
        model: The model that a bare engine calls; empty where only its code knows, and for a
            reference that names its model.
        ready: Whether it can be called now.
        state: How it stands, in a word or two.
        remedy: The command that mends it, or what is wrong.
        whole: Whether it is an engine, whose models can be listed.
    """

    reference: str
    model: str = ""
    ready: bool = True
    state: str = "ready"
    remedy: str = ""
    whole: bool = False


class Shelf:
    """Engines and models, as they come and go.

    Args:
        pool: Gives the pool.
    """

    def __init__(self, pool: Callable[[], EnginePool]) -> None:
        self._pool = pool
        self._engines: list[Entry] = []
        self._live: dict[str, list[str]] = {}

    def look(self, *, probe: bool = False) -> bool:
        """Look at keys, settings and engine files again; tell whether anything changed.

        Args:
            probe: Whether to ask servers on this machine if they answer.
        """
        rows = self._pool().status(probe=probe)
        engines = [_entry(row) for row in rows if row.state not in _UNUSED]
        engines.sort(key=lambda entry: (not entry.ready, entry.reference))
        changed, self._engines = engines != self._engines, engines
        return changed

    def list_models(self, engine: str) -> int:
        """Ask a provider for its models, which are then on the shelf; give how many there are.

        Raises:
            GatewayError: It cannot be asked.
        """
        listed: list[ModelInfo] = self._pool().models(engine, live=True)
        self._live[engine] = sorted({one.model for one in listed if _is_name(one.model)})
        return len(self._live[engine])

    @property
    def ready(self) -> list[str]:
        """The engines that can be called now."""
        return [entry.reference for entry in self._engines if entry.ready]

    def entries(self, search: str = "", chosen: Iterable[str] = ()) -> list[Entry]:
        """Give what matches, the ready ones first.

        Args:
            search: Words that an entry must hold, all of them. A whole reference that is not listed
                is an entry too.
            chosen: References that are given in any case, and before the others where they match
                nothing.
        """
        words = search.lower().split()
        known = list(self._known())
        found = [entry for entry in known if all(word in _words(entry) for word in words)]
        names = {entry.reference for entry in known}
        typed = search.strip()
        if ":" in typed and typed not in names and ModelRef.parse(typed).engine in self.ready:
            found.append(Entry(typed, state="as typed"))
        shown = {entry.reference for entry in found}
        kept = [self._kept(reference, known) for reference in chosen if reference not in shown]
        return [*kept, *found]

    def _known(self) -> Iterator[Entry]:
        for entry in self._engines:
            yield entry
            if entry.ready:
                for model in self._live.get(entry.reference, ()):
                    yield Entry(f"{entry.reference}:{model}")

    def _kept(self, reference: str, known: list[Entry]) -> Entry:
        """Give the entry of a reference that was chosen, whether or not it is there still."""
        engine = ModelRef.parse(reference).engine
        for entry in known:
            if entry.reference in (reference, engine):
                return Entry(reference, "", entry.ready, entry.state, entry.remedy)
        return Entry(reference, ready=False, state="gone", remedy="`%gatewayx status`")


def _entry(row: EngineStatus) -> Entry:
    remedy = row.error or row.remedy
    return Entry(
        row.name, row.model, row.state in ("ready", "replay"), row.state, remedy, whole=True
    )


def _is_name(text: str) -> bool:
    """Tell whether a provider's text can be a model's name: ipywidgets 7 shows labels as HTML."""
    return bool(text) and text == rendering.plain(text) and not set(text) & set("<>&")


def _words(entry: Entry) -> str:
    return f"{entry.reference} {entry.model} {entry.state}".lower()
