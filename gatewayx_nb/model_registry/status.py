"""What is told of an engine, and what a call needs of one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.secure_config import brief

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.sources import Source
    from gatewayx_nb.secure_config import KeyState, Network, Rates, Secret

State = Literal[
    "ready",
    "no key",
    "no base URL",
    "no weights",
    "not running",
    "untrusted",
    "failed",
    "refused",
    "shadowed",
    "replay",
]

_REMEDIES = {
    "no key": "`%gatewayx key set {name}`",
    "no weights": "`%gatewayx pull smollm2`",
    "not running": "start its server",
}


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What is known of an engine, without running it.

    Attributes:
        name: The engine's name.
        model: The model that its bare name calls; empty where only its code knows.
        key: Whether its key is there.
        state: Whether it can be called, else why not.
        source: Where its code comes from, briefly.
        where: The same in full.
        loaded: Whether its code has been run.
        error: What is wrong with it, in one line.
        warning: What is doubtful about it, in one line.
        variable: The variable that its key is read from.
        found_in: Where the key was found.
        last_error: What its last call failed with, in one line; empty where that one succeeded.
        calls: How many calls of this pool have ended, well or not.
        spend: US dollars that those cost whose price is known.
        unpriced: How many used tokens at a price that is not known.
    """

    name: str
    model: str
    key: KeyState | Literal["not needed"]
    state: State
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

    @property
    def remedy(self) -> str:
        """What to do before it can be called; empty where that is not a matter of one step."""
        return _REMEDIES.get(self.state, "").format(name=self.name)


@dataclass(frozen=True, slots=True)
class Target:
    """An engine as it stands now, and the model that a call asks of it.

    Attributes:
        name: The engine's name.
        model: The model named; ``None`` for the engine's own.
        source: Its file or row; ``None`` for an engine that the pool was given.
        given: The engine that the pool was given.
        key: Its key.
        options: Its keywords.
        network: How it reaches its provider.
        rates: How much it is asked at most.
    """

    name: str
    model: str | None
    source: Source | None
    given: LLMEngine | None
    key: Secret
    options: Mapping[str, object]
    network: Network
    rates: Rates

    @property
    def trusted_loop(self) -> bool:
        """Whether it may share an event loop with others: our own code never blocks its loop."""
        source = self.source
        return isinstance(source, EngineRow) or (source is not None and source.origin == "shipped")

    @property
    def place(self) -> str:
        """What to mend where its code is at fault."""
        if isinstance(self.source, EngineFile):
            return brief(self.source.path)
        return self.source.where if self.source else self.name
