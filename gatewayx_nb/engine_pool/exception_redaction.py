"""Removes keys from exceptions: messages, causes and the frames of tracebacks."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.secrets import redact
from gatewayx_nb.text import plain, well_formed

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
        if _must_not_be_shown(link.__cause__, key):
            link.__cause__ = None
        if _must_not_be_shown(link.__context__, key):
            link.__context__ = None
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if any(_reveals_key(value, key) for value in frame.f_locals.values()):
                with contextlib.suppress(RuntimeError):  # a frame that is still running
                    # This drops the local variables; the traceback keeps its lines.
                    frame.clear()


def cause_without_key(cause: BaseException, key: str) -> BaseException | None:
    """Return ``cause``; ``None`` if its chain contains the key or terminal control characters."""
    return None if any(_must_not_be_shown(link, key) for link in _chain(cause)) else cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes and contexts, each once."""
    pending: list[BaseException | None] = [error]
    visited: set[int] = set()  # chains may have cycles
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in visited:
            visited.add(id(link))
            yield link
            # A context that `from None` hides is included: loggers and debuggers may show it.
            pending += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                pending += link.exceptions


def _must_not_be_shown(error: BaseException | None, key: str) -> bool:
    if error is None:
        return False
    try:
        text = str(error)
        # A traceback in a terminal shows the text of the cause unchanged.
        is_plain = plain(text) == well_formed(text).replace("\r", "")
        return not is_plain or _reveals_key(text, key) or _reveals_key(error, key)
    except BaseException:  # noqa: BLE001 - `__str__` of an engine's exception may raise anything
        return True  # what it would show is unknown


def _reveals_key(value: object, key: str) -> bool:
    """Return whether the ``repr`` of a value or of its attributes contains the key.

    Verbose tracebacks show both. They cannot show a value whose ``repr`` fails.
    """
    try:
        text = f"{value!r} {getattr(value, '__dict__', '')!r}"
    except BaseException:  # noqa: BLE001 - an engine's value may raise anything
        return False
    return redact(text, [key]) != text
