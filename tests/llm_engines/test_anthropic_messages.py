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
)
from gatewayx_nb.llm_engines.anthropic_messages import MessagesParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message
from gatewayx_nb.replies import Usage
from tests.llm_engines import recordings
from tests.llm_engines.recordings import (
    delta_event,
    encode_event,
    end_event,
    start_event,
    stop_event,
)
from tests.llm_engines.wire import (
    IMAGES,
    KEY,
    SDKCall,
    Wire,
    body_script,
    check_block_boundaries,
    check_body_and_stream,
    check_concurrent_streams,
    check_no_raw_exception,
    check_truncated_streams,
    make_errors,
    make_request,
    mutations,
    parse,
    stream_script,
    sum_chunks,
)

BODY, EVENTS = recordings.ANTHROPIC.body, recordings.ANTHROPIC.events
STREAM = recordings.ANTHROPIC.stream


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the engine, connected to a local server."""
    folder = tmp_path_factory.mktemp("anthropic") / "project"
    with Wire(folder, "anthropic") as wire:
        yield wire


@pytest.fixture(scope="module")
def new_version_wire(tmp_path_factory):
    """Yield the engine with a later API version, set as a TOML date in the settings."""
    version = "engines.anthropic.version = 2026-10-21\n"
    folder = tmp_path_factory.mktemp("later") / "project"
    with Wire(folder, "anthropic", settings=version) as wire:
        yield wire


@pytest.fixture(scope="module")
def sdk(new_version_wire):
    """Yield Anthropic's SDK client, connected to the server of `new_version_wire`."""
    with anthropic.Anthropic(
        api_key=KEY, base_url=new_version_wire.server.url, max_retries=0
    ) as client:
        yield client


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
OUTPUT_CONFIG = {"format": {"type": "json_schema", "schema": SCHEMA}}


