"""Provides the engines and the results store for maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import storage
from gatewayx_nb._lazy import attach
from gatewayx_nb.engine_pool.map_calls import MapCalls
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from gatewayx_nb.batch import MapPlan
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.engine_pool.batch_calls import BatchCalls
    from gatewayx_nb.engine_pool.cluster_calls import ClusterCalls
    from gatewayx_nb.engine_pool.facade import EnginePool
    from gatewayx_nb.engine_pool.live_planner import LivePlanner
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.storage import ResultsStore

# Imported on first use, because most programs use neither batches nor a cluster.
_load_lazily: Callable[[str], Any] = attach(
    __name__,
    {
        "BatchCalls": "gatewayx_nb.engine_pool.batch_calls",
        "ClusterCalls": "gatewayx_nb.engine_pool.cluster_calls",
        "run_spec": "gatewayx_nb.engine_pool.cluster_calls",
    },
)[0]


class PoolMapHost:
    """Provides what the maps of one pool need; implements `batch.MapHost`.

    Args:
        router: Plans the pool's calls, live or replayed.
        planner: Plans only live calls.
        refresh_if_due: Checks the files for changes, at most once a second.
        passed_arguments: Names of the pool's arguments that a worker process cannot read from a
            file.
        pool_type: The class of the pool, which the workers of a cluster create.
    """

    def __init__(
        self,
        router: CallRouter,
        planner: LivePlanner,
        refresh_if_due: Callable[[], object],
        passed_arguments: Sequence[str],
        pool_type: type[EnginePool],
    ) -> None:
        self._router, self._planner, self._refresh_if_due = router, planner, refresh_if_due
        self._passed_arguments, self._pool_type = passed_arguments, pool_type
        self._store: ResultsStore | None = None

    def engines(
        self, model: str | None, max_cost: Decimal | None, earlier_cost: Decimal
    ) -> MapCalls:
        """Return the engines for one map; see `batch.MapHost.engines`."""
        self._refresh_if_due()
        is_replayed = self._router.replayed_cassette is not None
        target = None if is_replayed else self._planner.registry.resolve(model)
        return MapCalls(self._router, self._planner, max_cost, earlier_cost, target)

    def with_tools(self, options: CallOptions, *, will_run: bool) -> CallOptions:
        """Return the options, prepared for their tools; see `batch.MapHost.with_tools`."""
        self._refresh_if_due()
        return self._router.tool_host.prepare_map(options, will_run=will_run)

    def cluster_engines(self, model: str | None, plan: MapPlan, client: Any) -> ClusterCalls:  # noqa: ANN401 - distributed is optional
        """Return engines that are called from a Dask cluster; see `batch.MapHost.cluster_engines`.

        Raises:
            UsageError: If the workers cannot create an equivalent pool.
        """
        if self._passed_arguments:
            raise UsageError(
                f"a pool with {' and '.join(self._passed_arguments)} cannot call from the workers"
                " of a Dask cluster: each worker creates its pool from the project folder, its own"
                " environment and its own key files.",
                hint="Use `gx.map` or a pool without these arguments, or close the Dask client to"
                " call from this process.",
            )
        if plan.options.get("tools"):
            raise UsageError(
                "tools cannot be called from the workers of a Dask cluster.",
                hint="Pass `rows.compute()` or close the Dask client to call from this process.",
            )
        project = self._planner.config.project
        folder = str(project.root) if project else None
        spec = _load_lazily("run_spec")(
            folder, self.job_identity(model), plan.options, plan.concurrency
        )
        engines = cast("MapCalls", plan.engines)
        calls: ClusterCalls = _load_lazily("ClusterCalls")(
            client, engines, spec, plan.options, self._pool_type
        )
        return calls

    def batch_engines(self, max_cost: Decimal | None, earlier_cost: Decimal) -> BatchCalls:
        """Return the engines for a batch; see `batch.MapHost.batch_engines`."""
        self._refresh_if_due()
        calls: BatchCalls = _load_lazily("BatchCalls")(self._planner, max_cost, earlier_cost)
        return calls

    def job_identity(self, reference: str | None) -> tuple[str, str]:
        """Return the full reference (``engine:model``), and the base URL and API, if specified.

        Raises:
            GatewayError: If the engine cannot be called.
        """
        self._refresh_if_due()
        return self._router.job_identity(reference)

    @property
    def results(self) -> ResultsStore | None:
        """The store of results; ``None`` while a cassette is replayed."""
        if self._router.replayed_cassette:
            return None
        location, store = storage.results_location(self._planner.config), self._store
        if store is None or (store.path, store.keep_days) != (location.path, location.keep_days):
            self._store = store = storage.ResultsStore(location.path, keep_days=location.keep_days)
        return store

    def redactor(self) -> Callable[[str], str]:
        """Return a function that masks the keys of the pool in a string."""
        return self._router.redactor()

    @property
    def keeps_prompts(self) -> bool:
        """Whether prompts are stored with their answers."""
        return self._planner.config.settings.prompts == "text"

    def close(self) -> None:
        """Close the store of results; the next use opens it again."""
        if self._store is not None:
            self._store.close()
