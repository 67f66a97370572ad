"""Calls that are replayed from a cassette, and live calls that are recorded."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

from gatewayx_nb import cassettes
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.engine_pool.embeddings import import_numpy
from gatewayx_nb.errors import ConfigError, DeadlineError, TransportError
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gatewayx_nb.calls import ChunkHandler, PlannedCall
    from gatewayx_nb.cassettes import Cassette, CassetteEntry, RecordedChunk, RecordingSlot
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.embeddings import Vectors
    from gatewayx_nb.messages import Message
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema

_GRACE_PERIOD = 1.0
"""Seconds that a caller waits in addition to the deadline and the duration of a replay."""


class ReplayedCall:
    """A replay of a recorded answer; implements `PlannedCall`.

    Args:
        portal: The event loop on which the replay runs.
        entry: The recording.
        deadline: Timeout of a live call in seconds.
        speed: Playback speed relative to the recording; ``None`` replays immediately.
        schema: Parses the answer, if a schema was requested.
        add_turn: Adds the reply to the call's conversation, if any.
    """

    caller_thread = None

    def __init__(  # noqa: PLR0913 - as in `EngineCall`
        self,
        portal: Portal,
        entry: CassetteEntry,
        deadline: float,
        speed: float | None,
        *,
        schema: ResponseSchema | None,
        add_turn: Callable[[Reply], object],
    ) -> None:
        self.portal = portal
        self._entry, self._speed, self._schema, self._add_turn = entry, speed, schema, add_turn
        reply = entry.to_reply()
        self.partial = PartialReply(reply.engine, reply.model, instant=speed is None)
        self.partial.attempts, self.partial.looked_up_cost = reply.attempts, reply.cost
        self.partial.fallback_from = reply.fallback_from
        self.timeout = deadline + _GRACE_PERIOD + (reply.latency / speed if speed else 0)

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Replay the chunks, at their recorded times if a speed is set."""
        start = time.monotonic()
        for recorded_at, chunk in self._entry.chunks():
            if self._speed:  # relative to the start, so that delays do not accumulate
                await asyncio.sleep(max(0.0, start + recorded_at / self._speed - time.monotonic()))
            self.partial.add(chunk)
            if emit is not None:
                await emit(chunk)
        reply = self._entry.to_reply(await self._parse())
        self._add_turn(reply)
        return reply

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        return _closed_error()

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""
        hint = Hint("raise_option", option="speed")
        return DeadlineError("replaying an answer exceeded its deadline.", hint=hint)

    async def _parse(self) -> Any:  # noqa: ANN401 - depends on the schema
        is_final = not (self._entry.request.tools and self._entry.to_reply().tool_calls)
        if self._schema is None or not is_final:
            return None
        try:
            return await self._schema.aparse(self._entry.text)
        except ValueError as error:
            raise ConfigError(
                f"the recorded answer does not match the schema: {error}.",
                hint=Hint("record_cassette", mode="record"),
            ) from None


class KnownCall:
    """A call whose reply is known from the results of an earlier map; implements `PlannedCall`."""

    caller_thread = None

    def __init__(self, portal: Portal, reply: Reply) -> None:
        self.portal, self.timeout = portal, _GRACE_PERIOD
        self.partial = PartialReply(reply.engine, reply.model, instant=True)
        self._reply = reply

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Emit the reply as one chunk, and return it."""
        if emit is not None:
            await emit(Chunk(text=self._reply.text, reasoning=self._reply.reasoning))
        return self._reply

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        return _closed_error()

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""
        return DeadlineError("recording a known answer exceeded its deadline.")


class RecordedCall:
    """A live call that is recorded when its reply is complete; implements `PlannedCall`.

    Args:
        live_call: The live call.
        cassette: The cassette.
        slot: The position of the call in the cassette.
        prompt: The last message of the request, whose images in tool results are recorded.
    """

    caller_thread = None

    def __init__(
        self, live_call: PlannedCall, cassette: Cassette, slot: RecordingSlot, prompt: Message
    ) -> None:
        self._live_call, self._cassette, self._slot, self._prompt = (
            live_call,
            cassette,
            slot,
            prompt,
        )
        self.portal, self.partial, self.timeout = (
            live_call.portal,
            live_call.partial,
            live_call.timeout,
        )
        self.closed_error, self.deadline_error = live_call.closed_error, live_call.deadline_error

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Make the call and record its reply."""
        chunks: list[RecordedChunk] = []
        reply = await self._live_call.run(self._recording_handler(chunks, emit))
        body, redact = self._slot.request.body, self._cassette.redact
        images = {"result_images": cassettes.result_images_of(self._prompt)}
        fields = self._cassette.fields(self._slot) | images
        # The cassette is written in a thread, because disk I/O would block the loop.
        await asyncio.to_thread(
            self._cassette.record, lambda: cassettes.entry_of(body, fields, reply, chunks, redact)
        )
        return reply

    def _recording_handler(
        self, chunks: list[RecordedChunk], emit: ChunkHandler | None
    ) -> ChunkHandler:
        async def record(chunk: Chunk) -> None:
            # All other fields of a chunk are recorded once, from the finished reply.
            if chunk.text or chunk.reasoning:
                seconds = time.monotonic() - self.partial.started
                chunks.append(cassettes.RecordedChunk(seconds, chunk.text, chunk.reasoning))
            if emit is not None:
                await emit(chunk)

        return record


def _closed_error() -> TransportError:
    return TransportError(
        "the pool was closed while an answer was being replayed.",
        hint=Hint("run_again"),
        code="closed",
    )


async def record_vectors(
    cassette: Cassette, slot: RecordingSlot, coroutine: Coroutine[Any, Any, Vectors]
) -> Vectors:
    """Await a coroutine that returns embeddings, and record them."""
    vectors = await coroutine
    row_count, dimension_count = vectors.shape
    # The bytes are always little-endian, so that cassettes are portable.
    recorded_vectors = cassettes.vectors_of(
        row_count, dimension_count, vectors.astype("<f4").tobytes()
    )
    entry = cassettes.CassetteEntry(
        request=slot.request.body, vectors=recorded_vectors, **cassette.fields(slot)
    )
    await asyncio.to_thread(cassette.record, lambda: entry)
    return vectors


async def replay_vectors(entry: CassetteEntry) -> Vectors:
    """Return recorded embeddings.

    Raises:
        ConfigError: If the vectors cannot be read.
    """
    np, recorded_vectors = import_numpy(), entry.vectors
    try:
        if recorded_vectors is None:
            raise ValueError("there are none")  # noqa: TRY301 - handled below like other errors
        vector_bytes = base64.b64decode(recorded_vectors.float32, validate=True)
        array: Vectors = np.frombuffer(vector_bytes, "<f4").reshape(
            recorded_vectors.rows, recorded_vectors.dimensions
        )
    except ValueError as error:
        raise ConfigError(
            f"the cassette's vectors cannot be read: {error}.",
            hint=Hint("record_cassette", mode="record"),
        ) from None
    # `astype` copies: the array from `frombuffer` is read-only and has the file's byte order.
    return array.astype(np.float32)
