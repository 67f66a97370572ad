"""The exception tree, and the table from a provider's answer to a class of it.

::

    GatewayError
    ├── UsageError                  a command or a cell that cannot be read
    ├── ConfigError                 the user's files: keys, settings, weights
    │   ├── MissingKeyError
    │   └── TrustError              a project that would get the user's own key
    ├── EngineError                 an engine or a model, before anything is sent
    │   ├── EngineNotFoundError
    │   ├── EngineLoadError
    │   ├── ModelNotFoundError
    │   └── UnsupportedFeatureError
    ├── CassetteMissError           a call that a cassette was to play back and does not hold
    └── RequestError                one call that failed
        ├── AuthenticationError     the provider refuses the key
        ├── RateLimitError          too many requests; waiting helps
        ├── QuotaError              nothing left to spend; waiting does not help
        ├── BudgetError             more than you allowed to spend; nothing was sent
        ├── ContextLengthError      the prompt is longer than the model takes
        ├── ContentFilterError      the provider refuses the content
        ├── TruncatedError          the answer ended before its end
        ├── ProviderError           any other answer that is none
        ├── TransportError          no answer: network, TLS, proxy
        └── DeadlineError           no answer in time

Each branch is for another person to act on: the one who typed, the one who configured the machine,
the one who wrote or chose the engine, and the provider.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

StopT = TypeVar("StopT", bound=BaseException)


class GatewayError(Exception):
    """What happened, and the command that mends it.

    Args:
        what: What happened and what was expected, with the names quoted. Never a key and never a
            whole prompt.
        mend: What to do, as a command to paste. Shown on a line of its own in a notebook.
        engine: Name of the engine concerned.
        model: Name of the model concerned.
        status: HTTP status of the answer.
        code: The provider's own code for the fault.
        retry_after: Seconds the provider asks to wait.
    """

    def __init__(  # noqa: PLR0913 - these are the fields that DESIGN gives every error
        self,
        what: str,
        *,
        mend: str = "",
        engine: str | None = None,
        model: str | None = None,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.engine = engine
        self.model = model
        self.status = status
        self.code = code
        self.retry_after = retry_after

    @override
    def __str__(self) -> str:
        return f"{self.what} {self.mend}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """Give IPython's traceback: what happened, and what mends it."""
        return [f"{type(self).__name__}: {self.what}", *([self.mend] if self.mend else [])]


class UsageError(GatewayError):
    """A command, an option or a prompt that cannot be read as it was typed."""


class ConfigError(GatewayError):
    """A file or a setting of the user's does not serve."""


class MissingKeyError(ConfigError):
    """An engine needs a key and there is none, or only a placeholder."""


class TrustError(ConfigError):
    """A key of the user's would go where the project says, not the user."""


class EngineError(GatewayError):
    """An engine or a model is not to be had; nothing was sent."""


class EngineNotFoundError(EngineError):
    """No engine has that name."""


class EngineLoadError(EngineError):
    """An engine's file is there and cannot be used."""


class ModelNotFoundError(EngineError):
    """The engine has no model of that name."""


class UnsupportedFeatureError(EngineError):
    """The engine or the model lacks something that the call asks for."""


class CassetteMissError(GatewayError):
    """A call is not on the cassette that plays back; nothing was sent."""


class RequestError(GatewayError):
    """One call failed.

    Attributes:
        partial: The text that had arrived by then.
        should_retry: Whether the provider says that it may be sent again; ``None`` where it does
            not say.
    """

    partial: str = ""
    should_retry: bool | None = None


class AuthenticationError(RequestError):
    """The provider refuses the key, or what the key may do."""


class RateLimitError(RequestError):
    """Too many requests; ``retry_after`` seconds later it may go."""


class QuotaError(RequestError):
    """The account has nothing left to spend; waiting does not help."""


class BudgetError(RequestError):
    """It would cost more than is allowed, or its price is not known; nothing was sent."""


class ContextLengthError(RequestError):
    """The prompt is longer than the model takes."""


class ContentFilterError(RequestError):
    """The provider refuses the prompt or its own answer."""


class TruncatedError(RequestError):
    """The answer ended without its end mark. ``partial`` is what had arrived."""


