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
    did_you_mean,
)


def test_a_notebook_shows_two_lines():
    """A notebook shows the message on the first line and the hint on the second."""
    error = MissingKeyError("no key.", hint="Set it: `%gatewayx key set grok`.")

    assert error._render_traceback_() == [
        "MissingKeyError: no key.",
        "Set it: `%gatewayx key set grok`.",
    ]


def test_a_script_shows_one_line():
    """In a script the message and the hint are one line."""
    assert str(MissingKeyError("no key.", hint="Set it.")) == "no key. Set it."
    assert str(MissingKeyError("no key.")) == "no key."


def test_a_pickled_error_keeps_its_fields():
    """A pickled error keeps its fields."""
    error = RateLimitError("slow down.", hint="Wait.", engine="grok", status=429, retry_after=2.0)
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
        (498, None, ContentFilterError),
        (498, "capacity_exceeded", RateLimitError),
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
        (403, "permission_error", AuthenticationError),
        (413, "request_too_large", ContextLengthError),
        (200, "refusal", ContentFilterError),
        (429, "contract_spend_limit_reached", QuotaError),
        (429, "enforced_spend_limit_reached", QuotaError),
        (402, "linked_organization_billing_unavailable", QuotaError),
        (402, "linked_organization_spend_limit_reached", QuotaError),
    ],
)
def test_a_status_and_a_code_have_one_class(status, code, kind):
    """An error code decides the class if it is known, else the status."""
    assert classify(status, code) is kind


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "prompt is too long: 9 tokens > 8 maximum", ContextLengthError),
        (400, "input length and `max_tokens` exceed context limit: 9 + 8", ContextLengthError),
        (400, "This model's maximum context length is 8 tokens.", ContextLengthError),
        (
            400,
            "too many tokens: total number of tokens in the prompt cannot exceed 8",
            ContextLengthError,
        ),
        (400, "too many tokens: size limit exceeded by 1 tokens.", ContextLengthError),
        (
            400,
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ContextLengthError,
        ),
        (400, "too many tokens: max tokens must be less than or equal to 8", ProviderError),
        (400, "Your credit balance is too low to access the API.", QuotaError),
        (400, "You have reached your specified API usage limits.", QuotaError),
        (404, "model: claude-x", ModelNotFoundError),
        (404, "The model `x` does not exist", ModelNotFoundError),
        (404, "models/x is not found for API version v1beta", ModelNotFoundError),
        (404, "Not Found", ProviderError),
        (500, "the model is gone", ProviderError),
    ],
)
def test_messages_classify_errors_without_a_code(status, message, kind):
    """A message decides the class for its status, unless the code is known."""
    assert classify(status, None, message) is kind
    assert classify(status, "invalid_request_error", message) is kind
    assert classify(status, "rate_limit_error", message) is RateLimitError


def test_every_class_is_in_the_drawn_tree():
    """The tree in the docstring is the class tree."""
    values = [value for value in vars(errors).values() if isinstance(value, type)]
    kinds = {value for value in values if issubclass(value, BaseException)}

    for kind in kinds - {GatewayError}:
        assert issubclass(kind, GatewayError)
        assert f"── {kind.__name__}" in errors.__doc__


def test_the_nearest_name_is_offered():
    """A similar name is suggested, a dissimilar one is not."""
    assert did_you_mean("gork", ["grok", "mock"]) == " Did you mean 'grok'?"
    assert did_you_mean("zzz", ["grok"]) == ""
