"""Reads a Dask DataFrame partition by partition, and builds the frame with the answers."""

from __future__ import annotations

import asyncio
import sys
import uuid
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from gatewayx_nb.batch.columns import FrameBuilder
from gatewayx_nb.batch.map_plan import MapEngines
from gatewayx_nb.batch.rows import NoRowYet, Rows
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatewayx_nb.batch.columns import Columns
    from gatewayx_nb.batch.map_options import Output
    from gatewayx_nb.batch.map_plan import MapPlan
    from gatewayx_nb.batch.map_session import MapSession
    from gatewayx_nb.batch.rows import RowValue
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.replies import Reply

_MAX_SLICE_ROWS = 1000
"""Maximum number of rows in a slice, which this process fetches as a whole."""

_MAX_READY_SLICES = 4
"""Maximum number of slices that the cluster prepares while earlier rows are processed."""

_POLL_INTERVAL = 0.02
"""Seconds between checks whether earlier slices have been read."""

_MAX_CLUSTER_ROWS = 1024
"""Maximum number of rows that the workers of a cluster have at a time."""


class ClusterEngines(MapEngines, Protocol):
    """Engines that make their calls on the workers of a cluster."""

    def close(self) -> None:
        """Cancel the calls, and wait a moment for reports of their usage."""


class Partitions(ABC):
    """The partitions of a Dask DataFrame or Series.

    Args:
        rows: The Dask DataFrame or Series, as `Rows`.

    Attributes:
        starts: Position of the first row of each partition that has been read so far.
        counts: Number of rows in each of these partitions.
        on_total_known: Called with the total number of rows once all partitions are counted.
        keeps_rows: Whether the rows are needed again, for the result.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.starts: list[int] = []
        self.counts: list[int] = []
        self.on_total_known: Callable[[int], object] = lambda _: None
        self.keeps_rows = False

    @property
    def count(self) -> int:
        """Number of partitions."""
        return int(self._rows.source.npartitions)

    @abstractmethod
    def read(self, names: Iterable[Any] | None) -> Iterator[RowValue | NoRowYet]:
        """Yield each row; see `Rows.read`."""

    @abstractmethod
    def finish(self, number: int, build: PartitionBuild) -> Any:  # noqa: ANN401 - of Dask
        """Return a partition of the result, as a Dask future or a Dask delayed value."""

    def check_blocking_allowed(self) -> None:  # noqa: B027 - in one process, any thread may wait
        """Check that this thread may wait for the rows; see `Rows.check_blocking_allowed`."""

    def close(self) -> None:  # noqa: B027 - in one process, nothing reads ahead
        """Stop reading."""

    def builder(
        self, number: int, columns: Columns, replaced_columns: tuple[Any, ...]
    ) -> FrameBuilder:
        """Return the builder of a partition's answers; the partition has been read."""
        rows = replace(self._pandas_rows(None), count=self.counts[number])
        return FrameBuilder(rows, columns, replaced_columns)

    def _add_partition(self, count: int) -> None:
        """Record the number of rows of the next partition."""
        self.starts.append(self.starts[-1] + self.counts[-1] if self.starts else 0)
        self.counts.append(count)
        if len(self.counts) == self.count:
            self.on_total_known(sum(self.counts))

    def _pandas_rows(self, source: Any) -> Rows:  # noqa: ANN401 - a DataFrame, a Series or nothing
        """Return a pandas object as `Rows` of the same kind as the Dask rows."""
        count = None if source is None else len(source)
        columns = self._rows.columns
        if self._rows.kind == "frame" and source is not None:
            columns = tuple(source.columns)
        return Rows(self._rows.kind, source, "pandas", columns, count)


@dataclass(frozen=True, slots=True)
class PartitionBuild:
    """Builds a partition of the result from a partition of the rows.

    Attributes:
        rows: The rows, without a source.
        columns: The new columns.
        replaced_columns: The columns of an earlier run.
        output: What to return.
        problem: The text in ``gx_error`` for rows without an outcome.
        builder: Holds the answers; ``None`` if no row of the partition was read.
    """

    rows: Rows
    columns: Columns
    replaced_columns: tuple[Any, ...]
    output: Output
    problem: str
    builder: FrameBuilder | None = None

    def __call__(self, source: Any) -> Any:  # noqa: ANN401 - a DataFrame or a Series
        """Return the partition."""
        builder = self.builder
        if builder is None:
            rows = replace(self.rows, source=source, count=len(source))
            builder = FrameBuilder(rows, self.columns, self.replaced_columns)
        builder.attach(source)
        return builder.build(self.output, self.problem)


