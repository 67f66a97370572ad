import json
from dataclasses import dataclass

import anthropic
import genai_prices
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from pydantic import TypeAdapter

from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TruncatedError,
)
from gatewayx_nb.llm_engines.anthropic_messages import MessagesParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message
from gatewayx_nb.replies import Usage
from tests.llm_engines import recordings
from tests.llm_engines.recordings import delta, end, sse, start, stop
from tests.llm_engines.wire import (
    KEY,
    PICTURES,
    SDKCall,
    Wire,
    check_at_once,
    check_cuts,
    check_no_raw_exception,
    check_splits,
    check_whole_and_streamed,
    errors,
    mutations,
    parsed,
    request,
    streamed,
    summed,
    whole,
)

WHOLE, EVENTS = recordings.ANTHROPIC.whole, recordings.ANTHROPIC.events
STREAM = recordings.ANTHROPIC.stream


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the engine and its server."""
    folder = tmp_path_factory.mktemp("anthropic") / "project"
    with Wire(folder, "anthropic") as wire:
        yield wire


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """Yield the engine with a later version of the API, set as a TOML date in the settings."""
    version = "engines.anthropic.version = 2026-10-21\n"
    folder = tmp_path_factory.mktemp("later") / "project"
    with Wire(folder, "anthropic", settings=version) as wire:
        yield wire


@pytest.fixture(scope="module")
def sdk(later):
    """Yield the vendor's SDK client for the same server."""
    with anthropic.Anthropic(api_key=KEY, base_url=later.server.url, max_retries=0) as client:
        yield client


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}


CALLS = [
    SDKCall("plain"),
    SDKCall("streamed", {"streamed": True}, {"stream": True}),
    SDKCall(
        "everything",
        {"system": "Brief.", "temperature": 0, "top_p": 0.5, "max_tokens": 9, "stop": ("x", "y")},
        {
            "system": "Brief.",
            "max_tokens": 9,
            "stop_sequences": ["x", "y"],
            "extra_body": {"temperature": 0, "top_p": 0.5},
        },
    ),
    SDKCall("parameters", {"params": {"top_k": 5}}, {"extra_body": {"top_k": 5}}),
    SDKCall("schema", {"schema": SCHEMA}, {"output_config": FORMAT}),
    SDKCall(
        "schema and effort",
        {"schema": SCHEMA, "params": {"output_config": {"effort": "low"}}},
        {"output_config": {"effort": "low", **FORMAT}},
    ),
    SDKCall(
        "history",
        {"system": "Brief."},
        {"system": "Brief.\n\nIn German."},
        (
            Message("user", "Hi"),
            Message("assistant", "Hello."),
            Message("system", "In German."),
            Message("user", "And?"),
        ),
        (
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "And?"},
        ),
    ),
    SDKCall(
        "images",
        messages=(Message("user", "What?", PICTURES),),
        turns=(
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": "iVBORw==",
                        },
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                    {"type": "text", "text": "What?"},
                ],
            },
        ),
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_we_send_what_the_sdk_sends(later, sdk, call):
    """Body, path and version are equal; the key is in the header that both API versions accept."""
    later.answers(streamed(STREAM) if call.ours.get("streamed") else whole(WHOLE))
    later.chunks(request(*call.messages, model="m", **call.ours))
    given = {"model": "m", "max_tokens": 8192, "stream": False} | call.theirs
    sent = sdk.messages.create(messages=list(call.turns), **given)
    if call.ours.get("streamed"):
        list(sent)
    ours, theirs = later.server.requests

    assert json.loads(ours.body) == json.loads(theirs.body)
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    for name in ("content-type", "anthropic-version"):
        assert ours.headers[name] == theirs.headers[name]
    assert ours.headers["x-api-key"] == theirs.headers["authorization"].removeprefix("Bearer ")


def test_the_version_is_the_one_that_takes_sampling_parameters(wire):
    """The default API version accepts sampling parameters; the settings may name another."""
    wire.answers(whole(WHOLE))
    wire.ask(temperature=0.5)

    assert wire.server.requests[0].headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in wire.server.requests[0].headers


def test_the_sdk_reads_what_the_server_plays(later, sdk):
    """The recorded answers match the SDK's types, and the SDK reads the same from both forms."""
    anthropic.types.Message.model_validate(WHOLE)
    for event in [event for event in EVENTS if event["type"] != "ping"]:  # the SDK skips it
        TypeAdapter(RawMessageStreamEvent).validate_python(event)
    later.answers(streamed(STREAM))
    with sdk.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        built = stream.get_final_message()

    kept = {"text", "thinking", "id", "name", "input"}
    read_by_sdk = [block.model_dump(include=kept) for block in built.content]
    sent = [{k: v for k, v in block.items() if k in kept} for block in WHOLE["content"]]
    assert read_by_sdk == sent
    assert built.usage.output_tokens == WHOLE["usage"]["output_tokens"]


