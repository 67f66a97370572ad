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
from gatewayx_nb.llm_engines.openai_responses import CHAT_ONLY, ResponsesParser
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

PIXEL = Image("image/png", b"\x89PNG")
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


def _thought(*texts):
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": summary}


def _message(*parts):
    shape = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return shape | {"content": list(parts)}


def _text(text):
    return {"type": "output_text", "text": text, "annotations": []}


def _response(*output, status="completed", usage=USAGE, **fields):
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


WHOLE = _response(_thought("First.", "Then."), _message(_text("Hello.")), CALL)
EMPTY = _response(status="in_progress", usage=None)

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
    {"type": "response.output_item.done", "output_index": 0, "item": _thought("First.", "Then.")},
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
    {"type": "response.output_item.done", "output_index": 1, "item": WHOLE["output"][1]},
    {
        "type": "response.function_call_arguments.delta",
        "item_id": "fc_1",
        "output_index": 2,
        "delta": '{"at": ',
    },
    {"type": "response.output_item.done", "output_index": 2, "item": CALL},
    {"type": "response.completed", "response": WHOLE},
]
EVENTS = [{**row, "sequence_number": number} for number, row in enumerate(EVENTS)]


def _event(row):
    return f"event: {row['type']}\n".encode() + event(row)


STREAM = [
    *map(_event, EVENTS[:4]),
    event({"type": "keepalive", "sequence_number": 3}),
    event({"type": "response.something.new", "delta": "no text", "item": {"type": "new"}}),
    *map(_event, EVENTS[4:]),
]


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Yield the openai engine, set to Responses, with a local server."""
    folder = tmp_path_factory.mktemp("responses") / "project"
    with Wire(folder, "openai", "/v1", '[engines.openai]\napi = "responses"') as wire:
        yield wire


@dataclass(frozen=True)
class Sent:
    """A request, and the equivalent call of OpenAI's SDK."""

    name: str
    request: object
    sdk: dict


