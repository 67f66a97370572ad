"""Response bodies are read by their content, whatever their content type or what follows."""

import json
import pickle

import pytest

from gatewayx_nb.errors import ProviderError, TransportError
from gatewayx_nb.llm_engines.response_body import EventLog
from gatewayx_nb.testing import (
    DIALECTS,
    CloseConnection,
    Reset,
    Send,
    Server,
    Stall,
    chunk,
    head,
    reply,
    stream_head,
)

ENGINES = {
    "chat": "grok",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "cohere": "cohere",
}
TEXT = "Hello."
KEY = "canary-0123456789-key"
DONE = b"data: [DONE]\n\n"
FAILURE = b'data: {"error": {"message": "upstream broke"}}\n\n'

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@pytest.fixture
def run(project):
    """Return a function that streams one call to a scripted server and returns its reply."""

    def run_call(dialect, *scripts):
        name = ENGINES[dialect.name]
        is_responses = dialect.name == "responses"
        api = '\nengines.openai.api = "responses"' if is_responses else ""
        project.settings(f"limits.retries = 2{api}")
        with Server(*scripts) as server:
            path = "" if name in ("anthropic", "google", "cohere") else "/v1"
            variable = f"GATEWAYX_{name.upper()}"
            project.set_keys(f"{variable}_API_KEY={KEY}\n{variable}_BASE_URL={server.url}{path}\n")
            with project.pool() as pool:
                stream = pool.stream("x", model=name)
                try:
                    list(stream)
                finally:
                    run_call.requests = len(server.requests)
                return stream.reply

    return run_call


@each_dialect
@pytest.mark.parametrize(
    "content_type", ["text/plain; charset=utf-8", "application/json", "application/octet-stream"]
)
def test_events_are_read_whatever_their_content_type(run, dialect, content_type):
    """Events of another content type are events."""
    start = head(content_type=content_type, connection="close")

    assert run(dialect, [Send(start), *map(Send, dialect.events), CloseConnection()]).text == TEXT


@each_dialect
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\n \n"], ids=["", "BOM", "spaces"])
def test_a_json_body_is_read_whatever_its_content_type(run, dialect, begin):
    """A server that does not stream may still answer as `text/event-stream`."""
    answer = run(dialect, [Send(reply(begin + dialect.whole, content_type="text/event-stream"))])

    assert (answer.text, answer.finish_reason) == (TEXT, "stop")


@each_dialect
@pytest.mark.parametrize(
    "end", [CloseConnection(), Reset(), Stall()], ids=["close", "reset", "stall"]
)
@pytest.mark.parametrize("rest", [b"", DONE, FAILURE, b"data: garbage\n\n"])
def test_nothing_after_its_end_damages_an_answer(run, dialect, end, rest):
    """A complete answer survives a cut, a stall, an error and garbage after its end marker."""
    events = b"".join(dialect.events)
    answer = run(dialect, [Send(stream_head()), Send(chunk(events + rest)), end])

    assert (answer.text, answer.usage.output_tokens) == (TEXT, 5)


@each_dialect
def test_empty_and_ping_events_are_ignored(run, dialect):
    """Empty data, comments, pings and an early `[DONE]` do not become part of an answer."""
    noise = b'data:\n\n: ping\n\nevent: ping\ndata: {"type": "ping"}\n\n'
    events = [noise + event for event in dialect.events]

    assert (
        run(dialect, [Send(stream_head()), *map(Send, map(chunk, events)), Send(chunk(b""))]).text
        == TEXT
    )


ERRORS = {
    "event with a message": b'event: error\ndata: {"message": "upstream broke", "code": 502}\n\n',
    "event with details": b'event: error\ndata: {"code": 400, "details": "upstream broke"}\n\n',
    "event with words": b"event: error\ndata: upstream broke\n\n",
    "event with an error": b'event: error\ndata: {"error": {"message": "upstream broke"}}\n\n',
    "error line": b'error: {"code": 400, "message": "upstream broke"}\n\n',
    "error line with words": b"error: upstream broke\n\n",
}


@each_dialect
@pytest.mark.parametrize("form", ERRORS)
@pytest.mark.parametrize("end", [b"", DONE], ids=["", "DONE"])
def test_the_reason_of_an_error_in_a_stream_is_shown(run, dialect, form, end):
    """An error event in any form raises an error with the provider's reason."""
    with pytest.raises(ProviderError, match="upstream broke"):
        run(dialect, [Send(stream_head()), Send(chunk(ERRORS[form] + end)), Send(chunk(b""))])


