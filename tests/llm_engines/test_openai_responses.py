import json
from dataclasses import dataclass

import genai_prices
import openai
import pytest
from hypothesis import given, settings
from openai.types.chat import completion_create_params
from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import TypeAdapter

from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TruncatedError,
)
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.openai_responses import CHAT_ONLY, ResponsesParser
from gatewayx_nb.llm_engines.unsupported_params import RejectedParameterError
from gatewayx_nb.messages import Message, ToolCall
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

IMAGE = Image("image/png", b"\x89PNG")
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": '{"at": "sky"}',
    "status": "completed",
}
USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 5},
    "output_tokens": 80,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 130,
}


def _reasoning_item(*texts):
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": summary}


def _message_item(*parts):
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return item | {"content": list(parts)}


def _text_part(text):
    return {"type": "output_text", "text": text, "annotations": []}


def _make_body(*output, status="completed", usage=USAGE, **fields):
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1.0,
        "model": "gpt-6.1-sol-exact",
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": list(output),
        "usage": usage,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    } | fields


BODY = _make_body(_reasoning_item("First.", "Then."), _message_item(_text_part("Hello.")), CALL)
EMPTY = _make_body(status="in_progress", usage=None)

EVENTS = [
    {"type": "response.created", "response": EMPTY},
    {"type": "response.in_progress", "response": EMPTY},
    *(
        {
            "type": "response.reasoning_summary_text.delta",
            "item_id": "rs_1",
            "output_index": 0,
            "summary_index": index,
            "delta": delta,
        }
        for index, delta in [(0, "Fir"), (0, "st."), (1, "Then.")]
    ),
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": _reasoning_item("First.", "Then."),
    },
    *(
        {
            "type": "response.output_text.delta",
            "item_id": "msg_1",
            "output_index": 1,
            "content_index": 0,
            "delta": delta,
            "logprobs": [],
        }
        for delta in ("Hel", "lo.")
    ),
    {"type": "response.output_item.done", "output_index": 1, "item": BODY["output"][1]},
    {
        "type": "response.function_call_arguments.delta",
        "item_id": "fc_1",
        "output_index": 2,
        "delta": '{"at": ',
    },
    {"type": "response.output_item.done", "output_index": 2, "item": CALL},
    {"type": "response.completed", "response": BODY},
]
EVENTS = [{**event, "sequence_number": number} for number, event in enumerate(EVENTS)]


def _make_event(event):
    return f"event: {event['type']}\n".encode() + make_event(event)


STREAM = [
    *map(_make_event, EVENTS[:4]),
    make_event({"type": "keepalive", "sequence_number": 3}),
    make_event({"type": "response.something.new", "delta": "no text", "item": {"type": "new"}}),
    *map(_make_event, EVENTS[4:]),
]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the openai engine, set to use the Responses API of a local server."""
    folder = tmp_path_factory.mktemp("responses") / "project"
    with Wire(folder, "openai", "/v1", '[engines.openai]\napi = "responses"') as wire:
        yield wire


@dataclass(frozen=True)
class RequestCase:
    """A request, and the equivalent call of OpenAI's SDK."""

    name: str
    request: object
    sdk: dict


REQUEST_CASES = [
    RequestCase(
        "bare",
        make_request("Hi"),
        {
            "input": [{"role": "user", "content": "Hi"}],
            "include": ["reasoning.encrypted_content"],
            "stream": False,
        },
    ),
    RequestCase(
        "all options",
        make_request(
            "Hi",
            "Ho",
            Message("user", ["See", *(IMAGE, Image("image/jpeg", url="https://x.test/a.jpg"))]),
            Message("user", [IMAGE]),
            system="Brief.",
            model="gpt-6-sol",
            temperature=0,
            top_p=0.5,
            max_tokens=9,
            schema=SCHEMA,
            params={"store": True, "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}},
            streamed=True,
        ),
        {
            "model": "gpt-6-sol",
            "instructions": "Brief.",
            "input": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Ho"},
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See"},
                        {
                            "type": "input_image",
                            "image_url": "data:image/png;base64,iVBORw==",
                            "detail": "auto",
                        },
                        {
                            "type": "input_image",
                            "image_url": "https://x.test/a.jpg",
                            "detail": "auto",
                        },
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "input_image",
                            "image_url": "data:image/png;base64,iVBORw==",
                            "detail": "auto",
                        }
                    ],
                },
            ],
            "temperature": 0,
            "top_p": 0.5,
            "max_output_tokens": 9,
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "answer",
                    "schema": SCHEMA,
                    "strict": True,
                },
                "verbosity": "low",
            },
            "reasoning": {"effort": "low"},
            "store": True,
            "stream": True,
        },
    ),
]