class ProviderError(RequestError):
    """The provider answered with a fault, or with something that is no answer."""


class TransportError(RequestError):
    """The provider could not be reached, or the connection broke."""


class DeadlineError(RequestError):
    """The call took longer than it may."""


_BY_CODE: dict[str, type[GatewayError]] = {
    "context_length_exceeded": ContextLengthError,
    "insufficient_quota": QuotaError,
    "credit_balance_exhausted": QuotaError,
    "billing_error": QuotaError,
    "billing_hard_limit_reached": QuotaError,
    "model_not_found": ModelNotFoundError,
    "invalid_api_key": AuthenticationError,
    "authentication_error": AuthenticationError,
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "rate_limit_exceeded": RateLimitError,
    "rate_limit_error": RateLimitError,
    # Anthropic: https://platform.claude.com/docs/en/api/errors. A refusal is a stop reason there.
    "permission_error": AuthenticationError,
    "request_too_large": ContextLengthError,
    "refusal": ContentFilterError,
    # Anthropic's `error.details.error_code`, as its Python SDK 2.12 names them in `types/shared`.
    "contract_spend_limit_reached": QuotaError,
    "enforced_spend_limit_reached": QuotaError,
    "linked_organization_billing_unavailable": QuotaError,
    "linked_organization_spend_limit_reached": QuotaError,
    # Groq's 498, which is another one's than Cohere's:
    # https://console.groq.com/docs/flex-processing
    "capacity_exceeded": RateLimitError,
    # Of a Responses body whose status is "failed", and of its image parts:
    # https://github.com/openai/openai-python/blob/main/src/openai/types/responses/response_error.py
    "invalid_prompt": ContentFilterError,
    "bio_policy": ContentFilterError,
    "misalignment_policy_violation": ContentFilterError,
    "image_content_policy_violation": ContentFilterError,
    # Of Gemini, whose invalid key is a 400: https://ai.google.dev/gemini-api/docs/troubleshooting
    "API_KEY_INVALID": AuthenticationError,
    "NOT_FOUND": ModelNotFoundError,
}

_BY_MESSAGE: tuple[tuple[int, re.Pattern[str], type[GatewayError]], ...] = (
    (
        400,
        re.compile(
            r"prompt is too long|exceed context limit"  # Anthropic
            r"|maximum context length"  # vLLM
            r"|tokens in the prompt cannot exceed|too many tokens: size limit exceeded"  # Cohere
            r"|input token count .*exceeds",  # Gemini
            re.IGNORECASE | re.DOTALL,
        ),
        ContextLengthError,
    ),
    # Anthropic: no credit, and a limit that the customer set.
    (400, re.compile(r"credit balance is too low|specified API usage limits"), QuotaError),
    (404, re.compile(r"\bmodels?\b", re.IGNORECASE), ModelNotFoundError),
)
"""What only the words tell: some providers give these faults no code of their own."""

_BY_STATUS: dict[int, type[GatewayError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: AuthenticationError,
    429: RateLimitError,
    # Cohere's "blocked content": https://docs.cohere.com/reference/errors
    498: ContentFilterError,
}


def classify(status: int, code: str | None = None, message: str = "") -> type[GatewayError]:
    """Give the class of a provider's fault: by its code, else its message, else its status.

    The codes are those of OpenAI's error guide
    (https://platform.openai.com/docs/guides/error-codes), which the compatible family shares,
    and those that other providers add. Gemini's quotas for a day have ``PerDay`` in their names.
    """
    if code and "PerDay" in code:
        return QuotaError
    if by_code := _BY_CODE.get(code or ""):
        return by_code
    for at, words, kind in _BY_MESSAGE:
        if status == at and words.search(message):
            return kind
    return _BY_STATUS.get(status, ProviderError)


def in_one_line(stop: StopT) -> StopT:
    """Let Stop show as one line in a notebook: how our own waiting works tells its user nothing."""
    line = f"{type(stop).__name__}: stopped"
    stop._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]
    return stop


def nearest(name: str, known: Iterable[str]) -> str:
    """Give ``" Did you mean 'x'?"`` for the known name nearest to this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
