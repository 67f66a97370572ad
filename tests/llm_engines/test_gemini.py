import contextlib
import json
from dataclasses import dataclass

import genai_prices
import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings

from gatewayx_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TruncatedError,
)
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Image, Message, ToolCall
from gatewayx_nb.replies import Usage
from tests.engines import engine_module
from tests.llm_engines.wire import (
    KEY,
    Wire,
    check_at_once,
    check_cuts,
    check_no_raw_exception,
    check_splits,
    errors,
    event,
    mutations,
    request,
    streamed,
    summed,
    whole,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
USAGE = {
    "promptTokenCount": 50,
    "toolUsePromptTokenCount": 7,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 137,
}
MEANT = Usage(57, 80, 40, None, 30)
CALL = {"functionCall": {"id": "c1", "name": "look", "args": {"at": "sky"}}}


def _answer(*parts, reason=None, usage=None, **fields):
    candidate = {"index": 0}
    candidate |= {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    candidate |= {"finishReason": reason} if reason else {}
    answer = {
        "candidates": [candidate],
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r-1",
    }
    return answer | ({"usageMetadata": usage} if usage else {}) | fields


WHOLE = _answer(
    {"text": "Hm. So.", "thought": True},
    {"text": "Hello.", "thoughtSignature": "c2ln"},
    CALL,
    reason="STOP",
    usage=USAGE,
)
BODIES = [
    _answer({"text": "Hm. ", "thought": True}, usage={"promptTokenCount": 50}),
    _answer({"text": "So.", "thought": True}, {"text": "Hel"}),
    _answer({"text": "lo."}, usage={"promptTokenCount": 50, "totalTokenCount": 50}),
    _answer(CALL),
    _answer({"text": ""}, reason="STOP", usage=USAGE),
]
STREAM = [
    b": ping\r\n\r\n",
    *(event(body).replace(b"\n", b"\r\n") for body in BODIES[:2]),
    event(
        {"somethingNew": [1], "candidates": [{"index": 1, "content": {"parts": [{"text": "?"}]}}]}
    ),
    *map(event, BODIES[2:]),
]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the google engine, connected to a local server."""
    with Wire(tmp_path_factory.mktemp("gemini") / "project", "google") as wire:
        yield wire


@contextlib.contextmanager
def _sdk(wire):
    options = types.HttpOptions(base_url=wire.server.url, api_version="v1beta")
    with genai.Client(api_key=KEY, http_options=options) as sdk:
        yield sdk.models


def _camel(sent):
    """Return a body with camel-case names; the SDK sends some of them in snake case."""
    text = json.dumps(sent).replace('"file_uri"', '"fileUri"')
    return json.loads(text.replace('"mime_type"', '"mimeType"'))


@dataclass(frozen=True)
class Sent:
    """A request, and the equivalent call of Google's SDK."""

    name: str
    request: object
    contents: object
    config: types.GenerateContentConfig | None = None


SENT = [
    Sent("bare", request("Hi"), "Hi"),
    Sent("streamed", request("Hi", streamed=True), "Hi"),
    Sent(
        "everything",
        request(
            "Hi",
            "Ho",
            Message("user", "See", (Image("image/png", b"\x89PNG"),)),
            Message("user", "", (Image("image/jpeg", url="https://x.test/a.jpg"),)),
            system="Brief.",
            temperature=0,
            top_p=0.5,
            max_tokens=9,
            stop=("x", "y"),
            seed=1,
            schema=SCHEMA,
            params={"generationConfig": {"topK": 3}, "cachedContent": "cachedContents/a"},
        ),
        [
            types.UserContent("Hi"),
            types.ModelContent("Ho"),
            types.UserContent(
                ["See", types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")]
            ),
            types.UserContent(
                [types.Part.from_uri(file_uri="https://x.test/a.jpg", mime_type="image/jpeg")]
            ),
        ],
        types.GenerateContentConfig(
            system_instruction="Brief.",
            temperature=0,
            top_p=0.5,
            top_k=3,
            max_output_tokens=9,
            stop_sequences=["x", "y"],
            seed=1,
            response_mime_type="application/json",
            response_json_schema=SCHEMA,
            cached_content="cachedContents/a",
        ),
    ),
]


@pytest.mark.parametrize("case", SENT, ids=lambda case: case.name)
def test_what_is_sent_is_what_the_vendors_sdk_sends(wire, case):
    """The request is equal to the SDK's and contains only the options that were set.

    The key is in its header, model and version in the path.
    """
    events = map(event, BODIES)  # the SDK fails on comments
    wire.answers(list(streamed(events)) if case.request.streamed else whole(WHOLE))
    wire.chunks(case.request)
    ours, sent = wire.last_request, wire.sent
    arguments = {"model": "gemini-3.8-flash", "contents": case.contents, "config": case.config}
    with _sdk(wire) as sdk:
        if case.request.streamed:
            list(sdk.generate_content_stream(**arguments))
        else:
            sdk.generate_content(**arguments)

    assert sent == _camel(wire.sent)
    assert (ours.method, ours.target) == (wire.last_request.method, wire.last_request.target)
    assert ours.headers["x-goog-api-key"] == wire.last_request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in ours.headers


def test_a_system_turn_joins_the_system_prompt(wire):
    """System messages join the system prompt, because Gemini has only the roles user and model."""
    wire.answers(whole(WHOLE))
    wire.answer(request(Message("system", "Kind."), Message("user", "Hi"), system="Brief."))

    assert wire.sent["systemInstruction"]["parts"] == [{"text": "Brief.\n\nKind."}]
    assert [turn["role"] for turn in wire.sent["contents"]] == ["user"]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/m", "models/m"),
        ("tunedModels/m", "tunedModels/m"),
        ("a b?c#d", "models/a%20b%3Fc%23d"),
    ],
)
def test_a_model_is_a_part_of_the_path(model, path):
    """The path contains the model and the version from the settings."""
    engine = engine_module("google").GoogleEngine("k", version="v1")

    assert engine.route(request("Hi", model=model)) == f"v1/{path}:generateContent"
    assert engine.models_path.startswith("v1/models")


def test_the_vendors_types_take_our_recorded_stream(wire):
    """The recorded stream matches Google's types, and its SDK reads the same text."""
    for body in [WHOLE, *BODIES]:
        types.GenerateContentResponse.model_validate(body)

    wire.answers(streamed([event(body) for body in BODIES]))
    with _sdk(wire) as sdk:
        parts = sdk.generate_content_stream(model="m", contents="Hi")
        text = "".join(part.text or "" for part in parts)
    assert text == wire.answer(request("Hi", streamed=True)).text == "Hello."


@pytest.mark.parametrize("way", ["whole", "streamed", "whole though asked to stream", "a list"])
def test_every_way_gives_the_same_answer(wire, way):
    """A whole body, a stream and a stream sent as one JSON list yield the same answer."""
    bodies = {"streamed": streamed(STREAM), "a list": whole(BODIES)}
    wire.answers(bodies.get(way, whole(WHOLE)))
    answer = wire.answer(request("Hi", streamed=way != "whole"))

    assert (answer.text, answer.reasoning) == ("Hello.", "Hm. So.")
    assert answer.tool_calls == (ToolCall("c1", "look", '{"at": "sky"}'),)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", MEANT)
    assert (answer.model, answer.request_id) == ("gemini-3.8-flash", "r-1")
    assert answer.raw == (WHOLE if way.startswith("whole") else None)


def test_usage_agrees_with_the_price_library():
    """genai-prices reads the same usage from a body."""
    theirs = genai_prices.extract_usage(WHOLE, provider_id="google").usage
    ours = summed(list(GeminiParser(errors()).feed(json.dumps(WHOLE)))).usage

    assert (ours.input_tokens, ours.output_tokens) == (theirs.input_tokens, theirs.output_tokens)
    assert ours.cached_tokens == theirs.cache_read_tokens
    assert ours.reasoning_tokens == theirs.output_reasoning_tokens


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 9}, Usage(5, 9, reasoning_tokens=9)),
        ({"promptTokenCount": None, "candidatesTokenCount": "5", "more": 1}, Usage()),
    ],
)
def test_unknown_usage_is_none(wire, usage, expected):
    """Unknown usage is None, never 0."""
    wire.answers(whole(_answer({"text": "x"}, reason="STOP", usage=usage)))

    assert wire.answer(request("Hi")).usage == expected