@pytest.mark.parametrize("case", REQUEST_CASES, ids=lambda case: case.name)
def test_requests_equal_those_of_the_sdk(wire, case):
    """The request is equal to the SDK's; nothing is stored unless the caller asks for it."""
    wire.respond_with(stream_script(STREAM) if case.request.streamed else body_script(BODY))
    wire.get_chunks(case.request)
    engine_request, engine_body = wire.last_request, wire.request_body
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as sdk:
        answer = sdk.responses.create(**{"model": "gpt-6.1-sol", "store": False} | case.sdk)
        list(answer)  # a non-streamed answer yields its fields

    assert engine_body == wire.request_body
    assert (engine_request.method, engine_request.target) == (
        wire.last_request.method,
        wire.last_request.target,
    )
    assert (
        engine_request.headers["authorization"]
        == wire.last_request.headers["authorization"]
        == f"Bearer {KEY}"
    )


def test_the_recorded_stream_matches_the_sdk_types(wire):
    """The recorded stream matches OpenAI's types, and its SDK reads the same text."""
    adapter = TypeAdapter(ResponseStreamEvent)
    for event in EVENTS:
        adapter.validate_python(event)
    Response.model_validate(BODY)

    wire.respond_with(stream_script(STREAM))
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as sdk:
        *_, last = sdk.responses.create(model="m", input="Hi", stream=True)
    assert (
        last.response.output_text
        == wire.get_answer(make_request("Hi", streamed=True)).text
        == "Hello."
    )


@pytest.mark.parametrize("form", ["body", "stream", "body instead of a stream", "last event only"])
def test_body_and_stream_yield_the_same_answer(wire, form):
    """A body, a stream, and a stream with all text in its last event yield the same answer."""
    events = [STREAM[0], STREAM[-1]] if form == "last event only" else STREAM
    is_stream = form in {"stream", "last event only"}
    wire.respond_with(stream_script(events) if is_stream else body_script(BODY))
    answer = wire.get_answer(make_request("Hi", streamed=form != "body"))

    assert (answer.text, answer.reasoning) == ("Hello.", "First.\n\nThen.")
    assert answer.tool_calls == (ToolCall("call_1", "look", '{"at": "sky"}'),)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(50, 80, 40, 5, 30))
    assert (answer.model, answer.request_id) == ("gpt-6.1-sol-exact", "resp_1")
    assert answer.raw[-1] == EVENTS[-1] if is_stream else answer.raw == BODY


def test_each_text_event_yields_a_chunk(wire):
    """Each text event yields one chunk."""
    wire.respond_with(stream_script(STREAM))

    assert [c.text for c in wire.get_chunks(make_request("Hi", streamed=True)) if c.text] == [
        "Hel",
        "lo.",
    ]


def test_the_end_marker_of_chat_completions_is_ignored(wire):
    """`[DONE]`, the end marker of Chat Completions, which some servers add, is ignored."""
    wire.respond_with(stream_script([*STREAM, make_event("[DONE]")]))

    assert wire.get_answer(make_request("Hi", streamed=True)).text == "Hello."


def test_usage_equals_that_of_genai_prices():
    """The parser reads the same usage from a body as genai-prices."""
    expected = genai_prices.extract_usage(
        BODY | {"model": "gpt-6.1-sol"}, provider_id="openai", api_flavor="responses"
    ).usage
    usage = sum_chunks(list(ResponsesParser(make_errors()).feed(json.dumps(BODY)))).usage

    assert (usage.input_tokens, usage.output_tokens) == (
        expected.input_tokens,
        expected.output_tokens,
    )
    assert usage.cached_tokens == expected.cache_read_tokens
    assert usage.reasoning_tokens == expected.output_reasoning_tokens


@dataclass(frozen=True)
class End:
    """A response, and its expected finish reason and text."""

    name: str
    response: dict
    reason: str
    text: str = "Hello."


REFUSAL = {"type": "refusal", "refusal": "No."}
ENDS = [
    End("stop", _make_body(_message_item(_text_part("Hello."))), "stop"),
    End("tool call", _make_body(CALL), "tool_calls", ""),
    End("refusal", _make_body(_message_item(REFUSAL)), "content_filter", "No."),
    *(
        End(
            reason,
            _make_body(
                _message_item(_text_part("Hello.")),
                status="incomplete",
                incomplete_details={"reason": reason},
            ),
            expected,
        )
        for reason, expected in [
            ("max_output_tokens", "length"),
            ("content_filter", "content_filter"),
            ("unknown", "other"),
        ]
    ),
    End("no usage", _make_body(_message_item(_text_part("Hello.")), usage=None), "stop"),
    End(
        "two messages",
        _make_body(_message_item(_text_part("Hel")), _message_item(_text_part("lo."))),
        "stop",
    ),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_finish_reasons_are_mapped_to_common_names(wire, end):
    """Finish reasons in a body and in a stream's last event are mapped to the package's names."""
    last_event = {"type": f"response.{end.response['status']}", "response": end.response}
    for script in (body_script(end.response), stream_script([make_event(last_event)])):
        wire.respond_with(script)
        answer = wire.get_answer(make_request("Hi"))
        assert (answer.text, answer.finish_reason) == (end.text, end.reason)
        assert answer.usage == (Usage(50, 80, 40, 5, 30) if end.response["usage"] else None)


def _call_events(index, arguments):
    item = {"type": "function_call", "call_id": f"c{index}", "name": "look", "arguments": ""}
    delta = {"type": "response.function_call_arguments.delta", "output_index": index}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": item},
        *(delta | {"delta": piece} for piece in arguments),
    ]


