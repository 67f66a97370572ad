"""The methods of a pool that ask about many rows: `map` and its variants."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.batch.batch_job import BatchJob, check_no_open_batch
from gatewayx_nb.batch.batch_result import BatchStart, ReplayedBatch
from gatewayx_nb.batch.columns import check_clash, columns_of
from gatewayx_nb.batch.dask_rows import check_batch, over_partitions
from gatewayx_nb.batch.figures import MapFigures
from gatewayx_nb.batch.identity import job_definition, job_digest
from gatewayx_nb.batch.map_job import MapJob, find_job, map_statuses
from gatewayx_nb.batch.map_options import (
    MEANINGS,
    ImapKeywords,
    MapKeywords,
    PreviewKeywords,
    read_call_options,
    split_options,
    uses_servers,
)
from gatewayx_nb.batch.map_plan import MapPlan
from gatewayx_nb.batch.map_session import MapSession
from gatewayx_nb.batch.progress_views import Silent, views
from gatewayx_nb.batch.row_prompt import PreparedRequests, RowRequest, request_source
from gatewayx_nb.batch.rows import read_rows
from gatewayx_nb.calls import show_options
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.storage import JobFigures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from typing_extensions import Unpack

    from gatewayx_nb.batch.map_host import MapHost
    from gatewayx_nb.batch.map_job import MapStatus
    from gatewayx_nb.batch.map_preview import MapPreview
    from gatewayx_nb.batch.progress_views import ProgressView
    from gatewayx_nb.batch.row_prompt import RequestSource
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobResults, StoreDescription

_CONCURRENCY = 100
"""Maximum number of calls in flight to an engine, unless the settings allow fewer."""

_DAY = 86_400.0
"""Seconds in a day."""

_MAX_AHEAD = 10_000
"""Maximum number of rows that wait for an earlier one, if the outcomes are needed in order."""


class RowCaller(ABC):
    """The methods of a pool that ask a model about many rows."""

    @property
    @abstractmethod
    def _maps(self) -> MapHost:
        """The engines and the store of results."""

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
        Equal rows are asked once. Stop ends the map and returns what is done.

        The rows of a Dask DataFrame or Series are asked during the call: by the workers of its
        cluster if there is a client, and otherwise in this process, partition by partition. Each
        worker creates its own pool from the project folder, with its own environment and keys.

        With ``batch=True``, the rows are submitted to the batch interface of OpenAI or Anthropic,
        which answers within a day at half the price, and a `BatchJob` is returned at once. Its
        ``result()`` waits, and returns what `map` would return. The job outlives the kernel:
        ``gx.job(name)`` finds it again. Rows that have an answer, or are in an open batch, are not
        submitted again, and rows that were submitted are not asked without ``batch=True``. While a
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
            list a `MappedReplies` list, a Dask DataFrame another one, and an iterator an iterator
            of replies and errors in order.

        Raises:
            UsageError: If an argument is invalid, or the workers of a cluster cannot create this
                pool because it has an ``env`` or ``engines`` of its own; nothing is sent.
            GatewayError: If an error concerns every row, all rows fail, or the first 100 rows fail
                alike.
            UnsupportedFeatureError: If ``batch=True`` and the provider has no batch interface.
        """
        forbid_blocking_call("amap")
        session = self._map_session(
            rows, prompt, model, schema, options, known=MapKeywords, ordered=True
        )
        if options.get("batch"):
            return self._submit(session, options)
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
            self._map_session,
            *(rows, prompt, model, schema, options),
            known=MapKeywords,
            ordered=True,
        )
        session = await asyncio.to_thread(make) if uses_servers(options) else make()
        if options.get("batch"):
            return await asyncio.to_thread(self._submit, session, options)
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
        session = self._map_session(rows, prompt, model, schema, options, known=ImapKeywords)
        return (item for group in session.outcomes() for item in group)

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
        make = partial(self._map_session, rows, prompt, model, schema, options, known=ImapKeywords)
        if uses_servers(options):  # starting them must not block the event loop
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
        """Return what `map` would ask and cost: rows, tokens, US dollars and time; send nothing.

        See also: the guide ``time-and-cost``.

        The tokens and the cost of many rows are estimated from 200 of them.

        Raises:
            UsageError: If an argument is invalid, or the rows are an iterator.
            GatewayError: If the calls cannot be made.
        """
        forbid_blocking_call("apreview_map")
        session = self._map_session(
            rows, prompt, model, schema, options, known=PreviewKeywords, sends=False
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
        """Return what `amap` would ask and cost; see `preview_map`."""
        session = self._map_session(
            rows, prompt, model, schema, options, known=PreviewKeywords, sends=False
        )
        return await asyncio.to_thread(session.preview)

    def _submit(self, session: MapSession, options: MapKeywords) -> BatchJob | ReplayedBatch:
        """Submit a map to the batch interfaces of its providers."""
        own, _ = split_options(options, MapKeywords)
        store, results = self._maps.results, session.plan.results
        if store is None or results is None:  # a cassette is replayed
            return ReplayedBatch(session.figures, session.collect(own["output"]))
        if session.plan.options.get("fallback"):
            raise UsageError(
                "fallback and batch cannot be combined: a batch is answered by one provider.",
                hint=Hint("omit_option", option="fallback"),
            )
        engines = self._maps.batch_engines(own["max_cost"], session.earlier.cost)
        return BatchStart(session, store, results, engines, own["output"]).run()

    def describe_results(self) -> StoreDescription | None:
        """Return where the answers of maps are stored; ``None`` if there are none."""
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
        """Return a map that a front end runs, in its thread or on its loop; see `map`.

        Nothing is sent before its answers are collected. Nothing is displayed without a ``view``.
        """
        options["progress"] = False
        session = self._map_session(rows, prompt, model, schema, options, known=ImapKeywords)
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
            definition: A text that, with the options, identifies the job.
            schema: A type or a JSON Schema, as for `map`.
            **options: The options of the map, and those of all requests.
        """
        source = PreparedRequests(requests, definition)
        models = (each.options.get("model") for each in requests if isinstance(each, RowRequest))
        return self._map_session(
            range(len(requests)), source, next(models, None), schema, options, known=ImapKeywords
        )

    def forget_jobs(self, *, older: float) -> int:
        """Remove the maps that were not used for ``older`` seconds; return their number."""
        store = self._maps.results
        if store is None:
            return 0
        return store.forget(record.id for record in store.older_than(older / _DAY))

    def job(self, name: str) -> MapJob:
        """Return a map by its name, whichever process runs or ran it.

        Args:
            name: The name that was passed to `map` or that its display shows, or the beginning of
                it.

        Raises:
            UsageError: If there is none, or the names of several begin with it.
        """
        store, record = find_job(self._maps.results, name)
        if store.parts(record.digest).all():
            return BatchJob(store, record, self._maps.batch_engines(None, record.figures.cost))
        return MapJob(store, record)

    def map_jobs(self) -> list[MapStatus]:
        """Return the status of each map in the project, the most recently used first."""
        return map_statuses(self._maps.results)

    def _map_session(  # noqa: PLR0913 - what every kind of map has
        self,
        rows: object,
        prompt: object,
        model: str | None,
        schema: object,
        options: PreviewKeywords,
        *,
        known: type[PreviewKeywords],
        ordered: bool = False,
        sends: bool = True,
    ) -> MapSession:
        """Return a map that is ready to run; nothing is sent.

        The first arguments are those of `map`; ``known`` are the keywords of the calling method.
        ``ordered`` is whether an iterator's answers keep its order, ``sends`` whether the map runs.
        """
        own, calls = split_options(options, known)
        source = read_rows(rows)
        check_batch(source, is_batch=own["batch"])
        call_options, system = read_call_options(calls, model, schema, own)
        row_prompt = request_source(prompt, system, source, blank=own["missing"] == "blank")
        response_schema = cast("ResponseSchema | None", call_options.get("schema"))
        columns = columns_of(response_schema)
        replaced = check_clash(source, columns, row_prompt.columns)
        call_options = self._maps.with_tools(call_options, sends=sends)
        results, earlier, name = self._open_results(
            own["name"], model, row_prompt, call_options, sends=sends
        )
        is_checked = sends and not (own["batch"] or own["fresh"])
        store = self._maps.results if is_checked else None
        check = partial(check_no_open_batch, store, results, name)
        check()
        engines = self._maps.engines(model, own["max_cost"], earlier.cost)
        most = min(engines.most_in_flight, own["concurrency"] or _CONCURRENCY)
        session = MapSession(
            rows=source,
            prompt=row_prompt,
            plan=MapPlan(
                engines,
                call_options,
                response_schema,
                most,
                results,
                keeps_prompts=self._maps.keeps_prompts,
                redact=self._maps.redactor(),
                raises=own["on_error"] == "raise",
                max_ahead=_MAX_AHEAD if ordered and source.kind == "iterator" else None,
            ),
            columns=columns,
            replaced=replaced,
            figures=MapFigures(name, source.count, used=engines.used),
            view=views.create() if own["progress"] and sends and not own["batch"] else Silent(),
            earlier=earlier,
            check=check,
            read_earlier=lambda: self._earlier_figures(results),
            fresh=own["fresh"],
            max_age=cast("float | None", own["max_age"]),
        )
        return over_partitions(session, partial(self._maps.cluster_engines, model), sends=sends)

    def _open_results(
        self,
        name: str | None,
        model: str | None,
        prompt: RequestSource,
        options: CallOptions,
        *,
        sends: bool,
    ) -> tuple[JobResults | None, JobFigures, str]:
        """Return the results of the job, the figures of its earlier runs, and its name."""
        store = self._maps.results
        # The model is part of the reference. A replay needs no engine, which may have no key here.
        rest = cast("CallOptions", {key: options[key] for key in options if key != "model"})  # type: ignore[literal-required]
        reference, address = "" if prompt.names_models else model or "", ""
        if store is not None and not prompt.names_models:
            reference, address = self._maps.job_identity(model)
        named = [self._identity(each) for each in options.get("fallback", ()) if store]
        definition = job_definition(
            reference, " ".join([address, *named]), prompt.parts, rest, prompt.constants
        )
        digest = job_digest(definition)
        # The digest is that of the true values; keys in them are not stored.
        redact = self._maps.redactor()
        definition = {key: redact(value) for key, value in definition.items()}
        name = None if name is None else redact(name)
        if store is None:
            return None, JobFigures(), name or f"map-{digest.hex()[:6]}"
        record = next((each for each in store.jobs() if each.digest == digest), None)
        name = name or (record.name if record else f"map-{digest.hex()[:6]}")
        results: JobResults | None
        if sends:
            results = store.open_job(digest, name=name, definition=definition)
        else:  # a preview adds no job to the store
            results = store.read_job(record) if record else None
        return results, record.figures if record else JobFigures(), name

    def _identity(self, reference: str) -> str:
        """Return what a reference names now; empty if it cannot be called."""
        try:
            return " ".join(self._maps.job_identity(reference))
        except GatewayError:  # the other models may answer
            return ""

    def _earlier_figures(self, results: JobResults | None) -> JobFigures:
        """Return the current figures of a job."""
        records = self._maps.results.jobs() if self._maps.results and results else []
        found = (each.figures for each in records if results and each.digest == results.digest)
        return next(found, JobFigures())


async def _flatten(
    make: Callable[[], MapSession],
) -> AsyncIterator[tuple[int, Reply | GatewayError]]:
    session = await asyncio.to_thread(make)
    async for group in session.aoutcomes():
        for item in group:
            yield item