SENT = [
    Sent("bare", request("Hi"), {"input": [{"role": "user", "content": "Hi"}], "stream": False}),
    Sent(
        "everything",
        request(
            "Hi",
            "Ho",
            Message("user", "See", (PIXEL, Image("image/jpeg", url="https://x.test/a.jpg"))),
            Message("user", "", (PIXEL,)),
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


@pytest.mark.parametrize("case", SENT, ids=lambda case: case.name)
def test_what_is_sent_is_what_the_vendors_sdk_sends(wire, case):
    """The request is equal to the SDK's; nothing is stored unless the caller asks for it."""
    wire.answers(streamed(STREAM) if case.request.streamed else whole(WHOLE))
    wire.chunks(case.request)
    ours, sent = wire.last_request, wire.sent
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as sdk:
        answer = sdk.responses.create(**{"model": "gpt-6.1-sol", "store": False} | case.sdk)
        list(answer)  # for a whole body, its fields

    assert sent == wire.sent
    assert (ours.method, ours.target) == (wire.last_request.method, wire.last_request.target)
    assert (
        ours.headers["authorization"]
        == wire.last_request.headers["authorization"]
        == f"Bearer {KEY}"
    )


def test_the_vendors_types_take_our_recorded_stream(wire):
    """The recorded stream matches OpenAI's types, and its SDK reads the same text."""
    kinds = TypeAdapter(ResponseStreamEvent)
    for row in EVENTS:
        kinds.validate_python(row)
    Response.model_validate(WHOLE)

    wire.answers(streamed(STREAM))
    with openai.OpenAI(api_key=KEY, base_url=f"{wire.server.url}/v1", max_retries=0) as sdk:
        *_, last = sdk.responses.create(model="m", input="Hi", stream=True)
    assert last.response.output_text == wire.answer(request("Hi", streamed=True)).text == "Hello."


@pytest.mark.parametrize("way", ["whole", "streamed", "whole though asked to stream", "end only"])
def test_every_way_gives_the_same_answer(wire, way):
    """A body, a stream, and a stream with all text in its last event yield the same answer."""
    rows = [STREAM[0], STREAM[-1]] if way == "end only" else STREAM
    is_stream = way in {"streamed", "end only"}
    wire.answers(streamed(rows) if is_stream else whole(WHOLE))
    answer = wire.answer(request("Hi", streamed=way != "whole"))

    assert (answer.text, answer.reasoning) == ("Hello.", "First.\n\nThen.")
    assert answer.tool_calls == (ToolCall("call_1", "look", '{"at": "sky"}'),)
    assert (answer.finish_reason, answer.usage) == ("tool_calls", Usage(50, 80, 40, 5, 30))
    assert (answer.model, answer.request_id) == ("gpt-6.1-sol-exact", "resp_1")
    assert answer.raw == (None if is_stream else WHOLE)


def test_text_comes_piece_by_piece(wire):
    """Each text event yields one chunk."""
    wire.answers(streamed(STREAM))

    assert [c.text for c in wire.chunks(request("Hi", streamed=True)) if c.text] == ["Hel", "lo."]


def test_an_end_mark_of_chat_does_no_harm(wire):
    """The end marker of Chat Completions, which some servers add, is ignored."""
    wire.answers(streamed([*STREAM, event("[DONE]")]))

    assert wire.answer(request("Hi", streamed=True)).text == "Hello."


def test_usage_agrees_with_the_price_library():
    """genai-prices reads the same usage from a body."""
    theirs = genai_prices.extract_usage(
        WHOLE | {"model": "gpt-6.1-sol"}, provider_id="openai", api_flavor="responses"
    ).usage
    ours = summed(list(ResponsesParser(errors()).feed(json.dumps(WHOLE)))).usage

    assert (ours.input_tokens, ours.output_tokens) == (theirs.input_tokens, theirs.output_tokens)
    assert ours.cached_tokens == theirs.cache_read_tokens
    assert ours.reasoning_tokens == theirs.output_reasoning_tokens


@dataclass(frozen=True)
class End:
    """A response and its finish reason."""

    name: str
    response: dict
    reason: str
    text: str = "Hello."


REFUSAL = {"type": "refusal", "refusal": "No."}
ENDS = [
    End("stop", _response(_message(_text("Hello."))), "stop"),
    End("tool", _response(CALL), "tool_calls", ""),
    End("refusal", _response(_message(REFUSAL)), "content_filter", "No."),
    *(
        End(
            reason,
            _response(
                _message(_text("Hello.")),
                status="incomplete",
                incomplete_details={"reason": reason},
            ),
            expected,
        )
        for reason, expected in [
            ("max_output_tokens", "length"),
            ("content_filter", "content_filter"),
            ("steered", "other"),
        ]
    ),
    End("nothing used", _response(_message(_text("Hello.")), usage=None), "stop"),
    End("two messages", _response(_message(_text("Hel")), _message(_text("lo."))), "stop"),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_why_it_ended_has_a_neutral_name(wire, end):
    """Finish reasons have neutral names, in a body and in the last event of a stream."""
    last = {"type": f"response.{end.response['status']}", "response": end.response}
    for script in (whole(end.response), streamed([event(last)])):
        wire.answers(script)
        answer = wire.answer(request("Hi"))
        assert (answer.text, answer.finish_reason) == (end.text, end.reason)
        assert answer.usage == (Usage(50, 80, 40, 5, 30) if end.response["usage"] else None)


def test_a_streamed_refusal_is_a_reply(wire):
    """A streamed refusal is a reply that contains its text once."""
    delta = {"type": "response.refusal.delta", "delta": "No."}
    last = {"type": "response.completed", "response": _response(_message(REFUSAL))}
    wire.answers(streamed([event(delta), event(last)]))
    answer = wire.answer(request("Hi", streamed=True))

    assert (answer.text, answer.finish_reason) == ("No.", "content_filter")


@dataclass(frozen=True)
class Fault:
    """A faulty response, and the error it becomes."""

    name: str
    body: object
    kind: type[GatewayError]
    status: int = 200
    code: str | None = None


def _failed(code):
    return _response(status="failed", error={"code": code, "message": "m"})


FAULTS = [
    Fault("key", {"error": {"message": f"bad {KEY}"}}, AuthenticationError, 401),
    Fault("quota", {"error": {"code": "insufficient_quota"}}, QuotaError, 429),
    Fault("model", {"error": {"code": "model_not_found"}}, ModelNotFoundError, 404),
    Fault("length", {"error": {"code": "context_length_exceeded"}}, ContextLengthError, 400),
    Fault("page", "<html>", ProviderError, 404),
    Fault("failed", _failed("server_error"), ProviderError, code="server_error"),
    Fault("failed, limited", _failed("rate_limit_exceeded"), RateLimitError),
    Fault("failed, blocked", _failed("invalid_prompt"), ContentFilterError),
    Fault("failed without a word", _response(status="failed"), ProviderError, code="failed"),
    Fault("error in 200", {"error": {"message": "over", "code": 429}}, RateLimitError),
    Fault("error text in 200", {"error": "over"}, ProviderError),
    Fault("error event", {"type": "error", "code": "rate_limit_exceeded"}, RateLimitError),
    Fault("error event of others", {"type": "error", "error": {"message": "m"}}, ProviderError),
    Fault("not begun", _response(status="queued"), TruncatedError),
    Fault("nothing", "{}", TruncatedError),
    Fault("a list", "[1]", ProviderError),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_a_typed_error(wire, fault):
    """A faulty response raises a typed error that names the engine and never shows the key."""
    wire.answers(whole(fault.body, fault.status))
    with pytest.raises(fault.kind) as caught:
        wire.ask()

    assert type(caught.value) is fault.kind
    assert (caught.value.engine, caught.value.model) == ("openai", "gpt-6.1-sol")
    assert fault.code in {None, caught.value.code}
    assert KEY not in f"{caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (event({"type": "error", "code": "server_error", "message": "m"}), ProviderError),
        (event({"error": {"code": "rate_limit_exceeded"}}), RateLimitError),
        (event({"type": "response.failed", "response": _failed("bio_policy")}), ContentFilterError),
        (event("no json"), ProviderError),
        (b'{"error": {"code": "rate_limit_exceeded"}}', RateLimitError),
    ],
)
def test_an_error_within_a_stream_is_raised_after_its_chunks(wire, bad, kind):
    """An error within a 200 stream is raised with the partial text, even outside of an event."""
    wire.answers(streamed([*STREAM[:9], bad]))
    with pytest.raises(kind) as caught:
        wire.streamed_text()

    assert caught.value.partial == "Hel"


def test_a_rejected_parameter_is_named(wire):
    """A rejected parameter is named as the caller spelled it."""
    error = {"message": "Unsupported parameter: 'max_output_tokens'", "param": "max_output_tokens"}
    wire.answers(whole({"error": error}, 400))
    with pytest.raises(RejectedParameterError) as caught:
        wire.ask(max_tokens=3)

    assert caught.value.code == "max_tokens"


def test_every_cut_of_a_stream_is_an_error(wire):
    """A stream cut at or within any event raises an error, whether ended, cut or reset."""
    check_cuts(wire, STREAM, ResponsesParser)


def test_however_it_is_split_the_chunks_are_the_same(wire):
    """The chunks do not depend on the size of the blocks that arrive."""
    check_splits(wire, ResponsesParser, STREAM)


def test_streams_at_once_do_not_mix(wire):
    """Concurrent streams do not mix: the engine holds no state of a stream."""
    check_at_once(wire, STREAM)


@pytest.mark.parametrize(
    ("options", "arguments", "route"),
    [
        ({}, request("Hi"), "responses"),
        ({"base_url": "https://api.openai.com/v1/"}, request("Hi"), "responses"),
        ({"base_url": "http://127.0.0.1:8000/v1"}, request("Hi"), "chat/completions"),
        ({"base_url": "http://x.test/v1", "api": "responses"}, request("Hi"), "responses"),
        ({"api": "chat"}, request("Hi"), "chat/completions"),
        ({}, request("Hi", stop=("x",)), "chat/completions"),
        ({}, request("Hi", seed=0), "chat/completions"),
        *(({}, request("Hi", params={name: 1}), "chat/completions") for name in sorted(CHAT_ONLY)),
        ({}, request("Hi", params={"top_logprobs": 1}), "responses"),
    ],
)
def test_what_responses_lacks_goes_to_chat(options, arguments, route):
    """Options that Responses lacks, and all calls to a custom base URL, use Chat Completions.

    The settings may choose the API.
    """
    engine = engine_module("openai").OpenAIEngine("k", **options)
    payload = engine.dialect(arguments).payload(arguments)

    assert engine.dialect(arguments).route(arguments) == route
    assert ("input" in payload, "messages" in payload) == (
        route == "responses",
        route != "responses",
    )


def test_responses_lacks_what_we_say_it_lacks():
    """The SDK's types confirm which options Responses lacks."""
    chat = completion_create_params.CompletionCreateParamsBase.__annotations__
    responses = response_create_params.ResponseCreateParamsBase.__annotations__

    assert chat.keys() >= CHAT_ONLY
    assert not CHAT_ONLY & responses.keys()


def test_an_unknown_interface_is_an_error():
    """An unknown interface raises an error that names the two valid ones."""
    with pytest.raises(ConfigError, match="'responses' or 'chat'"):
        engine_module("grok").GrokEngine("k", api="chats")


@settings(max_examples=400)
@given(mutations([*EVENTS, WHOLE, _failed("server_error"), *(end.response for end in ENDS)]))
def test_no_body_raises_anything_but_our_errors(events):
    """Bodies with junk in any place raise nothing but typed errors."""
    check_no_raw_exception(ResponsesParser(errors()), events)