class LocalPartitions(Partitions):
    """Partitions that are computed in this process, one after the other."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self._sources: dict[int, Any] = {}
        self._id = uuid.uuid4().hex

    @override
    def read(self, names: Iterable[Any] | None) -> Iterator[RowValue]:
        for number in range(self.count):
            source = self._compute(number)
            if self.keeps_rows:
                self._sources[number] = source
            self._add_partition(len(source))
            yield from self._pandas_rows(source).read(names)

    @override
    def finish(self, number: int, build: PartitionBuild) -> Any:
        from dask import delayed

        source = self._sources.pop(number, None)
        frame = build(self._compute(number) if source is None else source)
        return delayed(frame, name=f"gatewayx-{self._id}-{number}", traverse=False)

    def _compute(self, number: int) -> Any:  # noqa: ANN401 - a DataFrame or a Series
        return self._rows.source.partitions[number].compute()


class ClusterPartitions(Partitions):
    """Partitions that a cluster computes and keeps; this process reads slices of them.

    A coroutine on the client's event loop fetches the slices, so that neither a thread nor another
    event loop waits for the cluster.

    Args:
        rows: The Dask DataFrame or Series, as `Rows`.
        client: The client of the cluster.
    """

    def __init__(self, rows: Rows, client: Any) -> None:  # noqa: ANN401 - distributed is optional
        super().__init__(rows)
        self._client = client
        self._futures: list[Any] = []
        self._slices: deque[Any] = deque()
        self._task: Any = None

    @override
    def check_blocking_allowed(self) -> None:
        if self._client.asynchronous:
            raise UsageError(
                "this thread runs the event loop of Dask's client, which must not be blocked.",
                hint="Use `await gx.amap(…)`.",
            )

    @override
    def read(self, names: Iterable[Any] | None) -> Iterator[RowValue | NoRowYet]:
        wanted_columns = None if names is None else set(names)
        self._start(wanted_columns)
        while self._slices or not self._task.done():
            if self._slices:
                yield from self._pandas_rows(self._slices.popleft()).read(names)
            else:
                yield NoRowYet.NO_ROW_YET
        self._task.result()  # raises the error that ended it

    def _start(self, wanted_columns: set[Any] | None) -> None:
        """Have the cluster compute the partitions, and begin to fetch their rows."""
        self._persist()
        loop = self._client.loop.asyncio_loop
        self._task = asyncio.run_coroutine_threadsafe(self._fetch_slices(wanted_columns), loop)

    def _persist(self) -> None:
        # The partitions of a frame may share stages, such as a shuffle, or contain random values,
        # so they are computed once for both the prompts and the result.
        if not self._futures:
            persisted_frame = self._client.persist(self._rows.source)
            self._futures = self._client.compute(persisted_frame.to_delayed(optimize_graph=False))

    async def _fetch_slices(self, wanted_columns: set[Any] | None) -> None:
        pending_slices: deque[tuple[int, Any]] = deque()
        for number, count in enumerate(self._client.map(len, self._futures, pure=False)):
            self._add_partition(await count)
            for start in range(0, self.counts[number], _MAX_SLICE_ROWS):
                rows_future = self._client.submit(
                    _slice_rows, self._futures[number], wanted_columns, start, pure=False
                )
                pending_slices.append((number, rows_future))
                if len(pending_slices) > _MAX_READY_SLICES:
                    await self._fetch_next(pending_slices)
        while pending_slices:
            await self._fetch_next(pending_slices)

    async def _fetch_next(self, pending_slices: deque[tuple[int, Any]]) -> None:
        rows_slice = await pending_slices.popleft()[1]
        while len(self._slices) >= _MAX_READY_SLICES:  # noqa: ASYNC110 - another thread takes them
            await asyncio.sleep(_POLL_INTERVAL)
        self._slices.append(rows_slice)

    @override
    def finish(self, number: int, build: PartitionBuild) -> Any:
        self._persist()
        return self._client.submit(build, self._futures[number], pure=False)

    @override
    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _slice_rows(source: Any, wanted_columns: set[Any] | None, start: int) -> Any:  # noqa: ANN401 - of pandas
    """Return some rows of a partition, with the columns that the prompt needs."""
    rows = source.iloc[start : start + _MAX_SLICE_ROWS]
    if wanted_columns is None or rows.ndim == 1:
        return rows
    return rows[[column for column in rows.columns if column in wanted_columns]]


@dataclass(frozen=True, slots=True)
class DaskRows(Rows):
    """The rows of a Dask DataFrame or Series.

    Attributes:
        partitions: Reads the rows.
        on_end: Called at the end of the map.
    """

    partitions: Partitions = field(kw_only=True)
    on_end: Callable[[], object] = field(kw_only=True)

    @override
    def read(self, names: Iterable[Any] | None = None) -> Iterator[Any]:
        return self.partitions.read(names)

    @override
    def check_blocking_allowed(self) -> None:
        self.partitions.check_blocking_allowed()

    @override
    def close(self) -> None:
        self.partitions.close()
        self.on_end()


class PartitionedBuilder:
    """Collects the answers for a Dask DataFrame, and returns them as another Dask DataFrame.

    The answers of a partition are sent to the cluster once they are complete. They are then part of
    the task graph, so that a computation is repeated if a worker is lost, but no call is.

    Args:
        rows: The rows.
        columns: The new columns.
        replaced_columns: The columns of an earlier run.
        output: What to return.
    """

    def __init__(
        self, rows: DaskRows, columns: Columns, replaced_columns: tuple[Any, ...], output: Output
    ) -> None:
        self._rows, self._partitions = rows, rows.partitions
        self._partitions.keeps_rows = True
        frame_rows = Rows(rows.kind, None, "pandas", rows.columns)
        self._build = PartitionBuild(frame_rows, columns, replaced_columns, output, "")
        self._builders: dict[int, FrameBuilder] = {}
        self._missing_counts: dict[int, int] = {}
        self._finished_partitions: dict[int, Any] = {}

    def set(self, position: int, outcome: Reply | GatewayError) -> None:
        """Store the values of a row."""
        partitions = self._partitions
        number = bisect_right(partitions.starts, position) - 1
        builder = self._builders.get(number)
        if builder is None:
            build = self._build
            builder = partitions.builder(number, build.columns, build.replaced_columns)
            self._builders[number] = builder
            self._missing_counts[number] = partitions.counts[number]
        builder.set(position - partitions.starts[number], outcome)
        self._missing_counts[number] -= 1
        if not self._missing_counts[number]:
            self._finish(number, "")

    def build(self, output: Output, problem: str = "") -> Any:  # noqa: ANN401 - a Dask DataFrame
        """Return the Dask DataFrame; see `FrameBuilder.build`."""
        import dask.dataframe as dd
        from dask.dataframe.dispatch import make_meta

        for number in range(self._partitions.count):
            if number not in self._finished_partitions:
                self._finish(number, problem)
        source = self._rows.source
        finished_partitions = [
            self._finished_partitions[number] for number in range(self._partitions.count)
        ]
        divisions = source.divisions if source.known_divisions else None
        meta = replace(self._build, output=output)(make_meta(source))
        return dd.from_delayed(
            finished_partitions,
            meta=meta,
            divisions=divisions,
            prefix="gatewayx",
            verify_meta=False,
        )

    def _finish(self, number: int, problem: str) -> None:
        builder = self._builders.pop(number, None)
        build = replace(self._build, problem=problem, builder=builder)
        self._finished_partitions[number] = self._partitions.finish(number, build)


def check_batch(rows: Rows, *, is_batch: bool) -> None:
    """Check that the rows of a Dask DataFrame are not submitted to a provider's batch API.

    Raises:
        UsageError: If ``is_batch`` is set and the rows are from Dask.
    """
    if is_batch and rows.library == "dask":
        raise UsageError(
            "batch and the rows of a Dask DataFrame cannot be combined.",
            hint="Pass `rows.compute()`.",
        )


def over_partitions(
    session: MapSession, make_engines: Callable[[MapPlan, Any], ClusterEngines], *, will_run: bool
) -> MapSession:
    """Return a map over the partitions of a Dask DataFrame; any other map is returned unchanged.

    If a client of a cluster exists, the calls are made by the cluster's workers, unless a cassette
    is open in this process. Otherwise, everything runs in this process.

    Args:
        session: The map.
        make_engines: Returns engines that make their calls on the workers of a client's cluster.
        will_run: Whether the map will be run, rather than previewed.
    """
    rows, plan = session.rows, session.plan
    if rows.library != "dask":
        return session
    client = _current_client() if will_run else None
    partitions = LocalPartitions(rows) if client is None else ClusterPartitions(rows, client)
    partitions.on_total_known = lambda total: setattr(session.figures, "total", total)
    on_end: Callable[[], object] = partitions.close
    if client is not None and plan.engines.cassette_mode is None:
        engines = make_engines(plan, client)
        on_end, plan = engines.close, replace(plan, engines=engines, concurrency=_MAX_CLUSTER_ROWS)
    count = None if will_run else len(rows.source)
    dask_rows = DaskRows(
        rows.kind, rows.source, "dask", rows.columns, count, partitions=partitions, on_end=on_end
    )
    return replace(session, rows=dask_rows, plan=plan)


def _current_client() -> Any:  # noqa: ANN401 - distributed is optional
    """Return the current Dask client; ``None`` if no client exists."""
    distributed = sys.modules.get("distributed")  # without it, there is no client
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None
