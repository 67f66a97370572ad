import json
import math
import time
from dataclasses import dataclass

import cohere
import genai_prices
import httpx
import pytest
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
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
from gatewayx_nb.llm_engines.cohere_chat import CohereParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.replies import Usage
from tests.llm_engines import recordings
from tests.llm_engines.recordings import encode_event, message_event
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

BODY, EVENTS = recordings.COHERE.body, recordings.COHERE.events
STREAM = recordings.COHERE.stream


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the engine, connected to a local server."""
    folder = tmp_path_factory.mktemp("cohere") / "project"
    with Wire(folder, "cohere") as wire:
        yield wire


@pytest.fixture(scope="module")
def sdk(wire):
    """Yield Cohere's SDK client, connected to the same server."""
    with httpx.Client() as client:
        yield cohere.ClientV2(KEY, base_url=wire.server.url, httpx_client=client)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


CALLS = [
    SDKCall("plain"),
    SDKCall("streamed", {"streamed": True}),
    SDKCall(
        "all options",
        {"temperature": 0, "top_p": 0.5, "max_tokens": 9, "stop": ("x", "y"), "seed": 0},
        {"temperature": 0, "p": 0.5, "max_tokens": 9, "stop_sequences": ["x", "y"], "seed": 0},
    ),
    SDKCall(
        "parameters", {"params": {"k": 5, "safety_mode": "OFF"}}, {"k": 5, "safety_mode": "OFF"}
    ),
    SDKCall(
        "schema",
        {"schema": SCHEMA},
        {"response_format": {"type": "json_object", "json_schema": SCHEMA}},
    ),
    SDKCall(
        "history",
        {"system": "Brief."},
        {},
        (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "And?")),
        (
            {"role": "system", "content": "Brief."},
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
                    {"type": "text", "text": "What?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,iVBORw=="},
                    },
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                ],
            },
        ),
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_requests_equal_those_of_the_sdk(wire, sdk, call):
    """Body, path and key are equal to the SDK's."""
    if call.options.get("streamed"):
        wire.respond_with(stream_script(STREAM))
        list(sdk.chat_stream(model="m", messages=list(call.sdk_messages), **call.sdk_options))
    else:
        wire.respond_with(body_script(BODY))
        sdk.chat(model="m", messages=list(call.sdk_messages), **call.sdk_options)
    wire.get_chunks(make_request(*call.messages, model="m", **call.options))
    sdk_request, engine_request = wire.server.requests

    assert json.loads(engine_request.body) == json.loads(sdk_request.body)
    assert (engine_request.method, engine_request.target) == (
        sdk_request.method,
        sdk_request.target,
    )
    for name in ("content-type", "authorization"):
        assert engine_request.headers[name] == sdk_request.headers[name]


def test_the_sdk_reads_the_recorded_answers(wire, sdk):
    """The recorded answers match the SDK's types, and the SDK yields every event."""
    TypeAdapter(V2ChatResponse).validate_python(BODY)
    for event in EVENTS:
        TypeAdapter(V2ChatStreamResponse).validate_python(event)
    messages = [{"role": "user", "content": "Hi"}]
    wire.respond_with(body_script(BODY))
    answer = sdk.chat(model="m", messages=messages)
    wire.respond_with(stream_script(STREAM))
    events = list(sdk.chat_stream(model="m", messages=messages))

    assert answer.message.content[1].text == "Hello."
    assert answer.message.tool_calls[0].function.name == "weather"
    assert [event.type for event in events] == [event["type"] for event in EVENTS]
    assert events[-1].delta.usage.tokens.input_tokens == 100


def test_body_and_stream_yield_the_same_answer(wire):
    """A body and a stream have the same text, reasoning, plans, tool calls and finish reason."""
    answer = check_body_and_stream(wire, recordings.COHERE)

    assert answer.reasoning == "Hmé. I will look."
    assert answer.finish_reason == "tool_calls"
    assert wire.ask().request_id == "reply-1"


@pytest.mark.parametrize(
    ("usage", "expected", "billed"),
    [
        (None, None, None),
        ({"tokens": None, "billed_units": []}, Usage(), None),
        (BODY["usage"], Usage(100, 7, 64), Usage(10, 5)),
        ({"billed_units": {"input_tokens": 3, "output_tokens": 0}}, Usage(), Usage(3, 0)),
        ({"tokens": {"input_tokens": math.inf, "output_tokens": -1}}, Usage(), None),
    ],
)
def test_billed_tokens_may_differ_from_used_tokens(wire, usage, expected, billed):
    """Billed and used tokens are reported separately; genai-prices uses the billed tokens."""
    body = {**BODY, "usage": usage}
    wire.respond_with(body_script(json.dumps(body).replace("Infinity", "1e999")))
    answer = sum_chunks(wire.get_chunks(make_request()))

    assert (answer.usage, answer.billed) == (expected, billed)
    if billed is not None:
        priced_usage = genai_prices.extract_usage(body, provider_id="cohere").usage
        assert (priced_usage.input_tokens, priced_usage.output_tokens) == (
            billed.input_tokens,
            billed.output_tokens,
        )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("SOMETHING_NEW", "other"),
        (None, None),
    ],
)
def test_finish_reasons_are_mapped_to_common_names(reason, expected):
    """Finish reasons are mapped to the package's names; their event is the end marker."""
    parser = CohereParser(make_errors())
    last_event = {"type": "message-end", "delta": {"finish_reason": reason}}
    assert sum_chunks(parse(parser, encode_event(last_event))).finish_reason == expected
    assert parser.finished


