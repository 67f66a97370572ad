"""Takes a key out of an error, wherever an engine or a provider put it."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.errors import GatewayError


def scrub(error: GatewayError, key: str) -> None:
    """Take a key out of what an error says and holds, and out of the frames that it came through.

    A provider may quote the key in its answer, and tracebacks with locals would show that answer.
    """
    error.what = redact(error.what, [key])
    error.args = (error.what,)
    if error.code is not None:
        error.code = redact(error.code, [key])
    for link in _chain(error):
        if _tells(link.__cause__, key):
            link.__cause__ = None
        if _tells(link.__context__, key):
            link.__context__ = None
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if any(_shows(value, key) for value in frame.f_locals.values()):
                with contextlib.suppress(RuntimeError):  # it still runs, and is our own
                    frame.clear()


def unless_telling(cause: BaseException, key: str) -> BaseException | None:
    """Give a cause to be chained, or ``None`` where its text, or its own cause's, has the key."""
    return None if any(_tells(link, key) for link in _chain(cause)) else cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, each once."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]


def _tells(error: BaseException | None, key: str) -> bool:
    return error is not None and (_shows(str(error), key) or _shows(error, key))


def _shows(value: object, key: str) -> bool:
    """Tell whether a value or its attributes have the key, as a verbose traceback shows them.

    One that cannot be shown shows nothing.
    """
    try:
        shown = f"{value!r} {getattr(value, '__dict__', '')!r}"
    except Exception:  # noqa: BLE001 - the value is an engine's
        return False
    return redact(shown, [key]) != shown
