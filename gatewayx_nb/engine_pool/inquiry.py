"""Asking engines about themselves: who answers, and with which models."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gatewayx_nb.engine_pool.scrubbing import scrub
from gatewayx_nb.errors import DeadlineError, GatewayError, ProviderError
from gatewayx_nb.portal import wait

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Iterable

    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target

T = TypeVar("T")

_KNOCK = 0.3
"""Seconds for a server on this machine to accept a connection."""


def ask_each(
    runtime: Runtime,
    targets: Iterable[Target],
    question: Callable[[LLMEngine], Awaitable[T]],
    patience: float,
) -> dict[str, T | GatewayError]:
    """Ask engines at once, each on its own loop and with its own deadline.

    Returns:
        The answer, or the error, of each engine by its name.
    """
    futures: dict[str, concurrent.futures.Future[T | GatewayError]] = {}
    for target in targets:
        host = runtime.host(target)

        async def ask(target: Target = target) -> T | GatewayError:
            async with asyncio.timeout(patience):
                async with runtime.host(target).use(target, 1) as engine:
                    return await question(engine)

        futures[target.name] = host.portal.submit(_typed(target, ask, patience))
    for future in futures.values():
        wait(future)
    return {name: future.result() for name, future in futures.items()}


async def _typed(
    target: Target, ask: Callable[[], Awaitable[T | GatewayError]], patience: float
) -> T | GatewayError:
    """Give an answer, or a typed error in its place."""
    name = target.name
    try:
        return await ask()
    except GatewayError as error:
        scrub(error, target.key)
        return error
    except TimeoutError:
        return DeadlineError(f"{name!r} did not answer in {patience:g} s.", mend="Try again.")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code may be the user's
        return ProviderError(
            f"engine {name!r} raised {type(error).__name__}.", mend=f"Mend {target.place}."
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
