"""Calls while a cassette is open: replayed from it, or made and recorded."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import PartialReply, build_request, call_limits, response_schema
from gatewayx_nb.cassettes import (
    Cassette,
    CassetteEntry,
    RecordedChunk,
    RecordedRequest,
    RecordingSlot,
    Redaction,
    RequestBody,
    body_of,
    entry_of,
    load_redact,
    mode_of,
    vectors_of,
)
from gatewayx_nb.engine_pool.embedding import embed, numpy
from gatewayx_nb.engine_pool.engine_errors import redact_exception
from gatewayx_nb.engine_pool.plan import references
from gatewayx_nb.errors import (
    CassetteMissError,
    ConfigError,
    DeadlineError,
    GatewayError,
    TransportError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.conversations import ChatSlot
    from gatewayx_nb.engine_pool.call import Emit
    from gatewayx_nb.engine_pool.embedding import Vectors
    from gatewayx_nb.engine_pool.plan import LiveCall, PlannedCall, Planner
    from gatewayx_nb.messages import Message
    from gatewayx_nb.replies import Chunk, Reply
    from gatewayx_nb.schema import ResponseSchema

_GRACE = 1.0
"""Seconds that a caller waits beyond the duration of a replay."""


class CallRouter:
    """Routes calls to the engine, or replays and records them with the open cassette.

    Args:
        planner: Plans the live calls.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._open: list[Cassette] = []

    @property
    def cassette(self) -> Cassette | None:
        """The most recently opened cassette."""
        return self._open[-1] if self._open else None

    @property
    def replaying(self) -> Cassette | None:
        """The open cassette in replay mode, in which this machine's engines are ignored."""
        return self._open[-1] if self._open and self._open[-1].mode == "replay" else None

    def open(self, path: str | Path, mode: str, speed: float | None) -> Cassette:
        """Open a cassette; see `EnginePool.cassette`."""
        wanted = mode_of(mode)
        config = self._planner.config
        told = config.env.get("GATEWAYX_CASSETTE_MODE", "").strip()
        if told:
            wanted = mode_of(told, "GATEWAYX_CASSETTE_MODE")
        if speed is not None and not (isinstance(speed, (int, float)) and speed > 0):
            raise UsageError(
                f"speed is {speed!r}; expected a number above 0.",
                hint="1 is the recorded pace; left out, answers come at once.",
            )
        root = config.project.root if config.project else None
        discretion = Redaction(load_redact(config.settings.redact, root), self._secrets)
        place = Path(path).expanduser().absolute()
        cassette = Cassette(place, wanted, discretion, speed, self._close)
        self._open.append(cassette)
        return cassette

    def plan(self, prompt: str, options: CallOptions, *, streamed: bool) -> PlannedCall:
        """Return the plan for a prompt; recordings are assigned here, in the order of the calls.

        Raises:
            CassetteMissError: If the call is not recorded and the mode is ``replay``.
            GatewayError: If the call cannot be made.
        """
        cassette = self._of(fresh=bool(options.get("fresh")))
        if cassette is None:
            return self._planner.plan(prompt, options, streamed=streamed)
        question = self._read(cassette, prompt, options, streamed=streamed)
        found = self._take(cassette, question.asked)
        if isinstance(found, RecordingSlot):
            live = self._planner.plan(prompt, question.options, streamed=streamed)
            return _RecordedCall(live, cassette, found)
        most = call_limits(options, self._planner.config.settings.limits).timeout
        portal = self._planner.runtime.shared
        return _ReplayedCall(portal, found, question, cassette.speed, most + _GRACE)

    def live(self, prompt: str, options: CallOptions) -> LiveCall:
        """Return the plan without a cassette."""
        return self._planner.plan(prompt, options, streamed=True)

    def embedding(
        self, texts: list[str], model: str
    ) -> tuple[Portal, Coroutine[Any, Any, Vectors]]:
        """Return the event loop and the coroutine that embeds texts."""
        cassette = self._of(fresh=False)
        if cassette is None:
            return self._live_embedding(texts, model)
        asked = self._asked(model, RequestBody(texts=tuple(map(cassette.redact, texts))))
        found = self._take(cassette, asked)
        if isinstance(found, RecordingSlot):
            portal, work = self._live_embedding(texts, model)
            return portal, _record_vectors(cassette, found, work)
        return self._planner.runtime.shared, _replayed_vectors(found)

    def _live_embedding(
        self, texts: list[str], model: str
    ) -> tuple[Portal, Coroutine[Any, Any, Vectors]]:
        target = self._planner.registry.resolve(model)
        host = self._planner.runtime.host(target)
        return host.portal, embed(host, target, self._planner.config.settings.limits, texts)

    def _of(self, *, fresh: bool) -> Cassette | None:
        cassette = self.cassette
        return None if cassette is None or fresh or cassette.mode == "off" else cassette

    def _close(self, cassette: Cassette) -> None:
        if cassette in self._open:
            self._open.remove(cassette)

    def _secrets(self) -> dict[str, str]:
        given = self._planner.registry.api_keys()
        return {
            **self._planner.config.keys.secrets_by_name(),
            **{f"of engine {name}": key for name, key in given.items()},
        }

    def _read(
        self, cassette: Cassette, prompt: str, options: CallOptions, *, streamed: bool
    ) -> _PreparedCall:
        """Read the arguments once, because images and references may be iterators."""
        slot, shape = self._planner.slot(options.get("chat")), response_schema(options)
        fallback = references(options.get("fallback", ()))
        request = build_request(prompt, "", options, shape, streamed=streamed)
        (message,) = request.messages
        if slot:
            request = slot.join(request)
        named = options.get("model") or (slot.chat.model if slot else None)
        again: CallOptions = {
            **options,
            "images": message.images,
            "stop": request.stop or None,
            "fallback": fallback,
            "chat": slot,
        }
        body = body_of(request, fallback, cassette.redact)
        return _PreparedCall(self._asked(named, body), again, message, shape, slot)

    def _asked(self, named: str | None, body: RequestBody) -> RecordedRequest:
        registry = self._planner.registry
        reference = named or registry.default
        meant = reference
        if meant is None and self.replaying is None:
            with contextlib.suppress(ConfigError):  # raised again when it is needed
                meant = registry.default_reference()
        ref = None if meant is None else registry.parse_reference(meant)
        return RecordedRequest(
            reference or "", ref.engine if ref else "", (ref.model or "") if ref else "", body
        )

    def _take(self, cassette: Cassette, asked: RecordedRequest) -> CassetteEntry | RecordingSlot:
        try:
            return cassette.take(asked)
        except CassetteMissError:
            if asked.engine and not cassette.knows(asked.engine):
                self._planner.registry.require_engine(
                    asked.engine
                )  # an unknown name is the better error
            raise


