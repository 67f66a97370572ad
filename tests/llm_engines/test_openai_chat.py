import json
from dataclasses import dataclass, field

import pytest

from gatewayx_nb.errors import (
    AuthenticationError,
    ContextLengthError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TransportError,
    TruncatedError,
)
from gatewayx_nb.replies import Usage
from gatewayx_nb.testing import CloseConnection, Reset, Send, Server, chunk, reply, stream_head

KEY = "xai-canary-0123456789"

BODY = {
    "id": "cmpl-1",
    "model": "grok-4.6-exact",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello.", "reasoning_content": "Hm."},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}


def _make_event(body):
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def _make_chunk(reason=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _make_event(
        {"id": "cmpl-1", "model": "grok-4.6-exact", "choices": [choice], "usage": None}
    )


STREAM = [
    _make_chunk(role="assistant", content=""),
    _make_chunk(reasoning_content="Hm."),
    _make_chunk(content="Hel"),
    b": keep-alive\n\n",
    _make_chunk(content="lo."),
    _make_chunk(reason="stop"),
    _make_event({"choices": [], "usage": BODY["usage"], "model": "grok-4.6-exact", "id": "cmpl-1"}),
    _make_event("[DONE]"),
]


def _stream_script(events, *end):
    return [
        Send(stream_head()),
        *(Send(chunk(event)) for event in events),
        *(end or [Send(chunk(b""))]),
    ]


@pytest.fixture
def make_grok_pool(project):
    """Yield a function that creates a pool whose grok engine calls a local server."""
    pools = []

    def make(server):
        project.set_keys(f"GATEWAYX_GROK_API_KEY={KEY}\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n")
        project.settings("limits.retries = 0")
        pools.append(project.pool())
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_omitted_options_are_not_sent(make_grok_pool):
    """The request contains only the options that were set; the key is in its header."""
    with Server([Send(reply(json.dumps(BODY).encode()))]) as server:
        make_grok_pool(server).ask("Hi", model="grok")
        (request,) = server.requests

    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert json.loads(request.body) == {
        "model": "grok-4.6",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


def test_all_options_are_sent_under_the_provider_names(make_grok_pool):
    """All options are sent under the provider's names; `params` overrides them."""
    with Server(_stream_script(STREAM)) as server:
        list(
            make_grok_pool(server).stream(
                "Hi",
                model="grok:small",
                system="Brief.",
                temperature=0,
                max_tokens=9,
                stop=["x"],
                seed=1,
                schema=None,
                params={"top_p": 0.5, "seed": 2},
            )
        )
        body = json.loads(server.requests[0].body)

    assert body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Brief."},
            {"role": "user", "content": "Hi"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_completion_tokens": 9,
        "stop": ["x"],
        "seed": 2,
        "top_p": 0.5,
    }


def test_a_schema_is_sent_and_the_answer_parsed(make_grok_pool):
    """A schema is sent as the provider's structured output, and the answer is parsed."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    answer = {**BODY, "choices": [{"message": {"content": '{"a": 1}'}, "finish_reason": "stop"}]}
    with Server([Send(reply(json.dumps(answer).encode()))]) as server:
        assert make_grok_pool(server).ask("Hi", model="grok", schema=schema).parsed == {"a": 1}
        body = json.loads(server.requests[0].body)

    assert body["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": schema,
        "strict": True,
    }


@pytest.mark.parametrize("form", ["body", "stream", "body instead of a stream"])
def test_body_and_stream_yield_the_same_reply(make_grok_pool, form):
    """A body and a stream yield the same reply."""
    body_script = [Send(reply(json.dumps(BODY).encode()))]
    with Server(_stream_script(STREAM) if form == "stream" else body_script) as server:
        pool = make_grok_pool(server)
        if form == "body":
            answer = pool.ask("Hi", model="grok")
        else:
            stream = pool.stream("Hi", model="grok")
            list(stream)
            answer = stream.reply

    assert (answer.text, answer.reasoning, answer.model) == ("Hello.", "Hm.", "grok-4.6-exact")
    assert answer.usage == Usage(10, 5, 4, None, None)
    assert (answer.finish_reason, answer.request_id) == ("stop", "cmpl-1")
    assert answer.cost > 0, "the reported model has no price, but the requested one has"


def test_each_text_event_yields_a_chunk(make_grok_pool):
    """Each text event yields one chunk."""
    with Server(_stream_script(STREAM)) as server:
        texts = [
            chunk.text for chunk in make_grok_pool(server).stream("Hi", model="grok") if chunk.text
        ]

    assert texts == ["Hel", "lo."]


@pytest.mark.parametrize("fields", [{"usage": BODY["usage"]}, {"x_groq": {"usage": BODY["usage"]}}])
def test_an_event_with_text_and_usage_yields_both(make_grok_pool, fields):
    """The usage counts even if it arrives only in an event that also has text."""
    choice = {"index": 0, "delta": {"content": "Hello."}, "finish_reason": None}
    events = [_make_event({"choices": [choice], **fields}), *STREAM[-3::2]]
    with Server(_stream_script(events)) as server:
        reply = make_grok_pool(server).ask("Hi", model="grok")

    assert (reply.text, reply.usage) == ("Hello.", Usage(10, 5, 4))


def test_an_event_with_text_and_sources_after_the_finish_reason_yields_both(make_grok_pool):
    """Sources count even if they arrive after the finish reason, with more text."""
    choice = {"index": 0, "delta": {"content": " Bye."}, "finish_reason": None}
    late = _make_event({"choices": [choice], "citations": ["https://example.com"]})
    with Server(_stream_script([*STREAM[:-2], late, STREAM[-1]])) as server:
        reply = make_grok_pool(server).ask("Hi", model="grok")

    assert reply.text == "Hello. Bye."
    assert [citation.url for citation in reply.citations] == ["https://example.com"]


@dataclass(frozen=True)
class Case:
    """A usage object in a response, and the expected usage."""

    name: str
    usage: dict
    expected: Usage = field(default_factory=Usage)


@pytest.mark.parametrize(
    "case",
    [
        Case("empty object", {}, Usage()),
        Case("not a number", {"prompt_tokens": None, "completion_tokens": "five"}, Usage()),
        Case(
            "output with reasoning",
            {
                "prompt_tokens": 50,
                "completion_tokens": 80,
                "total_tokens": 130,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(50, 80, reasoning_tokens=30),
        ),
        Case(
            "output without reasoning, from xAI",
            {
                "prompt_tokens": 50,
                "completion_tokens": 50,
                "total_tokens": 130,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(50, 80, reasoning_tokens=30),
        ),
        Case(
            "DeepSeek's name of cached tokens",
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 3},
            Usage(5, 1, 3),
        ),
    ],
    ids=lambda case: case.name,
)
def test_output_tokens_include_reasoning_tokens(make_grok_pool, case):
    """Output tokens include reasoning tokens, even if the provider's do not.

    Missing counts are None, not 0.
    """
    with Server([Send(reply(json.dumps({**BODY, "usage": case.usage}).encode()))]) as server:
        assert make_grok_pool(server).ask("Hi", model="grok").usage == case.expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("unknown", "other"),
    ],
)
def test_finish_reasons_are_mapped_to_common_names(make_grok_pool, reason, expected):
    """Finish reasons are mapped to the package's names, and unknown reasons to `other`."""
    with Server(_stream_script([_make_chunk(content="x"), _make_chunk(reason=reason)])) as server:
        stream = make_grok_pool(server).stream("Hi", model="grok")
        list(stream)

    assert stream.reply.finish_reason == expected


@dataclass(frozen=True)
class Fault:
    """An error response, and the exception it raises."""

    name: str
    status: int
    body: dict | str
    kind: type[GatewayError]
    expected_message: str


FAULTS = [
    Fault(
        "invalid key", 401, {"error": {"message": f"bad key {KEY}"}}, AuthenticationError, "<key>"
    ),
    Fault("no credit", 402, {"error": "no credit"}, QuotaError, "no credit"),
    Fault(
        "forbidden", 403, {"error": {"message": "no"}}, AuthenticationError, "GATEWAYX_GROK_API_KEY"
    ),
    Fault(
        "unknown model",
        404,
        {"error": {"message": "unknown", "code": "model_not_found"}},
        ModelNotFoundError,
        "unknown",
    ),
    Fault("HTML with 404", 404, "<html>", ProviderError, "no reason given"),
    Fault("a text with 404", 404, "<h1>Not here</h1>", ProviderError, "404: Not here"),
    Fault("rate limit", 429, {"error": {"message": "slow"}}, RateLimitError, "slow"),
    Fault("quota", 429, {"error": {"code": "insufficient_quota"}}, QuotaError, "429"),
    Fault(
        "context length",
        400,
        {"error": {"message": "too long", "code": "context_length_exceeded"}},
        ContextLengthError,
        "too long",
    ),
    Fault("server error", 500, {"detail": "oh"}, ProviderError, "oh"),
    Fault(
        "200 with an error",
        200,
        {"error": {"message": "over", "code": 429}},
        RateLimitError,
        "over",
    ),
    Fault("200 with an error text", 200, {"error": "over"}, ProviderError, "over"),
    Fault("200 with vLLM's error", 200, {"object": "error", "message": "oh"}, ProviderError, "oh"),
    Fault("200 with HTML", 200, "<html>sign in</html>", ProviderError, "not JSON"),
    Fault("200 with NaN", 200, '{"usage": NaN}', ProviderError, "no answer"),
    Fault("200 with deep nesting", 200, "[" * 100_000, ProviderError, "not JSON"),
    Fault("200 with a list", 200, "[1]", ProviderError, "not a JSON object"),
    Fault("200 with HTML that contains the key", 200, f"<p>{KEY}</p>", ProviderError, "<key>"),
    Fault("code that contains the key", 400, {"error": {"code": f"x {KEY}"}}, ProviderError, "400"),
    Fault("200 with an empty object", 200, "{}", ProviderError, "no answer"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_error_responses_raise_typed_errors(make_grok_pool, fault):
    """An error response raises a one-line typed error that names the engine.

    It never shows the key, even if the provider's message does.
    """
    body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
    with Server([Send(reply(body.encode(), fault.status))]) as server:
        with pytest.raises(fault.kind, match=fault.expected_message) as caught:
            make_grok_pool(server).ask("Hi", model="grok")
        assert [request.method for request in server.requests].count("POST") == 1

    assert type(caught.value) is fault.kind
    assert caught.value.engine == "grok"
    assert "canary" not in f"{caught.value} {vars(caught.value)}"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "over", "code": "rate_limit_exceeded"}}, RateLimitError),
        ({"choices": [{"delta": {}, "finish_reason": "error"}]}, ProviderError),
        ("no json", ProviderError),
    ],
)
def test_an_error_within_a_stream_is_raised_after_the_chunks(make_grok_pool, event, kind):
    """An error within a 200 stream is raised with the partial text."""
    script = _stream_script([_make_chunk(content="half"), _make_event(event)])
    with Server(script) as server, pytest.raises(kind) as caught:
        list(make_grok_pool(server).stream("Hi", model="grok"))

    assert caught.value.partial == "half"