CALLS = [
    SDKCall("plain"),
    SDKCall("streamed", {"streamed": True}, {"stream": True}),
    SDKCall(
        "all options",
        {"system": "Brief.", "temperature": 0, "top_p": 0.5, "max_tokens": 9, "stop": ("x", "y")},
        {
            "system": "Brief.",
            "max_tokens": 9,
            "stop_sequences": ["x", "y"],
            "extra_body": {"temperature": 0, "top_p": 0.5},
        },
    ),
    SDKCall("parameters", {"params": {"top_k": 5}}, {"extra_body": {"top_k": 5}}),
    SDKCall("schema", {"schema": SCHEMA}, {"output_config": OUTPUT_CONFIG}),
    SDKCall(
        "schema and effort",
        {"schema": SCHEMA, "params": {"output_config": {"effort": "low"}}},
        {"output_config": {"effort": "low", **OUTPUT_CONFIG}},
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
        messages=(Message("user", ["What?", *IMAGES]),),
        sdk_messages=(
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
def test_requests_equal_those_of_the_sdk(new_version_wire, sdk, call):
    """Body, path and version equal the SDK's; the key is in the header that all versions accept."""
    new_version_wire.respond_with(
        stream_script(STREAM) if call.options.get("streamed") else body_script(BODY)
    )
    new_version_wire.get_chunks(make_request(*call.messages, model="m", **call.options))
    options = {"model": "m", "max_tokens": 8192, "stream": False} | call.sdk_options
    response = sdk.messages.create(messages=list(call.sdk_messages), **options)
    if call.options.get("streamed"):
        list(response)
    engine_request, sdk_request = new_version_wire.server.requests

    assert json.loads(engine_request.body) == json.loads(sdk_request.body)
    assert (engine_request.method, engine_request.target) == (
        sdk_request.method,
        sdk_request.target,
    )
    for name in ("content-type", "anthropic-version"):
        assert engine_request.headers[name] == sdk_request.headers[name]
    assert engine_request.headers["x-api-key"] == sdk_request.headers["authorization"].removeprefix(
        "Bearer "
    )


def test_the_default_version_accepts_sampling_parameters(wire):
    """The default API version is the latest that accepts sampling parameters."""
    wire.respond_with(body_script(BODY))
    wire.ask(temperature=0.5)

    assert wire.server.requests[0].headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in wire.server.requests[0].headers


def test_the_sdk_reads_the_recorded_answers(new_version_wire, sdk):
    """The recorded answers match the SDK's types, and the SDK reads the same from the stream."""
    anthropic.types.Message.model_validate(BODY)
    for event in [event for event in EVENTS if event["type"] != "ping"]:  # the SDK ignores pings
        TypeAdapter(RawMessageStreamEvent).validate_python(event)
    new_version_wire.respond_with(stream_script(STREAM))
    with sdk.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        message = stream.get_final_message()

    names = {"text", "thinking", "id", "name", "input"}
    blocks = [block.model_dump(include=names) for block in message.content]
    assert blocks == [{k: v for k, v in block.items() if k in names} for block in BODY["content"]]
    assert message.usage.output_tokens == BODY["usage"]["output_tokens"]


def test_body_and_stream_yield_the_same_answer(wire):
    """A body and a stream have the same text, reasoning, tool calls, usage and finish reason."""
    answer = check_body_and_stream(wire, recordings.ANTHROPIC)

    assert (answer.reasoning, answer.model) == ("Hmé.", "claude-sonnet-5-5")
    assert answer.finish_reason == "tool_calls"


def test_a_long_answer_is_requested_as_a_stream(wire):
    """A long answer is requested as a stream, because connections may not stay open for 10 min."""
    for options, is_streamed in (
        ({"max_tokens": 21_333}, False),
        ({"max_tokens": 21_334}, True),
        ({"params": {"max_tokens": 64_000}}, True),
    ):
        wire.respond_with(stream_script(STREAM))
        assert wire.ask(**options).text == "Hello."
        assert wire.request_body["stream"] is is_streamed


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_refused(wire, seed):
    """The API has no seed: the call raises an error and sends nothing."""
    wire.respond_with(body_script(BODY))
    with pytest.raises(RejectedParameterError, match="'seed'") as caught:
        wire.ask(seed=seed)

    assert caught.value.code == "seed"
    assert wire.server.requests == []


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, Usage()),
        ({"input_tokens": None, "cache_read_input_tokens": 5}, Usage(cached_tokens=5)),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(10, 5)),
        (BODY["usage"], Usage(1000, 50, 400, 100, 7)),
        ({"input_tokens": 1e999, "output_tokens": -1}, Usage()),
    ],
)
def test_input_tokens_include_cached_tokens(wire, usage, expected):
    """Input tokens include cached tokens, as in genai-prices; missing counts are None."""
    body = {**BODY, "usage": usage}
    wire.respond_with(body_script(json.dumps(body).replace("Infinity", "1e999")))

    assert sum_chunks(wire.get_chunks(make_request())).usage == expected
    if expected.input_tokens is not None:
        priced_usage = genai_prices.extract_usage(body, provider_id="anthropic").usage
        assert (priced_usage.input_tokens, priced_usage.output_tokens) == (
            expected.input_tokens,
            expected.output_tokens,
        )
        assert priced_usage.cache_read_tokens == (expected.cached_tokens or 0)
        assert priced_usage.cache_write_tokens == (expected.cache_write_tokens or 0)


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
def test_usage_in_the_last_event_overrides_the_first(first, last, expected):
    """Counts in the last event override those in the first, because they are totals."""
    first_event = {"type": "message_start", "message": {"usage": first}}
    last_event = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    events = map(encode_event, (first_event, last_event))
    assert sum_chunks(parse(MessagesParser(make_errors()), *events)).usage == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause"),
        ("unknown", "other"),
    ],
)
def test_finish_reasons_are_mapped_to_common_names(reason, expected):
    """Finish reasons have the package's names; a refusal after some text is a normal reply."""
    text_event = delta_event(0, "text_delta", text="x")
    assert (
        sum_chunks(
            parse(
                MessagesParser(make_errors()),
                encode_event(text_event),
                encode_event(end_event(reason)),
            )
        ).finish_reason
        == expected
    )


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("details", [None, {"type": "refusal", "explanation": "cyber harm"}])
def test_a_refusal_without_text_raises_an_error(wire, is_streamed, details):
    """A refusal without any text raises an error with the provider's explanation, if any."""
    refusal = {"stop_reason": "refusal", "stop_details": details}
    last = {"type": "message_delta", "delta": refusal, "usage": {"output_tokens": 0}}
    body = {**BODY, **refusal, "content": []}
    wire.respond_with(
        stream_script([STREAM[0], encode_event(last)]) if is_streamed else body_script(body)
    )
    with pytest.raises(ContentFilterError, match="cyber harm" if details else "refused"):
        wire.stream_text()


@dataclass(frozen=True)
class Fault:
    """An error response from the provider, and the exception it raises."""

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