@dataclass(frozen=True)
class Fault:
    """An error response from the provider, and the exception it raises."""

    status: int
    kind: type[GatewayError]
    message: str = "no"


FAULTS = [
    Fault(400, ProviderError),
    Fault(
        400,
        ContextLengthError,
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 4292.",
    ),
    Fault(401, AuthenticationError, f"invalid api token {KEY}"),
    Fault(402, QuotaError),
    Fault(403, AuthenticationError),
    Fault(404, ModelNotFoundError, "model 'x' not found, make sure the correct model ID was used"),
    Fault(404, ProviderError),
    Fault(422, ProviderError),
    Fault(429, RateLimitError),
    Fault(498, ContentFilterError, "blocked content"),
    Fault(499, ProviderError),
    Fault(500, ProviderError),
    Fault(503, ProviderError),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.status} {fault.message[:9]}")
def test_error_responses_raise_typed_errors(wire, fault):
    """The status or the message selects the type of the error, which never shows the key."""
    wire.respond_with(body_script({"id": "1", "message": fault.message}, fault.status))
    with pytest.raises(GatewayError) as caught:
        wire.stream_text()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.status) == ("cohere", fault.status)
    assert "canary" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    ("end_delta", "status", "message"),
    [
        ({"finish_reason": "ERROR", "error": "worker died"}, 500, "worker died"),
        ({"finish_reason": "ERROR"}, 500, "ERROR"),
        ({"finish_reason": "TIMEOUT"}, 504, "TIMEOUT"),
        ({"error": "worker died"}, 500, "worker died"),
        ({"finish_reason": "COMPLETE", "error": "worker died"}, 500, "worker died"),
    ],
)
def test_an_error_at_the_end_of_a_stream_is_raised(wire, end_delta, status, message):
    """An error in the last event is raised with the status that decides whether it is retried."""
    wire.respond_with(
        stream_script([*STREAM[:7], encode_event({"type": "message-end", "delta": end_delta})])
    )
    with pytest.raises(ProviderError, match=message) as caught:
        wire.stream_text()

    assert (caught.value.partial, caught.value.status) == ("Hel", status)


@pytest.mark.parametrize(("reason", "status"), [("ERROR", 500), ("TIMEOUT", 504)])
def test_an_error_as_a_bodys_finish_reason_is_raised(wire, reason, status):
    """A body whose finish reason is an error raises it, as a stream does."""
    wire.respond_with(body_script({**BODY, "finish_reason": reason}))
    with pytest.raises(ProviderError, match=reason) as caught:
        wire.ask()

    assert caught.value.status == status


@pytest.mark.parametrize("body", [{"message": "over"}, {"error": {"message": "over"}}])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_error_within_200_is_raised(wire, body, is_streamed):
    """A 200 response that contains an error object raises an error, as a body and as a stream."""
    wire.respond_with(
        stream_script([encode_event({"type": "error", **body})])
        if is_streamed
        else body_script(body)
    )
    with pytest.raises(ProviderError, match="over"):
        wire.stream_text()


def test_a_rate_limit_reset_becomes_retry_after(wire):
    """A rate limit's reset time is a timestamp, which is converted to seconds from now."""
    reset_at = time.time() + 30
    wire.respond_with(
        body_script({"message": "slow"}, 429, x_ratelimit_reset=str(math.ceil(reset_at)))
    )
    with pytest.raises(RateLimitError) as caught:
        wire.ask()
    assert 20 < caught.value.retry_after <= 31


def test_a_rejected_parameter_is_reported_by_its_name(wire):
    """A rejected parameter is reported by the caller's name for it, not the provider's."""
    wire.respond_with(
        body_script({"message": "invalid request: stop_sequences must have at most 5"}, 400)
    )
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(stop=list("abcdef"))
    assert caught.value.code == "stop"


@pytest.mark.parametrize("body", [{}, {"type": 3}], ids=len)
def test_a_body_without_an_answer_raises_an_error(wire, body):
    """A body that has neither an answer nor an error is shown."""
    wire.respond_with(body_script(body))
    with pytest.raises(ProviderError, match="returned no answer"):
        wire.ask()


def test_a_body_without_a_finish_reason_is_complete(wire):
    """A JSON body that can be parsed was not cut off."""
    wire.respond_with(body_script({**BODY, "finish_reason": None}))
    assert wire.ask().finish_reason == "stop"


