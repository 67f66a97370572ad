"""The part of a map that runs in a worker process of a Dask cluster.

The client calls the functions of this module on the worker's event loop, which they do not block:
`open_run` creates the pool in a thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import _version
from gatewayx_nb.batch import Lane, MapFigures, RowCall, RowRequest, encode_outcome
from gatewayx_nb.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.facade import EnginePool
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.storage import LedgerEntry

_LEASE_INTERVAL = 0.05
"""Seconds between two checks of how many slots are needed."""

_LEASE_TIMEOUT = 0.1
"""Seconds to wait for a block of slots before checking again how many are needed."""

_RELEASE_DELAY = 1.0
"""Seconds after which blocks of slots that are not needed are released."""

_CLIENT_TIMEOUT = 30.0
"""Seconds without a message after which the client counts as lost."""

_CANCEL_TIMEOUT = 1.0
"""Seconds to wait for cancelled calls, whose usage is then reported."""

_MIN_BLOCKS = 8
"""Minimum number of blocks into which the slots are divided, if there are enough slots."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The specification of a map's run, for a worker.

    Attributes:
        id: Identifies this run of the map.
        version: The client's version of this package.
        folder: The project folder; ``None`` if there is none.
        model: Reference of the model.
        identity: What the reference names on the client: the engine and model, and the address.
        options: The options of all rows.
        concurrency: Maximum number of calls in flight, on all workers together.
        max_cost: Maximum cost of the calls of one worker in US dollars; ``None`` for no limit.
    """

    id: str
    version: str
    folder: str | None
    model: str
    identity: tuple[str, str]
    options: CallOptions
    concurrency: int
    max_cost: Decimal | None

    @property
    def semaphore_name(self) -> str:
        """Name of the semaphore by which all maps that call the same engine share its slots."""
        return f"gatewayx {' '.join(self.identity)} {self.concurrency}"

    @property
    def block_size(self) -> int:
        """Number of slots that are leased together, a divisor of ``concurrency``."""
        largest = max(1, self.concurrency // _MIN_BLOCKS)
        return next(size for size in range(largest, 0, -1) if self.concurrency % size == 0)


@dataclass(frozen=True, slots=True)
class RowOrder:
    """A row to process: its number in this run, its prompt and its own options."""

    number: int
    prompt: Prompt
    options: CallOptions


@dataclass(frozen=True, slots=True)
class Order:
    """A message from the client to a worker.

    Attributes:
        run_id: Identifies the run.
        rows: Rows to process; rows that the worker has already received are ignored.
        received_count: Number of items that the client has received from this worker so far.
        worker_count: Number of workers, which share the limits.
        busy_count: Number of workers that have rows or wait for rows; they share the slots.
        waiting_count: Number of rows that the worker would get if it had slots.
    """

    run_id: str
    rows: list[RowOrder]
    received_count: int
    worker_count: int
    busy_count: int
    waiting_count: int


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """The outcome of a row, encoded as in the results store.

    Attributes:
        number: The number of the row in this run.
        kind: ``"ok"``, or the name of the error's class.
        content: The encoded reply or error.
    """

    number: int
    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker's answer to an `Order`.

    Attributes:
        items: The outcomes and the usage of calls that the client has not yet received.
        slots: Number of leased slots.
        in_flight: Number of calls in flight.
        refusals: Number of requests refused with status 429 in this run.
        bound_by: What limits the speed.
    """

    items: list[RowOutcome | LedgerEntry]
    slots: int
    in_flight: int
    refusals: int
    bound_by: str


class UnknownRunError(Exception):
    """The worker does not know the run, for example because its process was restarted."""


