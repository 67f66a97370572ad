"""The call methods of a pool: sync and async, whole and streamed, one model or several."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.comparisons import plan_comparison
from gatewayx_nb.concurrency import forbid_blocking_call, is_being_cancelled
from gatewayx_nb.engine_pool.embedding import checked
from gatewayx_nb.engine_pool.streams import AsyncReplyStream, ReplyStream

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from typing_extensions import Unpack

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.comparisons import Comparison, ComparisonRun
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.embedding import Vectors
    from gatewayx_nb.engine_pool.freshness import ThrottledCheck
    from gatewayx_nb.engine_pool.plan import PlannedCall
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.replies import Reply

T = TypeVar("T")


class Calls:
    """The call methods of a pool; `EnginePool` documents their keywords."""

    _freshness: ThrottledCheck
    _player: CallRouter

    def ask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Call a model and wait for the whole reply.

        Raises:
            GatewayError: If the call fails; its class shows who can fix the cause.
        """
        forbid_blocking_call("aask")
        call = self._call(prompt, options, streamed=False)
        return _waited(call, call.run())

    async def aask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Call a model and await the whole reply; see `ask`."""
        call = self._call(prompt, options, streamed=False)
        return await _awaited(call, call.run())

    def stream(self, prompt: str, /, **options: Unpack[CallOptions]) -> ReplyStream:
        """Call a model and stream the reply, which is ``.reply`` after the end.

        Raises:
            GatewayError: If the call cannot be made; later failures are raised during iteration.
        """
        forbid_blocking_call("astream")
        return ReplyStream(self._call(prompt, options, streamed=True))

    def astream(self, prompt: str, /, **options: Unpack[CallOptions]) -> AsyncReplyStream:
        """Call a model and stream the reply with ``async for``; see `stream`."""
        return AsyncReplyStream(self._call(prompt, options, streamed=True))

    def compare(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> Comparison:
        """Call several models concurrently and wait for all of them.

        Args:
            prompt: The prompt.
            models: References; a repeated reference is called repeatedly.
            **options: The keywords of every call, except ``model``, ``chat`` and ``fallback``.

        Returns:
            Replies or errors in the order of ``models``; a call that fails yields its error.

        Raises:
            UsageError: If the calls are invalid for every model; nothing is sent.
            KeyboardInterrupt: If stopped; its ``comparison`` holds the partial answers.
        """
        forbid_blocking_call("acompare")
        return self.plan_comparison(prompt, models=models, **options).run()

    async def acompare(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> Comparison:
        """Call several models concurrently and await all of them; see `compare`."""
        return await self.plan_comparison(prompt, models=models, **options).arun()

    def plan_comparison(
        self, prompt: str, /, *, models: Iterable[str], **options: Unpack[CallOptions]
    ) -> ComparisonRun:
        """Return a race of several models, to watch while they answer; see `compare`.

        Nothing is sent before its `start`, and only its `join` and `run` block.
        """
        self._freshness.run_if_due()

        def plan(reference: str) -> PlannedCall:
            again: CallOptions = {**options, "model": reference}
            return self._player.plan(prompt, again, streamed=True)

        return plan_comparison(prompt, models, plan, **options)

    def preview(self, prompt: str, /, **options: Unpack[CallOptions]) -> CallPreview:
        """Return what `ask` would send and its maximum cost, without sending anything.

        The preview is that of the engine, even if a `cassette` is open.

        Raises:
            GatewayError: If the call cannot be made.
        """
        forbid_blocking_call("apreview")
        self._freshness.run_if_due()
        call = self._player.live(prompt, options)
        return _waited(call, call.preview())

    async def apreview(self, prompt: str, /, **options: Unpack[CallOptions]) -> CallPreview:
        """Return what `aask` would send; see `preview`."""
        self._freshness.run_if_due()
        call = self._player.live(prompt, options)
        return await _awaited(call, call.preview())

    def embed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Return embeddings of texts, as a float32 array of shape (texts, dimensions).

        Args:
            texts: The texts; none may be empty.
            model: A reference; if it names only an engine, the engine's own embedding model.

        Raises:
            GatewayError: If a batch fails.
        """
        forbid_blocking_call("aembed")
        portal, work = self._embedding(texts, model)
        return portal.run(work)

    async def aembed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Return embeddings of texts; see `embed`."""
        portal, work = self._embedding(texts, model)
        return await portal.arun(work)

    def _embedding(
        self, texts: Iterable[str], model: str
    ) -> tuple[Portal, Coroutine[Any, Any, Vectors]]:
        self._freshness.run_if_due()
        return self._player.embedding(checked(texts), model)

    def _call(self, prompt: str, options: CallOptions, *, streamed: bool) -> PlannedCall:
        self._freshness.run_if_due()
        return self._player.plan(prompt, options, streamed=streamed)


def _waited(call: PlannedCall, work: Coroutine[Any, Any, T]) -> T:
    """Block this thread until work on the call's loop is done."""
    try:
        return call.portal.run(work, call.timeout)
    except TimeoutError:
        raise call.deadline_error() from None
    except asyncio.CancelledError:
        raise call.closed_error() from None


async def _awaited(call: PlannedCall, work: Coroutine[Any, Any, T]) -> T:
    """Await work on the call's loop; cancelling this task cancels the work."""
    try:
        return await call.portal.arun(work, call.timeout)
    except TimeoutError:
        raise call.deadline_error() from None
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        raise call.closed_error() from None
