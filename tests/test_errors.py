import copyreg
import pickle

import pytest
from tblib import pickling_support

from gatewayx_nb import errors
from gatewayx_nb.errors import (
    AuthenticationError,
    BudgetError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    MissingKeyError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TransportError,
    classify,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from tests.processor import seconds


def test_a_notebook_shows_three_lines():
    """In a notebook, the lines of an error are the message, the hint and where it is explained."""
    error = MissingKeyError("no key.", hint="Set it: `%gatewayx key set grok`.")

    assert error._render_traceback_() == [
        "MissingKeyError: no key.",
        "Set it: `%gatewayx key set grok`.",
        "More: the entry `missing-key` of the troubleshooting page.",
    ]


@pytest.mark.parametrize(
    ("error", "topic"),
    [
        (TransportError("no route."), "no-connection"),
        (TransportError("no certificate.", code="tls"), "tls"),
        (BudgetError("no price.", hint=Hint("allow_unpriced")), "unknown-price"),
        (BudgetError("too expensive.", hint="Raise it."), "budget"),
        (ConfigError("no.", hint=Hint("pull", model="m"), topic="unsafe-file"), "unsafe-file"),
        (GatewayError("anything."), ""),
    ],
)
def test_help_is_the_entry_of_the_troubleshooting_page(error, topic):
    """It is that of the raise statement, the code, the hint or the class, in this order."""
    assert error.help == topic
    assert pickle.loads(pickle.dumps(error)).help == topic
    assert error.with_appended_text(" More.").help == topic


def test_a_script_shows_one_line():
    """In a script the message and the hint are one line."""
    assert str(MissingKeyError("no key.", hint="Set it.")) == "no key. Set it."
    assert str(MissingKeyError("no key.")) == "no key."


def test_an_error_has_no_escape_sequences():
    """Text from an engine or a provider cannot control the terminal that shows the error."""
    error = ProviderError(
        "it said \x1b]52;c;ZXZpbA==\x07\x1b[2J\u202eno", hint="Try\x1b[31m again."
    )
    shown = [str(error), error.describe(), error.message, *error._render_traceback_()]

    error = error.with_appended_text("\x1b[1mtoo")
    with errors.whole_tracebacks():
        shown += [str(error), *error._render_traceback_()]

    assert not any(character in text for text in shown for character in "\x1b\x07\u202e")
    assert shown[0] == "it said no Try again."


def test_the_middle_of_a_very_long_message_is_omitted():
    """A message that quotes a very long value keeps its beginning and its end."""
    error = errors.UsageError(f"unknown option '{'x' * 100_000}'; see the help.")

    assert error.message.startswith("unknown option 'xxx")
    assert error.message.endswith("xxx'; see the help.")
    assert len(error.message) < 2_100


def test_a_pickled_error_keeps_its_fields():
    """Unpickling an error restores its message, hint and fields."""
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
    ("status", "code", "error_class"),
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
def test_errors_are_classified_by_status_and_code(status, code, error_class):
    """A known error code determines the class of an error; otherwise the status does."""
    assert classify(status, code) is error_class


@pytest.mark.parametrize(
    ("status", "message", "error_class"),
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
def test_messages_classify_errors_without_a_code(status, message, error_class):
    """A known message determines the class of an error, unless its code is known."""
    assert classify(status, None, message) is error_class
    assert classify(status, "invalid_request_error", message) is error_class
    assert classify(status, "rate_limit_error", message) is RateLimitError


def test_the_docstring_shows_every_class():
    """The tree in the module's docstring contains every error class."""
    values = [value for value in vars(errors).values() if isinstance(value, type)]
    error_classes = {value for value in values if issubclass(value, BaseException)}

    for error_class in error_classes - {GatewayError}:
        assert issubclass(error_class, GatewayError)
        assert f"── {error_class.__name__}" in errors.__doc__


def test_the_nearest_name_is_suggested():
    """A similar name is suggested, and a dissimilar name is not."""
    assert did_you_mean("gork", ["grok", "mock"]) == " Did you mean 'grok'?"
    assert did_you_mean("zzz", ["grok"]) == ""


def test_appended_text_leaves_the_error_as_it_is_whatever_pickles_exceptions(monkeypatch):
    """tblib, which Dask uses, gives the copies of an exception the attributes of the original."""
    monkeypatch.setitem(copyreg.dispatch_table, QuotaError, pickling_support.pickle_exception)
    error = QuotaError("no", engine="e")

    longer = error.with_appended_text(" more")

    assert (error.message, longer.message, longer.engine) == ("no", "no more", "e")


@pytest.mark.parametrize("text", ["input token count ", "models", "y"])
def test_classifying_a_long_message_takes_linear_time(text):
    """A provider chooses the message; no other thread runs while it is searched."""
    assert seconds(lambda: classify(400, None, text * 1_000_000)) < 5