@pytest.mark.parametrize(
    ("reason", "parts", "expected"),
    [
        ("STOP", [{"text": "x"}], "stop"),
        ("STOP", [{"functionCall": {"name": "f"}}], "tool_calls"),
        ("MAX_TOKENS", [], "length"),
        ("MAX_TOKENS", [CALL], "length"),
        ("SAFETY", [], "content_filter"),
        ("PROHIBITED_CONTENT", [{"text": "x"}], "content_filter"),
        ("LANGUAGE", [], "other"),
        ("SOMETHING_NEW", [{"text": "x"}], "other"),
    ],
)
def test_why_it_ended_has_a_neutral_name(wire, reason, parts, expected):
    """The finish reason has a neutral name, even if parts or the content are missing.

    A tool call ends with STOP.
    """
    for script in (
        whole(_answer(*parts, reason=reason)),
        streamed([*(event(_answer(part)) for part in parts), event(_answer(reason=reason))]),
    ):
        wire.answers(script)
        assert wire.answer(request("Hi")).finish_reason == expected


def test_a_call_without_an_id_or_arguments_is_whole(wire):
    """A tool call without id and arguments is valid; its arguments are an empty object."""
    wire.answers(whole(_answer({"functionCall": {"name": "f"}}, reason="STOP")))

    assert wire.answer(request("Hi")).tool_calls == (ToolCall("", "f", "{}"),)


