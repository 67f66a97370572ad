"""Resolve options into a call, with failover to other engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.calls import PartialReply, build_request, call_limits, response_schema
from gatewayx_nb.conversations import Chat, ChatSlot
from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.errors import DeadlineError, GatewayError, TrustError, UsageError

if TYPE_CHECKING:
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.conversations import ChatStore
    from gatewayx_nb.engine_pool.call import Emit
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.errors import TransportError
    from gatewayx_nb.model_registry import ModelRegistry
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.secure_config import Config

_FINAL = (UsageError, TrustError)
"""Errors that another engine cannot avoid, or must not hide."""


class PlannedCall(Protocol):
    """The work for one prompt: a `Call`, or several in sequence."""

    @property
    def portal(self) -> Portal:
        """The event loop on which it runs."""
        ...

    @property
    def partial(self) -> PartialReply:
        """The partial answer."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that a caller waits for it."""
        ...

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call, passing each chunk to ``emit``."""
        ...

    def closed_error(self) -> TransportError:
        """Return the error for a call whose pool was closed."""
        ...

    def deadline_error(self) -> DeadlineError:
        """Return the error for a call that timed out."""
        ...


class LiveCall(PlannedCall, Protocol):
    """A plan that sends requests instead of replaying a recording."""

    async def preview(self) -> CallPreview:
        """Return what would be sent, without sending it."""
        ...


@dataclass(frozen=True, slots=True)
class Planner:
    """Validates calls and resolves their engines, without sending anything."""

    config: Config
    registry: ModelRegistry
    runtime: Runtime
    chats: ChatStore
    figures: UsageTracker

    def plan(self, prompt: str, options: CallOptions, *, streamed: bool) -> LiveCall:
        """Return the plan for a prompt.

        Raises:
            GatewayError: If none of the engines can make the call.
        """
        fallback = references(options.get("fallback", ()))
        if not fallback:
            return self._call(prompt, options, streamed=streamed)
        asked = [options.get("model"), *fallback]
        tries: list[EngineCall | GatewayError] = []
        for reference in asked:
            try:
                again: CallOptions = {**options, "model": reference}
                tries.append(self._call(prompt, again, streamed=streamed))
            except _FINAL:
                raise
            except GatewayError as error:
                tries.append(error)
        first = asked[0] or self.registry.default_reference()
        return Failover(first, tuple(tries), self.runtime.shared)

    def _call(self, prompt: str, options: CallOptions, *, streamed: bool) -> EngineCall:
        slot = self.slot(options.get("chat"))
        named = options.get("model") or (slot.chat.model if slot else None)
        target = self.registry.resolve(named)
        model, shape = target.model or "", response_schema(options)
        request = build_request(prompt, model, options, shape, streamed=streamed)
        return EngineCall(
            host=self.runtime.host(target),
            target=target,
            request=slot.join(request) if slot else request,
            limits=call_limits(options, self.config.settings.limits),
            partial=PartialReply(target.name, model),
            figures=self.figures,
            shape=shape,
            slot=slot,
        )

    def slot(self, chat: object) -> ChatSlot | None:
        """Return the slot in the conversation that ``chat=`` refers to."""
        if chat is None or isinstance(chat, ChatSlot):
            return chat
        if isinstance(chat, Chat):
            return chat.slot()
        if isinstance(chat, str):
            return self.chats.get(chat).slot()
        raise UsageError(
            f"chat is {chat!r}; expected a name, or what `pool.chat` gave.",
            hint='For instance `chat="story"`.',
        )


class Failover:
    """Calls to several engines: the next one is tried if one fails before any chunk has arrived.

    Args:
        first: The requested reference.
        tries: The calls in order; an error takes the place of a call that cannot be made.
        portal: The event loop from which the calls are made.

    Raises:
        GatewayError: If none of the calls can be made.
    """

    def __init__(
        self, first: str, tries: tuple[EngineCall | GatewayError, ...], portal: Portal
    ) -> None:
        calls = [one for one in tries if isinstance(one, EngineCall)]
        if not calls:
            raise _told(error for error in tries if isinstance(error, GatewayError))
        self.portal = portal
        self.partial = calls[0].partial
        self._first = first
        self._tries = [
            replace(one, partial=self.partial) if isinstance(one, EngineCall) else one
            for one in tries
        ]
        self._last = calls[0]

    @property
    def timeout(self) -> float:
        """Seconds that a caller waits: all calls share the timeout of one."""
        return self._last.timeout

    async def preview(self) -> CallPreview:
        """Return what the first possible call would send; see `Call.preview`."""
        return await self._last.portal.arun(self._last.preview())

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the calls in order until one succeeds; see `Call.run`."""
        failures: list[GatewayError] = []
        try:
            async with asyncio.timeout(self._last.limits.timeout):
                for number, one in enumerate(self._tries):
                    if isinstance(one, GatewayError):
                        failures.append(one)
                        continue
                    self._last = one
                    fallback_from = self._first if number else None
                    self.partial.begin(one.target.name, one.target.model or "", fallback_from)
                    try:
                        return await one.portal.arun(one.run(emit))
                    except _FINAL:
                        raise
                    except GatewayError as error:
                        failures.append(error)
                        if self.partial.has_begun or isinstance(error, DeadlineError):
                            raise
        except TimeoutError:
            raise self.deadline_error() from None
        raise _told(failures)

    def closed_error(self) -> TransportError:
        """Return the error for a call whose pool was closed."""
        return self._last.closed_error()

    def deadline_error(self) -> DeadlineError:
        """Return the error for a call that timed out."""
        return self._last.deadline_error()


def references(given: str | Iterable[str]) -> tuple[str, ...]:
    """Parse ``fallback=``: one or several references.

    Raises:
        UsageError: If it is neither.
    """
    found: tuple[object, ...] = (given,)
    if not isinstance(given, str) and isinstance(given, Iterable):
        found = tuple(given)
    if not all(isinstance(reference, str) and reference for reference in found):
        raise UsageError(
            f"fallback is {given!r}; expected references.",
            hint='For instance `fallback=["anthropic", "local"]`.',
        )
    return tuple(map(str, found))


def _told(failures: Iterable[GatewayError]) -> GatewayError:
    """Return the first failure, with the messages of the others appended."""
    first, *others = failures
    for other in others:
        first.message += f" And the fallback: {other.message}"
    return first