def test_whole_and_streamed_are_the_same(wire):
    """Text, reasoning, tool calls, usage, model and finish reason are equal in both forms."""
    answer = check_whole_and_streamed(wire, recordings.ANTHROPIC)

    assert (answer.reasoning, answer.model) == ("Hmé.", "claude-sonnet-5-5")
    assert answer.finish_reason == "tool_calls"


def test_a_long_whole_answer_is_streamed_within(wire):
    """A long whole answer is requested as a stream, because a connection may not last 10 min."""
    for options, is_streamed in (
        ({"max_tokens": 21_333}, False),
        ({"max_tokens": 21_334}, True),
        ({"params": {"max_tokens": 64_000}}, True),
    ):
        wire.answers(streamed(STREAM))
        assert wire.ask(**options).text == "Hello."
        assert wire.sent["stream"] is is_streamed


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_refused(wire, seed):
    """The API has no seed: the call raises an error and sends nothing."""
    wire.answers(whole(WHOLE))
    with pytest.raises(RejectedParameterError, match="'seed'") as caught:
        wire.ask(seed=seed)

    assert caught.value.code == "seed"
    assert wire.server.requests == []


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, Usage()),
        ({"input_tokens": None, "cache_read_input_tokens": 5}, Usage(cached_tokens=5)),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        (WHOLE["usage"], Usage(1000, 50, 400, 100, 7)),
        ({"input_tokens": 1e999, "output_tokens": -1}, Usage()),
    ],
)
def test_usage_counts_the_cache_in(wire, sent, expected):
    """Input tokens include cached tokens, as in genai-prices; unknown usage is None."""
    body = {**WHOLE, "usage": sent}
    wire.answers(whole(json.dumps(body).replace("Infinity", "1e999")))

    assert summed(wire.chunks(request())).usage == expected
    if expected.input_tokens is not None:
        theirs = genai_prices.extract_usage(body, provider_id="anthropic").usage
        assert (theirs.input_tokens, theirs.output_tokens) == (
            expected.input_tokens,
            expected.output_tokens,
        )
        assert theirs.cache_read_tokens == (expected.cached_tokens or 0)
        assert theirs.cache_write_tokens == (expected.cache_write_tokens or 0)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ({"input_tokens": 10, "output_tokens": 1}, {"output_tokens": 50}, Usage(10, 50)),
        ({"input_tokens": 0}, {"input_tokens": 12, "output_tokens": 50}, Usage(12, 50)),
        ({"input_tokens": 10}, {"input_tokens": None, "output_tokens": 50}, Usage(10, 50)),
        (None, {"output_tokens": 50}, Usage(None, 50)),
        ({"input_tokens": 10, "output_tokens": 1}, None, Usage(10, 1)),
    ],
)
def test_usage_at_the_end_takes_the_place_of_the_first(first, last, expected):
    """The usage in the last event replaces the first; it holds totals. Either may be missing."""
    begin = {"type": "message_start", "message": {"usage": first}}
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    assert summed(parsed(MessagesParser(errors()), sse(begin), sse(last))).usage == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "other"),
        ("something new", "other"),
    ],
)
def test_finish_reasons_have_neutral_names(reason, expected):
    """Finish reasons have neutral names; a refusal after text has begun is a reply."""
    piece = delta(0, "text_delta", text="x")
    assert (
        summed(parsed(MessagesParser(errors()), sse(piece), sse(end(reason)))).finish_reason
        == expected
    )


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("details", [None, {"type": "refusal", "explanation": "cyber harm"}])
def test_a_refusal_without_an_answer_is_an_error(wire, is_streamed, details):
    """A refusal without an answer raises an error with the provider's reason, if there is one."""
    refused = {"stop_reason": "refusal", "stop_details": details}
    last = {"type": "message_delta", "delta": refused, "usage": {"output_tokens": 0}}
    body = {**WHOLE, **refused, "content": []}
    wire.answers(streamed([STREAM[0], sse(last)]) if is_streamed else whole(body))
    with pytest.raises(ContentFilterError, match="cyber harm" if details else "refused"):
        wire.streamed_text()


@dataclass(frozen=True)
class Fault:
    """An error response of the provider, and the exception it becomes."""

    status: int
    code: str
    kind: type[GatewayError]
    message: str = "no"
    detail: str | None = None


