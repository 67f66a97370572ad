"""The calls of a pool: waiting and awaited, whole and streamed, to one model or several."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.comparisons import line_up
from gatewayx_nb.engine_pool.embedding import checked
from gatewayx_nb.engine_pool.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.portal import cancelling, forbid_here

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from typing_extensions import Unpack

    from gatewayx_nb.comparisons import Comparison, Race
    from gatewayx_nb.engine_pool.embedding import Vectors
    from gatewayx_nb.engine_pool.freshness import Freshness
    from gatewayx_nb.engine_pool.options import CallOptions
    from gatewayx_nb.engine_pool.plan import Plan
    from gatewayx_nb.engine_pool.playback import Player
    from gatewayx_nb.engine_pool.preview import Preview
    from gatewayx_nb.messages import Reply
    from gatewayx_nb.portal import Portal

T = TypeVar("T")


class Calls:
    """What a pool is asked; `EnginePool` tells of the keywords."""

    _freshness: Freshness
    _player: Player

    def ask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Ask a model and wait for its whole answer.

        Raises:
            GatewayError: The call failed; its class says who can mend that.
        """
        forbid_here("aask")
        call = self._call(prompt, options, streamed=False)
        return _waited(call, call.run())

    async def aask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Ask a model and await its whole answer; see `ask`."""
        call = self._call(prompt, options, streamed=False)
        return await _awaited(call, call.run())

    def stream(self, prompt: str, /, **options: Unpack[CallOptions]) -> ReplyStream:
        """Ask a model and read its answer as it comes; ``.reply`` after the end.

        Raises:
            GatewayError: The call cannot be made; a failure on the way is raised while reading.
        """
        forbid_here("astream")
        return ReplyStream(self._call(prompt, options, streamed=True))

    def astream(self, prompt: str, /, **options: Unpack[CallOptions]) -> AsyncReplyStream:
        """Ask a model and read its answer as it comes, with ``async for``; see `stream`."""
        return AsyncReplyStream(self._call(prompt, options, streamed=True))

    def compare(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> Comparison:
        """Ask several models at once, and wait for all.

        Args:
            prompt: The prompt.
            models: References; one that is named twice is asked twice.
            **options: The keywords of every call, but for ``model``, ``chat`` and ``fallback``.

        Returns:
            Replies or errors in that order: one that fails, or cannot be asked, is its error.

        Raises:
            UsageError: The calls are wrong whoever is asked; nothing was sent.
            KeyboardInterrupt: It was stopped; its ``comparison`` holds what had come.
        """
        forbid_here("acompare")
        return self.race(prompt, models=models, **options).run()

    async def acompare(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> Comparison:
        """Ask several models at once, and await all; see `compare`."""
        return await self.race(prompt, models=models, **options).arun()

    def race(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> Race:
        """Ask several models at once, to look at while they answer; see `compare`.

        Nothing is sent before its `start`, and nothing waits but its `join` and `run`.
        """
        self._freshness.check_if_due()

        def plan(reference: str) -> Plan:
            again: CallOptions = {**options, "model": reference}
            return self._player.plan(prompt, again, streamed=True)

        return line_up(prompt, models, plan, **options)

    def preview(self, prompt: str, /, **options: Unpack[CallOptions]) -> Preview:
        """Tell what `ask` would send, and what that may cost; nothing is sent.

        It tells of the engine, whichever `cassette` is open.

        Raises:
            GatewayError: The call cannot be made.
        """
        forbid_here("apreview")
        self._freshness.check_if_due()
        call = self._player.live(prompt, options)
        return _waited(call, call.preview())

    async def apreview(self, prompt: str, /, **options: Unpack[CallOptions]) -> Preview:
        """Tell what `aask` would send; see `preview`."""
        self._freshness.check_if_due()
        call = self._player.live(prompt, options)
        return await _awaited(call, call.preview())

    def embed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Give vectors for texts, as a float32 array of shape (texts, dimensions).

        Args:
            texts: The texts; none may be empty.
            model: A reference; the engine's own embedding model where it names none.

        Raises:
            GatewayError: A batch failed.
        """
        forbid_here("aembed")
        portal, work = self._embedding(texts, model)
        return portal.run(work)

    async def aembed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Give vectors for texts; see `embed`."""
        portal, work = self._embedding(texts, model)
        return await portal.arun(work)

    def _embedding(
        self, texts: Iterable[str], model: str
    ) -> tuple[Portal, Coroutine[Any, Any, Vectors]]:
        self._freshness.check_if_due()
        return self._player.embedding(checked(texts), model)

    def _call(self, prompt: str, options: CallOptions, *, streamed: bool) -> Plan:
        self._freshness.check_if_due()
        return self._player.plan(prompt, options, streamed=streamed)


def _waited(call: Plan, work: Coroutine[Any, Any, T]) -> T:
    """Wait on this thread for what a call does on its engine's loop."""
    try:
        return call.portal.run(work, call.patience)
    except TimeoutError:
        raise call.too_late() from None
    except asyncio.CancelledError:
        raise call.closed() from None


async def _awaited(call: Plan, work: Coroutine[Any, Any, T]) -> T:
    """Await what a call does on its engine's loop; cancelling this cancels it there."""
    try:
        return await call.portal.arun(work, call.patience)
    except TimeoutError:
        raise call.too_late() from None
    except asyncio.CancelledError:
        if cancelling():
            raise
        raise call.closed() from None
