"""The methods of a pool that call a model for many rows: `map` and its variants."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from gatewayx_nb._lazy import attach
from gatewayx_nb.batch.map_options import (
    MEANINGS,
    ImapKeywords,
    MapKeywords,
    PreviewKeywords,
    uses_servers,
)
from gatewayx_nb.calls import show_options
from gatewayx_nb.concurrency import forbid_blocking_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from typing_extensions import Unpack

    from gatewayx_nb.batch.map_host import MapHost
    from gatewayx_nb.batch.map_job import MapJob, MapStatus
    from gatewayx_nb.batch.map_preparation import MapPreparer
    from gatewayx_nb.batch.map_preview import MapPreview
    from gatewayx_nb.batch.map_session import MapSession
    from gatewayx_nb.batch.progress_views import ProgressView
    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.storage import StoreDescription

# Imported on first use, because most programs make no map.
_load: Callable[[str], Any] = attach(
    __name__,
    {
        "BatchJob": "gatewayx_nb.batch.batch_job",
        "MapJob": "gatewayx_nb.batch.map_job",
        "MapPreparer": "gatewayx_nb.batch.map_preparation",
        "find_job": "gatewayx_nb.batch.map_job",
        "map_statuses": "gatewayx_nb.batch.map_job",
    },
)[0]

_SECONDS_PER_DAY = 86_400.0
"""Seconds in a day."""


class RowCaller(ABC):
    """The methods of a pool that call a model for many rows."""

    @property
    @abstractmethod
    def _maps(self) -> MapHost:
        """The engines and the store of results."""

    @property
    def _preparer(self) -> MapPreparer:
        preparer: MapPreparer = _load("MapPreparer")(self._maps)
        return preparer

    @show_options(MapKeywords, MEANINGS)
    def map(
        self,
        rows: Any,  # noqa: ANN401 - a DataFrame of any library, a list or another iterable
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[MapKeywords],
    ) -> Any:  # noqa: ANN401 - of the kind of the rows
        """Ask a model about each row, and return the rows with the answers.

        See also: the guides ``many-rows``, ``large-jobs``, ``batches`` and ``time-and-cost``.

        A second run asks only about rows without a stored answer, even if the process was killed.
        Equal rows are sent once. Stop ends the map and returns the finished rows.

        The rows of a Dask DataFrame or Series are sent during the call: by the workers of its
        cluster if there is a client, and otherwise by this process, partition by partition. Each
        worker creates its own pool from the project folder, with its own environment and keys.

        With ``batch=True``, the rows are submitted to the batch API of OpenAI or Anthropic,
        which answers within a day at half the price, and a `BatchJob` is returned at once. Its
        ``result()`` waits, and returns what `map` would return. The job outlives the kernel:
        ``gx.job(name)`` finds it again. Rows that have an answer, or are in an open batch, are not
        submitted again, and rows that were submitted are not sent without ``batch=True``. While a
        cassette is replayed, nothing is submitted and the job is done at once; with the other modes
        of a cassette, the rows are submitted, and a later run without ``batch=True`` records them.

        With ``tools``, the model may call functions for each row. They run in up to 32 worker
        threads, and you are not asked: set ``approve`` for a function marked ``ask=True`` and for
        an MCP server. Any other call that needs permission is refused unless ``approve`` permits
        it.

        Returns:
            A DataFrame has new columns: ``answer`` or the fields of the schema, then ``gx_error``,
            ``gx_finish_reason``, ``gx_input_tokens``, ``gx_output_tokens``, ``gx_cost`` in US
            dollars, ``gx_seconds`` and ``gx_model``. A Series becomes a DataFrame on its index, a
            list a `MappedReplies` list, a Dask DataFrame another Dask DataFrame, and an iterator an
            iterator of replies and errors in order.

        Raises:
            UsageError: If an argument is invalid, or the workers of a cluster cannot create this
                pool because it has an ``env`` or ``engines`` of its own; nothing is sent.
            GatewayError: If an error concerns every row, all rows fail, or the first 100 rows fail
                alike.
            UnsupportedFeatureError: If ``batch=True`` and the provider has no batch API.
        """
        forbid_blocking_call("amap")
        session = self._preparer.session(
            rows, prompt, model, schema, options, accepted_keywords=MapKeywords, ordered=True
        )
        if options.get("batch"):
            return self._preparer.submit(session, options)
        output = options.get("output", "same")
        if session.rows.kind == "iterator" and output == "same":
            return session.in_order()
        return session.collect(output)

    @show_options(MapKeywords, MEANINGS)
    async def amap(
        self,
        rows: Any,  # noqa: ANN401
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[MapKeywords],
    ) -> Any:  # noqa: ANN401
        """Ask a model about each row; see `map`.

        An iterator becomes an asynchronous iterator. With ``batch=True``, the rows are read and
        submitted in another thread. The methods of the job block: on an event loop, use ``await
        asyncio.to_thread(job.result)``.
        """
        make = partial(
            self._preparer.session,
            *(rows, prompt, model, schema, options),
            accepted_keywords=MapKeywords,
            ordered=True,
        )
        session = await asyncio.to_thread(make) if uses_servers(options) else make()
        if options.get("batch"):
            return await asyncio.to_thread(self._preparer.submit, session, options)
        output = options.get("output", "same")
        if session.rows.kind == "iterator" and output == "same":
            return session.ain_order()
        return await session.acollect(output)

    @show_options(ImapKeywords, MEANINGS)
    def imap(
        self,
        rows: Any,  # noqa: ANN401
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[ImapKeywords],
    ) -> Iterator[tuple[int, Reply | GatewayError]]:
        """Yield the position and the reply or error of each row as they arrive; see `map`."""
        forbid_blocking_call("aimap")
        session = self._preparer.session(
            rows, prompt, model, schema, options, accepted_keywords=ImapKeywords
        )
        return (outcome for group in session.outcomes() for outcome in group)

    @show_options(ImapKeywords, MEANINGS)
    def aimap(
        self,
        rows: Any,  # noqa: ANN401
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[ImapKeywords],
    ) -> AsyncIterator[tuple[int, Reply | GatewayError]]:
        """Yield the position and the reply or error of each row as they arrive; see `map`."""
        make = partial(
            self._preparer.session,
            rows,
            prompt,
            model,
            schema,
            options,
            accepted_keywords=ImapKeywords,
        )
        if uses_servers(options):  # starting the servers must not block the event loop
            return _flatten(make)
        session = make()  # raises here, not when the answers are read, if an argument is invalid
        return _flatten(lambda: session)

    @show_options(PreviewKeywords, MEANINGS)
    def preview_map(
        self,
        rows: Any,  # noqa: ANN401
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[PreviewKeywords],
    ) -> MapPreview:
        """Return what `map` would send and cost: rows, tokens, US dollars and time; send nothing.

        See also: the guide ``time-and-cost``.

        The tokens and the cost of many rows are estimated from 200 of them.

        Raises:
            UsageError: If an argument is invalid, or the rows are an iterator.
            GatewayError: If the calls cannot be made.
        """
        forbid_blocking_call("apreview_map")
        session = self._preparer.session(
            rows, prompt, model, schema, options, accepted_keywords=PreviewKeywords, will_run=False
        )
        return session.preview()

    @show_options(PreviewKeywords, MEANINGS)
    async def apreview_map(
        self,
        rows: Any,  # noqa: ANN401
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        **options: Unpack[PreviewKeywords],
    ) -> MapPreview:
        """Return what `amap` would send and cost; see `preview_map`."""
        session = self._preparer.session(
            rows, prompt, model, schema, options, accepted_keywords=PreviewKeywords, will_run=False
        )
        return await asyncio.to_thread(session.preview)

    def describe_results(self) -> StoreDescription | None:
        """Return where the answers of maps are stored; ``None`` if no answers are stored."""
        description = self._maps.results.describe() if self._maps.results else None
        return description if description and description.size else None

    def plan_map(
        self,
        rows: object,
        prompt: object,
        model: str | None = None,
        *,
        schema: object = None,
        view: ProgressView | None = None,
        **options: Unpack[ImapKeywords],
    ) -> MapSession:
        """Return a map for a front end to run, in its own thread or on its own loop; see `map`.

        Nothing is sent before its answers are collected. Nothing is displayed without a ``view``.
        """
        options["progress"] = False
        session = self._preparer.session(
            rows, prompt, model, schema, options, accepted_keywords=ImapKeywords
        )
        session.view = view or session.view
        return session

    def plan_requests(
        self,
        requests: Sequence[RowRequest | GatewayError],
        definition: str,
        *,
        schema: object = None,
        **options: Unpack[ImapKeywords],
    ) -> MapSession:
        """Return a map over requests that have been created, each of which names its model.

        Nothing is sent before its answers are collected.

        Args:
            requests: The requests; an error fails its row.
            definition: A string that, with the options, identifies the job.
            schema: A type or a JSON Schema, as for `map`.
            **options: The options of the map, and those of all requests.
        """
        return self._preparer.session_of_requests(
            requests, definition, schema, options, accepted_keywords=ImapKeywords
        )

    def forget_jobs(self, *, older: float) -> int:
        """Remove the maps last used more than ``older`` seconds ago; return their number."""
        store = self._maps.results
        if store is None:
            return 0
        return store.forget(record.id for record in store.older_than(older / _SECONDS_PER_DAY))

    def job(self, name: str) -> MapJob:
        """Return a map by its name, even if another process runs or ran the map.

        Args:
            name: The name that was passed to `map` or that its display shows, or the beginning of
                this name.

        Raises:
            UsageError: If there is no such map, or several names begin with ``name``.
        """
        store, record = _load("find_job")(self._maps.results, name)
        job: MapJob
        if store.parts(record.digest).all():
            engines = self._maps.batch_engines(None, record.figures.cost)
            job = _load("BatchJob")(store, record, engines)
        else:
            job = _load("MapJob")(store, record)
        return job

    def map_jobs(self) -> list[MapStatus]:
        """Return the status of each map in the project, the most recently used first."""
        statuses: list[MapStatus] = _load("map_statuses")(self._maps.results)
        return statuses


async def _flatten(
    make: Callable[[], MapSession],
) -> AsyncIterator[tuple[int, Reply | GatewayError]]:
    session = await asyncio.to_thread(make)
    async for group in session.aoutcomes():
        for outcome in group:
            yield outcome
