"""Submits the rows of a map to providers' batch APIs, and reads their results."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.batch import LOOK_BACK, CollectedRow, PreparedRow, with_row_options
from gatewayx_nb.calls import AnswerCleaner, PartialReply, may_succeed_later, with_retries
from gatewayx_nb.engine_pool.budget import apply_cost_limits, cost_of
from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.engine_pool.chunk_check import ChunkChecker
from gatewayx_nb.engine_pool.exception_redaction import redact_exception
from gatewayx_nb.engine_pool.host import typed_errors
from gatewayx_nb.engine_pool.job_usage import JobUsage
from gatewayx_nb.engine_pool.router import address_of
from gatewayx_nb.engine_pool.structured_output import parse_or_correct
from gatewayx_nb.errors import (
    AuthenticationError,
    BudgetError,
    ConfigError,
    EngineError,
    GatewayError,
    QuotaError,
    TransportError,
    UsageError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import (
    LLMEngine,
    Message,
    ProviderErrors,
    Request,
    parse_line,
    row_error,
    was_refused,
    whole_body,
    without_interface,
)
from gatewayx_nb.text import dollars

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from gatewayx_nb.batch import ResultSink, RowRequest
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.engine_pool.live_planner import LivePlanner
    from gatewayx_nb.llm_engines import BatchInterface, BatchResult, RemoteBatch
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.replies import Chunk, Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobPart

T = TypeVar("T")

BATCH_PRICE_FACTOR = Decimal("0.5")
"""Price of a row in a batch, as a share of the normal price.

