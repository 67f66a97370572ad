"""Removes keys from exceptions: messages, causes and the frames of tracebacks."""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.chunk_check import is_large
from gatewayx_nb.hints import Hint
from gatewayx_nb.masking import MAX_SEARCHED, redact, redact_beginning
from gatewayx_nb.secrets import MASK
from gatewayx_nb.text import plain, well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.errors import GatewayError


def redact_exception(error: GatewayError, key: str) -> None:
    """Remove a key from an error's attributes, such as its message and notes, and from its frames.

    A provider may quote the key in its response, and tracebacks with locals would show it.
    """
    attributes = vars(error)  # `add_note` stores notes here
    attributes.update({name: _without_key(value, key) for name, value in attributes.items()})
    error.args = (error.message,)
    for link in _chain(error):
        with contextlib.suppress(BaseException):  # reading an engine's exception may raise anything
            _drop_links_with_key(link, key)


def _without_key(value: object, key: str) -> object:
    """Return an attribute of an error without the key."""
    if isinstance(value, str):
        return redact_beginning(str.__str__(value), key)  # a subclass may raise anything
    if isinstance(value, Hint):
        return _hint_without_key(value, key)
    if isinstance(value, list):
        return [_without_key(item, key) for item in value]
    if type(value) in (int, float, bool):
        return value  # a key of digits must not change a status
    return MASK if _reveals_key(value, key) else value


def _hint_without_key(hint: Hint, key: str) -> Hint:
    redacted_hint = hint.with_arguments(lambda value: _without_key(value, key))
    return (
        redacted_hint | _hint_without_key(hint.alternative, key)
        if hint.alternative
        else redacted_hint
    )


def _drop_links_with_key(link: BaseException, key: str) -> None:
    """Remove an exception's cause, context and local variables if they contain the key."""
    if _must_not_be_shown(link.__cause__, key):
        link.__cause__ = None
    if _must_not_be_shown(link.__context__, key):
        link.__context__ = None
    for frame, _ in traceback.walk_tb(link.__traceback__):
        if any(_reveals_key(value, key) for value in frame.f_locals.values()):
            with contextlib.suppress(RuntimeError):  # a frame that is still running
                # Clearing drops the local variables; the traceback keeps its lines.
                frame.clear()


def cause_without_key(cause: BaseException, key: str) -> BaseException | None:
    """Return ``cause``; ``None`` if its chain contains the key or terminal control characters."""
    return None if any(_must_not_be_shown(link, key) for link in _chain(cause)) else cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes and contexts, each once."""
    pending_links: list[BaseException | None] = [error]
    visited_ids: set[int] = set()  # chains may have cycles
    while pending_links:
        link = pending_links.pop()
        if link is not None and id(link) not in visited_ids:
            visited_ids.add(id(link))
            yield link
            with contextlib.suppress(BaseException):  # reading an engine's exception may raise
                pending_links += _linked_exceptions(link)


def _linked_exceptions(error: BaseException) -> list[BaseException | None]:
    """Return the cause, the context and the members of an exception."""
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    # A context that `from None` hides is included: loggers and debuggers may show it.
    return [error.__cause__, error.__context__, *members]


def _must_not_be_shown(error: BaseException | None, key: str) -> bool:
    if error is None:
        return False
    try:
        _linked_exceptions(error)  # a traceback reads these
        text = f"{error} {type(error).__qualname__}"
        if len(text) > MAX_SEARCHED:
            return True
        # A traceback in a terminal shows the text of the cause unchanged.
        is_plain = plain(text) == well_formed(text).replace("\r", "")
        return not is_plain or _reveals_key(text, key) or _reveals_key(error, key)
    except BaseException:  # noqa: BLE001 - `__str__` of an engine's exception may raise anything
        return True  # its text is unknown


def _reveals_key(value: object, key: str) -> bool:
    """Return whether the ``repr`` of a value or of its attributes contains the key.

    Verbose tracebacks show both. A value whose ``repr`` fails cannot be shown. A very large value
    counts as containing the key, because searching it would delay other calls.
    """
    with contextlib.suppress(BaseException):  # reading an engine's value may raise anything
        shown_parts = (value, getattr(value, "__dict__", None), getattr(value, "args", None))
        if is_large(shown_parts, MAX_SEARCHED):
            return True
    try:
        text = f"{value!r} {getattr(value, '__dict__', '')!r}"
    except BaseException:  # noqa: BLE001 - an engine's value may raise anything
        return False
    return len(text) > MAX_SEARCHED or redact(text, [key]) != text
