"""Prepares a map: checks its arguments, and opens its results and engines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from gatewayx_nb.batch.batch_job import check_no_open_batch
from gatewayx_nb.batch.batch_result import BatchSubmission, ReplayedBatch
from gatewayx_nb.batch.columns import check_clash, columns_of
from gatewayx_nb.batch.dask_rows import check_batch, over_partitions
from gatewayx_nb.batch.figures import MapFigures
from gatewayx_nb.batch.identity import job_definition, job_digest
from gatewayx_nb.batch.map_options import MapKeywords, read_call_options, split_options
from gatewayx_nb.batch.map_plan import MapPlan
from gatewayx_nb.batch.map_session import MapSession
from gatewayx_nb.batch.progress_views import SilentView, view_factory
from gatewayx_nb.batch.row_prompt import PreparedRequests, RowRequest, request_source
from gatewayx_nb.batch.rows import read_rows
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.storage import JobFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.batch.batch_job import BatchJob
    from gatewayx_nb.batch.map_host import MapHost
    from gatewayx_nb.batch.map_options import ImapKeywords, PreviewKeywords
    from gatewayx_nb.batch.row_prompt import RequestSource
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobResults

_DEFAULT_CONCURRENCY = 100
"""Default maximum number of calls in flight to an engine; the settings may allow fewer."""

_MAX_ROWS_AHEAD = 10_000
"""Maximum number of rows that may wait for an earlier row if outcomes are needed in order."""


class MapPreparer:
    """Prepares the maps of a pool.

    Args:
        maps: The engines and the store of results.
    """

    def __init__(self, maps: MapHost) -> None:
        self._maps = maps

    def session(  # noqa: PLR0913 - what every kind of map has
        self,
        rows: object,
        prompt: object,
        model: str | None,
        schema: object,
        options: PreviewKeywords,
        *,
        accepted_keywords: type[PreviewKeywords],
        ordered: bool = False,
        will_run: bool = True,
    ) -> MapSession:
        """Return a map that is ready to run; nothing is sent.

        The first arguments are those of `map`; ``accepted_keywords`` are the method's keywords.
        ``ordered`` keeps an iterator's answers in order; ``will_run`` is ``False`` for a preview.
        """
        map_options, call_keywords = split_options(options, accepted_keywords)
        source = read_rows(rows)
        check_batch(source, is_batch=map_options["batch"])
        call_options, system = read_call_options(call_keywords, model, schema, map_options)
        row_prompt = request_source(prompt, system, source, blank=map_options["missing"] == "blank")
        response_schema = cast("ResponseSchema | None", call_options.get("schema"))
        columns = columns_of(response_schema)
        replaced_columns = check_clash(source, columns, row_prompt.columns)
        call_options = self._maps.with_tools(call_options, will_run=will_run)
        results, earlier_figures, name = self._open_results(
            map_options["name"], model, row_prompt, call_options, will_run=will_run
        )
        makes_calls = will_run and not map_options["batch"]
        store = self._maps.results if makes_calls and not map_options["fresh"] else None
        check_not_in_open_batch = partial(check_no_open_batch, store, results, name)
        check_not_in_open_batch()
        engines = self._maps.engines(model, map_options["max_cost"], earlier_figures.cost)
        session = MapSession(
            rows=source,
            prompt=row_prompt,
            plan=MapPlan(
                engines,
                call_options,
                response_schema,
                min(engines.most_in_flight, map_options["concurrency"] or _DEFAULT_CONCURRENCY),
                results,
                keeps_prompts=self._maps.keeps_prompts,
                redact=self._maps.redactor(),
                raises=map_options["on_error"] == "raise",
                max_ahead=_MAX_ROWS_AHEAD if ordered and source.kind == "iterator" else None,
            ),
            columns=columns,
            replaced_columns=replaced_columns,
            figures=MapFigures(name, source.count, usage=engines.usage),
            view=view_factory.create() if map_options["progress"] and makes_calls else SilentView(),
            earlier_figures=earlier_figures,
            check_not_in_open_batch=check_not_in_open_batch,
            read_earlier_figures=lambda: self._earlier_figures(results),
            fresh=map_options["fresh"],
            max_age=cast("float | None", map_options["max_age"]),
        )
        make_engines = partial(self._maps.cluster_engines, model)
        return over_partitions(session, make_engines, will_run=will_run)

    def session_of_requests(
        self,
        requests: Sequence[RowRequest | GatewayError],
        definition: str,
        schema: object,
        options: ImapKeywords,
        *,
        accepted_keywords: type[ImapKeywords],
    ) -> MapSession:
        """Return a map over requests that have been created; see `RowCaller.plan_requests`."""
        source = PreparedRequests(requests, definition)
        models = (
            request.options.get("model") for request in requests if isinstance(request, RowRequest)
        )
        return self.session(
            range(len(requests)),
            source,
            next(models, None),
            schema,
            options,
            accepted_keywords=accepted_keywords,
        )

    def submit(self, session: MapSession, options: MapKeywords) -> BatchJob | ReplayedBatch:
        """Submit a map to the batch APIs of its providers."""
        map_options, _ = split_options(options, MapKeywords)
        store, results = self._maps.results, session.plan.results
        if store is None or results is None:  # a cassette is replayed
            return ReplayedBatch(session.figures, session.collect(map_options["output"]))
        if session.plan.options.get("fallback"):
            raise UsageError(
                "fallback and batch cannot be combined: a batch is answered by one provider.",
                hint=Hint("omit_option", option="fallback"),
            )
        engines = self._maps.batch_engines(map_options["max_cost"], session.earlier_figures.cost)
        return BatchSubmission(session, store, results, engines, map_options["output"]).run()

    def _open_results(
        self,
        name: str | None,
        model: str | None,
        prompt: RequestSource,
        options: CallOptions,
        *,
        will_run: bool,
    ) -> tuple[JobResults | None, JobFigures, str]:
        """Return the results of the job, the figures of its earlier runs, and its name."""
        store = self._maps.results
        # The model is part of the reference. A replay needs neither an engine nor its key.
        values = {key: options[key] for key in options if key != "model"}  # type: ignore[literal-required]
        other_options = cast("CallOptions", values)
        reference, base_url = "" if prompt.sets_model else model or "", ""
        if store is not None and not prompt.sets_model:
            reference, base_url = self._maps.job_identity(model)
        fallbacks = [
            self._identity_text(fallback) for fallback in options.get("fallback", ()) if store
        ]
        definition = job_definition(
            reference,
            " ".join([base_url, *fallbacks]),
            prompt.prompt_parts,
            other_options,
            prompt.constants_digest,
        )
        digest = job_digest(definition)
        # The digest is computed before redaction; keys in these values are not stored.
        redact = self._maps.redactor()
        definition = {key: redact(value) for key, value in definition.items()}
        name = None if name is None else redact(name)
        if store is None:
            return None, JobFigures(), name or f"map-{digest.hex()[:6]}"
        record = next((job for job in store.jobs() if job.digest == digest), None)
        name = name or (record.name if record else f"map-{digest.hex()[:6]}")
        results: JobResults | None
        if will_run:
            results = store.open_job(digest, name=name, definition=definition)
        else:  # a preview adds no job to the store
            results = store.read_job(record) if record else None
        return results, record.figures if record else JobFigures(), name

    def _identity_text(self, reference: str) -> str:
        """Return what a model reference currently names; empty if it cannot be called."""
        try:
            return " ".join(self._maps.job_identity(reference))
        except GatewayError:  # the other models may answer
            return ""

    def _earlier_figures(self, results: JobResults | None) -> JobFigures:
        """Return the current figures of a job."""
        records = self._maps.results.jobs() if self._maps.results and results else []
        current_figures = (
            record.figures for record in records if results and record.digest == results.digest
        )
        return next(current_figures, JobFigures())
