"""The exception tree, and the tables that map a provider's errors to classes.

::

    GatewayError
    ├── UsageError                  an invalid command, option or prompt
    ├── ConfigError                 the user's files: keys, settings, weights
    │   ├── MissingKeyError
    │   └── TrustError              a project that would receive the user's own key
    ├── EngineError                 an engine or a model, before anything is sent
    │   ├── EngineNotFoundError
    │   ├── EngineLoadError
    │   ├── ModelNotFoundError
    │   └── UnsupportedFeatureError
    ├── CassetteMissError           in replay mode, a call that is not in the cassette
    └── RequestError                one call that failed
        ├── AuthenticationError     the key is invalid or lacks permission
        ├── RateLimitError          too many requests; waiting helps
        ├── QuotaError              the quota is used up; waiting does not help
        ├── BudgetError             the call may exceed a cost limit; nothing was sent
        ├── ContextLengthError      the prompt is longer than the context
        ├── ContentFilterError      the provider refused the content
        ├── TruncatedError          the reply ended prematurely
        ├── ProviderError           any other error or malformed response
        ├── TransportError          no response: network, TLS, proxy
        └── DeadlineError           no response in time

The branches differ in who can fix the problem: whoever typed the call, whoever configured the
machine, whoever wrote or chose the engine, or the provider.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import re
import traceback
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from gatewayx_nb.hints import Hint, as_hint, render
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

InterruptT = TypeVar("InterruptT", bound=BaseException)

_TOPIC_BY_CODE = {
    "tls": "tls",
    "too_large": "unreadable-response",
    "protocol": "unreadable-response",
}

_TOPIC_BY_ACTION = {
    "allow_unpriced": "unknown-price",
    "choose_default": "no-default-model",
    "install": "missing-package",
    "install_package": "missing-package",
    "make_project": "not-a-project",
    "pull": "missing-weights",
    "pull_from_file": "missing-weights",
    "settle_merge": "merge-conflict",
}
"""Topics by the hint's action, for actions that identify the problem better than the class does."""

_LONG_LINE = re.compile(r"(.{1000}).+(.{1000})")


class GatewayError(Exception):
    """Base class of every error, with a hint on how to fix it.

    ``str(error)`` is the message and the hint, worded for a plain script. `describe` and the
    notebook traceback use the current front end's wording of the hint.

    Args:
        message: What happened and what was expected, with identifiers quoted. Never contains a key
            or a whole prompt. The middle of a line of more than 2,000 characters is omitted.
        hint: How to fix it; a str is the same in every front end.
        engine: Name of the engine.
        model: Name of the model.
        status: HTTP status of the response.
        code: The provider's own error code.
        retry_after: Seconds that the provider asks to wait.
        topic: Name of the entry of the troubleshooting page that explains the error, if it differs
            from that of its code, hint or class. `help` returns it.
    """

    _topic: str = ""

    def __init__(  # noqa: PLR0913 - the fields of every error; all of them keyword-only
        self,
        message: str,
        *,
        hint: Hint | str | None = None,
        engine: str | None = None,
        model: str | None = None,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        topic: str | None = None,
    ) -> None:
        # The message may quote a provider: remove control characters and the middle of long lines.
        message = _LONG_LINE.sub(r"\1 … \2", plain(message))
        super().__init__(message)
        self.message = message
        self.hint = as_hint(hint) if hint else None
        self.engine, self.model = engine, model
        self.status, self.code, self.retry_after = status, code, retry_after
        if topic is not None:
            self._topic = topic

    @property
    def help(self) -> str:
        """Name of the entry of the troubleshooting page that explains the error.

        The command ``help`` shows the entry; in the documentation, the name is its anchor.
        """
        if "_topic" in self.__dict__:
            return self._topic
        action = self.hint.action if self.hint else ""
        return _TOPIC_BY_CODE.get(self.code or "") or _TOPIC_BY_ACTION.get(action) or self._topic

    def with_appended_text(self, text: str) -> Self:
        """Return a copy whose message continues with ``text``."""
        # The copy has all fields, such as `partial`, but no cause and no traceback. `copy.copy` is
        # not used, because packages such as tblib change how exceptions are pickled and copied.
        error = type(self).__new__(type(self))
        error.__dict__.update(self.__dict__)
        error.message += text
        error.args = (error.message,)
        return error

    def describe(self) -> str:
        """Return the message, and the hint in the current front end's wording."""
        return plain(f"{self.message} {render(self.hint) if self.hint else ''}".rstrip())

    @override
    def __str__(self) -> str:
        return plain(f"{self.message} {self.hint or ''}".rstrip())

    def _render_traceback_(self) -> list[str]:
        """Return the traceback for IPython: the message, the hint, and where it is explained."""
        if _shows_whole_tracebacks.get():
            lines = "".join(traceback.format_exception(self)).splitlines()
        else:
            hint = [render(self.hint)] if self.hint else []
            help_lines = [render(Hint("show_help", topic=self.help))] if self.help else []
            lines = [f"{type(self).__name__}: {self.message}", *hint, *help_lines]
        return list(map(plain, lines))