def test_tool_calls_without_their_ends_are_complete(wire):
    """Tool calls are kept if a proxy omits `tool-call-end`."""
    wire.respond_with(stream_script(block for block in STREAM if b"tool-call-end" not in block))
    streamed = wire.get_answer(make_request("Hi", streamed=True))

    assert streamed.tool_calls
    assert streamed.tool_calls == sum_chunks(parse(CohereParser(make_errors()), *STREAM)).tool_calls


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(wire):
    """A stream truncated before its end marker raises an error, however the connection ends."""
    check_truncated_streams(wire, STREAM, CohereParser)


def test_chunks_do_not_depend_on_block_boundaries(wire):
    """The chunks do not depend on the sizes of the received blocks."""
    check_block_boundaries(wire, CohereParser, STREAM)


def test_concurrent_streams_do_not_mix(wire):
    """Concurrent streams do not mix, because the engine holds no per-stream state."""
    check_concurrent_streams(wire, STREAM)


def test_unknown_events_are_ignored():
    """Unknown events and fields are ignored."""
    unknown_events = [
        message_event("something-new", 0, content={"text": "x"}),
        message_event("citation-start", 0, citations={"text": "x"}),
        message_event("tool-call-delta", 9, tool_calls={"function": {"arguments": "x"}}),
        {"type": "tool-call-end", "index": 9},
        {"type": "debug", "prompt": "x"},
    ]
    stream = [
        encoded for block in STREAM for encoded in (block, *map(encode_event, unknown_events))
    ]
    assert sum_chunks(parse(CohereParser(make_errors()), *stream)) == sum_chunks(
        parse(CohereParser(make_errors()), *STREAM)
    )


def test_the_end_marker_of_other_providers_is_ignored():
    """`[DONE]`, the end marker of other providers, does not end a stream."""
    parser = CohereParser(make_errors())
    assert parse(parser, b"data: [DONE]\n\n") == []
    assert not parser.finished


def test_listing_models_uses_no_tokens(wire, sdk):
    """The list of models has the SDK's URL, contains only chat models and uses no tokens."""
    wire.respond_with(
        body_script({"models": [{"name": "command-a-03-2025"}, {"name": "b"}, {}, 3]})
    )
    models = wire.run(lambda engine: engine.models())
    (engine_request,) = wire.server.requests
    wire.respond_with(body_script({"models": []}))
    sdk.models.list(page_size=1000, endpoint="chat")
    (sdk_request,) = wire.server.requests

    assert [(model.model, model.default) for model in models] == [
        ("command-a-03-2025", True),
        ("b", False),
    ]
    assert engine_request.target == sdk_request.target


def test_embedding_requests_equal_those_of_the_sdk(wire, sdk):
    """Embedding requests are equal to the SDK's, and vectors are in the order of the texts."""
    vectors = [[1, 0.5], [0.0, -1.0]]
    wire.respond_with(
        body_script({"id": "1", "embeddings": {"float": vectors}, "texts": ["a", "b"]})
    )
    result = wire.run(lambda engine: engine.embed(["a", "b"], engine.embedding_model))
    sdk.embed(
        model="embed-v4.0",
        texts=["a", "b"],
        input_type="search_document",
        embedding_types=["float"],
    )
    engine_request, sdk_request = wire.server.requests

    assert result == vectors
    assert json.loads(engine_request.body) == json.loads(sdk_request.body)
    assert engine_request.target == sdk_request.target


@pytest.mark.parametrize(
    "embeddings", [None, {}, {"float": [[1.0]]}, {"float": [[1.0], ["x"]]}, {"float": [[], [1.0]]}]
)
def test_invalid_or_missing_vectors_raise_an_error(wire, embeddings):
    """Invalid or missing vectors raise an error."""
    wire.respond_with(body_script({"embeddings": embeddings}))
    with pytest.raises(ProviderError, match="vectors"):
        wire.run(lambda engine: engine.embed(["a", "b"], "m"))


@settings(max_examples=300, deadline=None)
@given(mutations([*EVENTS, BODY]))
@pytest.mark.no_cover
def test_arbitrary_events_raise_only_typed_errors(events):
    """Bodies with arbitrary values in any field raise only typed errors."""
    check_no_raw_exception(CohereParser(make_errors()), events)


def test_images_follow_the_last_of_several_messages_with_results(wire):
    """A user message between results would leave a call without its result."""
    calls = [ToolCall("c1", "look", "{}"), ToolCall("c2", "look", "{}")]
    results = [Message("tool", [ToolResult(call.id, ["x", IMAGES[0]])]) for call in calls]
    wire.respond_with(body_script(BODY))
    wire.pool.ask(
        messages=[Message("user", "Hi"), Message("assistant", calls), *results], model="cohere"
    )

    rows = wire.request_body["messages"]
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "tool", "user"]
    assert [part["type"] for part in rows[-1]["content"]] == ["text", "image_url"] * 2
