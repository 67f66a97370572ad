"""Typed errors for error responses, with hints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

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
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.secure_config import redact, vendor_of_key
from gatewayx_nb.text import shorten
from gatewayx_nb.transport import limit_reset, retry_after, should_retry

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_FAULT = 400
"""Lowest HTTP status of an error (RFC 9110, section 15.5)."""

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
"""Maximum number of characters of a provider's message to show."""


class ProviderErrors:
    """Creates the errors of one engine.

    Args:
        engine: Its name.
        model: The requested model.
        key: Its key, which some providers repeat in error messages.
    """

    def __init__(self, engine: str, model: str | None, key: str) -> None:
        self._engine = engine
        self._model = model
        self._key = key

    def status(self, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
        """Return the error for a response with an error status."""
        code, message = json_body.provider_error(data)
        now = time.time()
        asked = retry_after(headers, now) or json_body.retry_delay(data)
        if asked is None and status == _TOO_MANY:
            asked = limit_reset(headers, now)
        error = self._error(f"answered {status}", status, code, message, asked)
        if isinstance(error, RequestError):
            error.should_retry = should_retry(headers)
        return error

    def within(self, answer: Mapping[str, Any], status: int | None = None) -> GatewayError:
        """Return the error for a body that reports an error despite status 200.

        Args:
            answer: The body.
            status: The equivalent status of the error. Default: the body's numeric code.
        """
        code, message = json_body.error_code_and_message(answer)
        inner = json_body.as_dict(answer.get("error"))
        meant = status or json_body.as_int(inner.get("code")) or 200
        how = f"reported a fault ({meant})" if meant >= FIRST_FAULT else "reported a fault"
        return self._error(how, meant, code, message, None)

    def truncated(self) -> TruncatedError:
        """Return the error for a reply that ended without its end mark."""
        return TruncatedError(
            f"the answer of {self._engine!r} ended before its end mark.",
            hint="Run the cell again.",
            engine=self._engine,
            model=self._model,
        )

    def _of_another(self) -> str:
        """Return a note if the key looks like one of another engine."""
        vendor = vendor_of_key(self._key)
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
            hint=_MENDS.get(kind, _AGAIN).format(engine=self._engine),
            engine=self._engine,
            model=self._model,
            status=status,
            code=code,
            retry_after=retry_after,
        )
