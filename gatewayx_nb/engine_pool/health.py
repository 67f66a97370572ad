"""Checks the health of engines concurrently."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.engine_pool.probe import is_healthy, listening_servers
from gatewayx_nb.errors import EngineNotFoundError, GatewayError, UsageError
from gatewayx_nb.hints import Hint, render
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

    from gatewayx_nb.engine_pool.probe import Prober
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import ModelRegistry, Target

HEALTH_TIMEOUT = 10.0
"""Maximum seconds for each engine to answer."""

_CHECKED_STATES = ("ready", "failed", "refused")
"""States in which engines are checked; in other states, a key or server is missing."""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """The result of an engine's health check.

    Attributes:
        engine: The engine's name.
        ok: Whether the engine works.
        latency: Seconds until the engine answered; ``None`` if it did not answer.
        error: The problem and its fix, in one line; empty if the engine works.
    """

    engine: str
    ok: bool
    latency: float | None = None
    error: str = ""


def _works_cell(row: EngineHealth) -> str:
    return "yes" if row.ok else "no"


def _latency_cell(row: EngineHealth) -> str:
    return "" if row.latency is None else f"{row.latency:.2f} s"


HEALTH_COLUMNS: tuple[TableColumn[EngineHealth], ...] = (
    TableColumn("engine", attrgetter("engine")),
    TableColumn("works", _works_cell),
    TableColumn("latency", _latency_cell, "right"),
    TableColumn("to do", attrgetter("error")),
)
"""The columns of a table of health checks."""


def check_health(
    prober: Prober, registry: ModelRegistry, names: Sequence[str], usage: UsageTracker
) -> Coroutine[None, None, Table[EngineHealth]]:
    """Find the engines to check, and return a coroutine that checks them.

    Args:
        prober: Queries the engines.
        registry: The known engines.
        names: Names of engines; if empty, all engines that can be checked.
        usage: Provides the outcome of each engine's last call.

    Raises:
        EngineNotFoundError: If a name is unknown.
    """
    servers = {} if names else registry.engines.servers()
    rows = [row for row in registry.engines.rows() if row.state in _CHECKED_STATES]
    # A file that failed or is refused becomes a row of the result without being executed.
    is_skipped = {
        row.name: row.state == "ready" and registry.engines.is_project_engine(row.name)
        for row in rows
    }
    skipped_names = [] if names else [name for name in is_skipped if is_skipped[name]]
    names_to_check = names or [name for name in is_skipped if not is_skipped[name]]
    targets: dict[str, Target | GatewayError] = {}
    # Remove duplicates: a local server known to be running is in both lists.
    for name in dict.fromkeys([*names_to_check, *servers]):
        try:
            targets[name] = registry.resolve(name)
        except GatewayError as error:
            if names and isinstance(error, EngineNotFoundError):
                raise  # a misspelt name; other errors become rows of the result
            targets[name] = error
    return _check(prober, targets, servers, usage, skipped_names)


def check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of engines that were passed to `EnginePool.health`.

    Raises:
        UsageError: If a name is not a str.
    """
    for name in names:
        if not isinstance(name, str):
            raise UsageError(
                f"the name of an engine must be a str, got {short_repr(name)}.",
                hint='For example, `health("grok", "mock")`.',
            )
    return names


async def _check(
    prober: Prober,
    targets: dict[str, Target | GatewayError],
    servers: dict[str, str],
    usage: UsageTracker,
    skipped_names: Sequence[str],
) -> Table[EngineHealth]:
    # A server that the user has not started is not a failure, so it is not listed.
    stopped_servers = servers.keys() - set(await listening_servers(servers))
    checked_targets = {
        name: target for name, target in targets.items() if name not in stopped_servers
    }
    usable_targets = [
        target for target in checked_targets.values() if not isinstance(target, GatewayError)
    ]
    answer_by_engine = await prober.probe_all(usable_targets, _measure)
    rows = (
        _row(
            name,
            target if isinstance(target, GatewayError) else answer_by_engine[target.name],
            usage,
        )
        for name, target in sorted(checked_targets.items())
    )
    return Table(rows, HEALTH_COLUMNS, _skipped_note(skipped_names))


def _skipped_note(skipped_names: Sequence[str]) -> Iterator[str]:
    """Yield a note on the project's engines, which are called only if they are named."""
    if skipped_names:
        hint = render(Hint("check_health", engine=skipped_names[0]))
        yield f"Not checked, because this project defines them: {', '.join(skipped_names)}. {hint}"


async def _measure(engine: LLMEngine) -> EngineHealth:
    start = time.monotonic()
    is_working = await is_healthy(engine)
    error = "" if is_working else "`health_check` returned False."
    return EngineHealth(engine.name, is_working, time.monotonic() - start, error)


def _row(name: str, answer: EngineHealth | GatewayError, usage: UsageTracker) -> EngineHealth:
    if isinstance(answer, GatewayError):
        return EngineHealth(name, ok=False, error=" ".join(answer.describe().split()))
    # Failures are recorded under the engine's own name; the requested name may be an alias.
    failure = usage.last_error(answer.engine)
    if answer.ok and failure:
        failure = f"its check passes, but its last call failed: {failure}"
        return replace(answer, engine=name, ok=False, error=" ".join(failure.split()))
    return replace(answer, engine=name)
