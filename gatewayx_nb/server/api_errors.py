"""Maps each error to the HTTP status, type and code of OpenAI's and Anthropic's APIs.

Sources: https://platform.openai.com/docs/guides/error-codes and
https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    AuthenticationError,
    BudgetError,
    CassetteMissError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    DeadlineError,
    EngineLoadError,
    EngineNotFoundError,
    GatewayError,
    MissingKeyError,
    ModelNotFoundError,
    QuotaError,
    RateLimitError,
    RequestError,
    TrustError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_RETRY: Mapping[str, str] = {"x-should-retry": "false"}
"""Header of every error: the pool has already retried, so the SDKs must not retry again."""

_INVALID_REQUEST = "invalid_request_error"

_ANTHROPIC_TYPES = {
    400: _INVALID_REQUEST,
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class RequestRefusedError(UsageError):
    """Raised to refuse a request with a particular HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message, status=status)


@dataclass(frozen=True, slots=True)
class APIError:
    """An error in the terms of the APIs.

    Attributes:
        status: The HTTP status.
        message: The message, with the hint.
        type: OpenAI's type of error.
        code: OpenAI's error code; ``None`` if the error has none.
        param: The field of the request that is invalid; ``None`` if the error concerns no field.
        retry_after: Seconds to wait before another attempt, as requested by the provider.
        details: What Anthropic's SDK needs to recover from the error; empty if it cannot recover.
    """

    status: int
    message: str
    type: str = _INVALID_REQUEST
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def openai(self) -> dict[str, Any]:
        """The body of an OpenAI error, which is also the data of its event in a stream."""
        fields = {"type": self.type, "param": self.param, "code": self.code}
        return {"error": {"message": self.message, **fields}}

    @property
    def anthropic(self) -> dict[str, Any]:
        """The body of an Anthropic error, which is also the data of its event in a stream."""
        default = "api_error" if self.status >= 500 else _INVALID_REQUEST  # noqa: PLR2004
        error_type = _ANTHROPIC_TYPES.get(self.status, default)
        details = {"details": self.details} if self.details else {}
        return {"type": "error", "error": {"type": error_type, "message": self.message, **details}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        retry_header = (
            {} if self.retry_after is None else {"retry-after": f"{self.retry_after:.0f}"}
        )
        return {**NO_RETRY, **retry_header}


# The first class of which an error is an instance applies, so a subclass precedes its base.
_ERROR_TABLE: tuple[tuple[type[GatewayError], int, str, str | None], ...] = (
    (UsageError, 400, _INVALID_REQUEST, None),
    (UnsupportedFeatureError, 400, _INVALID_REQUEST, "unsupported_feature"),
    (EngineNotFoundError, 404, _INVALID_REQUEST, "model_not_found"),
    (ModelNotFoundError, 404, _INVALID_REQUEST, "model_not_found"),
    (EngineLoadError, 500, "server_error", "engine_not_loaded"),
    (MissingKeyError, 403, "permission_error", "missing_key"),
    (TrustError, 403, "permission_error", "untrusted"),
    (ConfigError, 500, "server_error", "invalid_settings"),
    # The SDKs retry 409 and 5xx, and a 404 would look like a wrong path.
    (CassetteMissError, 422, _INVALID_REQUEST, "cassette_miss"),
    (AuthenticationError, 401, "authentication_error", "invalid_api_key"),
    (RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
    (QuotaError, 429, "insufficient_quota", "insufficient_quota"),
    (BudgetError, 402, "billing_error", "budget_exceeded"),
    (ContextLengthError, 400, _INVALID_REQUEST, "context_length_exceeded"),
    (ContentFilterError, 400, _INVALID_REQUEST, "content_filter"),
    (DeadlineError, 504, "timeout_error", "deadline_exceeded"),
    (RequestError, 502, "server_error", "provider_error"),
)


_FIELD_BY_CODE = {"model_not_found": "model", "context_length_exceeded": "messages"}
"""The field of the request to which an error refers, by the error's code."""

_MAX_NAME_LENGTH = 100


def describe(error: BaseException) -> APIError:
    """Return the description of an error.

    An unexpected error is described only by its class, because its text may contain a prompt or a
    key.
    """
    if isinstance(error, RequestRefusedError):
        return APIError(error.status or 400, str(error))
    for error_class, status, type_name, code in _ERROR_TABLE:
        if isinstance(error, error_class):
            param = getattr(error, "field", None) or _FIELD_BY_CODE.get(code or "")
            details = getattr(error, "details", {})
            return APIError(
                status, _safe_message(error), type_name, code, param, error.retry_after, details
            )
    if isinstance(error, GatewayError):
        return APIError(500, str(error), "server_error")
    return APIError(500, f"{type(error).__name__}; see the server's log.", "server_error")


def _safe_message(error: GatewayError) -> str:
    """Return the message of an error, with the hint.

    The text of an exception that an engine raised may contain a prompt, so only the class of the
    exception is named.
    """
    if error.help != "engine-raised":
        return str(error)
    class_name = (
        shorten(type(error.__cause__).__name__, _MAX_NAME_LENGTH)
        if error.__cause__
        else "an exception"
    )
    return (
        f"engine {error.engine!r} raised {class_name}; only a call in a notebook or shell shows its"
        " text."
    )


def error_location(error: BaseException) -> str:
    """Return the class of an error and the line that raised it, for the log.

    The text of the error is omitted, because it may contain a prompt or a key.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place_text = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place_text}"