@pytest.mark.no_cover
def test_a_truncated_stream_raises_an_error(make_grok_pool):
    """A stream that ends before its finish reason raises an error, however the connection ends."""
    last = next(index for index, event in enumerate(STREAM) if b'"finish_reason": "stop"' in event)
    for end in (Send(chunk(b"")), CloseConnection(), Reset()):
        for count in range(last + 1):
            with Server(_stream_script(STREAM[:count], end)) as server:
                stream = make_grok_pool(server).stream("Hi", model="grok")
                with pytest.raises((TruncatedError, TransportError)) as caught:
                    list(stream)
            assert caught.value.partial == "Hello."[: len(caught.value.partial)]


def test_a_key_of_another_vendor_is_reported(project):
    """If a rejected key looks like another vendor's, the error says so without showing the key."""
    with Server([Send(reply(b"{}", 401))]) as server:
        url = f"GATEWAYX_GROK_BASE_URL={server.url}/v1"
        project.set_keys(f"GATEWAYX_GROK_API_KEY=sk-ant-api03-canary\n{url}\n")
        with project.pool() as pool, pytest.raises(AuthenticationError) as caught:
            pool.ask("Hi", model="grok")

    assert "the key looks like one for 'anthropic'" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_rate_limit_error_has_the_time_to_retry(make_grok_pool):
    """The error has the delay from `Retry-After`; after more than a minute there is no retry."""
    response = reply(b"{}", 429, retry_after="120")
    with Server([Send(response)]) as server, pytest.raises(RateLimitError) as caught:
        make_grok_pool(server).ask("Hi", model="grok")

    assert caught.value.retry_after == 120.0


def test_listing_models_uses_no_tokens(make_grok_pool):
    """The list of models uses no tokens, and the health check requests it."""
    body = json.dumps({"data": [{"id": "grok-4.6"}, {"id": "other"}, {}, 3]}).encode()
    with Server([Send(reply(body))]) as server:
        pool = make_grok_pool(server)
        target = pool._registry.resolve("grok")
        host = pool._runtime.host(target)

        async def query():
            async with host.acquire(target) as instance:
                return await instance.engine.models(), await instance.engine.health_check()

        models, is_healthy = host.portal.run(query())
        assert server.requests[0].target == "/v1/models"

    assert [(str(model), model.default) for model in models] == [
        ("grok:grok-4.6", True),
        ("grok:other", False),
    ]
    assert is_healthy