@dataclass(frozen=True, slots=True)
class _PreparedCall:
    """The arguments of a call, with iterators consumed.

    Attributes:
        asked: The key for the cassette.
        options: The keywords of the call, with no iterator among them.
        message: The prompt.
        shape: How the reply is parsed.
        slot: Its position in a conversation.
    """

    asked: RecordedRequest
    options: CallOptions
    message: Message
    shape: ResponseSchema | None
    slot: ChatSlot | None


class _ReplayedCall:
    """The `Plan` of a replayed reply."""

    def __init__(
        self,
        portal: Portal,
        entry: CassetteEntry,
        question: _PreparedCall,
        speed: float | None,
        timeout: float,
    ) -> None:
        self.portal = portal
        self._entry, self._question, self._speed = entry, question, speed
        reply = entry.to_reply()
        self.partial = PartialReply(reply.engine, reply.model, instant=speed is None)
        self.partial.attempts, self.partial.price = reply.attempts, reply.cost
        self.partial.fallback_from = reply.fallback_from
        self.timeout = timeout + (reply.latency / speed if speed else 0)

    async def run(self, emit: Emit | None = None) -> Reply:
        """Pass on each chunk, at its recorded time if a speed is set."""
        start = time.monotonic()
        for at, chunk in self._entry.pieces():
            if self._speed:
                await asyncio.sleep(max(0.0, start + at / self._speed - time.monotonic()))
            self.partial.add(chunk)
            if emit is not None:
                await emit(chunk)
        reply = self._entry.to_reply(self._parsed())
        if self._question.slot:
            self._question.slot.keep(self._question.message, reply)
        return reply

    def closed_error(self) -> TransportError:
        """Return the error for a call whose pool was closed."""
        return TransportError(
            "the pool was closed while an answer was played back.",
            hint="Ask again: the next call starts anew.",
            code="closed",
        )

    def deadline_error(self) -> DeadlineError:
        """Return the error for a call that timed out."""
        return DeadlineError(
            "an answer was not played back in its time.", hint="Ask again, with a larger `speed`."
        )

    def _parsed(self) -> Any:  # noqa: ANN401 - depends on the schema
        if self._question.shape is None:
            return None
        try:
            return self._question.shape.parse(self._entry.text)
        except ValueError as fault:
            raise ConfigError(
                f"the recorded answer does not fit the schema: {fault}.",
                hint="Record it again: `%gatewayx cassette --mode record`.",
            ) from None


