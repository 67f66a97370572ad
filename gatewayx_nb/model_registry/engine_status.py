"""Defines the status of an engine, and the target of a call."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.calls import RowFolding, Table, TableColumn
from gatewayx_nb.hints import Hint, as_hint, render
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import known_and_unpriced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.engine_sources import EngineSource
    from gatewayx_nb.secure_config import KeyState, Network, Rates, Secret

_BlockedState = Literal["no key", "no base URL", "no weights", "not running", "untrusted"]
_UnusableState = Literal["failed", "refused", "shadowed"]
EngineState = Literal["ready", "replay", _BlockedState, _UnusableState]

_REMEDIES: Mapping[EngineState, Callable[[str], Hint]] = {
    "no key": lambda engine: Hint("set_key", engine=engine),
    "no weights": lambda _engine: Hint("pull", model="smollm2"),
    "not running": lambda _engine: as_hint("Start its server."),
}


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The status of an engine, determined without executing it.

    Attributes:
        name: The engine's name.
        model: The default model; empty if only the engine's code defines it.
        key: The state of the engine's key, or ``"not needed"``.
        state: Whether the engine can be called and, if not, why.
        source: The location of the engine's code, in short form.
        where: The full location of the engine's code.
        loaded: Whether the engine's code has been executed.
        error: What prevents calls to the engine, in one line; empty if there is no error.
        warning: A warning about the engine's file or entry, in one line; empty if there is none.
        variable: The variable from which the key is read.
        found_in: The environment or file in which the key is set.
        last_error: The error of the last call, in one line; empty if the call succeeded.
        calls: Number of this pool's finished calls, including failed ones.
        spend: Cost in US dollars of the calls whose price is known.
        unpriced: Number of calls that used tokens whose number or price is unknown.
        features: The supported features, sorted, as in `LLMEngine.features`; empty if unknown.
    """

    name: str
    model: str
    key: KeyState | Literal["not needed"]
    state: EngineState
    source: str
    where: str = ""
    loaded: bool = False
    error: str = ""
    warning: str = ""
    variable: str = ""
    found_in: str = ""
    last_error: str = ""
    calls: int = 0
    spend: Decimal = Decimal(0)
    unpriced: int = 0
    features: tuple[str, ...] = ()

    @property
    def readiness(self) -> Literal["ready", "one step", "idle"]:
        """Whether the engine is ready, needs one more step (see `hint`), or is not set up."""
        if self.state in ("ready", "replay"):
            return "ready"
        is_not_set_up = self.state in _NOT_SET_UP and self.key != "placeholder"
        return "idle" if is_not_set_up or self.state == "shadowed" else "one step"

    @property
    def hint(self) -> str:
        """The step needed before the engine can be called, in the current front end's wording.

        Empty if no single step is known.
        """
        remedy = _REMEDIES.get(self.state)
        return render(remedy(self.name)) if remedy else ""

    @property
    def to_do(self) -> str:
        """The error, the step that fixes it, the warning, and the error of the last call."""
        last_call = f"Last call: {self.last_error}" if self.last_error else ""
        parts = filter(None, (self.error, self.hint, self.warning, last_call))
        return "; ".join(parts).replace(".; ", ". ")


_NOT_SET_UP: tuple[EngineState, ...] = ("no key", "not running")
_READINESS_ORDER = ("ready", "one step", "idle")
_INPUT_FEATURES = ("tools", "images")
"""The features that the column ``takes`` shows besides text, in this order."""

_STATES: Mapping[EngineState, str] = {
    "replay": "✓ replayed",
    "no key": "needs a key",
    "no base URL": "needs a URL",
    "no weights": "needs weights",
    "not running": "not running",
    "untrusted": "needs trust",
    "failed": "✗ failed",
    "refused": "✗ refused",
}


def _state(row: EngineStatus) -> str:
    if row.state == "ready":
        return "✓ ready, key set" if row.key == "set" else "✓ ready"
    if row.state == "no key" and row.key == "placeholder":
        return "placeholder key"
    return _STATES.get(row.state, row.state)