@dataclass(frozen=True)
class Fault:
    """A faulty response, and the error it becomes."""

    name: str
    status: int
    body: object
    kind: type[GatewayError]
    expected_message: str
    retry_after: float | None = None


def _error(code, status, *details, message="m"):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
DAILY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}
MINUTELY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
MALFORMED = _answer(reason="MALFORMED_FUNCTION_CALL")
MALFORMED["candidates"][0]["finishMessage"] = "bad call"

FAULTS = [
    Fault(
        "key",
        400,
        _error(400, "INVALID_ARGUMENT", BAD_KEY),
        AuthenticationError,
        "GATEWAYX_GOOGLE_API_KEY",
    ),
    Fault("other key", 401, _error(401, "UNAUTHENTICATED"), AuthenticationError, "m"),
    Fault("model", 404, _error(404, "NOT_FOUND"), ModelNotFoundError, "Name another"),
    Fault("bad", 400, _error(400, "INVALID_ARGUMENT"), ProviderError, "400"),
    Fault(
        "rate", 429, _error(429, "RESOURCE_EXHAUSTED", MINUTELY, RETRY), RateLimitError, "m", 7.5
    ),
    Fault("listed", 429, [_error(429, "RESOURCE_EXHAUSTED", RETRY)], RateLimitError, "m", 7.5),
    Fault("day", 429, _error(429, "RESOURCE_EXHAUSTED", DAILY, RETRY), QuotaError, "m", 7.5),
    Fault("overload", 503, _error(503, "UNAVAILABLE"), ProviderError, "503"),
    Fault("in 200", 200, _error(429, "RESOURCE_EXHAUSTED"), RateLimitError, "m"),
    Fault("listed in 200", 200, [_error(503, "UNAVAILABLE")], ProviderError, "503"),
    Fault("key shown", 403, _error(403, "X", message=f"bad {KEY}"), AuthenticationError, "<key>"),
    Fault("prompt", 200, {"promptFeedback": {"blockReason": "OTHER"}}, ContentFilterError, "OTHER"),
    Fault(
        "prompt, with usage",
        200,
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE, "candidates": []},
        ContentFilterError,
        "blocked: SAFETY",
    ),
    Fault("malformed", 200, MALFORMED, ProviderError, "bad call"),
    Fault("no end", 200, _answer({"text": "x"}), TruncatedError, "end marker"),
    Fault("no reason", 200, _answer(reason="FINISH_REASON_UNSPECIFIED"), TruncatedError, "end"),
    Fault("nothing", 200, "{}", TruncatedError, "end marker"),
    Fault("a page", 200, "<html>", ProviderError, "not JSON"),
    Fault("an open list", 200, "[" * 100_000, ProviderError, "not JSON"),
    Fault("a list of none", 200, "[1]", TruncatedError, "end marker"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_a_typed_error(wire, fault):
    """A faulty response raises a typed error that names the engine and never shows the key."""
    wire.answers(whole(fault.body, fault.status))
    with pytest.raises(fault.kind, match=fault.expected_message) as caught:
        wire.ask()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.retry_after) == ("google", fault.retry_after)
    assert KEY not in f"{caught.value} {vars(caught.value)}"


