"""Asking engines about themselves: who answers, and with which models."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gatewayx_nb.engine_pool.scrubbing import scrub
from gatewayx_nb.errors import DeadlineError, GatewayError, ProviderError
from gatewayx_nb.portal import cancelling
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target

T = TypeVar("T")

_KNOCK = 0.3
"""Seconds for a server on this machine to accept a connection."""

_GRACE = 0.5
"""Seconds past a deadline after which a loop that an engine blocks is no longer waited for."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Asks engines at once, each on its own loop and with its own deadline.

    Attributes:
        runtime: Where the engines run.
        slots: How many calls an engine takes at once; a question takes none of them.
        patience: Seconds that each engine has.
    """

    runtime: Runtime
    slots: int
    patience: float

    async def ask(
        self, targets: Iterable[Target], question: Callable[[LLMEngine], Awaitable[T]]
    ) -> dict[str, T | GatewayError]:
        """Give the answer, or the error, of each engine by its name; an engine cannot delay it."""
        asked = list(targets)
        answers = await asyncio.gather(*(self._within(target, question) for target in asked))
        return {target.name: answer for target, answer in zip(asked, answers, strict=True)}

    async def _within(
        self, target: Target, question: Callable[[LLMEngine], Awaitable[T]]
    ) -> T | GatewayError:
        """Wait for an engine's loop; one that is blocked cannot keep the time itself."""
        portal = self.runtime.host(target).portal
        answer = asyncio.wrap_future(portal.submit(self._typed(target, question)))
        try:
            await asyncio.wait([answer], timeout=self.patience + _GRACE)
            return answer.result() if answer.done() else self._too_late(target)
        finally:
            answer.cancel()

    async def _typed(
        self, target: Target, question: Callable[[LLMEngine], Awaitable[T]]
    ) -> T | GatewayError:
        """Ask on the engine's loop; give a typed error in the place of an answer."""
        try:
            async with asyncio.timeout(self.patience):
                host = self.runtime.host(target)
                async with host.borrow(target, self.slots) as running:
                    return await question(running.engine)
        except GatewayError as error:
            scrub(error, target.key)
            return error
        except TimeoutError:
            return self._too_late(target)
        except asyncio.CancelledError as error:
            if cancelling():
                raise
            return _wrapped(target, error)  # the engine's own: nobody cancelled the question
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - it is another's
            return _wrapped(target, error)

    def _too_late(self, target: Target) -> DeadlineError:
        return DeadlineError(
            f"{target.name!r} did not answer in {self.patience:g} s.",
            mend="Try again.",
            engine=target.name,
        )


def _wrapped(target: Target, error: BaseException) -> ProviderError:
    """Make a typed error of whatever an engine raised."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return ProviderError(
        f"engine {target.name!r} raised {redact(said, [target.key])}.",
        mend=f"Mend {target.place}.",
        engine=target.name,
    )


async def listening(address: str) -> bool:
    """Tell whether something accepts connections where an engine of this machine would."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_KNOCK):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
        return True
    return False
