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
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message, ToolCall, ToolDefinition
from gatewayx_nb.replies import Usage
from tests.engines import engine_module
from tests.llm_engines.wire import (
    KEY,
    Wire,
    body_script,
    check_block_boundaries,
    check_concurrent_streams,
    check_no_raw_exception,
    check_truncated_streams,
    make_errors,
    make_event,
    make_request,
    mutations,
    stream_script,
    sum_chunks,
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
EXPECTED_USAGE = Usage(57, 80, 40, None, 30)
CALL = {"functionCall": {"id": "c1", "name": "look", "args": {"at": "sky"}}}


def _make_body(*parts, reason=None, usage=None, **fields):
    candidate = {"index": 0}
    candidate |= {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    candidate |= {"finishReason": reason} if reason else {}
    body = {
        "candidates": [candidate],
        "modelVersion": "gemini-3.8-flash",
        "responseId": "r-1",
    }
    return body | ({"usageMetadata": usage} if usage else {}) | fields


BODY = _make_body(
    {"text": "Hm. So.", "thought": True},
    {"text": "Hello.", "thoughtSignature": "c2ln"},
    CALL,
    reason="STOP",
    usage=USAGE,
)
BODIES = [
    _make_body({"text": "Hm. ", "thought": True}, usage={"promptTokenCount": 50}),
    _make_body({"text": "So.", "thought": True}, {"text": "Hel"}),
    _make_body({"text": "lo."}, usage={"promptTokenCount": 50, "totalTokenCount": 50}),
    _make_body(CALL),
    _make_body({"text": ""}, reason="STOP", usage=USAGE),
]
STREAM = [
    b": ping\r\n\r\n",
    *(make_event(body).replace(b"\n", b"\r\n") for body in BODIES[:2]),
    make_event(
        {"somethingNew": [1], "candidates": [{"index": 1, "content": {"parts": [{"text": "?"}]}}]}
    ),
    *map(make_event, BODIES[2:]),
]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the google engine, connected to a local server."""
    with Wire(tmp_path_factory.mktemp("gemini") / "project", "google") as wire:
        yield wire


@contextlib.contextmanager
def _open_sdk(wire):
    options = types.HttpOptions(base_url=wire.server.url, api_version="v1beta")
    with genai.Client(api_key=KEY, http_options=options) as client:
        yield client.models


def _convert_to_camel_case(body):
    """Return a body with all names in camel case; the SDK sends some of them in snake case."""
    text = json.dumps(body).replace('"file_uri"', '"fileUri"')
    return json.loads(text.replace('"mime_type"', '"mimeType"'))


@dataclass(frozen=True)
class RequestCase:
    """A request, and the equivalent call of Google's SDK."""

    name: str
    request: object
    contents: object
    config: types.GenerateContentConfig | None = None


REQUEST_CASES = [
    RequestCase("bare", make_request("Hi"), "Hi"),
    RequestCase("streamed", make_request("Hi", streamed=True), "Hi"),
    RequestCase(
        "everything",
        make_request(
            "Hi",
            "Ho",
            Message("user", ["See", Image("image/png", b"\x89PNG")]),
            Message("user", [Image("image/jpeg", url="https://x.test/a.jpg")]),
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


@pytest.mark.parametrize("case", REQUEST_CASES, ids=lambda case: case.name)
def test_requests_equal_those_of_the_sdk(wire, case):
    """The request is equal to the SDK's and contains only the options that were set.

    The key is in the header; the model and the API version are in the path.
    """
    events = map(make_event, BODIES)  # the SDK fails on comments
    wire.respond_with(list(stream_script(events)) if case.request.streamed else body_script(BODY))
    wire.get_chunks(case.request)
    engine_request, engine_body = wire.last_request, wire.request_body
    arguments = {"model": "gemini-3.8-flash", "contents": case.contents, "config": case.config}
    with _open_sdk(wire) as sdk:
        if case.request.streamed:
            list(sdk.generate_content_stream(**arguments))
        else:
            sdk.generate_content(**arguments)

    assert engine_body == _convert_to_camel_case(wire.request_body)
    assert (engine_request.method, engine_request.target) == (
        wire.last_request.method,
        wire.last_request.target,
    )
    assert (
        engine_request.headers["x-goog-api-key"]
        == wire.last_request.headers["x-goog-api-key"]
        == KEY
    )
    assert "authorization" not in engine_request.headers


def test_system_messages_are_added_to_the_system_prompt(wire):
    """System messages are added to the system prompt, because Gemini has no role for them."""
    wire.respond_with(body_script(BODY))
    wire.get_answer(
        make_request(Message("system", "Kind."), Message("user", "Hi"), system="Brief.")
    )

    assert wire.request_body["systemInstruction"]["parts"] == [{"text": "Brief.\n\nKind."}]
    assert [message["role"] for message in wire.request_body["contents"]] == ["user"]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/m", "models/m"),
        ("tunedModels/m", "tunedModels/m"),
        ("a b?c#d", "models/a%20b%3Fc%23d"),
    ],
)
def test_the_path_contains_the_model_and_the_version(model, path):
    """The path contains the model and the version from the settings."""
    engine = engine_module("google").GoogleEngine("k", version="v1")

    assert engine.route(make_request("Hi", model=model)) == f"v1/{path}:generateContent"
    assert engine.models_path.startswith("v1/models")


def test_the_recorded_stream_matches_the_sdk_types(wire):
    """The recorded stream matches Google's types, and its SDK reads the same text."""
    for body in [BODY, *BODIES]:
        types.GenerateContentResponse.model_validate(body)

    wire.respond_with(stream_script([make_event(body) for body in BODIES]))
    with _open_sdk(wire) as sdk:
        chunks = sdk.generate_content_stream(model="m", contents="Hi")
        text = "".join(chunk.text or "" for chunk in chunks)
    assert text == wire.get_answer(make_request("Hi", streamed=True)).text == "Hello."


@pytest.mark.parametrize(
    "form", ["body", "stream", "body instead of a stream", "list instead of a stream"]
)
def test_body_and_stream_yield_the_same_answer(wire, form):
    """A body, a stream and a JSON list of a stream's events yield the same answer."""
    scripts = {
        "stream": stream_script(STREAM),
        "list instead of a stream": body_script(BODIES),
    }
    wire.respond_with(scripts.get(form, body_script(BODY)))
    answer = wire.get_answer(make_request("Hi", streamed=form != "body"))

    assert (answer.text, answer.reasoning) == ("Hello.", "Hm. So.")
    assert answer.tool_calls == (ToolCall("c1", "look", '{"at": "sky"}'),)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", EXPECTED_USAGE)
    assert (answer.model, answer.request_id) == ("gemini-3.8-flash", "r-1")
    if form != "list instead of a stream":
        assert answer.raw == BODY if form.startswith("body") else answer.raw[0] == BODIES[0]


def test_usage_equals_that_of_genai_prices():
    """The parser reads the same usage from a body as genai-prices."""
    expected = genai_prices.extract_usage(BODY, provider_id="google").usage
    usage = sum_chunks(list(GeminiParser(make_errors()).feed(json.dumps(BODY)))).usage

    assert (usage.input_tokens, usage.output_tokens) == (
        expected.input_tokens,
        expected.output_tokens,
    )
    assert usage.cached_tokens == expected.cache_read_tokens
    assert usage.reasoning_tokens == expected.output_reasoning_tokens


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 9}, Usage(5, 9, reasoning_tokens=9)),
        ({"promptTokenCount": None, "candidatesTokenCount": "five", "more": 1}, Usage()),
    ],
)
def test_missing_counts_are_none(wire, usage, expected):
    """Missing usage and missing counts are None, not 0."""
    wire.respond_with(body_script(_make_body({"text": "x"}, reason="STOP", usage=usage)))

    assert wire.get_answer(make_request("Hi")).usage == expected


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
def test_finish_reasons_are_mapped_to_common_names(wire, reason, parts, expected):
    """Finish reasons are mapped to the package's names, even if the content is missing.

    Gemini's finish reason for a tool call is STOP.
    """
    for script in (
        body_script(_make_body(*parts, reason=reason)),
        stream_script(
            [
                *(make_event(_make_body(part)) for part in parts),
                make_event(_make_body(reason=reason)),
            ]
        ),
    ):
        wire.respond_with(script)
        assert wire.get_answer(make_request("Hi")).finish_reason == expected


