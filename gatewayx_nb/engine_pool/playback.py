"""Calls while a cassette is open: played back from it, or made and recorded on it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.cassettes import (
    Asked,
    Body,
    Cassette,
    Discretion,
    Entry,
    Piece,
    Ticket,
    body_of,
    entry_of,
    load_redact,
    mode_of,
    vectors_of,
)
from gatewayx_nb.engine_pool.embedding import embed, numpy
from gatewayx_nb.engine_pool.options import build, limits, shape_of
from gatewayx_nb.engine_pool.plan import references
from gatewayx_nb.engine_pool.scrubbing import scrub
from gatewayx_nb.engine_pool.tally import Tally
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

    from gatewayx_nb.chats import Slot
    from gatewayx_nb.engine_pool.call import Emit
    from gatewayx_nb.engine_pool.embedding import Vectors
    from gatewayx_nb.engine_pool.options import CallOptions
    from gatewayx_nb.engine_pool.plan import LivePlan, Plan, Planner
    from gatewayx_nb.messages import Chunk, Message, Reply
    from gatewayx_nb.portal import Portal
    from gatewayx_nb.schema import Shape

_GRACE = 1.0
"""Seconds that a caller waits past the time that an answer takes."""


class Player:
    """Plans calls: past the cassettes, from the one that is open, or onto it.

    Args:
        planner: Plans the calls that are made.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._open: list[Cassette] = []

    @property
    def cassette(self) -> Cassette | None:
        """The cassette that was opened last."""
        return self._open[-1] if self._open else None

    @property
    def replaying(self) -> Cassette | None:
        """The same where calls are played back alone, so that no engine of this machine counts."""
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
                mend="1 is the recorded pace; left out, answers come at once.",
            )
        root = config.project.root if config.project else None
        discretion = Discretion(load_redact(config.settings.redact, root), self._secrets)
        place = Path(path).expanduser().absolute()
        cassette = Cassette(place, wanted, discretion, speed, self._close)
        self._open.append(cassette)
        return cassette

    def plan(self, prompt: str, options: CallOptions, *, streamed: bool) -> Plan:
        """Give what is to be run; whose answer is whose is decided here, in the order of calls.

        Raises:
            CassetteMissError: The call is not on the cassette, which is to play back alone.
            GatewayError: The call cannot be made.
        """
        cassette = self._of(fresh=bool(options.get("fresh")))
        if cassette is None:
            return self._planner.plan(prompt, options, streamed=streamed)
        question = self._read(cassette, prompt, options, streamed=streamed)
        found = self._take(cassette, question.asked)
        if isinstance(found, Ticket):
            live = self._planner.plan(prompt, question.options, streamed=streamed)
            return _Recording(live, cassette, found)
        most = limits(options, self._planner.config.settings.limits).timeout
        portal = self._planner.runtime.shared
        return _Replay(portal, found, question, cassette.speed, most + _GRACE)

    def live(self, prompt: str, options: CallOptions) -> LivePlan:
        """Give what would be run without a cassette."""
        return self._planner.plan(prompt, options, streamed=True)

    def embedding(
        self, texts: list[str], model: str
    ) -> tuple[Portal, Coroutine[Any, Any, Vectors]]:
        """Give the loop and the work that gives vectors for texts."""
        cassette = self._of(fresh=False)
        if cassette is None:
            return self._live_embedding(texts, model)
        asked = self._asked(model, Body(texts=tuple(map(cassette.redact, texts))))
        found = self._take(cassette, asked)
        if isinstance(found, Ticket):
            portal, work = self._live_embedding(texts, model)
            return portal, _record_vectors(cassette, found, work)
        return self._planner.runtime.shared, _played_vectors(found)

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
    ) -> _Question:
        """Read what is asked, once: images and references may be iterators."""
        slot, shape = self._planner.slot(options.get("chat")), shape_of(options)
        fallback = references(options.get("fallback", ()))
        request = build(prompt, "", options, shape, streamed=streamed)
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
        return _Question(self._asked(named, body), again, message, shape, slot)

    def _asked(self, named: str | None, body: Body) -> Asked:
        registry = self._planner.registry
        reference = named or registry.default
        meant = reference
        if meant is None and self.replaying is None:
            with contextlib.suppress(ConfigError):  # asking for it says so
                meant = registry.default_reference()
        ref = None if meant is None else registry.meant(meant)
        return Asked(
            reference or "", ref.engine if ref else "", (ref.model or "") if ref else "", body
        )

    def _take(self, cassette: Cassette, asked: Asked) -> Entry | Ticket:
        try:
            return cassette.take(asked)
        except CassetteMissError:
            if asked.engine and not cassette.knows(asked.engine):
                self._planner.registry.known(asked.engine)  # a name that no engine has says more
            raise


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, read once.

    Attributes:
        asked: What the cassette looks for.
        options: The keywords of the call, of which none is used up.
        message: The prompt.
        shape: What the answer must look like.
        slot: Its place in a conversation.
    """

    asked: Asked
    options: CallOptions
    message: Message
    shape: Shape | None
    slot: Slot | None


class _Replay:
    """An answer that is played back; it is a `Plan`."""

    def __init__(
        self,
        portal: Portal,
        entry: Entry,
        question: _Question,
        speed: float | None,
        patience: float,
    ) -> None:
        self.portal = portal
        self._entry, self._question, self._speed = entry, question, speed
        reply = entry.played()
        self.tally = Tally(reply.engine, reply.model, at_once=speed is None)
        self.tally.attempts, self.tally.price = reply.attempts, reply.cost
        self.tally.fallback_from = reply.fallback_from
        self.patience = patience + (reply.latency / speed if speed else 0)

    async def run(self, emit: Emit | None = None) -> Reply:
        """Hand each chunk on, at its time where a speed was asked for."""
        start = time.monotonic()
        for at, chunk in self._entry.pieces():
            if self._speed:
                await asyncio.sleep(max(0.0, start + at / self._speed - time.monotonic()))
            self.tally.add(chunk)
            if emit is not None:
                await emit(chunk)
        reply = self._entry.played(self._parsed())
        if self._question.slot:
            self._question.slot.keep(self._question.message, reply)
        return reply

    def closed(self) -> TransportError:
        """Make the error of a call whose pool was closed."""
        return TransportError(
            "the pool was closed while an answer was played back.",
            mend="Ask again: the next call starts anew.",
            code="closed",
        )

    def too_late(self) -> DeadlineError:
        """Make the error of a call that took too long."""
        return DeadlineError(
            "an answer was not played back in its time.", mend="Ask again, with a larger `speed`."
        )

    def _parsed(self) -> Any:  # noqa: ANN401 - of the type that was asked for
        if self._question.shape is None:
            return None
        try:
            return self._question.shape.read(self._entry.text)
        except ValueError as fault:
            raise ConfigError(
                f"the recorded answer does not fit the schema: {fault}.",
                mend="Record it again: `%gatewayx cassette --mode record`.",
            ) from None


class _Recording:
    """A call that is made, and recorded once it was answered whole; it is a `Plan`."""

    def __init__(self, live: Plan, cassette: Cassette, ticket: Ticket) -> None:
        self._live, self._cassette, self._ticket = live, cassette, ticket
        self.portal, self.tally, self.patience = live.portal, live.tally, live.patience
        self.closed, self.too_late = live.closed, live.too_late

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call, and write it down.

        Raises:
            ConfigError: It was answered, and the answer cannot be written.
        """
        pieces: list[Piece] = []
        reply = await self._live.run(self._watch(pieces, emit))
        asked, redact = self._ticket.asked, self._cassette.redact
        fields = self._cassette.fields(self._ticket)
        await _kept(self._cassette, lambda: entry_of(asked.body, fields, reply, pieces, redact))
        return reply

    def _watch(self, pieces: list[Piece], emit: Emit | None) -> Callable[[Chunk], Awaitable[None]]:
        async def watch(chunk: Chunk) -> None:
            if chunk.text or chunk.reasoning:
                at = time.monotonic() - self.tally.started
                pieces.append(Piece(at, chunk.text, chunk.reasoning))
            if emit is not None:
                await emit(chunk)

        return watch


