"""From what is asked to the call that asks it: who answers, and who else where that one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.chats import Chat, Slot
from gatewayx_nb.engine_pool.call import Call
from gatewayx_nb.engine_pool.options import build, limits, shape_of
from gatewayx_nb.engine_pool.tally import Tally
from gatewayx_nb.errors import DeadlineError, GatewayError, TrustError, UsageError

if TYPE_CHECKING:
    from gatewayx_nb.chats import Chats
    from gatewayx_nb.engine_pool.call import Emit
    from gatewayx_nb.engine_pool.figures import Figures
    from gatewayx_nb.engine_pool.options import CallOptions
    from gatewayx_nb.engine_pool.preview import Preview
    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.errors import TransportError
    from gatewayx_nb.messages import Reply
    from gatewayx_nb.model_registry import ModelRegistry
    from gatewayx_nb.portal import Portal
    from gatewayx_nb.secure_config import Config

_FINAL = (UsageError, TrustError)
"""What no other engine mends, or must not hide."""


class Plan(Protocol):
    """What is run for one question: a `Call`, or several, one after another."""

    @property
    def portal(self) -> Portal:
        """The loop on which it is run."""
        ...

    @property
    def tally(self) -> Tally:
        """What has arrived."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that a caller waits for it."""
        ...

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call, handing each chunk to ``emit``."""
        ...

    def closed(self) -> TransportError:
        """Make the error of a call whose pool was closed."""
        ...

    def too_late(self) -> DeadlineError:
        """Make the error of a call that took too long."""
        ...


class LivePlan(Plan, Protocol):
    """What is sent when it is run, and not played back."""

    async def preview(self) -> Preview:
        """Tell what would be sent; nothing is sent."""
        ...


@dataclass(frozen=True, slots=True)
class Planner:
    """Checks what is asked and finds who answers; nothing is sent."""

    config: Config
    registry: ModelRegistry
    runtime: Runtime
    chats: Chats
    figures: Figures

    def plan(self, prompt: str, options: CallOptions, *, streamed: bool) -> LivePlan:
        """Give what is to be run.

        Raises:
            GatewayError: The call cannot be made, by any of the engines named.
        """
        fallback = references(options.get("fallback", ()))
        if not fallback:
            return self._call(prompt, options, streamed=streamed)
        asked = [options.get("model"), *fallback]
        tries: list[Call | GatewayError] = []
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

    def _call(self, prompt: str, options: CallOptions, *, streamed: bool) -> Call:
        slot = self.slot(options.get("chat"))
        named = options.get("model") or (slot.chat.model if slot else None)
        target = self.registry.resolve(named)
        model, shape = target.model or "", shape_of(options)
        request = build(prompt, model, options, shape, streamed=streamed)
        return Call(
            host=self.runtime.host(target),
            target=target,
            request=slot.join(request) if slot else request,
            limits=limits(options, self.config.settings.limits),
            tally=Tally(target.name, model),
            figures=self.figures,
            shape=shape,
            slot=slot,
        )

    def slot(self, chat: object) -> Slot | None:
        """Give the place in a conversation that ``chat=`` means."""
        if chat is None or isinstance(chat, Slot):
            return chat
        if isinstance(chat, Chat):
            return chat.slot()
        if isinstance(chat, str):
            return self.chats.get(chat).slot()
        raise UsageError(
            f"chat is {chat!r}; expected a name, or what `pool.chat` gave.",
            mend='For instance `chat="story"`.',
        )


class Failover:
    """Calls to several engines, the next where one fails before any of its answer has come.

    Args:
        first: The reference that was asked for.
        tries: The calls in order; an error stands for one that cannot be made.
        portal: The loop from which they are made.

    Raises:
        GatewayError: None of them can be made.
    """

    def __init__(self, first: str, tries: tuple[Call | GatewayError, ...], portal: Portal) -> None:
        calls = [one for one in tries if isinstance(one, Call)]
        if not calls:
            raise _told(error for error in tries if isinstance(error, GatewayError))
        self.portal = portal
        self.tally = calls[0].tally
        self._first = first
        self._tries = [
            replace(one, tally=self.tally) if isinstance(one, Call) else one for one in tries
        ]
        self._last = calls[0]

    @property
    def patience(self) -> float:
        """Seconds that a caller waits: what one call is given is for all of them."""
        return self._last.patience

    async def preview(self) -> Preview:
        """Tell what the first call that can be made would send; see `Call.preview`."""
        return await self._last.portal.arun(self._last.preview())

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the calls until one answers; see `Call.run`."""
        failures: list[GatewayError] = []
        try:
            async with asyncio.timeout(self._last.limits.timeout):
                for number, one in enumerate(self._tries):
                    if isinstance(one, GatewayError):
                        failures.append(one)
                        continue
                    self._last = one
                    self.tally.begin(one.target, self._first if number else None)
                    try:
                        return await one.portal.arun(one.run(emit))
                    except _FINAL:
                        raise
                    except GatewayError as error:
                        failures.append(error)
                        if self.tally.begun or isinstance(error, DeadlineError):
                            raise
        except TimeoutError:
            raise self.too_late() from None
        raise _told(failures)

    def closed(self) -> TransportError:
        """Make the error of a call whose pool was closed."""
        return self._last.closed()

    def too_late(self) -> DeadlineError:
        """Make the error of a call that took too long."""
        return self._last.too_late()


def references(given: str | Iterable[str]) -> tuple[str, ...]:
    """Read ``fallback=``: one reference, or several.

    Raises:
        UsageError: It is something else.
    """
    found: tuple[object, ...] = (given,)
    if not isinstance(given, str) and isinstance(given, Iterable):
        found = tuple(given)
    if not all(isinstance(reference, str) and reference for reference in found):
        raise UsageError(
            f"fallback is {given!r}; expected references.",
            mend='For instance `fallback=["anthropic", "local"]`.',
        )
    return tuple(map(str, found))


def _told(failures: Iterable[GatewayError]) -> GatewayError:
    """Give the first failure, which then tells of the others too."""
    first, *others = failures
    for other in others:
        first.what += f" And the fallback: {other.what}"
    return first
