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

WHOLE = {
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


def _event(body):
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def _delta(finish=None, **delta):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "cmpl-1", "model": "grok-4.6-exact", "choices": [choice], "usage": None})


STREAM = [
    _delta(role="assistant", content=""),
    _delta(reasoning_content="Hm."),
    _delta(content="Hel"),
    b": keep-alive\n\n",
    _delta(content="lo."),
    _delta(finish="stop"),
    _event({"choices": [], "usage": WHOLE["usage"], "model": "grok-4.6-exact", "id": "cmpl-1"}),
    _event("[DONE]"),
]


def _streamed(parts, *end):
    return [
        Send(stream_head()),
        *(Send(chunk(piece)) for piece in parts),
        *(end or [Send(chunk(b""))]),
    ]


@pytest.fixture
def grok(project):
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


def test_only_what_the_caller_set_is_sent(grok):
    """The request contains only the options that were set, and the key in its header."""
    with Server([Send(reply(json.dumps(WHOLE).encode()))]) as server:
        grok(server).ask("Hi", model="grok")
        (request,) = server.requests

    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert json.loads(request.body) == {
        "model": "grok-4.6",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
    }


def test_everything_that_the_caller_set_is_sent(grok):
    """All options are sent under the provider's names; params override them."""
    with Server(_streamed(STREAM)) as server:
        list(
            grok(server).stream(
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


def test_a_schema_is_sent_and_the_answer_parsed(grok):
    """A schema is sent as the provider's structured output, and the answer is parsed."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    answer = {**WHOLE, "choices": [{"message": {"content": '{"a": 1}'}, "finish_reason": "stop"}]}
    with Server([Send(reply(json.dumps(answer).encode()))]) as server:
        assert grok(server).ask("Hi", model="grok", schema=schema).parsed == {"a": 1}
        body = json.loads(server.requests[0].body)

    assert body["response_format"]["json_schema"] == {
        "name": "answer",
        "schema": schema,
        "strict": True,
    }


@pytest.mark.parametrize("way", ["whole", "streamed", "whole though a stream was asked for"])
def test_every_way_gives_the_same_reply(grok, way):
    """A whole body and a stream yield the same reply, through one parser."""
    whole = [Send(reply(json.dumps(WHOLE).encode()))]
    with Server(_streamed(STREAM) if way == "streamed" else whole) as server:
        pool = grok(server)
        if way == "whole":
            answer = pool.ask("Hi", model="grok")
        else:
            stream = pool.stream("Hi", model="grok")
            list(stream)
            answer = stream.reply

    assert (answer.text, answer.reasoning, answer.model) == ("Hello.", "Hm.", "grok-4.6-exact")
    assert answer.usage == Usage(10, 5, 4, None, None)
    assert (answer.finish_reason, answer.request_id, answer.cost) == ("stop", "cmpl-1", None)


def test_text_comes_piece_by_piece(grok):
    """Each text event yields one chunk."""
    with Server(_streamed(STREAM)) as server:
        texts = [chunk.text for chunk in grok(server).stream("Hi", model="grok") if chunk.text]

    assert texts == ["Hel", "lo."]


@dataclass(frozen=True)
class Case:
    """A usage object of a server, and the expected usage."""

    name: str
    sent: dict
    expected: Usage = field(default_factory=Usage)


@pytest.mark.parametrize(
    "case",
    [
        Case("nothing", {}, Usage()),
        Case("no numbers", {"prompt_tokens": None, "completion_tokens": "5"}, Usage()),
        Case(
            "reasoning within",
            {
                "prompt_tokens": 50,
                "completion_tokens": 80,
                "total_tokens": 130,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(50, 80, reasoning_tokens=30),
        ),
        Case(
            "reasoning apart, as xAI counts",
            {
                "prompt_tokens": 50,
                "completion_tokens": 50,
                "total_tokens": 130,
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
            Usage(50, 80, reasoning_tokens=30),
        ),
        Case(
            "cache, as DeepSeek names it",
            {"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 3},
            Usage(5, 1, 3),
        ),
    ],
    ids=lambda case: case.name,
)
def test_usage_is_counted_as_design_does(grok, case):
    """Unknown usage is None, never 0; reasoning tokens are part of the output."""
    with Server([Send(reply(json.dumps({**WHOLE, "usage": case.sent}).encode()))]) as server:
        assert grok(server).ask("Hi", model="grok").usage == case.expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("something new", "other"),
    ],
)
def test_finish_reasons_have_neutral_names(grok, reason, expected):
    """Finish reasons have neutral names; unknown ones are `other`."""
    with Server(_streamed([_delta(content="x"), _delta(finish=reason)])) as server:
        stream = grok(server).stream("Hi", model="grok")
        list(stream)

    assert stream.reply.finish_reason == expected


@dataclass(frozen=True)
class Fault:
    """A faulty response, and the error it becomes."""

    name: str
    status: int
    body: dict | str
    kind: type[GatewayError]
    expected_message: str


FAULTS = [
    Fault("bad key", 401, {"error": {"message": f"bad key {KEY}"}}, AuthenticationError, "<key>"),
    Fault("no money", 402, {"error": "no credit"}, QuotaError, "no credit"),
    Fault(
        "forbidden", 403, {"error": {"message": "no"}}, AuthenticationError, "GATEWAYX_GROK_API_KEY"
    ),
    Fault(
        "no such model",
        404,
        {"error": {"message": "unknown", "code": "model_not_found"}},
        ModelNotFoundError,
        "unknown",
    ),
    Fault("no such page", 404, "<html>", ProviderError, "the body is not JSON"),
    Fault("rate", 429, {"error": {"message": "slow"}}, RateLimitError, "slow"),
    Fault("quota", 429, {"error": {"code": "insufficient_quota"}}, QuotaError, "429"),
    Fault(
        "too long",
        400,
        {"error": {"message": "too long", "code": "context_length_exceeded"}},
        ContextLengthError,
        "too long",
    ),
    Fault("broken", 500, {"detail": "oh"}, ProviderError, "oh"),
    Fault(
        "200 with an error",
        200,
        {"error": {"message": "over", "code": 429}},
        RateLimitError,
        "over",
    ),
    Fault("200 with an error text", 200, {"error": "over"}, ProviderError, "over"),
    Fault("200 of vLLM", 200, {"object": "error", "message": "oh"}, ProviderError, "oh"),
    Fault("200 with a page", 200, "<html>sign in</html>", ProviderError, "not JSON"),
    Fault("200 with NaN", 200, '{"usage": NaN}', ProviderError, "not JSON"),
    Fault("200 nested too deep", 200, "[" * 100_000, ProviderError, "not JSON"),
    Fault("200 with a list", 200, "[1]", ProviderError, "not a JSON object"),
    Fault("200 with a page that tells the key", 200, f"<p>{KEY}</p>", ProviderError, "<key>"),
    Fault("a code that tells the key", 400, {"error": {"code": f"x {KEY}"}}, ProviderError, "400"),
    Fault("200 with nothing", 200, "{}", TruncatedError, "end marker"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_a_typed_error_of_one_line(grok, fault):
    """An error response raises a one-line typed error that names the engine.

    It never shows the key, even if the provider's message does.
    """
    body = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
    with Server([Send(reply(body.encode(), fault.status))]) as server:
        with pytest.raises(fault.kind, match=fault.expected_message) as caught:
            grok(server).ask("Hi", model="grok")
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
def test_an_error_within_a_stream_is_raised_after_its_chunks(grok, event, kind):
    """An error within a 200 stream is raised with the partial text."""
    script = _streamed([_delta(content="half"), _event(event)])
    with Server(script) as server, pytest.raises(kind) as caught:
        list(grok(server).stream("Hi", model="grok"))

    assert caught.value.partial == "half"


def test_every_cut_of_a_stream_is_an_error(grok):
    """A stream that ends before its end marker, regularly or by a reset, raises an error."""
    marks = [number for number, piece in enumerate(STREAM) if b'"finish_reason": "stop"' in piece]
    for end in (Send(chunk(b"")), CloseConnection(), Reset()):
        for count in range(marks[0] + 1):
            with Server(_streamed(STREAM[:count], end)) as server:
                stream = grok(server).stream("Hi", model="grok")
                with pytest.raises((TruncatedError, TransportError)) as caught:
                    list(stream)
            assert caught.value.partial == "Hello."[: len(caught.value.partial)]


def test_a_key_of_another_vendor_is_named_as_such(project):
    """If a key is refused and looks like another vendor's, the error says so without showing it."""
    with Server([Send(reply(b"{}", 401))]) as server:
        url = f"GATEWAYX_GROK_BASE_URL={server.url}/v1"
        project.set_keys(f"GATEWAYX_GROK_API_KEY=sk-ant-api03-canary\n{url}\n")
        with project.pool() as pool, pytest.raises(AuthenticationError) as caught:
            pool.ask("Hi", model="grok")

    assert "the key looks like one for 'anthropic'" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_rate_limit_says_when(grok):
    """`Retry-After` is in the error; a wait of more than a minute is not retried."""
    limited = reply(b"{}", 429, retry_after="120")
    with Server([Send(limited)]) as server, pytest.raises(RateLimitError) as caught:
        grok(server).ask("Hi", model="grok")

    assert caught.value.retry_after == 120.0


def test_models_are_listed_without_a_token(grok):
    """The list of models uses no tokens, and the health check requests it."""
    listed = json.dumps({"data": [{"id": "grok-4.6"}, {"id": "other"}, {}, 3]}).encode()
    with Server([Send(reply(listed))]) as server:
        pool = grok(server)
        target = pool._registry.resolve("grok")
        host = pool._runtime.host(target)

        async def ask():
            async with host.use(target, 1) as engine:
                return await engine.models(), await engine.health_check()

        models, healthy = host.portal.run(ask())
        assert server.requests[0].target == "/v1/models"

    assert [(str(model), model.default) for model in models] == [
        ("grok:grok-4.6", True),
        ("grok:other", False),
    ]
    assert healthy
