"""Creates typed errors for error responses, with hints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RequestError,
    TruncatedError,
    classify,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.json_body import as_dict, as_int
from gatewayx_nb.secure_config import redact_beginning, vendor_of_key
from gatewayx_nb.text import shorten
from gatewayx_nb.transport import limit_reset, longest_delay, retry_after, should_retry

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_ERROR_STATUS = 400
"""Lowest HTTP status of an error (RFC 9110, section 15.5)."""

_LAST_ERROR_STATUS = 599

_TOO_MANY_REQUESTS = 429

_OTHER_ENGINE_HINT = Hint("use_other_engine")
_RETRY_HINT = Hint("run_again") | _OTHER_ENGINE_HINT

_HINT_BY_ERROR_CLASS: dict[type[GatewayError], Hint] = {
    ContentFilterError: as_hint("Rephrase the prompt.") | _OTHER_ENGINE_HINT,
    ContextLengthError: as_hint("Shorten the prompt, or use a model with a longer context."),
    QuotaError: as_hint("Top up the account at the provider.") | _OTHER_ENGINE_HINT,
    RateLimitError: as_hint("Wait, then try again.") | _OTHER_ENGINE_HINT,
}

_ACTION_BY_ERROR_CLASS = {AuthenticationError: "set_key", ModelNotFoundError: "name_model"}
"""Actions of the hints, by error class, whose only argument is the engine's name."""

MAX_CONTENTS = 10_000
"""Maximum number of citations, items or other contents of one kind in an answer.

They are kept until the end of the answer, and take more memory than their text.
"""

_MAX_COLLECTED_CONTENTS = 500_000
"""Maximum number of contents that are collected at all end events of an answer together.

It is reached only if each of about 1,000 events has such contents and is marked as the last event.
"""

_MAX_MESSAGE_CHARS = 300
"""Maximum number of characters of a provider's message that are shown."""


class ProviderErrors:
    """Creates the errors of one engine.

    Args:
        engine: The engine's name.
        model: The requested model.
        key: The engine's key, which some providers repeat in error messages.
    """

    def __init__(self, engine: str, model: str | None, key: str) -> None:
        self._engine = engine
        self._model = model
        self._key = key

    def from_response(self, status: int, headers: Mapping[str, str], data: bytes) -> GatewayError:
        """Return the error for a response with an error status."""
        code, message = json_body.provider_error(data)
        now = time.time()
        delay = longest_delay([retry_after(headers, now), json_body.retry_delay(data)])
        # With any other status, the reset is not a retry delay.
        if not delay and status == _TOO_MANY_REQUESTS:
            delay = longest_delay([delay, limit_reset(headers, now)])
        error = self._error(f"returned HTTP {status}", status, code, message, delay)
        if isinstance(error, RequestError):
            error.should_retry = should_retry(headers)
        return error

    def from_body(self, body: Mapping[str, Any], status: int | None = None) -> GatewayError:
        """Return the error for a body that reports an error despite status 200.

        Args:
            body: The body.
            status: The equivalent HTTP status; by default, the body's numeric code.
        """
        code, message = json_body.error_code_and_message(body)
        error_fields = as_dict(body.get("error"))
        # Gemini and OpenRouter send the status as `error.code`; the response itself had status 200.
        code_number = as_int(error_fields.get("code")) or 0
        is_status = FIRST_ERROR_STATUS <= code_number <= _LAST_ERROR_STATUS
        status_or_code = status or (code_number if is_status else 200)
        status_note = f" ({status_or_code})" if status_or_code >= FIRST_ERROR_STATUS else ""
        return self._error(f"reported an error{status_note}", status_or_code, code, message, None)

    def without_answer(self, body: str) -> GatewayError:
        """Return the error for a complete response that has neither an answer nor an error."""
        return self._error(
            "returned no answer", 200, None, shorten(redact_beginning(body, self._key), 120), None
        )

    def check_count(self, count: int) -> None:
        """Check the number of citations, items or other contents that an answer has so far.

        Raises:
            ProviderError: If there are more than `MAX_CONTENTS`.
        """
        if count > MAX_CONTENTS:
            raise ProviderError(
                f"the answer from {self._engine!r} has more than {MAX_CONTENTS:,} contents of one"
                " kind.",
                hint="Limit the reply with max_tokens.",
                engine=self._engine,
                model=self._model,
                code="too_large",
            )

    def check_ends(self, collected_count: int) -> None:
        """Check the number of contents that were collected at the end events of an answer.

        Some servers mark every event as the last, and each of them collects all contents so far.

        Raises:
            ProviderError: If there are more than `_MAX_COLLECTED_CONTENTS`.
        """
        if collected_count > _MAX_COLLECTED_CONTENTS:
            raise ProviderError(
                f"the answer from {self._engine!r} ends too often.",
                hint="Limit the reply with max_tokens.",
                engine=self._engine,
                model=self._model,
                code="too_large",
            )

    def truncated(self) -> TruncatedError:
        """Return the error for a reply that ended without an end marker."""
        return TruncatedError(
            f"the reply from {self._engine!r} ended without an end marker.",
            hint=Hint("run_again"),
            engine=self._engine,
            model=self._model,
        )

    def _error(
        self, outcome: str, status: int, code: str | None, message: str, retry_after: float | None
    ) -> GatewayError:
        error_class = classify(status, code, message)
        text = shorten(
            redact_beginning(message or "no reason given", self._key), _MAX_MESSAGE_CHARS
        )
        vendor = vendor_of_key(self._key)
        if error_class is AuthenticationError and vendor not in (None, self._engine):
            text += f" (the key looks like one for {vendor!r})"
        # A hint follows, so the provider's text must end as a sentence.
        punctuation = "" if text.endswith((".", "!", "?", "…")) else "."
        action = _ACTION_BY_ERROR_CLASS.get(error_class)
        return error_class(
            f"{self._engine!r} {outcome}: {text}{punctuation}",
            hint=Hint(action, engine=self._engine)
            if action
            else _HINT_BY_ERROR_CLASS.get(error_class, _RETRY_HINT),
            engine=self._engine,
            model=self._model,
            status=status,
            code=code,
            retry_after=retry_after,
        )
