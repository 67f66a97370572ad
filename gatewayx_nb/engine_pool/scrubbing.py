"""Takes a key out of an error, wherever an engine or a provider put it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from gatewayx_nb.errors import GatewayError


def scrub(error: GatewayError, key: str) -> None:
    """Take a key out of what an error says and holds."""
    error.what = redact(error.what, [key])
    error.args = (error.what,)
    if error.code is not None:
        error.code = redact(error.code, [key])


def unless_telling(cause: BaseException, key: str) -> BaseException | None:
    """Give a cause to be chained, or ``None`` where its text, or its own cause's, has the key."""
    link: BaseException | None = cause
    while link is not None:
        if key and str(key) in f"{link} {link.args}":
            return None
        link = link.__cause__ or link.__context__
    return cause
