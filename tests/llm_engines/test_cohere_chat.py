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
    TruncatedError,
)
from gatewayx_nb.llm_engines.cohere_chat import CohereParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message
from gatewayx_nb.replies import Usage
from tests.llm_engines import recordings
from tests.llm_engines.recordings import expected_message, sse
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

WHOLE, EVENTS = recordings.COHERE.whole, recordings.COHERE.events
STREAM = recordings.COHERE.stream


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the engine and its server."""
    folder = tmp_path_factory.mktemp("cohere") / "project"
    with Wire(folder, "cohere") as wire:
        yield wire


@pytest.fixture(scope="module")
def sdk(wire):
    """Yield the vendor's SDK client for the same server."""
    with httpx.Client() as http:
        yield cohere.ClientV2(KEY, base_url=wire.server.url, httpx_client=http)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


CALLS = [
    SDKCall("plain"),
    SDKCall("streamed", {"streamed": True}),
    SDKCall(
        "everything",
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
        messages=(Message("user", "What?", PICTURES),),
        turns=(
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
def test_we_send_what_the_sdk_sends(wire, sdk, call):
    """Body, path and key are equal to the SDK's."""
    if call.ours.get("streamed"):
        wire.answers(streamed(STREAM))
        list(sdk.chat_stream(model="m", messages=list(call.turns), **call.theirs))
    else:
        wire.answers(whole(WHOLE))
        sdk.chat(model="m", messages=list(call.turns), **call.theirs)
    wire.chunks(request(*call.messages, model="m", **call.ours))
    theirs, ours = wire.server.requests

    assert json.loads(ours.body) == json.loads(theirs.body)
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    for name in ("content-type", "authorization"):
        assert ours.headers[name] == theirs.headers[name]


def test_the_sdk_reads_what_the_server_plays(wire, sdk):
    """The recorded answers match the SDK's types, and the SDK yields every event."""
    TypeAdapter(V2ChatResponse).validate_python(WHOLE)
    for event in EVENTS:
        TypeAdapter(V2ChatStreamResponse).validate_python(event)
    turns = [{"role": "user", "content": "Hi"}]
    wire.answers(whole(WHOLE))
    answer = sdk.chat(model="m", messages=turns)
    wire.answers(streamed(STREAM))
    events = list(sdk.chat_stream(model="m", messages=turns))

    assert answer.message.content[1].text == "Hello."
    assert answer.message.tool_calls[0].function.name == "weather"
    assert [event.type for event in events] == [event["type"] for event in EVENTS]
    assert events[-1].delta.usage.tokens.input_tokens == 100


def test_whole_and_streamed_are_the_same(wire):
    """Text, reasoning, plans, tool calls, usage and finish reason are equal in both forms."""
    answer = check_whole_and_streamed(wire, recordings.COHERE)

    assert answer.reasoning == "Hmé. I will look."
    assert answer.finish_reason == "tool_calls"
    assert wire.ask().request_id == "reply-1"


@pytest.mark.parametrize(
    ("sent", "expected", "billed"),
    [
        (None, None, None),
        ({"tokens": None, "billed_units": []}, Usage(), None),
        (WHOLE["usage"], Usage(100, 7, 64), Usage(10, 5)),
        ({"billed_units": {"input_tokens": 3, "output_tokens": 0}}, Usage(), Usage(3, 0)),
        ({"tokens": {"input_tokens": math.inf, "output_tokens": -1}}, Usage(), None),
    ],
)
def test_what_is_read_and_what_is_billed_differ(wire, sent, expected, billed):
    """Billed tokens differ from used tokens, and genai-prices prices them; unknown is None."""
    body = {**WHOLE, "usage": sent}
    wire.answers(whole(json.dumps(body).replace("Infinity", "1e999")))
    answer = summed(wire.chunks(request()))

    assert (answer.usage, answer.billed) == (expected, billed)
    if billed is not None:
        theirs = genai_prices.extract_usage(body, provider_id="cohere").usage
        assert (theirs.input_tokens, theirs.output_tokens) == (
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
def test_finish_reasons_have_neutral_names(reason, expected):
    """Finish reasons have neutral names; the event is the end marker, whatever its reason."""
    parser = CohereParser(errors())
    last = {"type": "message-end", "delta": {"finish_reason": reason}}
    assert summed(parsed(parser, sse(last))).finish_reason == expected
    assert parser.finished


@dataclass(frozen=True)
class Fault:
    """A faulty response of the provider, and the error it becomes."""

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
def test_a_fault_is_a_typed_error(wire, fault):
    """An error response raises a typed error by its status or message, and never shows the key."""
    wire.answers(whole({"id": "1", "message": fault.message}, fault.status))
    with pytest.raises(GatewayError) as caught:
        wire.streamed_text()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.status) == ("cohere", fault.status)
    assert "canary" not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    ("last", "status", "words"),
    [
        ({"finish_reason": "ERROR", "error": "worker died"}, 500, "worker died"),
        ({"finish_reason": "ERROR"}, 500, "ERROR"),
        ({"finish_reason": "TIMEOUT"}, 504, "TIMEOUT"),
        ({"error": "worker died"}, 500, "worker died"),
        ({"finish_reason": "COMPLETE", "error": "worker died"}, 500, "worker died"),
    ],
)
def test_a_stream_that_ends_with_an_error_is_one(wire, last, status, words):
    """A stream that ends with an error raises it; its status allows a retry before any text."""
    wire.answers(streamed([*STREAM[:7], sse({"type": "message-end", "delta": last})]))
    with pytest.raises(ProviderError, match=words) as caught:
        wire.streamed_text()

    assert (caught.value.partial, caught.value.status) == ("Hel", status)


@pytest.mark.parametrize(("reason", "status"), [("ERROR", 500), ("TIMEOUT", 504)])
def test_a_whole_answer_that_ends_with_an_error_is_one(wire, reason, status):
    """A whole answer that ends with an error raises it, as a stream does."""
    wire.answers(whole({**WHOLE, "finish_reason": reason}))
    with pytest.raises(ProviderError, match=reason) as caught:
        wire.ask()

    assert caught.value.status == status


@pytest.mark.parametrize("body", [{"message": "over"}, {"error": {"message": "over"}}])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_an_error_within_200_is_raised(wire, body, is_streamed):
    """A 200 body whose message is a string raises an error."""
    wire.answers(streamed([sse({"type": "error", **body})]) if is_streamed else whole(body))
    with pytest.raises(ProviderError, match="over"):
        wire.streamed_text()


def test_the_reset_of_a_rate_limit_becomes_retry_after(wire):
    """The reset time of a rate limit is a timestamp, which is converted to seconds from now."""
    moment = time.time() + 30
    wire.answers(whole({"message": "slow"}, 429, x_ratelimit_reset=str(math.ceil(moment))))
    with pytest.raises(RateLimitError) as caught:
        wire.ask()
    assert 20 < caught.value.retry_after <= 31


def test_a_rejected_parameter_is_named(wire):
    """A rejected parameter is named as the caller spelled it, not as the provider does."""
    wire.answers(whole({"message": "invalid request: stop_sequences must have at most 5"}, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(stop=list("abcdef"))
    assert caught.value.code == "stop"


@pytest.mark.parametrize("body", [{}, {**WHOLE, "finish_reason": None}, {"type": 3}], ids=len)
def test_a_body_without_a_finish_reason_is_truncated(wire, body):
    """A body that is incomplete or of another type raises an error."""
    wire.answers(whole(body))
    with pytest.raises(TruncatedError):
        wire.ask()


def test_no_cut_is_silent(wire):
    """A stream that ends before its end marker raises an error, however it ends."""
    check_cuts(wire, STREAM, CohereParser)


def test_every_split_gives_the_same(wire):
    """The chunks do not depend on how the bytes are split."""
    check_splits(wire, CohereParser, STREAM)


def test_streams_side_by_side_do_not_mix(wire):
    """Concurrent streams do not mix: an engine holds no state of a call."""
    check_at_once(wire, STREAM)


def test_what_is_not_known_is_ignored():
    """Unknown events and fields are ignored."""
    strange = [
        expected_message("something-new", 0, content={"text": "x"}),
        expected_message("citation-start", 0, citations={"text": "x"}),
        expected_message("tool-call-delta", 9, tool_calls={"function": {"arguments": "x"}}),
        {"type": "tool-call-end", "index": 9},
        {"type": "debug", "prompt": "x"},
    ]
    more = [piece for block in STREAM for piece in (block, *map(sse, strange))]
    assert summed(parsed(CohereParser(errors()), *more)) == summed(
        parsed(CohereParser(errors()), *STREAM)
    )


def test_the_mark_of_other_providers_ends_nothing():
    """The end marker of other providers, which some servers send after the end, is ignored."""
    parser = CohereParser(errors())
    assert parsed(parser, b"data: [DONE]\n\n") == []
    assert not parser.finished


def test_models_are_listed_without_a_token(wire, sdk):
    """The list of models contains chat models only, uses no tokens and the SDK's URL."""
    wire.answers(whole({"models": [{"name": "command-a-03-2025"}, {"name": "b"}, {}, 3]}))
    models = wire.run(lambda engine: engine.models())
    (ours,) = wire.server.requests
    wire.answers(whole({"models": []}))
    sdk.models.list(page_size=1000, endpoint="chat")
    (theirs,) = wire.server.requests

    assert [(model.model, model.default) for model in models] == [
        ("command-a-03-2025", True),
        ("b", False),
    ]
    assert ours.target == theirs.target


def test_texts_are_embedded_as_the_sdk_does(wire, sdk):
    """Embedding requests are equal to the SDK's, and vectors are in the order of the texts."""
    vectors = [[1, 0.5], [0.0, -1.0]]
    wire.answers(whole({"id": "1", "embeddings": {"float": vectors}, "texts": ["a", "b"]}))
    found = wire.run(lambda engine: engine.embed(["a", "b"], engine.embedding_model))
    sdk.embed(
        model="embed-v4.0",
        texts=["a", "b"],
        input_type="search_document",
        embedding_types=["float"],
    )
    ours, theirs = wire.server.requests

    assert found == vectors
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.target == theirs.target


@pytest.mark.parametrize(
    "embeddings", [None, {}, {"float": [[1.0]]}, {"float": [[1.0], ["x"]]}, {"float": [[], [1.0]]}]
)
def test_vectors_that_are_none_are_an_error(wire, embeddings):
    """Invalid or missing vectors raise an error."""
    wire.answers(whole({"embeddings": embeddings}))
    with pytest.raises(ProviderError, match="vectors"):
        wire.run(lambda engine: engine.embed(["a", "b"], "m"))


@settings(max_examples=300, deadline=None)
@given(mutations([*EVENTS, WHOLE]))
def test_nothing_that_arrives_breaks_it(events):
    """Arbitrary events raise nothing but typed errors."""
    check_no_raw_exception(CohereParser(errors()), events)