OVER = _error(503, "UNAVAILABLE", message="high demand")


@pytest.mark.parametrize(
    ("bad", "kind", "expected_message"),
    [
        (event(OVER), ProviderError, "high demand"),
        (json.dumps(OVER, indent=2).encode(), ProviderError, "high demand"),
        (json.dumps([OVER], indent=2).encode(), ProviderError, "high demand"),
        (json.dumps(OVER, indent=2).encode()[:-3], TruncatedError, "end marker"),
        (event(MALFORMED), ProviderError, "bad call"),
        (event({"promptFeedback": {"blockReason": "SAFETY"}}), ContentFilterError, "SAFETY"),
        (event("no json"), ProviderError, "not JSON"),
    ],
)
def test_an_error_within_a_stream_is_raised_after_its_chunks(wire, bad, kind, expected_message):
    """An error within a 200 stream is raised with the partial text.

    Gemini sends errors outside of events.
    """
    wire.answers(streamed([*STREAM[:3], bad]))
    with pytest.raises(kind, match=expected_message) as caught:
        wire.streamed_text()

    assert caught.value.partial == "Hel"


def test_data_after_the_end_mark_is_ignored(wire):
    """Data after the end, as added by proxies, is ignored: an end marker, a line, half an error."""
    for more in (b"data: [DONE]\n\n", b"[DONE]\n", b"{done}\n", b'{"error": {"code', b"data: {"):
        wire.answers(streamed([*STREAM, more]))
        assert wire.answer(request("Hi", streamed=True)).text == "Hello."


def test_a_rejected_parameter_is_named(wire):
    """A rejected parameter is named as the caller spelled it."""
    expected_message = _error(400, "INVALID_ARGUMENT", message="maxOutputTokens is not supported")
    wire.answers(whole(expected_message, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(max_tokens=3)

    assert caught.value.code == "max_tokens"


def test_every_cut_of_a_stream_is_an_error(wire):
    """A stream cut at or within any event raises an error, whether ended, cut or reset."""
    check_cuts(wire, STREAM, GeminiParser)


def test_however_it_is_split_the_chunks_are_the_same(wire):
    """The chunks do not depend on the size of the blocks that arrive."""
    check_splits(wire, GeminiParser, STREAM)


def test_streams_at_once_do_not_mix(wire):
    """Concurrent streams do not mix: the engine holds no state of a stream."""
    check_at_once(wire, STREAM)


def test_models_are_listed_by_their_short_names(wire):
    """The models are listed by short name from one page; the health check requests this list."""
    wire.answers(whole({"models": [{"name": "models/gemini-3.8-flash"}, {"name": "x"}, {}, 3]}))
    models = wire.run(lambda engine: engine.models())

    assert wire.last_request.target == "/v1beta/models?pageSize=1000"
    assert [(str(model), model.default) for model in models] == [
        ("google:gemini-3.8-flash", True),
        ("google:x", False),
    ]


@settings(max_examples=400)
@given(mutations([*BODIES, WHOLE, OVER, MALFORMED, {"promptFeedback": {"blockReason": "SAFETY"}}]))
def test_no_body_raises_anything_but_our_errors(events):
    """Bodies with junk in any place raise nothing but typed errors."""
    check_no_raw_exception(GeminiParser(errors()), events)