def test_a_tool_call_needs_no_id_and_no_arguments(wire):
    """A tool call without an id and arguments is valid; its arguments are an empty object."""
    wire.respond_with(body_script(_make_body({"functionCall": {"name": "f"}}, reason="STOP")))

    assert wire.get_answer(make_request("Hi")).tool_calls == (ToolCall("", "f", "{}"),)


@dataclass(frozen=True)
class Fault:
    """An error response, and the exception it raises."""

    name: str
    status: int
    body: object
    kind: type[GatewayError]
    expected_message: str
    retry_after: float | None = None


def _error_body(code, status, *details, message="m"):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"}
DAILY_QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}
MINUTE_QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
MALFORMED = _make_body(reason="MALFORMED_FUNCTION_CALL")
MALFORMED["candidates"][0]["finishMessage"] = "bad call"

FAULTS = [
    Fault(
        "invalid key",
        400,
        _error_body(400, "INVALID_ARGUMENT", BAD_KEY),
        AuthenticationError,
        "GATEWAYX_GOOGLE_API_KEY",
    ),
    Fault("unauthenticated", 401, _error_body(401, "UNAUTHENTICATED"), AuthenticationError, "m"),
    Fault("unknown model", 404, _error_body(404, "NOT_FOUND"), ModelNotFoundError, "Name another"),
    Fault("invalid argument", 400, _error_body(400, "INVALID_ARGUMENT"), ProviderError, "400"),
    Fault(
        "rate limit",
        429,
        _error_body(429, "RESOURCE_EXHAUSTED", MINUTE_QUOTA, RETRY_INFO),
        RateLimitError,
        "m",
        7.5,
    ),
    Fault(
        "rate limit in a list",
        429,
        [_error_body(429, "RESOURCE_EXHAUSTED", RETRY_INFO)],
        RateLimitError,
        "m",
        7.5,
    ),
    Fault(
        "daily quota",
        429,
        _error_body(429, "RESOURCE_EXHAUSTED", DAILY_QUOTA, RETRY_INFO),
        QuotaError,
        "m",
        7.5,
    ),
    Fault("overload", 503, _error_body(503, "UNAVAILABLE"), ProviderError, "503"),
    Fault("error in 200", 200, _error_body(429, "RESOURCE_EXHAUSTED"), RateLimitError, "m"),
    Fault("error list in 200", 200, [_error_body(503, "UNAVAILABLE")], ProviderError, "503"),
    Fault(
        "message with the key",
        403,
        _error_body(403, "X", message=f"bad {KEY}"),
        AuthenticationError,
        "<key>",
    ),
    Fault(
        "blocked prompt",
        200,
        {"promptFeedback": {"blockReason": "OTHER"}},
        ContentFilterError,
        "OTHER",
    ),
    Fault(
        "blocked prompt with usage",
        200,
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE, "candidates": []},
        ContentFilterError,
        "blocked: SAFETY",
    ),
    Fault("malformed tool call", 200, MALFORMED, ProviderError, "bad call"),
    Fault(
        "unspecified finish reason",
        200,
        _make_body(reason="FINISH_REASON_UNSPECIFIED"),
        ProviderError,
        "no answer",
    ),
    Fault("empty object", 200, "{}", ProviderError, "no answer"),
    Fault("HTML", 200, "<html>", ProviderError, "not JSON"),
    Fault("incomplete list", 200, "[" * 100_000, ProviderError, "not JSON"),
    Fault("list without objects", 200, "[1]", ProviderError, "no answer"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_error_responses_raise_typed_errors(wire, fault):
    """An error response raises a typed error that names the engine and never shows the key."""
    wire.respond_with(body_script(fault.body, fault.status))
    with pytest.raises(fault.kind, match=fault.expected_message) as caught:
        wire.ask()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.retry_after) == ("google", fault.retry_after)
    assert KEY not in f"{caught.value} {vars(caught.value)}"


