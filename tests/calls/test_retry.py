import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb import errors
from gatewayx_nb.calls import with_retries
from gatewayx_nb.calls.retry import retry_delay
from gatewayx_nb.errors import ProviderError, RateLimitError, TransportError
from gatewayx_nb.secure_config import Limits
from gatewayx_nb.transport import should_retry

RETRIES = 2

RETRIED_STATUSES = {408, 409, 500, 502, 503, 504, 529}
FINAL_STATUSES = {None, 200, 302, 400, 401, 402, 403, 404, 413, 418, 422, 498, 501, 505}

IS_RETRIED = {
    "GatewayError": False,
    "UsageError": False,
    "ConfigError": False,
    "MissingKeyError": False,
    "TrustError": False,
    "EngineError": False,
    "EngineNotFoundError": False,
    "EngineLoadError": False,
    "ModelNotFoundError": False,
    "UnsupportedFeatureError": False,
    "CassetteMissError": False,
    "RequestError": False,
    "AuthenticationError": False,
    "RateLimitError": True,
    "QuotaError": False,
    "BudgetError": False,
    "ContextLengthError": False,
    "ContentFilterError": False,
    "TruncatedError": False,
    "ProviderError": False,  # except for the statuses in RETRIED_STATUSES
    "TransportError": True,  # except for the codes in FINAL_CODES
    "DeadlineError": False,
}
FINAL_CODES = {"tls", "closed", "internal", "protocol"}


def list_subclasses(base):
    """Return a class and all its direct and indirect subclasses."""
    return [base] + [cls for child in base.__subclasses__() for cls in list_subclasses(child)]


ERROR_CLASSES = [
    cls for cls in list_subclasses(errors.GatewayError) if cls.__module__ == errors.__name__
]


def test_every_error_class_is_in_the_table():
    """`IS_RETRIED` contains every error class, so a new class must be added to it."""
    assert {cls.__name__ for cls in ERROR_CLASSES} == set(IS_RETRIED)


@pytest.mark.parametrize("cls", ERROR_CLASSES, ids=lambda cls: cls.__name__)
def test_the_class_of_an_error_decides_whether_it_is_retried(cls):
    """The class of an error decides whether it is retried, with any status and `retry_after`."""
    for error in (cls("x"), cls("x", retry_after=1.0), cls("x", status=400)):
        assert (retry_delay(1, error, RETRIES, float) is not None) == IS_RETRIED[cls.__name__]


@pytest.mark.parametrize("status", sorted(RETRIED_STATUSES | FINAL_STATUSES, key=str))
def test_the_status_of_a_provider_error_decides_whether_it_is_retried(status):
    """Provider errors are retried if their status reports an overload or a server error."""
    is_retried = retry_delay(1, ProviderError("x", status=status), RETRIES, float) is not None
    assert is_retried == (status in RETRIED_STATUSES)


@pytest.mark.parametrize("code", ["connect", "dns", "proxy", "reset", *sorted(FINAL_CODES)])
def test_the_code_of_a_transport_error_decides_whether_it_is_retried(code):
    """Network errors are retried; TLS errors, a closed pool and unknown exceptions are not."""
    is_retried = retry_delay(1, TransportError("x", code=code), RETRIES, float) is not None
    assert is_retried == (code not in FINAL_CODES)


def test_there_are_three_attempts_by_default():
    """By default there are two retries after the first attempt."""
    waits = [retry_delay(attempt, RateLimitError("x"), RETRIES, float) for attempt in range(1, 6)]
    assert waits == [0.5, 1.0, None, None, None]
    assert Limits().retries == RETRIES


@pytest.mark.parametrize("retries", [0, 1, 2, 6])
def test_the_settings_limit_the_number_of_attempts(monkeypatch, retries):
    """A call makes at most one attempt more than the settings' number of retries."""
    monkeypatch.setattr("gatewayx_nb.calls.retry._FIRST_BACKOFF", 0.0)
    attempts = []

    async def fail():
        attempts.append(1)
        raise TransportError("x", code="reset")

    with pytest.raises(TransportError):
        asyncio.run(with_retries(fail, retries))
    assert len(attempts) == retries + 1


def test_backoff_doubles_up_to_eight_seconds():
    """Backoff starts at 0.5 s, doubles and is capped at 8 s; jitter subtracts up to a quarter."""
    error = TransportError("x", code="reset")
    assert [retry_delay(attempt, error, 9, lambda: 0.0) for attempt in range(1, 7)] == [
        0.5, 1.0, 2.0, 4.0, 8.0, 8.0,
    ]  # fmt: skip
    assert retry_delay(1, error, RETRIES, lambda: 1.0) == 0.375


@given(st.floats(0, 60), st.integers(1, RETRIES), st.floats(0, 1))
def test_the_wait_is_at_least_retry_after(seconds, attempt, jitter):
    """The wait is at least as long as the provider requests."""
    assert (
        retry_delay(attempt, RateLimitError("x", retry_after=seconds), RETRIES, lambda: jitter)
        >= seconds
    )


@pytest.mark.parametrize("seconds", [60.1, 3600.0, math.inf])
def test_an_error_with_a_wait_above_a_minute_is_not_retried(seconds):
    """An error that requests a wait of more than 60 s is not retried."""
    assert retry_delay(1, RateLimitError("x", retry_after=seconds), RETRIES, float) is None


@pytest.mark.parametrize(
    ("value", "status", "is_retried"),
    [("true", 400, True), ("false", 503, False), ("maybe", 503, True)],
)
def test_a_header_overrides_the_status(value, status, is_retried):
    """`x-should-retry: true` or `false` overrides the status; other values are ignored."""
    error = ProviderError("x", status=status)
    error.should_retry = should_retry({"x-should-retry": value})

    assert (retry_delay(1, error, RETRIES, lambda: 0.0) is not None) is is_retried


@pytest.mark.parametrize("seconds", [math.nan, -math.inf, -5.0])
def test_an_absurd_retry_after_falls_back_to_the_backoff(seconds):
    """An engine's own error may hold any number; an absurd one has no effect on the retry."""
    error = RateLimitError("x", retry_after=seconds)
    assert retry_delay(1, error, RETRIES, float) == 0.5
