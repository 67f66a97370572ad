"""Removal of keys from exceptions: messages, causes and the frames of tracebacks."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.secrets import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.errors import GatewayError


def redact_exception(error: GatewayError, key: str) -> None:
    """Remove a key from an error's message and fields, and from the frames of its traceback.

    A provider may quote the key in its response, and tracebacks with locals would show it.
    """
    error.message = redact(error.message, [key])
    error.args = (error.message,)
    if error.code is not None:
        error.code = redact(error.code, [key])
    for link in _chain(error):
        if _contains_key(link.__cause__, key):
            link.__cause__ = None
        if _contains_key(link.__context__, key):
            link.__context__ = None
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if any(_shows(value, key) for value in frame.f_locals.values()):
                with contextlib.suppress(RuntimeError):  # a frame that is still running
                    # Drops the local variables; the traceback keeps its lines.
                    frame.clear()


def cause_without_key(cause: BaseException, key: str) -> BaseException | None:
    """Return ``cause``, or ``None`` if it or its own causes contain the key."""
    return None if any(_contains_key(link, key) for link in _chain(cause)) else cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes and contexts, each once."""
    pending: list[BaseException | None] = [error]
    visited: set[int] = set()  # chains may have cycles
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in visited:
            visited.add(id(link))
            yield link
            # Also a context that `from None` hides: loggers and debuggers may show it.
            pending += [link.__cause__, link.__context__]


def _contains_key(error: BaseException | None, key: str) -> bool:
    if error is None:
        return False
    try:
        return _shows(str(error), key) or _shows(error, key)
    except Exception:  # noqa: BLE001 - `__str__` of an engine's own exception may raise anything
        return True  # what it would show is unknown


def _shows(value: object, key: str) -> bool:
    """Return whether the ``repr`` of a value or of its attributes contains the key.

    Verbose tracebacks show both. A value whose ``repr`` fails is not shown.
    """
    try:
        text = f"{value!r} {getattr(value, '__dict__', '')!r}"
    except Exception:  # noqa: BLE001 - an engine's value may raise anything
        return False
    return redact(text, [key]) != text
