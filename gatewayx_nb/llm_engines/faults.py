"""What an answer that tells of a fault means: its typed error, with what mends it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gatewayx_nb import retries
from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    QuotaError,
    RateLimitError,
    RequestError,
    TruncatedError,
    classify,
)
from gatewayx_nb.llm_engines import body
from gatewayx_nb.rendering import shorten
from gatewayx_nb.secure_config import redact, vendor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FAULT = 400
"""Lowest HTTP status that tells of a fault (RFC 9110, section 15.5)."""

_TOO_MANY = 429

_AGAIN = "Run the cell again, or ask another engine: `%gatewayx status`."

_MENDS: dict[type[GatewayError], str] = {
    AuthenticationError: "Set a valid key: `%gatewayx key set {engine}`.",
    ContentFilterError: "Say it otherwise, or ask another engine: `%gatewayx status`.",
    ContextLengthError: "Shorten the prompt, or ask a model that takes more.",
    ModelNotFoundError: "Name another: `%%gatewayx {engine}:MODEL`.",
    QuotaError: "Top up the account at the provider, or ask another engine: `%gatewayx status`.",
    RateLimitError: "Wait and run the cell again, or ask another engine: `%gatewayx status`.",
}

_MESSAGE = 300
"""Most characters of a provider's message that are shown."""


class Faults:
    """Makes the errors of one engine.

    Args:
        engine: Its name.
        model: The model that was asked.
        key: Its key, which providers are known to say back.
    """

    def __init__(self, engine: str, model: str | None, key: str) -> None:
        self._engine = engine
        self._model = model
        self._key = key

    def status(self, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
        """Make the error of an answer whose status tells of a fault."""
        code, message = body.fault(data)
        now = time.time()
        asked = retries.retry_after(headers, now) or body.delay(data)
        if asked is None and status == _TOO_MANY:
            asked = retries.limit_reset(headers, now)
        error = self._error(f"answered {status}", status, code, message, asked)
        if isinstance(error, RequestError):
            error.should_retry = retries.told_to_retry(headers)
        return error

    def within(self, answer: Mapping[str, Any], status: int | None = None) -> GatewayError:
        """Make the error of a body that tells of a fault although the status said 200.

        Args:
            answer: The body.
            status: The status that the fault would have had. Default: the body's numeric code.
        """
        code, message = body.fault_of(answer)
        inner = body.table(answer.get("error"))
        meant = status or body.count(inner.get("code")) or 200
        how = f"reported a fault ({meant})" if meant >= FIRST_FAULT else "reported a fault"
        return self._error(how, meant, code, message, None)

    def truncated(self) -> TruncatedError:
        """Make the error of an answer that ended without its end mark."""
        return TruncatedError(
            f"the answer of {self._engine!r} ended before its end mark.",
            mend="Run the cell again.",
            engine=self._engine,
            model=self._model,
        )

    def _of_another(self) -> str:
        """Say whose key it looks like, where that is another engine's."""
        vendor = vendor_of(self._key)
        if vendor in (None, self._engine):
            return ""
        return f" (the key looks like one of {vendor!r})"

    def _error(
        self, how: str, status: int, code: str | None, message: str, retry_after: float | None
    ) -> GatewayError:
        kind = classify(status, code, message)
        said = shorten(redact(message or "no reason given", [self._key]), _MESSAGE)
        if kind is AuthenticationError:
            said += self._of_another()
        return kind(
            f"{self._engine!r} {how}: {said}",
            mend=_MENDS.get(kind, _AGAIN).format(engine=self._engine),
            engine=self._engine,
            model=self._model,
            status=status,
            code=code,
            retry_after=retry_after,
        )