_shows_whole_tracebacks = contextvars.ContextVar("_shows_whole_tracebacks", default=False)


@contextlib.contextmanager
def whole_tracebacks() -> Iterator[None]:
    """Make IPython show the whole traceback of an error instead of its message."""
    token = _shows_whole_tracebacks.set(True)
    try:
        yield
    finally:
        _shows_whole_tracebacks.reset(token)


class UsageError(GatewayError):
    """A command, an option or a prompt is invalid."""

    _topic = "invalid-call"


class ConfigError(GatewayError):
    """A user file or setting is missing, unreadable or invalid."""

    _topic = "invalid-files"


class MissingKeyError(ConfigError):
    """The engine's key is missing or only a placeholder."""

    _topic = "missing-key"


class TrustError(ConfigError):
    """The project, rather than the user, decides where one of the user's keys would be sent."""

    _topic = "key-destination"


class EngineError(GatewayError):
    """The engine or model is unavailable; no request was sent."""

    _topic = "unknown-engine"


class EngineNotFoundError(EngineError):
    """No engine has that name."""


class EngineLoadError(EngineError):
    """An engine's file exists but cannot be used."""

    _topic = "engine-not-loaded"


class ModelNotFoundError(EngineError):
    """The engine has no model of that name."""

    _topic = "unknown-model"


class UnsupportedFeatureError(EngineError):
    """The engine or the model does not support a feature that the call requires."""

    _topic = "unsupported-feature"


class CassetteMissError(GatewayError):
    """In replay mode, a call is not in the cassette; no request was sent."""

    _topic = "cassette-miss"


class RequestError(GatewayError):
    """A call failed.

    Attributes:
        partial: The text received before the failure.
        should_retry: Whether the provider allows a retry; ``None`` if it does not say.
    """

    _topic = "provider-error"
    partial: str = ""
    should_retry: bool | None = None


class AuthenticationError(RequestError):
    """The key is invalid or lacks permission."""

    _topic = "authentication"


class RateLimitError(RequestError):
    """The rate limit was exceeded; retry after ``retry_after`` seconds."""

    _topic = "rate-limit"


class QuotaError(RequestError):
    """The account's credit or quota is used up; waiting does not help."""

    _topic = "quota"


class BudgetError(RequestError):
    """The call may exceed a cost limit, or its price is unknown; no request was sent."""

    _topic = "budget"


class ContextLengthError(RequestError):
    """The prompt is longer than the model's context."""

    _topic = "context-length"


class ContentFilterError(RequestError):
    """The provider rejected the prompt or withheld its reply."""

    _topic = "content-filter"


class TruncatedError(RequestError):
    """The reply ended prematurely; ``partial`` is the text received so far."""

    _topic = "truncated"


class ProviderError(RequestError):
    """The provider returned an error or a malformed response."""

    _topic = "provider-error"


class TransportError(RequestError):
    """The provider is unreachable, or the connection broke."""

    _topic = "no-connection"


class DeadlineError(RequestError):
    """The call exceeded its timeout."""

    _topic = "deadline"