@pytest.mark.parametrize("has_output", [False, True])
def test_a_tool_call_without_its_end_is_complete(wire, has_output):
    """Calls are kept if a proxy omits the ends of their items; the last event may repeat them."""
    items = [
        {"type": "function_call", "call_id": f"c{index}", "name": "look", "arguments": "{}"}
        for index in range(2)
    ]
    done = {"type": "response.output_item.done", "output_index": 0, "item": items[0]}
    started = [*_call_events(0, ["{", "}"]), *([] if has_output else [done])]
    end = _make_body(*(items if has_output else []))
    events = [
        *(*started, *_call_events(1, ["{", "}"])),
        {"type": "response.completed", "response": end},
    ]
    wire.respond_with(stream_script(map(make_event, events)))
    answer = wire.get_answer(make_request("Hi", streamed=True))

    assert answer.tool_calls == tuple(ToolCall(f"c{n}", "look", "{}") for n in range(2))
    assert answer.finish_reason == "tool_calls"


def test_an_end_without_a_response_is_not_mistaken_for_success(wire):
    """The type of the last event decides if the event contains no response."""
    text = make_event({"type": "response.output_text.delta", "delta": "Hel"})
    wire.respond_with(stream_script([text, make_event({"type": "response.incomplete"})]))
    answer = wire.get_answer(make_request("Hi", streamed=True))
    wire.respond_with(stream_script([text, make_event({"type": "response.failed"})]))
    with pytest.raises(ProviderError, match="reported an error"):
        wire.get_answer(make_request("Hi", streamed=True))

    assert (answer.text, answer.finish_reason) == ("Hel", "other")


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled"])
def test_a_body_that_is_not_finished_raises_an_error(wire, status):
    """The text of a response that is still being written is not an answer."""
    wire.respond_with(body_script(_make_body(_message_item(_text_part("Hel")), status=status)))
    with pytest.raises(TruncatedError):
        wire.get_answer(make_request("Hi"))


def test_a_streamed_refusal_is_a_reply(wire):
    """A streamed refusal is a reply that contains its text once."""
    delta_event = {"type": "response.refusal.delta", "delta": "No."}
    last_event = {"type": "response.completed", "response": _make_body(_message_item(REFUSAL))}
    wire.respond_with(stream_script([make_event(delta_event), make_event(last_event)]))
    answer = wire.get_answer(make_request("Hi", streamed=True))

    assert (answer.text, answer.finish_reason) == ("No.", "content_filter")


@dataclass(frozen=True)
class Fault:
    """An error response, and the exception it raises."""

    name: str
    body: object
    kind: type[GatewayError]
    status: int = 200
    code: str | None = None


def _failed_body(code):
    return _make_body(status="failed", error={"code": code, "message": "m"})


