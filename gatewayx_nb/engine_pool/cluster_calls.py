"""Calls of a map that are made by the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import _version
from gatewayx_nb.batch import SpentError, decode_outcome
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.engine_pool.cluster_worker import (
    Order,
    RowOrder,
    RowOutcome,
    RunSpec,
    UnknownRunError,
    close_run,
    exchange,
    open_run,
)
from gatewayx_nb.errors import (
    BudgetError,
    ConfigError,
    DeadlineError,
    GatewayError,
    TransportError,
)
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.batch import MapFigures
    from gatewayx_nb.calls import CallOptions, ChunkHandler, PlannedCall
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.cluster_worker import WorkerReport
    from gatewayx_nb.engine_pool.job_usage import JobUsage
    from gatewayx_nb.engine_pool.map_calls import MapCalls
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema

_EXCHANGE_INTERVAL = 0.1
"""Seconds between two exchanges with a worker."""

_MEMBERSHIP_INTERVAL = 0.5
"""Seconds between two queries for the current workers of the cluster."""

_SPARE_ROWS = 16
"""Minimum number of rows that wait on a worker, in addition to those in its slots."""

_WORKER_TIMEOUT = 30.0
"""Seconds after which a silent worker, or a cluster without workers, counts as lost."""

_CLOSE_TIMEOUT = 5.0
"""Seconds to wait for the last reports."""


@dataclass(eq=False, slots=True)
class _Row:
    """A row that waits for a worker or has been sent to a worker."""

    order: RowOrder
    outcome: asyncio.Future[Reply | GatewayError]


@dataclass(eq=False, slots=True)
class _Worker:
    """The client's state of a worker.

    Attributes:
        address: The worker's address.
        rows: The rows assigned to it, by number.
        unsent_rows: The assigned rows that it may not have received.
        received_item_count: Number of items that the client has received from it.
        recent_outcome_count: Number of outcomes in its last report.
        known_worker_count: Number of workers that share the limits, as last sent to it.
        report: Its last report.
        is_spent: Whether its share of the cost limit is used up.
        is_member: Whether it still belongs to the cluster.
        reported_at: Time of its last report.
    """

    address: str
    rows: dict[int, _Row] = field(default_factory=dict)
    unsent_rows: list[RowOrder] = field(default_factory=list)
    received_item_count: int = 0
    recent_outcome_count: int = 0
    known_worker_count: int = 0
    report: WorkerReport | None = None
    is_spent: bool = False
    is_member: bool = True
    reported_at: float = 0.0


class Cluster:
    """Distributes rows among the workers of a cluster, and receives their outcomes.

    Its coroutines run on the client's event loop. Each worker is queried about ten times a second
    for new outcomes, so that a lost worker is noticed, and only its outcomes since the last query
    are lost.

    Args:
        client: The client of the cluster.
        make_spec: Returns the specification for a worker, given the number of workers.
        create_pool: Creates a worker's pool for a project folder.
        usage: Receives the usage of the calls.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - distributed is optional
        make_spec: Callable[[int], RunSpec],
        create_pool: Callable[[str | None], Any],
        usage: JobUsage,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop
        self.id = uuid.uuid4().hex
        self._client, self._make_spec = client, make_spec
        self._create_pool, self._usage = create_pool, usage
        self._spec: RunSpec | None = None
        self._schema: ResponseSchema | None = None
        self._numbers = itertools.count()
        self._queue: deque[_Row] = deque()
        self._workers: dict[str, _Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: GatewayError | None = None
        self._lost_workers_refusals = 0
        self._joining_count = 0
        self._has_begun = False
        self._without_workers_since = time.monotonic()

    async def ask(self, prompt: Prompt, options: CallOptions) -> Reply:
        """Have a worker make the call for a row.

        Raises:
            GatewayError: If the row fails, or no worker can be used.
        """
        if not self._has_begun:
            self._has_begun = True
            self._start(self._watch())
        if self._failure is not None:
            raise self._failure
        order = RowOrder(next(self._numbers), prompt, options)
        row = _Row(order, self.loop.create_future())
        self._queue.append(row)
        outcome = await row.outcome
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    @property
    def reports(self) -> list[WorkerReport]:
        """The last report of each worker; may be read from any thread."""
        workers = list(self._workers.values())
        return [worker.report for worker in workers if worker.report is not None]

    @property
    def refusals(self) -> int:
        """Number of requests refused with status 429 so far."""
        return self._lost_workers_refusals + sum(report.refusals for report in self.reports)

    async def close(self) -> None:
        """Cancel the calls, and receive the last reports."""
        for task in list(self._tasks):
            task.cancel()
        closings = (self._close_worker(worker) for worker in list(self._workers.values()))
        await asyncio.gather(*closings)

    async def _close_worker(self, worker: _Worker) -> None:
        # A worker that cannot be reached ends the run by itself.
        with contextlib.suppress(Exception):
            call = self._call(worker.address, close_run, self.id, worker.received_item_count)
            report = await asyncio.wait_for(call, _CLOSE_TIMEOUT)
            if report is not None:
                self._receive(worker, report)

    async def _watch(self) -> None:
        """Begin the run on the present workers, and handle workers that join or leave."""
        try:
            while True:
                await self._update_members()
                await asyncio.sleep(_MEMBERSHIP_INTERVAL)
        except GatewayError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - otherwise, the rows would wait forever
            self._fail(_cluster_error(error))

    async def _update_members(self) -> None:
        present_addresses = set(await self._client.nthreads())
        for address in self._workers.keys() - present_addresses:
            self._lose(self._workers[address])
        new_addresses = present_addresses - self._workers.keys()
        # A cost limit has been divided among the first workers, so nothing is left for later ones.
        if self._spec is not None and self._spec.max_cost is not None and self._workers:
            new_addresses = set()
        if new_addresses:
            await self._admit(new_addresses)
        if self._workers:
            self._without_workers_since = time.monotonic()
        elif time.monotonic() - self._without_workers_since > _WORKER_TIMEOUT:
            raise ConfigError(
                f"the Dask cluster has had no worker for {_WORKER_TIMEOUT:.0f} s.",
                hint="Start workers, for example with `cluster.scale(2)`, and run the map again.",
            )

    async def _admit(self, addresses: set[str]) -> None:
        """Begin the run on new workers after the earlier ones have reduced their shares."""
        if self._spec is None or not self._workers:  # divides the rest of a cost limit
            self._spec = self._make_spec(len(addresses))
            self._schema = self._spec.options.get("schema")  # type: ignore[assignment]
        new_workers = [
            _Worker(address, reported_at=time.monotonic()) for address in sorted(addresses)
        ]
        earlier_workers = list(self._workers.values())
        self._joining_count = len(new_workers)
        while any(  # noqa: ASYNC110 - workers are queried at this interval
            old.known_worker_count < self._worker_count for old in earlier_workers if old.is_member
        ):
            await asyncio.sleep(_EXCHANGE_INTERVAL / 2)
        are_open = await asyncio.gather(*map(self._open, new_workers))
        self._joining_count = 0
        for worker in itertools.compress(new_workers, are_open):
            self._workers[worker.address] = worker
            self._start(self._serve(worker))

    @property
    def _worker_count(self) -> int:
        """Number of workers that share the limits, including those about to begin."""
        return len(self._workers) + self._joining_count

    async def _open(self, worker: _Worker) -> bool:
        """Begin the run on a worker; return whether the worker still exists.

        Raises:
            GatewayError: If the worker cannot make the calls.
        """
        try:
            await self._call(worker.address, open_run, self._spec, self._create_pool)
        except GatewayError:
            raise
        except Exception as error:
            if await self._is_present(worker):
                raise _cluster_error(error) from error
            return False
        return True

    async def _serve(self, worker: _Worker) -> None:
        """Exchange rows and outcomes with a worker until it is lost."""
        while worker.is_member:
            worker.unsent_rows += self._rows_for(worker)
            count, order = self._worker_count, self._order_for(worker)
            try:
                call = self._call(worker.address, exchange, order)
                report = await asyncio.wait_for(call, _WORKER_TIMEOUT)
            except UnknownRunError:
                self._lose(worker)
            except Exception as error:  # noqa: BLE001 - network errors have many classes
                is_late = time.monotonic() - worker.reported_at > _WORKER_TIMEOUT
                if is_late or not await self._is_present(worker):
                    self._lose(worker)
                elif isinstance(error, (TypeError, AttributeError, ImportError)):
                    self._fail(_cluster_error(error))
            else:
                worker.unsent_rows, worker.known_worker_count = [], count
                worker.reported_at = time.monotonic()
                self._receive(worker, report)
            await asyncio.sleep(_EXCHANGE_INTERVAL)

    def _order_for(self, worker: _Worker) -> Order:
        waiting_count, workers = len(self._queue), list(self._workers.values())
        busy_count = len(workers) if waiting_count else sum(bool(member.rows) for member in workers)
        row_share = -(-waiting_count // max(1, len(workers))) if self._may_spend(worker) else 0
        rows, received_count = list(worker.unsent_rows), worker.received_item_count
        return Order(self.id, rows, received_count, self._worker_count, busy_count, row_share)

    def _rows_for(self, worker: _Worker) -> list[RowOrder]:
        """Return new rows for a worker: as many as it can start until the next exchange."""
        slots = worker.report.slots if worker.report else 0
        # Without slots, the rows would wait until other workers have finished theirs.
        if not slots or not self._may_spend(worker):
            return []
        wanted_count = slots + max(_SPARE_ROWS, 2 * worker.recent_outcome_count) - len(worker.rows)
        fair_share = -(-len(self._queue) // sum(map(self._may_spend, self._workers.values())))
        orders: list[RowOrder] = []
        while self._queue and len(orders) < min(wanted_count, fair_share):
            row = self._queue.popleft()
            if not row.outcome.done():  # the map may have been stopped
                worker.rows[row.order.number] = row
                orders.append(row.order)
        return orders

    def _may_spend(self, worker: _Worker) -> bool:
        """Return whether a worker may get rows; if all shares are used up, every worker may."""
        return not worker.is_spent or all(other.is_spent for other in self._workers.values())

    def _receive(self, worker: _Worker, report: WorkerReport) -> None:
        worker.report, worker.recent_outcome_count = report, 0
        worker.received_item_count += len(report.items)
        for item in report.items:
            if isinstance(item, RowOutcome):
                worker.recent_outcome_count += 1
                self._finish(worker, item)
            else:
                self._usage.add_external(item)

    def _finish(self, worker: _Worker, row_outcome: RowOutcome) -> None:
        row = worker.rows.pop(row_outcome.number, None)
        if row is None or row.outcome.done():
            return
        outcome = decode_outcome(row_outcome.content, row_outcome.kind, self._schema)
        if isinstance(outcome, BudgetError):
            worker.is_spent = True
            if not all(other.is_spent for other in self._workers.values()):
                self._queue.append(row)
                return
        if not isinstance(outcome, GatewayError):
            outcome = replace(outcome, replayed=False)
        row.outcome.set_result(outcome)

    def _lose(self, worker: _Worker) -> None:
        """Return the rows of a lost worker to the queue."""
        if not worker.is_member:
            return
        worker.is_member = False
        del self._workers[worker.address]
        if worker.report is not None:
            self._lost_workers_refusals += worker.report.refusals
        self._queue.extendleft(reversed(worker.rows.values()))
        worker.rows = {}

    def _fail(self, error: GatewayError) -> None:
        """End all rows with an error."""
        self._failure = error
        workers = self._workers.values()
        rows = [*self._queue, *(row for member in workers for row in member.rows.values())]
        for row in rows:
            if not row.outcome.done():
                row.outcome.set_result(error)

    async def _is_present(self, worker: _Worker) -> bool:
        try:
            return worker.address in await self._client.nthreads()
        except Exception:  # noqa: BLE001 - the scheduler is gone, which `_watch` reports
            return False

    async def _call(self, address: str, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - the result of the function
        """Call a function on a worker's event loop."""
        results = await self._client.run(function, *args, workers=[address])
        return results[address]

    def _start(self, coroutine: Any) -> None:  # noqa: ANN401 - a coroutine
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _cluster_error(error: Exception) -> ConfigError:
    return ConfigError(
        f"the Dask cluster cannot run the calls: {type(error).__name__}: {error}.",
        hint="Install the same version of gatewayx-nb where the workers run.",
    )


class _ClientLoop:
    """The event loop of a Dask client; has the attributes of a portal that a `Lane` uses."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.inbox = loop, self
        self.call_soon = loop.call_soon_threadsafe


class ClusterCall:
    """A call that a worker makes; implements `PlannedCall`.

    Attributes:
        portal: The event loop of the client.
        partial: Empty, because the partial answer is on the worker.
        timeout: Infinite, because the worker applies the timeout of the call.
    """

    caller_thread = None

    def __init__(
        self, cluster: Cluster, portal: Portal, prompt: Prompt, options: CallOptions
    ) -> None:
        self.portal, self.timeout = portal, math.inf
        self.partial = PartialReply("", "")
        self._cluster, self._prompt, self._options = cluster, prompt, options

    async def run(self, emit: ChunkHandler | None = None) -> Reply:  # noqa: ARG002 - rows are not streamed
        """Wait for the outcome.

        Raises:
            GatewayError: If the row fails.
            SpentError: If every worker's share of a cost limit is too small for the call.
        """
        try:
            return await self._cluster.ask(self._prompt, self._options)
        except BudgetError as error:
            raise SpentError(error) from None

    def closed_error(self) -> TransportError:
        """Return the error for a call whose client has been closed."""
        return TransportError(
            "the Dask client was closed during the call.", hint=Hint("run_again"), code="closed"
        )

    def deadline_error(self) -> DeadlineError:
        """Return the error for a call that takes too long; the worker raises its own."""
        return DeadlineError("the call took too long.")


class ClusterCalls:
    """Plans the calls of a map on a cluster; implements `batch.ClusterEngines`.

    Args:
        client: The client of the cluster.
        local_calls: Plans the calls that this process would make itself.
        spec: The specification of the run, without a cost limit.
        options: The options of all rows, as they are passed to `plan`.
        create_pool: Creates a worker's pool for a project folder.

    Attributes:
        usage: The usage of the map's calls, on all workers.
        most_in_flight: Maximum number of calls in flight, on all workers together.
        cassette_mode: ``None``, because a cassette is open in this process only.
        identity: The method of ``local_calls``; so are ``estimates`` and ``flow``.
    """

    cassette_mode = None

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - distributed is optional
        local_calls: MapCalls,
        spec: RunSpec,
        options: CallOptions,
        create_pool: Callable[[str | None], Any],
    ) -> None:
        self._options = cast("dict[str, object]", options)
        self.usage, self.most_in_flight = local_calls.usage, spec.concurrency
        self.identity, self.estimates, self.flow = (
            local_calls.identity,
            local_calls.estimates,
            local_calls.flow,
        )
        self._spec = spec
        self._cluster = Cluster(client, self._spec_for, create_pool, local_calls.usage)
        self._portal = cast("Portal", _ClientLoop(self._cluster.loop))

    def plan(
        self,
        prompt: Prompt,
        options: CallOptions,
        known_reply: Reply | None = None,  # noqa: ARG002 - for cassettes only
    ) -> PlannedCall:
        """Return the call for a row; see `batch.MapEngines.plan`."""
        shared_options = self._options
        row_options = {
            name: value for name, value in options.items() if value is not shared_options.get(name)
        }
        return ClusterCall(self._cluster, self._portal, prompt, cast("CallOptions", row_options))

    def note_pace(self, figures: MapFigures) -> None:
        """Set the numbers of calls in flight and refusals, and the bottleneck, in ``figures``."""
        reports = self._cluster.reports
        figures.in_flight = sum(report.in_flight for report in reports)
        figures.rate_limited = self._cluster.refusals
        if reports:
            figures.bound_by = max(reports, key=lambda report: report.in_flight).bound_by

    def close(self) -> None:
        """Cancel the calls, and wait briefly for the last reports."""
        cluster = self._cluster
        try:
            is_on_client_loop = asyncio.get_running_loop() is cluster.loop
        except RuntimeError:
            is_on_client_loop = False
        with contextlib.suppress(Exception):  # the client may have been closed
            closing = asyncio.run_coroutine_threadsafe(cluster.close(), cluster.loop)
            if not is_on_client_loop:
                closing.result(_CLOSE_TIMEOUT)

    def _spec_for(self, worker_count: int) -> RunSpec:
        """Return the specification for one of several workers, with its share of a cost limit."""
        cost_limit, max_cost = self.usage.limit, None
        if cost_limit is not None:
            max_cost = max(Decimal(0), cost_limit - self.usage.spent) / worker_count
        return replace(self._spec, id=self._cluster.id, max_cost=max_cost)


def run_spec(
    folder: str | None, identity: tuple[str, str], options: CallOptions, concurrency: int
) -> RunSpec:
    """Return the specification of a map's run, without a worker's share of a cost limit."""
    model_options = cast("CallOptions", {**options, "model": identity[0]})
    return RunSpec(
        "", _version.__version__, folder, identity[0], identity, model_options, concurrency, None
    )
