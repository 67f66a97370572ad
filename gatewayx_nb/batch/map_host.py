"""The interface through which maps use the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

    from gatewayx_nb.batch.batch_engines import BatchEngines
    from gatewayx_nb.batch.dask_rows import ClusterEngines
    from gatewayx_nb.batch.map_plan import MapEngines, MapPlan
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.storage import ResultsStore


class MapHost(Protocol):
    """Provides the engines and the results store for maps."""

    def engines(
        self, model: str | None, max_cost: Decimal | None, earlier_cost: Decimal
    ) -> MapEngines:
        """Return the engines for one map.

        Args:
            model: Reference of the model.
            max_cost: Maximum cost of the job in US dollars, over all its runs.
            earlier_cost: Cost of the job's earlier runs in US dollars.
        """

    def with_tools(self, options: CallOptions, *, will_run: bool) -> CallOptions:
        """Return the options with the tools of MCP servers and with the default for ``approve``.

        Args:
            options: The options of the map's calls.
            will_run: Whether the map will be run; if not, no server is started.

        Raises:
            UsageError: If an option for tools is invalid, the settings forbid it, or a tool would
                need permission that nobody can give.
            GatewayError: If a server cannot be used.
        """

    def cluster_engines(self, model: str | None, plan: MapPlan, client: Any) -> ClusterEngines:  # noqa: ANN401 - distributed is optional
        """Return engines that make the calls of a map on the workers of a Dask cluster.

        Args:
            model: Reference of the model.
            plan: The map, as planned in this process.
            client: The client of the cluster.

        Raises:
            UsageError: If the workers cannot create an equivalent pool.
        """

    def batch_engines(self, max_cost: Decimal | None, earlier_cost: Decimal) -> BatchEngines:
        """Return the engines for one map that is submitted to the providers' batch APIs.

        Args:
            max_cost: Maximum cost of the job in US dollars, over all its runs.
            earlier_cost: Cost of the job's earlier runs in US dollars.
        """

    def job_identity(self, reference: str | None) -> tuple[str, str]:
        """Return the full reference (``engine:model``) and the base URL of its provider.

        Raises:
            GatewayError: If the engine cannot be called.
        """

    @property
    def results(self) -> ResultsStore | None:
        """The store of results; ``None`` while a cassette is replayed."""

    def redactor(self) -> Callable[[str], str]:
        """Return a function that masks the keys of the pool in a string."""

    @property
    def keeps_prompts(self) -> bool:
        """Whether prompts are stored with their answers."""