FAULTS = [
    Fault("invalid key", {"error": {"message": f"bad {KEY}"}}, AuthenticationError, 401),
    Fault("quota", {"error": {"code": "insufficient_quota"}}, QuotaError, 429),
    Fault("unknown model", {"error": {"code": "model_not_found"}}, ModelNotFoundError, 404),
    Fault(
        "context length", {"error": {"code": "context_length_exceeded"}}, ContextLengthError, 400
    ),
    Fault("HTML", "<html>", ProviderError, 404),
    Fault("failed", _failed_body("server_error"), ProviderError, code="server_error"),
    Fault("failed by rate limit", _failed_body("rate_limit_exceeded"), RateLimitError),
    Fault("failed by content filter", _failed_body("invalid_prompt"), ContentFilterError),
    Fault(
        "failed without an error object", _make_body(status="failed"), ProviderError, code="failed"
    ),
    Fault("error in 200", {"error": {"message": "over", "code": 429}}, RateLimitError),
    Fault("error text in 200", {"error": "over"}, ProviderError),
    Fault("error event", {"type": "error", "code": "rate_limit_exceeded"}, RateLimitError),
    Fault(
        "error event with an error object",
        {"type": "error", "error": {"message": "m"}},
        ProviderError,
    ),
    Fault("queued", _make_body(status="queued"), ProviderError),
    Fault("empty object", "{}", ProviderError),
    Fault("list", "[1]", ProviderError),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_error_responses_raise_typed_errors(wire, fault):
    """An error response raises a typed error that names the engine and never shows the key."""
    wire.respond_with(body_script(fault.body, fault.status))
    with pytest.raises(fault.kind) as caught:
        wire.ask()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.model) == ("openai", "gpt-6.1-sol")
    assert fault.code in {None, caught.value.code}
    assert KEY not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    ("error_data", "kind"),
    [
        (make_event({"type": "error", "code": "server_error", "message": "m"}), ProviderError),
        (make_event({"error": {"code": "rate_limit_exceeded"}}), RateLimitError),
        (
            make_event({"type": "response.failed", "response": _failed_body("bio_policy")}),
            ContentFilterError,
        ),
        (make_event("no json"), ProviderError),
        (b'{"error": {"code": "rate_limit_exceeded"}}', RateLimitError),
    ],
)
def test_an_error_within_a_stream_is_raised_after_the_chunks(wire, error_data, kind):
    """An error within a 200 stream is raised with the partial text, even outside of an event."""
    wire.respond_with(stream_script([*STREAM[:9], error_data]))
    with pytest.raises(kind) as caught:
        wire.stream_text()

    assert caught.value.partial == "Hel"


def test_a_rejected_parameter_is_reported_by_its_name(wire):
    """A rejected parameter is reported by the name that the caller used."""
    error = {"message": "Unsupported parameter: 'max_output_tokens'", "param": "max_output_tokens"}
    wire.respond_with(body_script({"error": error}, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(max_tokens=3)

    assert caught.value.code == "max_tokens"


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(wire):
    """A stream truncated after or within any event raises an error, however the connection ends."""
    check_truncated_streams(wire, STREAM, ResponsesParser)


def test_chunks_do_not_depend_on_block_boundaries(wire):
    """The chunks do not depend on the sizes of the received blocks."""
    check_block_boundaries(wire, ResponsesParser, STREAM)


def test_concurrent_streams_do_not_mix(wire):
    """Concurrent streams do not mix, because the engine holds no per-stream state."""
    check_concurrent_streams(wire, STREAM)


@pytest.mark.parametrize(
    ("options", "call_request", "route"),
    [
        ({}, make_request("Hi"), "responses"),
        ({"base_url": "https://api.openai.com/v1/"}, make_request("Hi"), "responses"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, make_request("Hi"), "chat/completions"),
        ({"base_url": "http://x.test/v1", "api": "responses"}, make_request("Hi"), "responses"),
        ({"api": "chat"}, make_request("Hi"), "chat/completions"),
        ({}, make_request("Hi", stop=("x",)), "chat/completions"),
        ({}, make_request("Hi", seed=0), "chat/completions"),
        *(
            ({}, make_request("Hi", params={name: 1}), "chat/completions")
            for name in sorted(CHAT_ONLY)
        ),
        ({}, make_request("Hi", params={"top_logprobs": 1}), "responses"),
    ],
)
def test_options_that_responses_lacks_select_chat_completions(options, call_request, route):
    """Chat Completions is used for options that Responses lacks and for custom base URLs.

    The setting `api` overrides this.
    """
    engine = engine_module("openai").OpenAIEngine("k", **options)
    payload = engine.dialect(call_request).payload(call_request)

    assert engine.dialect(call_request).route(call_request) == route
    assert ("input" in payload, "messages" in payload) == (
        route == "responses",
        route != "responses",
    )


def test_the_sdk_types_confirm_the_options_that_responses_lacks():
    """The SDK has the options of `CHAT_ONLY` for Chat Completions, but not for Responses."""
    chat = completion_create_params.CompletionCreateParamsBase.__annotations__
    responses = response_create_params.ResponseCreateParamsBase.__annotations__

    assert chat.keys() >= CHAT_ONLY
    assert not CHAT_ONLY & responses.keys()


def test_an_unknown_api_raises_an_error():
    """An unknown `api` raises an error that names the two valid values."""
    with pytest.raises(ConfigError, match="'responses' or 'chat'"):
        engine_module("grok").GrokEngine("k", api="chats")


@settings(max_examples=400)
@given(mutations([*EVENTS, BODY, _failed_body("server_error"), *(end.response for end in ENDS)]))
@pytest.mark.no_cover
def test_arbitrary_events_raise_only_typed_errors(events):
    """Bodies with arbitrary values in any field raise only typed errors."""
    check_no_raw_exception(ResponsesParser(make_errors()), events)