def _state_and_step(row: EngineStatus) -> str:
    """Return the state of an engine and, unless it is ready, the next step."""
    # Both are in one column, because a narrow page has no space for two.
    separator = ". " if row.to_do[:1].isupper() else ": "
    return f"{_state(row)}{separator}{row.to_do}" if row.to_do else _state(row)


def _input_types_text(row: EngineStatus) -> str:
    names = [name for name in _INPUT_FEATURES if name in row.features]
    return ", ".join(["text", *names]) if row.features else ""


def _spend_text(row: EngineStatus) -> str:
    calls = f"{row.calls:,} call{'' if row.calls == 1 else 's'}"
    return f"{calls}, {known_and_unpriced(row.spend, row.unpriced)}" if row.calls else ""


def _is_not_set_up(row: EngineStatus) -> bool:
    return row.readiness == "idle"


def _not_set_up_lines(rows: Sequence[EngineStatus]) -> Iterator[str]:
    """Yield one line that names the engines that are not set up and explains how to set one up."""
    names = {
        state: ", ".join(row.name for row in rows if row.state == state)
        for state in (*_NOT_SET_UP, "shadowed")
    }
    sentences = []
    if names["no key"]:
        step = render(Hint("set_key", engine="NAME"))
        sentences.append(f"Without a key: {names['no key']}. {step}")
    if names["not running"]:
        sentences.append(f"Server not running: {names['not running']}.")
    if names["shadowed"]:
        sentences.append(f"Replaced by a file of the same name: {names['shadowed']}.")
    if sentences:
        yield " ".join(sentences)


ENGINE_COLUMNS: tuple[TableColumn[EngineStatus], ...] = (
    TableColumn("engine", attrgetter("name")),
    TableColumn("state", _state_and_step),
    TableColumn("model", attrgetter("model"), optional=True),
    TableColumn("takes", _input_types_text, optional=True),
    TableColumn("spend", _spend_text, optional=True),
)
"""The columns of a table of engines."""

_FOLDING: RowFolding[EngineStatus] = RowFolding(_is_not_set_up, _not_set_up_lines)


def engine_table(rows: Iterable[EngineStatus], notes: Iterable[str] = ()) -> Table[EngineStatus]:
    """Return a table of engines: ready engines first, and one line for those not set up."""
    ordered_rows = sorted(rows, key=lambda row: _READINESS_ORDER.index(row.readiness))
    return Table(ordered_rows, ENGINE_COLUMNS, notes, _FOLDING)


@dataclass(frozen=True, slots=True)
class Target:
    """An engine in its current state, and the model requested in a call.

    Attributes:
        name: The engine's name.
        model: The requested model; ``None`` for the engine's default.
        source: The engine's file or entry; ``None`` for an engine passed to the pool.
        instance: The engine passed to the pool.
        key: The engine's key.
        options: The engine's keyword arguments.
        network: Network settings for the provider.
        rates: The engine's rate limits.
        headers: Additional HTTP headers from the settings.
    """

    name: str
    model: str | None
    source: EngineSource | None
    instance: LLMEngine | None
    key: Secret
    options: Mapping[str, object]
    network: Network
    rates: Rates
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def may_share_loop(self) -> bool:
        """Whether the engine can share an event loop; only shipped code is known not to block."""
        source = self.source
        return isinstance(source, EngineEntry) or (
            source is not None and source.origin == "shipped"
        )

    @property
    def folder(self) -> Path | None:
        """The folder that contains the engine's code; ``None`` for entries."""
        if isinstance(self.source, EngineFile):
            return self.source.path.parent
        module = sys.modules.get(type(self.instance).__module__)
        file = getattr(module, "__file__", None)  # a class defined in a notebook has no file
        return Path(file).parent if self.instance and file else None

    @property
    def code_location(self) -> str:
        """The file or package that contains the engine's code, where a fault must be fixed."""
        if isinstance(self.source, EngineFile):
            return display_path(self.source.path)
        return self.source.where if self.source else self.name


def lacks_base_url(source: EngineSource | None, options: Mapping[str, object]) -> bool:
    """Return whether an engine is an entry for which no base URL is set."""
    return isinstance(source, EngineEntry) and not (source.base_url or options.get("base_url"))