@pytest.mark.parametrize("location", ["status", "stream", "body"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.status} {fault.message[:9]}")
def test_errors_in_200_responses_equal_error_statuses(wire, fault, location):
    """An error inside a 200 response raises the exception for an error status, without the key."""
    details = {"error_code": fault.detail} if fault.detail else None
    error_object = {"type": fault.code, "message": fault.message, "details": details}
    body = {"type": "error", "error": error_object, "request_id": "req_1"}
    if location == "stream":
        wire.respond_with(stream_script([*STREAM[:9], encode_event(body)]))
    else:
        wire.respond_with(body_script(body, fault.status if location == "status" else 200))
    with pytest.raises(GatewayError) as caught:
        wire.stream_text()

    error = caught.value
    assert type(error) is fault.kind
    assert error.engine == "anthropic"
    assert "canary" not in f"{error} {vars(error)}"
    if location == "stream":
        assert getattr(error, "partial", "Hel") == "Hel"
    if fault.status >= 500:
        assert error.status == fault.status  # the status decides whether it is retried


def test_a_rejected_parameter_is_reported_by_its_name(wire):
    """A rejected parameter is reported by its name."""
    message = "temperature: Extra inputs are not permitted"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    wire.respond_with(body_script(body, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(temperature=0)

    assert caught.value.code == "temperature"


@pytest.mark.parametrize("body", [{}, {"type": "other"}], ids=len)
def test_a_body_without_an_answer_raises_an_error(wire, body):
    """A body that has neither an answer nor an error is shown."""
    wire.respond_with(body_script(body))
    with pytest.raises(ProviderError, match="returned no answer"):
        wire.ask()


def test_a_body_without_a_finish_reason_is_complete(wire):
    """A JSON body that can be parsed was not cut off."""
    wire.respond_with(body_script({**BODY, "stop_reason": None}))
    assert wire.ask().finish_reason == "stop"


def test_tool_calls_without_their_ends_are_complete(wire):
    """Tool calls are kept if a proxy omits `content_block_stop`."""
    wire.respond_with(
        stream_script(block for block in STREAM if b"content_block_stop" not in block)
    )
    streamed = wire.get_answer(make_request("Hi", streamed=True))

    assert streamed.tool_calls
    assert (
        streamed.tool_calls == sum_chunks(parse(MessagesParser(make_errors()), *STREAM)).tool_calls
    )


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(wire):
    """A stream truncated before its end marker raises an error, however the connection ends."""
    check_truncated_streams(wire, STREAM[:-1], MessagesParser)


def test_chunks_do_not_depend_on_block_boundaries(wire):
    """The chunks do not depend on the sizes of the received blocks."""
    check_block_boundaries(wire, MessagesParser, STREAM)


def test_concurrent_streams_do_not_mix(wire):
    """Concurrent streams do not mix, because the engine holds no per-stream state."""
    check_concurrent_streams(wire, STREAM)


def test_unknown_events_are_ignored():
    """Unknown events, deltas and blocks are ignored."""
    unknown_events = [
        {"type": "something_new", "index": 0, "delta": {"text": "x"}},
        delta_event(1, "citations_delta", citation={}),
        delta_event(9, "input_json_delta", partial_json="x"),
        start_event(7, "server_tool_use", id="srvtoolu_1", name="web_search", input={"q": "x"}),
        start_event(8, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[{"text": "x"}]),
        stop_event(7),
    ]
    stream = [
        encoded for block in STREAM for encoded in (block, *map(encode_event, unknown_events))
    ]
    assert sum_chunks(parse(MessagesParser(make_errors()), *stream)) == sum_chunks(
        parse(MessagesParser(make_errors()), *STREAM)
    )


def test_listing_models_uses_no_tokens(wire, sdk, new_version_wire):
    """Models are listed from the SDK's URL without using tokens; the health check does the same."""
    body = {"data": [{"id": "claude-sonnet-5-5", "type": "model"}, {"id": "b"}, {}, 3]}
    for connection in (wire, new_version_wire):
        connection.respond_with(body_script(body))
    models = wire.run(lambda engine: engine.models())
    assert wire.run(lambda engine: engine.health_check())
    list(sdk.models.list(limit=1000))

    assert [(model.model, model.default) for model in models] == [
        ("claude-sonnet-5-5", True),
        ("b", False),
    ]
    assert wire.server.requests[0].target == new_version_wire.server.requests[0].target


@settings(max_examples=300, deadline=None)
@given(mutations([*EVENTS, BODY]))
@pytest.mark.no_cover
def test_arbitrary_events_raise_only_typed_errors(events):
    """Bodies with arbitrary values in any field raise only typed errors."""
    check_no_raw_exception(MessagesParser(make_errors()), events)
