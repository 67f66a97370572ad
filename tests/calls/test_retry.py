import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb import errors
from gatewayx_nb.calls import with_retries
from gatewayx_nb.calls.retry import wait_before_retry
from gatewayx_nb.errors import ProviderError, RateLimitError, TransportError
from gatewayx_nb.secure_config import Limits
from gatewayx_nb.transport import should_retry

RETRIES = 2

PASSING = {408, 409, 500, 502, 503, 504, 529}
FINAL = {None, 200, 302, 400, 401, 402, 403, 404, 413, 418, 422, 498, 501, 505}

RETRIED = {
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
    "ProviderError": False,  # except for the statuses in PASSING
    "TransportError": True,  # except for the codes in LASTING
    "DeadlineError": False,
}
LASTING = {"tls", "closed", "internal"}


def tree(base):
    """Return a class and its subclasses."""
    return [base] + [cls for child in base.__subclasses__() for cls in tree(child)]


OURS = [cls for cls in tree(errors.GatewayError) if cls.__module__ == errors.__name__]


def test_every_error_class_is_in_the_table():
    """Every error class has a decision in this test, so that a new class needs one."""
    assert {cls.__name__ for cls in OURS} == set(RETRIED)


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_the_class_of_an_error_decides_whether_to_retry(cls):
    """The class decides whether to retry, whatever its status or retry_after."""
    for error in (cls("x"), cls("x", retry_after=1.0), cls("x", status=400)):
        assert (wait_before_retry(1, error, RETRIES, float) is not None) == RETRIED[cls.__name__]


@pytest.mark.parametrize("status", sorted(PASSING | FINAL, key=str))
def test_the_status_of_a_provider_error_decides(status):
    """Overload and server errors are retried, a refusal is not."""
    waits = wait_before_retry(1, ProviderError("x", status=status), RETRIES, float) is not None
    assert waits == (status in PASSING)


@pytest.mark.parametrize("code", ["connect", "dns", "proxy", "reset", "protocol", *sorted(LASTING)])
def test_the_code_of_a_transport_error_decides(code):
    """Network errors are retried, certificate errors are not."""
    waits = wait_before_retry(1, TransportError("x", code=code), RETRIES, float) is not None
    assert waits == (code not in LASTING)


def test_three_attempts_in_all_by_default():
    """After the third attempt there is no retry, whatever the error."""
    waits = [wait_before_retry(made, RateLimitError("x"), RETRIES, float) for made in range(1, 6)]
    assert waits == [0.5, 1.0, None, None, None]
    assert Limits().retries == RETRIES


@pytest.mark.parametrize("retries", [0, 1, 2, 6])
def test_the_retries_of_the_settings_are_the_only_cap(monkeypatch, retries):
    """`[limits] retries = 6` makes seven attempts."""
    monkeypatch.setattr("gatewayx_nb.calls.retry._FIRST_BACKOFF", 0.0)
    attempts = []

    async def fail():
        attempts.append(1)
        raise TransportError("x", code="reset")

    with pytest.raises(TransportError):
        asyncio.run(with_retries(fail, retries))
    assert len(attempts) == retries + 1


def test_back_off_doubles_up_to_eight_seconds():
    """Backoff starts at 0.5 s, doubles and is capped at 8 s; jitter subtracts up to a quarter."""
    error = TransportError("x", code="reset")
    assert [wait_before_retry(made, error, 9, lambda: 0.0) for made in range(1, 7)] == [
        0.5, 1.0, 2.0, 4.0, 8.0, 8.0,
    ]  # fmt: skip
    assert wait_before_retry(1, error, RETRIES, lambda: 1.0) == 0.375


@given(st.floats(0, 60), st.integers(1, RETRIES), st.floats(0, 1))
def test_retry_after_is_never_undercut(seconds, made, jitter):
    """The wait is at least the one that the provider requests."""
    assert (
        wait_before_retry(made, RateLimitError("x", retry_after=seconds), RETRIES, lambda: jitter)
        >= seconds
    )


@pytest.mark.parametrize("seconds", [60.1, 3600.0, math.inf])
def test_a_wait_of_over_a_minute_fails_at_once(seconds):
    """A wait of more than 60 s fails at once, so that another engine may answer."""
    assert wait_before_retry(1, RateLimitError("x", retry_after=seconds), RETRIES, float) is None


@pytest.mark.parametrize(
    ("value", "status", "waits"), [("true", 400, True), ("false", 503, False), ("maybe", 503, True)]
)
def test_a_header_overrides_the_status(value, status, waits):
    """`x-should-retry: true` or `false` overrides the status; other values are ignored."""
    error = ProviderError("x", status=status)
    error.should_retry = should_retry({"x-should-retry": value})

    assert (wait_before_retry(1, error, RETRIES, lambda: 0.0) is not None) is waits