https://platform.openai.com/docs/guides/batch
https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing
"""

_SUBMISSION_TIMEOUT = 3600.0
"""Maximum seconds for submitting a part, which may be as large as 200 MB."""

_COLLECTION_TIMEOUT = 3600.0
"""Maximum seconds for downloading the results of a part."""

_QUERY_TIMEOUT = 60.0
"""Maximum seconds for querying the state of a part."""

_NO_LIMIT = Decimal(10) ** 12
"""A limit in US dollars that is never reached, so that only the maximum cost is computed."""

_LARGE_LINE = 2**18
"""Size above which a line is parsed in another thread, so that it does not delay other calls."""

_COMMON_ERRORS = (ConfigError, EngineError, AuthenticationError, QuotaError)
"""Errors that would affect every row; the next run repeats the rows that failed with them."""


class BatchCalls:
    """Submits parts of a map, and collects their results; implements `batch.BatchEngines`.

    Args:
        planner: Plans calls.
        max_cost: Maximum cost of the job in US dollars, over all its runs.
        earlier_cost: Cost of the earlier runs in US dollars.

    Attributes:
        usage: The usage of the rows that this object has collected.
    """

    def __init__(
        self, planner: LivePlanner, max_cost: Decimal | None, earlier_cost: Decimal
    ) -> None:
        limits = planner.config.settings.limits
        self.usage = JobUsage(planner.usage, max_cost, earlier_cost, limits.max_cost)
        self._limits = self.usage.limits(limits)
        self._planner = planner.for_rows(self.usage, self._limits)

    def prepare(
        self, rows: Sequence[RowRequest], options: CallOptions
    ) -> list[PreparedRow | GatewayError]:
        """Return each row as it will be sent, or its error; see `batch.BatchEngines`."""
        prepared_by_number: dict[int, PreparedRow | GatewayError] = {}
        calls_by_engine: dict[str, list[tuple[int, EngineCall]]] = {}
        for number, row in enumerate(rows):
            try:
                call = self._planner.plan(
                    row.prompt, with_row_options(options, row), streamed=False
                )
            except UsageError as error:
                prepared_by_number[number] = error
                continue
            assert isinstance(call, EngineCall)  # noqa: S101 - there is no fallback
            calls_by_engine.setdefault(call.target.name, []).append((number, call))
        for calls in calls_by_engine.values():
            target = calls[0][1].target

            async def prepare(
                engine: LLMEngine,
                calls: list[tuple[int, EngineCall]] = calls,
                target: Target = target,
            ) -> None:
                for number, call in calls:
                    prepared_by_number[number] = await self._prepare(engine, target, call)

            self._run(target, prepare)
        return [prepared_by_number[number] for number in range(len(rows))]

    async def _prepare(
        self, engine: LLMEngine, target: Target, call: EngineCall
    ) -> PreparedRow | GatewayError:
        interface = _interface(engine)
        try:
            request = await call.request_to_send(engine)
            request, max_cost = await self._with_max_cost(engine, request)
            endpoint, model = interface.group(request)
            content = interface.row(request)
        except UsageError as error:
            return error
        return PreparedRow(
            target.name, address_of(target), endpoint, model, content, interface.format, max_cost
        )

    async def _with_max_cost(self, engine: LLMEngine, request: Request) -> tuple[Request, Decimal]:
        """Return the request and its maximum cost; cost limits may have lowered its ``max_tokens``.

        Raises:
            BudgetError: If the price is unknown, or the maximum cost is above ``max_call_cost``.
        """
        limits = self._limits
        has_cost_limit = limits.max_cost is not None or limits.max_call_cost is not None
        if not has_cost_limit and self.usage.day_budget.lowest() is None:
            return request, Decimal(0)
        raised_limits = replace(limits, max_cost=_NO_LIMIT, max_call_cost=None)
        allowance = await apply_cost_limits(engine, request, raised_limits, Decimal)
        max_cost = allowance.cost * BATCH_PRICE_FACTOR
        if limits.max_call_cost is not None and max_cost > limits.max_call_cost:
            raise BudgetError(
                f"a row may cost up to {dollars(max_cost)}, and [limits] max_call_cost is"
                f" {dollars(limits.max_call_cost)}; nothing was submitted.",
                hint=Hint("set_option", option="max_tokens", value=500),
                engine=engine.name,
                model=request.model,
            )
        return allowance.request, max_cost

    def check_budget(self, max_cost: Decimal, rows: int, other_jobs_cost: Decimal) -> None:
        """Check that the maximum cost of rows is within the limits; see `batch.BatchEngines`."""
        self._planner.runtime.run(self.usage.day_budget.refresh())
        day_limit, total_cost = self.usage.day_budget.lowest(), max_cost + other_jobs_cost
        if day_limit is not None and total_cost > day_limit.left:
            raise day_limit.error(day_limit.left, total_cost)
        session_limit = self._planner.config.settings.limits.max_cost
        if session_limit is not None and total_cost > session_limit - self.usage.session_spent:
            raise BudgetError(
                f"the batch of {rows:,} rows and the open batches may cost up to"
                f" {dollars(total_cost)}, which is more than what is left of [limits] max_cost;"
                " nothing was submitted.",
                hint="Raise [limits] max_cost, or set a lower `max_tokens`.",
            )
        cost_limit = self.usage.limit
        remaining_cost = None if cost_limit is None else cost_limit - self.usage.spent
        if remaining_cost is not None and max_cost > remaining_cost:
            raise BudgetError(
                f"the batch of {rows:,} rows may cost up to {dollars(max_cost)}, and"
                f" {dollars(max(remaining_cost, Decimal(0)))} of"
                f" {dollars(cost_limit or Decimal(0))} is left; nothing was submitted.",
                hint=Hint("raise_option", option="max_cost")
                | "Set a lower `max_tokens`, or submit fewer rows.",
            )

    def submit(self, part: JobPart, file: Path) -> RemoteBatch | GatewayError:
        """Submit a part; see `batch.BatchEngines`."""
        retries, may_exist = self._limits.retries, False

        async def submit(engine: LLMEngine) -> RemoteBatch:
            interface = _interface(engine)
            uploaded = await with_retries(lambda: interface.upload(file), retries)

            async def create() -> RemoteBatch:
                nonlocal may_exist
                endpoint = str(part.info.get("endpoint", ""))
                may_exist = True
                try:
                    remote = await interface.create(file, uploaded, endpoint, part.digest)
                except GatewayError as error:
                    may_exist = not was_refused(error)
                    raise
                if not remote.id:
                    reason = "the provider returned no batch ID"
                    raise row_error(engine.name, "protocol", reason)
                return remote

            # Retry only after a refusal: after any other error, the batch may already exist.
            return await with_retries(create, retries, may_retry=lambda: not may_exist)

        try:
            return self._run(self._target(part), submit, _SUBMISSION_TIMEOUT)
        except GatewayError as error:
            if may_exist:
                return error
            raise

    def find(self, part: JobPart) -> list[RemoteBatch]:
        """Return the batches that may contain a part; see `batch.BatchEngines`."""
        since = part.submitted_at - LOOK_BACK
        return self._query(part, lambda interface: interface.find(part.digest, since))

    def state(self, part: JobPart) -> RemoteBatch:
        """Return the state of a part; see `batch.BatchEngines`."""
        return self._query(part, lambda interface: interface.state(part.batch))

    def cancel(self, part: JobPart) -> None:
        """Ask the provider to end a part early; see `batch.BatchEngines`."""
        self._query(part, lambda interface: interface.cancel(part.batch))

    def collect(
        self, part: JobPart, remote: RemoteBatch, schema: ResponseSchema | None, sink: ResultSink
    ) -> None:
        """Read the results of a part; see `batch.BatchEngines`."""

        async def collect(engine: LLMEngine) -> None:
            reader = _ResultReader(engine, part, remote, schema)
            async for line in reader.interface.lines(remote):
                if line is None or not line.strip():
                    if line is None:
                        sink.skip("too long")
                    continue
                result = await reader.parse(line)
                if result is None:
                    sink.skip("not a result")
                    continue
                position = sink.position(result.name)
                if position is not None:
                    outcome, row, should_retry = await reader.read(result)
                    await sink.add(position, outcome, row, retry=should_retry)

        self._run(self._target(part), collect, _COLLECTION_TIMEOUT)

    def record_usage(self, rows: Sequence[CollectedRow], job: str) -> None:
        """Add the usage of rows to the totals; see `batch.BatchEngines`."""
        for row in rows:
            self.usage.add(row.partial, row.outcome, row.message)
        self.usage.write_sums(job)

    def _query(self, part: JobPart, query: Callable[[BatchInterface], Awaitable[T]]) -> T:
        async def run(engine: LLMEngine) -> T:
            return await query(_interface(engine))

        return self._run(self._target(part), run, min(self._limits.timeout, _QUERY_TIMEOUT))

    def _target(self, part: JobPart) -> Target:
        """Return the target of a part.

        Raises:
            ConfigError: If the engine's address has changed, so that another provider would be
                queried.
        """
        name, address = str(part.info.get("engine", "")), part.info.get("address")
        target = self._planner.registry.resolve(name)
        if address_of(target) != address:
            raise ConfigError(
                f"the batch was submitted to {address!r}, but engine {name!r} now uses"
                f" {address_of(target)!r}.",
                hint=Hint("set_base_url", engine=name),
                engine=name,
            )
        return target

    def _run(
        self,
        target: Target,
        operation: Callable[[LLMEngine], Awaitable[T]],
        timeout: float | None = None,
    ) -> T:
        """Run a coroutine function on an engine's event loop and return its result.

        Args:
            target: The engine.
            operation: The coroutine function.
            timeout: Maximum number of seconds; ``None`` for no limit.

        Raises:
            GatewayError: If the coroutine fails.
        """
        host = self._planner.runtime.host(target)
        try:
            return host.portal.run(_with_engine(host, target, operation, timeout))
        except GatewayError as error:
            redact_exception(error, target.key)
            raise
        except TimeoutError:
            raise TransportError(
                f"engine {target.name!r}: the batch API did not answer within {timeout or 0:g} s.",
                hint=Hint("run_again"),
                engine=target.name,
                code="silence",
            ) from None
        except asyncio.CancelledError:
            raise TransportError(
                f"the pool was closed during a request to {target.name!r} about a batch.",
                hint=Hint("run_again"),
                engine=target.name,
                code="closed",
            ) from None


async def _with_engine(
    host: EngineHost,
    target: Target,
    operation: Callable[[LLMEngine], Awaitable[T]],
    timeout: float | None,  # noqa: ASYNC109 - includes the creation of the engine
) -> T:
    async with asyncio.timeout(timeout), host.acquire(target) as instance:
        with typed_errors(target):
            return await operation(instance.engine)


def _interface(engine: LLMEngine) -> BatchInterface:
    """Return the batch API of an engine.

    Raises:
        UnsupportedFeatureError: If the engine has no batch API.
    """
    interface = engine.batch_interface()
    if interface is None:
        raise without_interface(engine.name)
    return interface


class _ResultReader:
    """Converts the results of one part to replies and errors.

    Args:
        engine: The engine.
        part: The part.
        remote: The batch.
        schema: Parses the answers; ``None`` if no schema was requested.
    """

    def __init__(
        self,
        engine: LLMEngine,
        part: JobPart,
        remote: RemoteBatch,
        schema: ResponseSchema | None,
    ) -> None:
        self.interface = _interface(engine)
        self._engine, self._part, self._schema = engine, part, schema
        self._model = str(part.info.get("model", ""))
        self._endpoint = str(part.info.get("endpoint", ""))
        self._errors = ProviderErrors(engine.name, self._model or None, engine.api_key)
        self._duration = max(0.0, (remote.ended_at or time.time()) - part.submitted_at)

    async def parse(self, line: bytes) -> BatchResult | None:
        """Return the result in a line; ``None`` if the line contains no result."""
        if len(line) > _LARGE_LINE:
            parsed = await asyncio.to_thread(parse_line, line)
            return await asyncio.to_thread(self.interface.read, parsed, self._errors)
        return self.interface.read(parse_line(line), self._errors)

    async def read(self, result: BatchResult) -> tuple[Reply | GatewayError, CollectedRow, bool]:
        """Return the outcome of a row, the row's usage, and whether to submit the row again."""
        partial = PartialReply(self._engine.name, self._model)
        partial.attempts = 1
        try:
            if result.error is not None:
                raise result.error
            if not result.body:
                raise row_error(self._engine.name, "missing", "its result has no answer")
            parsed = await self._parse_answer(partial, result.body)
        except GatewayError as error:
            redact_exception(error, self._engine.api_key)
            error.engine = error.engine or self._engine.name
            error.model = error.model or partial.model or None
            should_retry = (
                result.retry or may_succeed_later(error) or isinstance(error, _COMMON_ERRORS)
            )
            should_retry = should_retry or error.code == "missing"
            partial.looked_up_cost = await self._cost(partial)
            row = CollectedRow(_without_text(partial), type(error).__name__, error.message)
            return error, row, should_retry
        partial.looked_up_cost = await self._cost(partial)
        reply = partial.reply(parsed=parsed)
        reply = replace(reply, latency=self._duration, time_to_first=None)
        return reply, CollectedRow(_without_text(partial), "ok"), False

    async def _parse_answer(self, partial: PartialReply, body: str) -> Any:  # noqa: ANN401 - depends on the schema
        """Parse an answer with its endpoint's parser; return the value parsed by the schema."""
        key = self._engine.api_key
        cleaner, checker = AnswerCleaner(), ChunkChecker(self._engine.name, key)
        partial.mask = checker.mask_answer
        parser = self.interface.parser(self._endpoint, self._errors)
        try:
            chunks: Iterable[Chunk] = whole_body(parser, body, self._errors)
            if len(body) > _LARGE_LINE:
                chunks = await asyncio.to_thread(list, chunks)
            for chunk in chunks:
                checked_chunk = checker.check(chunk)
                if checked_chunk is not None:
                    parts = [checked_chunk]
                else:
                    parts = [part async for part in checker.check_large(chunk)]
                for part in parts:
                    for cleaned in cleaner.feed(part):
                        partial.add(cleaned)
            for cleaned in cleaner.close():
                partial.add(cleaned)
        finally:
            await checker.mask(partial)
        if not parser.finished:
            raise self._errors.truncated()
        if self._schema is None:
            return None
        request = Request(messages=(Message("user", "…"),), model=partial.model)
        return await parse_or_correct(self._schema, request, partial, None)

    async def _cost(self, partial: PartialReply) -> Decimal | None:
        tokens = partial.billed_usage or partial.total_usage
        if tokens is None:
            return None
        cost = await cost_of(self._engine, partial.model, tokens, self._part.submitted_at)
        return None if cost is None else cost * BATCH_PRICE_FACTOR


def _without_text(partial: PartialReply) -> PartialReply:
    """Return a copy of an answer without its text, which the totals do not need."""
    copy = PartialReply(partial.engine, partial.model)
    copy.usage, copy.looked_up_cost, copy.attempts = partial.total_usage, partial.looked_up_cost, 1
    copy.finish_reason = partial.finish_reason
    return copy