FAULTS = [
    Fault(400, "invalid_request_error", ProviderError),
    Fault(
        400, "invalid_request_error", ContextLengthError, "prompt is too long: 9 tokens > 8 maximum"
    ),
    Fault(400, "invalid_request_error", QuotaError, "Your credit balance is too low to access"),
    Fault(
        400, "invalid_request_error", QuotaError, "You have reached your specified API usage limits"
    ),
    Fault(401, "authentication_error", AuthenticationError, f"invalid x-api-key {KEY}"),
    Fault(402, "billing_error", QuotaError),
    Fault(403, "permission_error", AuthenticationError),
    Fault(404, "not_found_error", ModelNotFoundError, "model: claude-x"),
    Fault(404, "not_found_error", ProviderError, "Not Found"),
    Fault(409, "conflict_error", ProviderError),
    Fault(413, "request_too_large", ContextLengthError),
    Fault(429, "rate_limit_error", RateLimitError),
    Fault(429, "rate_limit_error", QuotaError, "tier", "enforced_spend_limit_reached"),
    Fault(429, "rate_limit_error", RateLimitError, "ramp", "ramp_limit_exceeded"),
    Fault(500, "api_error", ProviderError),
    Fault(504, "timeout_error", ProviderError),
    Fault(529, "overloaded_error", ProviderError),
]


@pytest.mark.parametrize("place", ["status", "stream", "whole"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.status} {fault.message[:9]}")
def test_a_fault_is_the_same_wherever_it_comes(wire, fault, place):
    """An error is the same as an HTTP status and within a 200 response, and never shows the key."""
    details = {"error_code": fault.detail} if fault.detail else None
    inner = {"type": fault.code, "message": fault.message, "details": details}
    body = {"type": "error", "error": inner, "request_id": "req_1"}
    if place == "stream":
        wire.answers(streamed([*STREAM[:9], sse(body)]))
    else:
        wire.answers(whole(body, fault.status if place == "status" else 200))
    with pytest.raises(GatewayError) as caught:
        wire.streamed_text()

    error = caught.value
    assert type(error) is fault.kind
    assert error.engine == "anthropic"
    assert "canary" not in f"{error} {vars(error)}"
    if place == "stream":
        assert getattr(error, "partial", "Hel") == "Hel"
    if fault.status >= 500:
        assert error.status == fault.status  # the status decides whether it is retried


def test_a_rejected_parameter_is_named(wire):
    """A sampling parameter that the API version or the model rejects is named in the error."""
    message = "temperature: Extra inputs are not permitted"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    wire.answers(whole(body, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(temperature=0)

    assert caught.value.code == "temperature"


@pytest.mark.parametrize("body", [{}, {**WHOLE, "stop_reason": None}, {"type": "other"}], ids=len)
def test_a_body_without_a_finish_reason_is_truncated(wire, body):
    """A body that is incomplete or of another type raises an error."""
    wire.answers(whole(body))
    with pytest.raises(TruncatedError):
        wire.ask()


def test_no_cut_is_silent(wire):
    """A stream that ends before its end marker raises an error, however it ends."""
    check_cuts(wire, STREAM[:-1], MessagesParser)


def test_every_split_gives_the_same(wire):
    """The chunks do not depend on how the bytes are split."""
    check_splits(wire, MessagesParser, STREAM)


def test_streams_side_by_side_do_not_mix(wire):
    """Concurrent streams do not mix: an engine holds no state of a call."""
    check_at_once(wire, STREAM)


def test_what_is_not_known_is_ignored():
    """Unknown events, deltas, blocks and fields are ignored."""
    strange = [
        {"type": "something_new", "index": 0, "delta": {"text": "x"}},
        delta(1, "citations_delta", citation={}),
        delta(9, "input_json_delta", partial_json="x"),
        start(7, "server_tool_use", id="srvtoolu_1", name="web_search", input={"q": "x"}),
        start(8, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"text": "x"}]),
        stop(7),
    ]
    more = [piece for block in STREAM for piece in (block, *map(sse, strange))]
    assert summed(parsed(MessagesParser(errors()), *more)) == summed(
        parsed(MessagesParser(errors()), *STREAM)
    )


def test_models_are_listed_without_a_token(wire, sdk, later):
    """The list of models uses no tokens and the SDK's URL; the health check requests it."""
    listing = {"data": [{"id": "claude-sonnet-5-5", "type": "model"}, {"id": "b"}, {}, 3]}
    for place in (wire, later):
        place.answers(whole(listing))
    models = wire.run(lambda engine: engine.models())
    assert wire.run(lambda engine: engine.health_check())
    list(sdk.models.list(limit=1000))

    assert [(model.model, model.default) for model in models] == [
        ("claude-sonnet-5-5", True),
        ("b", False),
    ]
    assert wire.server.requests[0].target == later.server.requests[0].target


@settings(max_examples=300, deadline=None)
@given(mutations([*EVENTS, WHOLE]))
def test_nothing_that_arrives_breaks_it(events):
    """Arbitrary events raise nothing but typed errors."""
    check_no_raw_exception(MessagesParser(errors()), events)
