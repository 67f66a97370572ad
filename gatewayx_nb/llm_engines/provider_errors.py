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
from gatewayx_nb.hints import Hint, advice
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.json_body import as_dict, as_int
from gatewayx_nb.secure_config import redact, vendor_of_key
from gatewayx_nb.text import shorten
from gatewayx_nb.transport import limit_reset, retry_after, should_retry

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_ERROR_STATUS = 400
"""Lowest HTTP status of an error (RFC 9110, section 15.5)."""

_TOO_MANY_REQUESTS = 429

_OTHER_ENGINE = Hint("use_other_engine")
_RETRY = Hint("run_again") | _OTHER_ENGINE

_HINTS: dict[type[GatewayError], Hint] = {
    ContentFilterError: advice("Rephrase the prompt.") | _OTHER_ENGINE,
    ContextLengthError: advice("Shorten the prompt, or use a model with a longer context."),
    QuotaError: advice("Top up the account at the provider.") | _OTHER_ENGINE,
    RateLimitError: advice("Wait, then try again.") | _OTHER_ENGINE,
}

_ENGINE_ACTIONS = {AuthenticationError: "set_key", ModelNotFoundError: "name_model"}
"""Hints that name the engine."""

_MAX_MESSAGE = 300
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

    def from_response(self, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
        """Return the error for a response with an error status."""
        code, message = json_body.provider_error(data)
        now = time.time()
        delay = retry_after(headers, now) or json_body.retry_delay(data)
        # Only here: in other responses the reset is not a time to wait.
        if delay is None and status == _TOO_MANY_REQUESTS:
            delay = limit_reset(headers, now)
        error = self._error(f"returned HTTP {status}", status, code, message, delay)
        if isinstance(error, RequestError):
            error.should_retry = should_retry(headers)
        return error

    def from_body(self, answer: Mapping[str, Any], status: int | None = None) -> GatewayError:
        """Return the error for a body that reports an error despite status 200.

        Args:
            answer: The body.
            status: The equivalent status of the error. Default: the body's numeric code.
        """
        code, message = json_body.error_code_and_message(answer)
        inner = as_dict(answer.get("error"))
        status_or_code = status or as_int(inner.get("code")) or 200
        shown = f" ({status_or_code})" if status_or_code >= FIRST_ERROR_STATUS else ""
        return self._error(f"reported an error{shown}", status_or_code, code, message, None)

    def truncated(self) -> TruncatedError:
        """Return the error for a reply that ended without its end mark."""
        return TruncatedError(
            f"the reply of {self._engine!r} ended before its end mark.",
            hint=Hint("run_again"),
            engine=self._engine,
            model=self._model,
        )

    def _key_mismatch(self) -> str:
        """Return a note if the key looks like one of another engine."""
        vendor = vendor_of_key(self._key)
        if vendor in (None, self._engine):
            return ""
        return f" (the key looks like a key of {vendor!r})"

    def _error(
        self, event: str, status: int, code: str | None, message: str, retry_after: float | None
    ) -> GatewayError:
        kind = classify(status, code, message)
        text = shorten(redact(message or "no reason given", [self._key]), _MAX_MESSAGE)
        if kind is AuthenticationError:
            text += self._key_mismatch()
        end = "" if text.endswith((".", "!", "?", "…")) else "."
        action = _ENGINE_ACTIONS.get(kind)
        return kind(
            f"{self._engine!r} {event}: {text}{end}",
            hint=Hint(action, engine=self._engine) if action else _HINTS.get(kind, _RETRY),
            engine=self._engine,
            model=self._model,
            status=status,
            code=code,
            retry_after=retry_after,
        )