class _RecordedCall:
    """The `Plan` of a call that is recorded when its reply is complete."""

    def __init__(self, live: PlannedCall, cassette: Cassette, ticket: RecordingSlot) -> None:
        self._live, self._cassette, self._ticket = live, cassette, ticket
        self.portal, self.partial, self.timeout = live.portal, live.partial, live.timeout
        self.closed_error, self.deadline_error = live.closed_error, live.deadline_error

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call and record it.

        Raises:
            ConfigError: If the reply arrived but cannot be recorded.
        """
        pieces: list[RecordedChunk] = []
        reply = await self._live.run(self._watch(pieces, emit))
        asked, redact = self._ticket.asked, self._cassette.redact
        fields = self._cassette.fields(self._ticket)
        await _write_entry(
            self._cassette, lambda: entry_of(asked.body, fields, reply, pieces, redact)
        )
        return reply

    def _watch(
        self, pieces: list[RecordedChunk], emit: Emit | None
    ) -> Callable[[Chunk], Awaitable[None]]:
        async def watch(chunk: Chunk) -> None:
            if chunk.text or chunk.reasoning:
                at = time.monotonic() - self.partial.started
                pieces.append(RecordedChunk(at, chunk.text, chunk.reasoning))
            if emit is not None:
                await emit(chunk)

        return watch


async def _write_entry(cassette: Cassette, make: Callable[[], CassetteEntry]) -> None:
    """Write an entry in a thread, because disk I/O blocks; remove keys from any error."""
    try:
        await asyncio.to_thread(lambda: cassette.keep(make()))
    except GatewayError as error:
        for key in cassette.secrets().values():
            redact_exception(error, key)
        raise


async def _record_vectors(
    cassette: Cassette, ticket: RecordingSlot, work: Coroutine[Any, Any, Vectors]
) -> Vectors:
    vectors = await work
    rows, dimensions = vectors.shape
    held = vectors_of(rows, dimensions, vectors.astype("<f4").tobytes())
    fields = cassette.fields(ticket)
    await _write_entry(
        cassette, lambda: CassetteEntry(request=ticket.asked.body, vectors=held, **fields)
    )
    return vectors


async def _replayed_vectors(entry: CassetteEntry) -> Vectors:
    np, held = numpy(), entry.vectors
    try:
        if held is None:
            raise ValueError("it holds none")  # noqa: TRY301 - handled below like the others
        data = base64.b64decode(held.float32, validate=True)
        array: Vectors = np.frombuffer(data, "<f4").reshape(held.rows, held.dimensions)
    except ValueError as error:
        raise ConfigError(
            f"the cassette's vectors cannot be read: {error}.",
            hint="Record them again: `%gatewayx cassette --mode record`.",
        ) from None
    return array.astype(np.float32)