OVERLOADED = _error_body(503, "UNAVAILABLE", message="high demand")


@pytest.mark.parametrize(
    ("error_data", "kind", "expected_message"),
    [
        (make_event(OVERLOADED), ProviderError, "high demand"),
        (json.dumps(OVERLOADED, indent=2).encode(), ProviderError, "high demand"),
        (json.dumps([OVERLOADED], indent=2).encode(), ProviderError, "high demand"),
        (json.dumps(OVERLOADED, indent=2).encode()[:-3], TruncatedError, "end marker"),
        (make_event(MALFORMED), ProviderError, "bad call"),
        (make_event({"promptFeedback": {"blockReason": "SAFETY"}}), ContentFilterError, "SAFETY"),
        (make_event("no json"), ProviderError, "not JSON"),
    ],
)
def test_an_error_within_a_stream_is_raised_after_the_chunks(
    wire, error_data, kind, expected_message
):
    """An error within a 200 stream is raised with the partial text.

    Gemini sends some errors outside of events.
    """
    wire.respond_with(stream_script([*STREAM[:3], error_data]))
    with pytest.raises(kind, match=expected_message) as caught:
        wire.stream_text()

    assert caught.value.partial == "Hel"


def test_data_after_the_finish_reason_is_ignored(wire):
    """Data after the finish reason, such as an end marker added by a proxy, is ignored."""
    for extra_data in (
        b"data: [DONE]\n\n",
        b"[DONE]\n",
        b"{done}\n",
        b'{"error": {"code',
        b"data: {",
    ):
        wire.respond_with(stream_script([*STREAM, extra_data]))
        assert wire.get_answer(make_request("Hi", streamed=True)).text == "Hello."