async def _kept(cassette: Cassette, make: Callable[[], Entry]) -> None:
    """Write an entry on a thread, as the disk takes its time; let no key stay in an error."""
    try:
        await asyncio.to_thread(lambda: cassette.keep(make()))
    except GatewayError as error:
        for key in cassette.secrets().values():
            scrub(error, key)
        raise


async def _record_vectors(
    cassette: Cassette, ticket: Ticket, work: Coroutine[Any, Any, Vectors]
) -> Vectors:
    vectors = await work
    rows, dimensions = vectors.shape
    held = vectors_of(rows, dimensions, vectors.astype("<f4").tobytes())
    fields = cassette.fields(ticket)
    await _kept(cassette, lambda: Entry(request=ticket.asked.body, vectors=held, **fields))
    return vectors


async def _played_vectors(entry: Entry) -> Vectors:
    np, held = numpy(), entry.vectors
    try:
        if held is None:
            raise ValueError("it holds none")  # noqa: TRY301 - said below, as of any other fault
        data = base64.b64decode(held.float32, validate=True)
        array: Vectors = np.frombuffer(data, "<f4").reshape(held.rows, held.dimensions)
    except ValueError as error:
        raise ConfigError(
            f"the cassette's vectors cannot be read: {error}.",
            mend="Record them again: `%gatewayx cassette --mode record`.",
        ) from None
    return array.astype(np.float32)