_ERROR_BY_CODE: dict[str, type[GatewayError]] = {
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
    # Anthropic: https://platform.claude.com/docs/en/api/errors. There, a refusal is a stop reason.
    "permission_error": AuthenticationError,
    "request_too_large": ContextLengthError,
    "refusal": ContentFilterError,
    # Anthropic's `error.details.error_code`, as named in `types/shared` of its Python SDK 2.12.
    "contract_spend_limit_reached": QuotaError,
    "enforced_spend_limit_reached": QuotaError,
    "linked_organization_billing_unavailable": QuotaError,
    "linked_organization_spend_limit_reached": QuotaError,
    # Groq's 498, which differs from Cohere's:
    # https://console.groq.com/docs/flex-processing
    "capacity_exceeded": RateLimitError,
    # These are from a Responses body with status "failed", and from its image parts:
    # https://github.com/openai/openai-python/blob/main/src/openai/types/responses/response_error.py
    "invalid_prompt": ContentFilterError,
    "bio_policy": ContentFilterError,
    "misalignment_policy_violation": ContentFilterError,
    "image_content_policy_violation": ContentFilterError,
    # Gemini reports an invalid key as 400: https://ai.google.dev/gemini-api/docs/troubleshooting
    "API_KEY_INVALID": AuthenticationError,
    "NOT_FOUND": ModelNotFoundError,
}

_ERRORS_BY_MESSAGE: tuple[tuple[int, re.Pattern[str], type[GatewayError]], ...] = (
    (
        400,
        re.compile(
            r"prompt is too long|exceed context limit"  # Anthropic
            r"|maximum context length"  # vLLM
            r"|tokens in the prompt cannot exceed|too many tokens: size limit exceeded"  # Cohere
            r"|input token count .{0,200}exceeds",  # Gemini
            re.IGNORECASE | re.DOTALL,
        ),
        ContextLengthError,
    ),
    # Anthropic: no credit, or a limit set by the customer.
    (400, re.compile(r"credit balance is too low|specified API usage limits"), QuotaError),
    (404, re.compile(r"\bmodels?\b", re.IGNORECASE), ModelNotFoundError),
)
"""Status, message pattern and class of errors that some providers report without a code."""

_MAX_SEARCHED_CHARS = 10_000
"""Maximum number of characters of a message that are searched for these patterns."""

_ERROR_BY_STATUS: dict[int, type[GatewayError]] = {
    401: AuthenticationError,
    402: QuotaError,
    403: AuthenticationError,
    429: RateLimitError,
    # Cohere's "blocked content": https://docs.cohere.com/reference/errors
    498: ContentFilterError,
}


def classify(status: int, code: str | None = None, message: str = "") -> type[GatewayError]:
    """Return the exception class for a provider's error.

    The class is chosen by the error's code, its message or its status, in this order. The codes
    come from OpenAI's error guide (https://platform.openai.com/docs/guides/error-codes), which also
    applies to compatible providers, and from other providers' documentation. Names of Gemini's
    daily quotas contain ``PerDay``.
    """
    if code and "PerDay" in code:
        return QuotaError
    if coded_error := _ERROR_BY_CODE.get(code or ""):
        return coded_error
    message = message[:_MAX_SEARCHED_CHARS]
    for expected_status, pattern, error_class in _ERRORS_BY_MESSAGE:
        if status == expected_status and pattern.search(message):
            return error_class
    # Use the status last, because it has many causes; for example, 400 may mean a prompt that is
    # too long.
    return _ERROR_BY_STATUS.get(status, ProviderError)


def with_short_traceback(interrupt: InterruptT) -> InterruptT:
    """Make a notebook show an interrupt in one line, without this package's traceback."""
    line = f"{type(interrupt).__name__}: stopped"
    # IPython shows the return value of this method instead of the exception's traceback.
    interrupt._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]
    return interrupt


def nearest_name(name: str, known_names: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a name; ``None`` if none is similar."""
    # With the default of 0.6, 'openai' would be suggested for 'nope'.
    close_names = difflib.get_close_matches(name, list(known_names), n=1, cutoff=0.65)
    return close_names[0] if close_names else None


def did_you_mean(name: str, known_names: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` with the nearest known name, or an empty string."""
    suggested_name = nearest_name(name, known_names)
    return f" Did you mean {suggested_name!r}?" if suggested_name else ""