def test_a_rejected_parameter_is_reported_by_its_name(wire):
    """A rejected parameter is reported by the name that the caller used."""
    body = _error_body(400, "INVALID_ARGUMENT", message="maxOutputTokens is not supported")
    wire.respond_with(body_script(body, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(max_tokens=3)

    assert caught.value.code == "max_tokens"


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(wire):
    """A stream truncated after or within any event raises an error, however the connection ends."""
    check_truncated_streams(wire, STREAM, GeminiParser)


def test_chunks_do_not_depend_on_block_boundaries(wire):
    """The chunks do not depend on the sizes of the received blocks."""
    check_block_boundaries(wire, GeminiParser, STREAM)


def test_concurrent_streams_do_not_mix(wire):
    """Concurrent streams do not mix, because the engine holds no per-stream state."""
    check_concurrent_streams(wire, STREAM)


def test_models_are_listed_without_their_prefix(wire):
    """Models are listed without the prefix `models/`, with one request for up to 1,000 models."""
    wire.respond_with(
        body_script({"models": [{"name": "models/gemini-3.8-flash"}, {"name": "x"}, {}, 3]})
    )
    models = wire.run(lambda engine: engine.models())

    assert wire.last_request.target == "/v1beta/models?pageSize=1000"
    assert [(str(model), model.default) for model in models] == [
        ("google:gemini-3.8-flash", True),
        ("google:x", False),
    ]


@settings(max_examples=400)
@given(
    mutations([*BODIES, BODY, OVERLOADED, MALFORMED, {"promptFeedback": {"blockReason": "SAFETY"}}])
)
@pytest.mark.no_cover
def test_arbitrary_events_raise_only_typed_errors(events):
    """Bodies with arbitrary values in any field raise only typed errors."""
    check_no_raw_exception(GeminiParser(make_errors()), events)


@pytest.mark.parametrize(
    ("delays", "header", "seconds"),
    [
        (["27s"], "5", 27.0),
        (["5s"], "27", 27.0),
        (["5s", "27.5s"], None, 27.5),
        ([f"{'9' * 400}s"], None, None),
        ([f"{'9' * 400}s", "3s"], None, 3.0),
        (["Infinitys", "infs", "-5s", "nans", "1e9s", 5, None], None, None),
        (["٣s"], None, None),
        ([f"{'9' * 400}s"], "inf", None),
    ],
)
def test_the_longest_valid_delay_counts(delays, header, seconds):
    """The longest valid delay counts: a `retryDelay` cannot shorten the header's."""
    details = [RETRY_INFO | {"retryDelay": delay} for delay in delays]
    body = json.dumps(_error_body(429, "RESOURCE_EXHAUSTED", *details)).encode()
    headers = {} if header is None else {"retry-after": header}

    error = ProviderErrors("google", "m", "").from_response(429, headers, body)

    assert error.retry_after == seconds


def test_a_function_without_listed_parameters_is_declared_without_any(wire):
    """Gemini refuses an object without properties."""
    tools = (ToolDefinition("now", "", {"type": "object"}),)
    wire.respond_with(body_script(BODY))
    wire.get_answer(make_request(tools=tools))

    assert wire.request_body["tools"] == [{"functionDeclarations": [{"name": "now"}]}]