class WorkerRun:
    """A run of a map in this process.

    Its state belongs to the worker's event loop, except for the queue of items, to which the loops
    of the engines append.

    Args:
        spec: The specification of the run.
        pool: The pool of this process.
        worker: The worker.
    """

    def __init__(self, spec: RunSpec, pool: EnginePool, worker: Any) -> None:  # noqa: ANN401 - distributed is optional
        from distributed import Semaphore

        self._spec, self._pool = spec, pool
        self._run_key = (spec.id, str(worker.address))
        self._engines = pool._maps.engines(spec.model, spec.max_cost, Decimal(0))  # noqa: SLF001 - a class of this package
        self._figures = MapFigures("", None, usage=self._engines.usage)
        self._lanes: dict[Portal, Lane] = {}
        self._unreported_rows: set[int] = set()  # rows whose outcome the client has not received
        self._unfinished_rows: set[int] = set()
        self._items: deque[RowOutcome | LedgerEntry] = deque()
        self._received_count = 0
        self._busy_count, self._waiting_count = 1, 0
        self._last_order_at = time.monotonic()
        self._is_over = False
        self._semaphore = Semaphore(
            max_leases=spec.concurrency // spec.block_size,
            name=spec.semaphore_name,
            scheduler_rpc=worker.scheduler,
            loop=worker.loop,
        )
        self._block_count = 0
        self._slots_needed_at = 0.0
        self._lease_task = asyncio.create_task(self._lease())

    def exchange(self, order: Order) -> WorkerReport:
        """Accept rows, and report what the client has not yet received."""
        self._last_order_at = time.monotonic()
        self._busy_count, self._waiting_count = max(1, order.busy_count), order.waiting_count
        self._pool._runtime.set_share(1 / order.worker_count)  # noqa: SLF001 - a class of this package
        self._drop_received(order.received_count)
        self._accept([row for row in order.rows if row.number not in self._unreported_rows])
        return self._report()

    def _drop_received(self, received_count: int) -> None:
        """Drop the items that the client has received."""
        for _ in range(received_count - self._received_count):
            item = self._items.popleft()
            if isinstance(item, RowOutcome):
                self._unreported_rows.discard(item.number)
        self._received_count = received_count

    def _report(self) -> WorkerReport:
        self._items.extend(self._engines.usage.take_sums())
        self._engines.note_pace(self._figures)
        return WorkerReport(
            list(self._items),
            self._block_count * self._spec.block_size,
            sum(lane.in_flight for lane in self._lanes.values()),
            self._figures.rate_limited,
            self._figures.bound_by,
        )

    def _accept(self, rows: list[RowOrder]) -> None:
        calls_by_portal: dict[Portal, list[RowCall]] = {}
        for row in rows:
            self._unreported_rows.add(row.number)
            self._unfinished_rows.add(row.number)
            request = RowRequest(row.prompt, row.options)
            try:
                call = self._plan(request)
            except GatewayError as error:
                self._finish(row.number, error)
                continue
            calls_by_portal.setdefault(call.portal, []).append(RowCall(row.number, call, request))
        for portal, calls in calls_by_portal.items():
            self._lane(portal).submit(calls)

    def _plan(self, request: RowRequest) -> PlannedCall:
        options = cast("CallOptions", {**self._spec.options, **request.options})
        return self._engines.plan(request.prompt, options)

    def _lane(self, portal: Portal) -> Lane:
        if portal not in self._lanes:
            slots = self._block_count * self._spec.block_size
            self._lanes[portal] = Lane(
                portal, slots, lambda row, outcome: self._finish(row.key, outcome), self._plan
            )
        return self._lanes[portal]

    def _finish(self, number: int, outcome: Reply | GatewayError) -> None:
        """Keep an outcome for the client; called on any event loop."""
        kind = type(outcome).__name__ if isinstance(outcome, GatewayError) else "ok"
        self._items.append(RowOutcome(number, kind, encode_outcome(outcome, "")))
        self._unfinished_rows.discard(number)

    async def _lease(self) -> None:
        """Lease blocks of slots while there are rows, and release those that other workers need."""
        try:
            while not self._is_over:
                await self._lease_once()
                if time.monotonic() - self._last_order_at > _CLIENT_TIMEOUT:
                    _runs.pop(self._run_key, None)
                    await self.close()
        finally:
            self._semaphore.refresh_callback.stop()

    async def _lease_once(self) -> None:
        wanted_blocks, now = self._wanted_blocks(), time.monotonic()
        if wanted_blocks >= self._block_count:
            self._slots_needed_at = now
        if wanted_blocks > self._block_count and await self._semaphore.acquire(
            timeout=_LEASE_TIMEOUT
        ):
            self._block_count += 1
            self._resize(self._block_count)
        elif wanted_blocks < self._block_count and now - self._slots_needed_at > _RELEASE_DELAY:
            await self._release_to(wanted_blocks)
        else:
            await asyncio.sleep(_LEASE_INTERVAL)

    async def _release_to(self, block_count: int) -> None:
        """Release blocks as soon as no call uses their slots."""
        self._resize(block_count)
        running_count = max((lane.running for lane in self._lanes.values()), default=0)
        if running_count <= (self._block_count - 1) * self._spec.block_size:
            self._block_count -= 1
            await self._semaphore.release()
        else:
            await asyncio.sleep(_LEASE_INTERVAL)

    def _resize(self, block_count: int) -> None:
        for lane in self._lanes.values():
            lane.resize(block_count * self._spec.block_size)

    def _wanted_blocks(self) -> int:
        """Return the number of blocks for present and expected rows, at most a fair share."""
        block_count, row_count = (
            self._spec.concurrency // self._spec.block_size,
            len(self._unfinished_rows),
        )
        return min(
            -(-(row_count + self._waiting_count) // self._spec.block_size),
            -(-block_count // self._busy_count),
        )

    async def close(self, received_count: int | None = None) -> WorkerReport:
        """Cancel the calls, release the slots, and report what the client has not received."""
        self._is_over = True
        self._drop_received(self._received_count if received_count is None else received_count)
        for lane in self._lanes.values():
            lane.stop()
        deadline, lanes = time.monotonic() + _CANCEL_TIMEOUT, self._lanes.values()
        # The calls end on the loops of their engines.
        while any(lane.running for lane in lanes) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_LEASE_INTERVAL / 5)
        if asyncio.current_task() is not self._lease_task:
            await asyncio.wait([self._lease_task], timeout=_CANCEL_TIMEOUT)
        while self._block_count:
            self._block_count -= 1
            await self._semaphore.release()
        return self._report()


_pools: dict[str | None, EnginePool] = {}
"""One pool for each project folder, so that its limits apply to all runs in this process."""

_runs: dict[tuple[str, str], WorkerRun] = {}
"""The runs by ID and worker's address, because a process may contain several workers."""

_pools_lock = threading.Lock()
"""Held while a pool is created, because two runs may begin at the same time."""


async def open_run(
    spec: RunSpec,
    create_pool: Callable[[str | None], EnginePool],
    dask_worker: Any = None,  # noqa: ANN401 - Dask passes the worker
) -> None:
    """Begin a run.

    Args:
        spec: The specification of the run.
        create_pool: Creates a pool for a project folder.
        dask_worker: The worker.

    Raises:
        GatewayError: If this process cannot make the calls as the client would.
    """
    pool = await asyncio.to_thread(_project_pool, spec, create_pool)
    # A client that lost this worker and then found it again begins a new run.
    await close_run(spec.id, None, dask_worker)
    _runs[spec.id, str(dask_worker.address)] = WorkerRun(spec, pool, dask_worker)


def exchange(order: Order, dask_worker: Any = None) -> WorkerReport:  # noqa: ANN401 - as above
    """Add rows to a run, and return its report.

    Raises:
        UnknownRunError: If this process does not know the run.
    """
    run = _runs.get((order.run_id, str(dask_worker.address)))
    if run is None:
        raise UnknownRunError(order.run_id)
    return run.exchange(order)


async def close_run(
    run_id: str,
    received_count: int | None,
    dask_worker: Any = None,  # noqa: ANN401 - as above
) -> WorkerReport | None:
    """End a run, and return what the client has not received."""
    worker_run = _runs.pop((run_id, str(dask_worker.address)), None)
    return None if worker_run is None else await worker_run.close(received_count)


def _project_pool(spec: RunSpec, create_pool: Callable[[str | None], EnginePool]) -> EnginePool:
    """Return the pool of this process for the project.

    Raises:
        GatewayError: If the pool differs from the client's pool.
    """
    if spec.version != _version.__version__:
        raise ConfigError(
            f"a worker must have the same version of gatewayx-nb as the client, {spec.version}, got"
            f" {_version.__version__}.",
            hint="Install that version where the worker runs.",
        )
    folder = _folder(spec.folder)
    with _pools_lock:
        pool = _pools.get(folder)
        if pool is None:
            pool = _pools[folder] = create_pool(folder)
    identity = pool._maps.job_identity(spec.model)  # noqa: SLF001 - a class of this package
    if identity != spec.identity:
        raise ConfigError(
            f"a worker must call {' at '.join(filter(None, spec.identity))}, got"
            f" {' at '.join(filter(None, identity))}.",
            hint="Give the workers the same settings and base URLs as the client.",
        )
    return pool


def _folder(folder: str | None) -> str | None:
    """Return the project folder in this process.

    Raises:
        ConfigError: If the folder does not exist.
    """
    if folder is None or Path(folder).is_dir():
        return folder
    if os.environ.get("GATEWAYX_HOME"):
        return None  # the environment names the folder
    raise ConfigError(
        f"the project folder {folder!r} does not exist where a worker runs.",
        hint="Mount it there at the same path, or set GATEWAYX_HOME in the worker's environment.",
    )