BODIES = {
    "detail": {"detail": "upstream broke"},
    "nested detail": {"detail": [{"loc": ["body"], "msg": "upstream broke"}]},
    "detail with an error": {"detail": {"error": {"message": "upstream broke"}}},
    "errors": {"errors": [{"message": "upstream broke"}]},
    "error texts": {"errors": ["upstream broke"]},
    "message with detail": {"object": "error", "message": {"detail": [{"msg": "upstream broke"}]}},
}


@each_dialect
@pytest.mark.parametrize("form", BODIES)
def test_the_reason_of_an_error_response_is_shown(run, dialect, form):
    """FastAPI's `detail`, `errors` lists and nested forms contain the reason."""
    with pytest.raises(ProviderError, match="upstream broke"):
        run(dialect, [Send(reply(json.dumps(BODIES[form]).encode(), 400))])


@each_dialect
@pytest.mark.parametrize("body", [b"upstream broke", b'{"note": "upstream broke"}'])
def test_a_response_without_an_answer_is_shown(run, dialect, body):
    """A text, or JSON without an answer, is quoted in the error."""
    with pytest.raises(ProviderError, match="upstream broke"):
        run(dialect, [Send(reply(body, content_type="text/plain"))])


@each_dialect
def test_a_long_header_is_accepted(run, dialect):
    """A header of more than 8 KiB, as gateways add, is accepted."""
    start = stream_head(x_trace="t" * 60_000)

    assert (
        run(dialect, [Send(start), *map(Send, map(chunk, dialect.events)), Send(chunk(b""))]).text
        == TEXT
    )


@each_dialect
def test_a_malformed_response_is_not_requested_again(run, dialect):
    """A malformed response is not requested again, because the provider has already billed it."""
    with pytest.raises(TransportError, match="does not speak HTTP"):
        run(dialect, [Send(b"HTTP/1.1 200 OK\r\nx: " + b"t" * 100_000 + b"\r\n\r\n")])
    assert run.requests == 1


@pytest.mark.parametrize("status", [520, 521, 522, 523, 524])
def test_errors_of_a_gateway_in_front_are_retried(run, status):
    """Cloudflare's statuses for a failing origin are retried, like 502."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    failure = [Send(reply(b"{}", status, retry_after="0"))]

    assert run(dialect, failure, dialect.stream(*dialect.events)).text == TEXT


@pytest.mark.parametrize("status", [400, 422])
def test_stream_options_that_were_refused_are_not_sent_again(project, status):
    """If a server refuses `stream_options`, the same request and later ones are sent without it."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    message = json.dumps({"error": {"message": "Unrecognized argument: stream_options"}}).encode()

    def script(request):
        if b"stream_options" in request.body:
            return [Send(reply(message, status))]
        return dialect.stream(*dialect.events)

    with Server(script) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY={KEY}\nGATEWAYX_OWN_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            for _ in range(2):
                stream = pool.stream("x", model="own:m")
                assert "".join(chunk.text for chunk in stream) == TEXT
        assert ["stream_options" in str(request.body) for request in server.requests] == [
            True,
            False,
            False,
        ]


def test_the_events_of_a_stream_are_read_when_asked_for():
    """A log is a sequence of parsed events without the end mark; invalid data is a str."""
    log = EventLog()
    log.add(['{"a": 1}', "{"])
    log.add(['{"b": NaN}', "[DONE]"])
    log.closed()

    assert len(log) == 3
    assert (log[0], log[1]) == ({"a": 1}, "{")
    assert log[:2] == [{"a": 1}, "{"]
    assert [type(event) for event in log] == [dict, str, dict]
    assert repr(log) == "<EventLog of 3 events>"
    assert list(pickle.loads(pickle.dumps(log)))[:2] == list(log)[:2]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_a_long_log_keeps_its_ends(block):
    """The middle of a long stream is left out, so that a log needs bounded memory."""
    events = [json.dumps({"n": number, "text": "x" * 1000}) for number in range(3000)]
    log = EventLog()
    for start in range(0, len(events), block):
        log.add(events[start : start + block])
    numbers = [event["n"] for event in log]

    assert sum(len(json.dumps(event)) for event in log) <= 1024 * 1024
    assert (numbers[0], numbers[-1]) == (0, 2999)
    assert numbers == sorted(numbers)
    assert log.omitted == 3000 - len(log)
    assert len(log) > 900


def test_one_large_event_is_kept():
    """The last event of a stream, which may hold an image, is never left out."""
    log = EventLog()
    log.add(['"first"', '"second"'])
    log.add([json.dumps("x" * 2_000_000)])

    assert (log[0], len(log[-1])) == ("first", 2_000_000)
