import pickle

import pytest

from gatewayx_nb import errors
from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    MissingKeyError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    classify,
    nearest,
)


def test_a_notebook_shows_two_lines():
    """What happened stands on the first line, what mends it on the second."""
    error = MissingKeyError("no key.", mend="Set it: `%gatewayx key set grok`.")

    assert error._render_traceback_() == [
        "MissingKeyError: no key.",
        "Set it: `%gatewayx key set grok`.",
    ]


def test_a_script_shows_one_line():
    """A message is one line, the mending command in it."""
    assert str(MissingKeyError("no key.", mend="Set it.")) == "no key. Set it."
    assert str(MissingKeyError("no key.")) == "no key."


def test_an_error_survives_a_pickle():
    """Fields travel to another process."""
    error = RateLimitError("slow down.", mend="Wait.", engine="grok", status=429, retry_after=2.0)
    error.partial = "so far"

    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), copy.engine, copy.status, copy.retry_after, copy.partial) == (
        "slow down. Wait.",
        "grok",
        429,
        2.0,
        "so far",
    )


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, ProviderError),
        (400, "context_length_exceeded", ContextLengthError),
        (401, None, AuthenticationError),
        (402, None, QuotaError),
        (403, None, AuthenticationError),
        (404, None, ProviderError),
        (404, "model_not_found", ModelNotFoundError),
        (429, None, RateLimitError),
        (429, "insufficient_quota", QuotaError),
        (429, "something new", RateLimitError),
        (500, None, ProviderError),
        (529, "overloaded_error", ProviderError),
        (200, "invalid_prompt", ContentFilterError),
        (200, "bio_policy", ContentFilterError),
        (200, "misalignment_policy_violation", ContentFilterError),
        (200, "image_content_policy_violation", ContentFilterError),
        (200, "server_error", ProviderError),
        (400, "API_KEY_INVALID", AuthenticationError),
        (400, "INVALID_ARGUMENT", ProviderError),
        (404, "NOT_FOUND", ModelNotFoundError),
        (429, "RESOURCE_EXHAUSTED", RateLimitError),
        (429, "GenerateRequestsPerDayPerProjectPerModel-FreeTier", QuotaError),
    ],
)
def test_a_fault_has_one_class(status, code, kind):
    """The code is narrower than the status, and holds where it is known."""
    assert classify(status, code) is kind


def test_every_class_is_in_the_drawn_tree():
    """The tree in the docstring is the tree."""
    values = [value for value in vars(errors).values() if isinstance(value, type)]
    kinds = {value for value in values if issubclass(value, BaseException)}

    for kind in kinds - {GatewayError}:
        assert issubclass(kind, GatewayError)
        assert f"── {kind.__name__}" in errors.__doc__


def test_the_nearest_name_is_offered():
    """A near miss is answered by a question, a far one by nothing."""
    assert nearest("gork", ["grok", "mock"]) == " Did you mean 'grok'?"
    assert nearest("zzz", ["grok"]) == ""
