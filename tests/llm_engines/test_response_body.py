"""Response bodies are read by their content, whatever their content type or what follows."""

import asyncio
import contextlib
import dataclasses
import json
import pickle
import re

import pytest

from gatewayx_nb import llm_engines
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.engine_pool.chunk_check import ChunkChecker
from gatewayx_nb.errors import GatewayError, ProviderError, TransportError, TruncatedError
from gatewayx_nb.llm_engines.response_body import EventLog
from gatewayx_nb.replies import Chunk
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
from tests.llm_engines.wire import ENGINES, make_request

TEXT = "Hello."
KEY = "canary-0123456789-key"
DONE = b"data: [DONE]\n\n"
FAILURE = b'data: {"error": {"message": "upstream broke"}}\n\n'

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@pytest.fixture
def run(project):
    """Yield a function that makes one call to a scripted server and returns its reply."""
    scripts = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            Server(lambda _: scripts.pop(0) if scripts[1:] else scripts[0])
        )
        lines = []
        for dialect, name in ENGINES.items():
            path = "/v1" if dialect in ("chat", "responses") else ""
            variable = f"GATEWAYX_{name.upper()}"
            lines += [f"{variable}_API_KEY={KEY}", f"{variable}_BASE_URL={server.url}{path}"]
        project.set_keys("\n".join(lines) + "\n")
        project.settings('limits.retries = 1\nengines.openai.api = "responses"')
        pool = stack.enter_context(project.pool())

        def run_call(dialect, *further, is_streamed=True):
            scripts[:] = further
            server.requests.clear()
            name = ENGINES[dialect.name]
            if not is_streamed:
                return pool.ask("x", model=name)
            stream = pool.stream("x", model=name)
            try:
                list(stream)
            finally:
                run_call.requests = len(server.requests)
            return stream.reply

        yield run_call


@each_dialect
@pytest.mark.parametrize(
    "content_type", ["text/plain; charset=utf-8", "application/json", "application/octet-stream"]
)
def test_events_are_read_whatever_their_content_type(run, dialect, content_type):
    """Events are read as events even with another content type."""
    start = head(content_type=content_type, connection="close")

    assert run(dialect, [Send(start), *map(Send, dialect.events), CloseConnection()]).text == TEXT


@each_dialect
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b"\n \n"], ids=["", "BOM", "spaces"])
def test_a_json_body_is_read_whatever_its_content_type(run, dialect, begin):
    """A server that does not stream may still answer as `text/event-stream`."""
    answer = run(dialect, [Send(reply(begin + dialect.whole, content_type="text/event-stream"))])

    assert (answer.text, answer.finish_reason) == (TEXT, "stop")


def error_head(status):
    """Return the head of an error response with a chunked body."""
    return head(status, content_type="application/json", transfer_encoding="chunked")


def text_event(dialect):
    """Return an event with a piece of the text."""
    return next(event for event in dialect.events if b'"Hel"' in event)


def fields(answer):
    """Return what an answer holds, without what differs between calls."""
    changing = ("latency", "time_to_first", "raw", "request_id")
    names = (field.name for field in dataclasses.fields(answer) if field.name not in changing)
    return {name: getattr(answer, name) for name in names}


RESTS = {
    "nothing": b"",
    "DONE": DONE,
    "an error": FAILURE,
    "an error event": b"event: error\ndata: upstream broke\n\n",
    "an error with a type": b'data: {"type": "error", "message": "upstream broke"}\n\n',
    "an error with a message": b'data: {"message": "upstream broke"}\n\n',
    "vLLM's error": b'data: {"object": "error", "message": "upstream broke"}\n\n',
    "a line of an error": b'{"error": {"message": "upstream broke"}}\n\n',
    "garbage": b"data: garbage\n\n",
    "cut JSON": b'data: {"choices": [{"del\n\n',
    "no UTF-8": b'data: {"type": "\xff\xfe"}\n\ndata: \xc3\n\n',
    "zeros": bytes(1000),
}


@each_dialect
@pytest.mark.parametrize(
    "end", [CloseConnection(), Reset(), Stall()], ids=["close", "reset", "stall"]
)
@pytest.mark.no_cover
def test_nothing_after_its_end_damages_an_answer(run, dialect, end):
    """A complete answer survives a cut, a stall, an error and garbage after its end marker."""
    events = b"".join(dialect.events)
    for name, rest in RESTS.items():
        answer = run(dialect, [Send(stream_head()), Send(chunk(events + rest)), end])

        assert (answer.text, answer.finish_reason) == (TEXT, "stop"), name
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5), name


@each_dialect
@pytest.mark.parametrize("is_later", [False, True], ids=["same read", "later"])
def test_what_follows_the_end_mark_is_not_part_of_the_answer(run, dialect, is_later):
    """Events after an answer's end mark are ignored; only a proxy adds one to Gemini's."""
    mark = DONE if dialect.name == "gemini" else b""
    events = [*dialect.events, mark]
    more = [text_event(dialect).replace(b"Hel", b"More"), *dialect.events]
    alone = run(dialect, dialect.stream(b"".join(events)))
    blocks = [b"".join(events), *more] if is_later else [b"".join([*events, *more])]

    assert fields(run(dialect, dialect.stream(*blocks))) == fields(alone)


@each_dialect
@pytest.mark.parametrize("cut", [0, 1], ids=["with the head", "after the head"])
def test_a_broken_chunk_after_the_end_mark_is_ignored(run, dialect, cut):
    """Bytes that are not HTTP do not damage what has arrived before them, even in the same read."""
    blocks = [stream_head(), chunk(b"".join(dialect.events)) + b"no chunk\r\n"]
    sent = [b"".join(blocks)] if cut == 0 else blocks

    assert run(dialect, [*map(Send, sent), CloseConnection()]).text == TEXT


@each_dialect
@pytest.mark.parametrize("cut", [0, 1], ids=["with the head", "after the head"])
def test_a_broken_chunk_before_the_end_mark_truncates_an_answer(run, dialect, cut):
    """The text that has arrived is in the error."""
    events = b"".join(dialect.events[: dialect.end])
    blocks = [stream_head(), chunk(events) + b"no chunk\r\n"]
    sent = [b"".join(blocks)] if cut == 0 else blocks

    with pytest.raises((TransportError, TruncatedError)) as caught:
        run(dialect, [*map(Send, sent), CloseConnection()])
    assert caught.value.partial == TEXT


WHOLE_ENDS = {
    "close": ([], CloseConnection()),
    "reset": ([], Reset()),
    "stall": ([], Stall()),
    "a broken chunk": ([b"no chunk\r\n"], CloseConnection()),
    "DONE": ([chunk(b"\n\ndata: [DONE]\n\n"), chunk(b"")], CloseConnection()),
    "text": ([chunk(b"\n-- \nsent by a proxy"), chunk(b"")], CloseConnection()),
    "no UTF-8": ([chunk(b"\xff\xfe"), chunk(b"")], CloseConnection()),
}


@each_dialect
@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
def test_a_json_body_is_its_own_end(run, dialect, is_streamed):
    """Neither a cut, a stall nor text after complete JSON damages it."""
    for name, (blocks, last) in WHOLE_ENDS.items():
        script = [Send(stream_head()), Send(chunk(dialect.whole)), *map(Send, blocks), last]
        answer = run(dialect, script, is_streamed=is_streamed)

        assert (answer.text, answer.usage.output_tokens) == (TEXT, 5), name


@each_dialect
@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("is_null", [True, False], ids=["null", "missing"])
def test_a_whole_body_without_a_finish_reason_has_stopped(run, dialect, is_streamed, is_null):
    """The body itself is complete, so no dialect invents a reason that was not sent."""
    body = re.sub(
        rb'"(finish_reason|finishReason|stop_reason)": ?"\w+"',
        rb'"\1": null' if is_null else b'"other": 1',
        dialect.whole,
    )
    answer = run(dialect, [Send(reply(body))], is_streamed=is_streamed)

    assert (answer.text, answer.finish_reason) == (TEXT, "stop")


@each_dialect
@pytest.mark.parametrize("separate", [False, True], ids=["one read", "two reads"])
def test_bytes_after_the_length_of_a_body_are_ignored(run, dialect, separate):
    """A body that is longer than its header says ends where the header says."""
    blocks = [reply(dialect.whole), b"garbage"] if separate else [reply(dialect.whole) + b"garbage"]

    assert run(dialect, [*map(Send, blocks), CloseConnection()], is_streamed=False).text == TEXT


@each_dialect
def test_json_events_without_their_field_names_are_events(run, dialect):
    """A stream of JSON lines is complete only with its end mark."""
    lines = [event.partition(b"data: ")[2] for event in dialect.events]
    kept = lines[: dialect.end + 1]

    assert run(dialect, [Send(reply(b"".join(kept)))]).text == TEXT
    with pytest.raises(TruncatedError):
        run(dialect, [Send(reply(b"".join(lines[: dialect.end])))])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("end", [CloseConnection(), Send(chunk(b""))], ids=["close", "end"])
def test_a_list_of_events_that_is_cut_off_ends_with_its_end_mark(run, count, end):
    """Without `alt=sse`, Gemini streams one list; its closing bracket says nothing new."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "gemini")
    values = [event.partition(b"data: ")[2].strip() for event in dialect.events]
    script = [Send(stream_head()), Send(chunk(b"[" + b",\r\n".join(values[:count]))), end]

    if count == len(values):
        assert run(dialect, script).text == TEXT
    else:
        with pytest.raises(TruncatedError) as caught:
            run(dialect, script)
        assert caught.value.partial == ["Hel", TEXT][count - 1]


@pytest.mark.parametrize("mark", [b"data: [DONE]", b"data:  [DONE] ", b"event: x\ndata:[DONE]!"])
def test_an_end_mark_may_have_spaces(run, mark):
    """What follows such an end mark is not part of the answer."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    events = [*dialect.events[:-1], mark + b"\n\n", text_event(dialect)]

    assert run(dialect, dialect.stream(b"".join(events))).text == TEXT


def test_a_proxys_page_is_shown_without_its_markup(run):
    """The title and the text of an HTML page are shown as the reason."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    page = b"<html><title>502 Bad Gateway</title><style>a{}</style><h1>upstream&nbsp;broke</h1>"

    with pytest.raises(ProviderError, match="HTTP 502: 502 Bad Gateway upstream broke"):
        run(dialect, [Send(reply(page, 502, retry_after="0"))])


def test_a_json_line_and_a_part_of_another_are_cut(run):
    """One whole value is not an answer if another one begins after it."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    lines = [event.partition(b"data: ")[2] for event in dialect.events]

    with pytest.raises(TruncatedError):
        run(dialect, [Send(reply(lines[1] + lines[2][:20]))])


@each_dialect
def test_pings_after_a_complete_answer_do_not_keep_it_open(monkeypatch, dialect):
    """A server that never closes its stream delays an answer by a bounded time."""

    class Pinging:
        status, headers, content_type, pings = 200, {}, "text/event-stream", 0

        async def blocks(self):
            yield b"".join(dialect.events[: dialect.end + 1])
            for self.pings in range(1, 1000):
                await asyncio.sleep(0.02)
                yield b"event: ping\ndata: {}\n\n"

        def start_read_timeout(self):
            pass

    response = Pinging()

    class Client:
        @contextlib.asynccontextmanager
        async def post(self, *_):
            yield response

    async def read():
        engine = getattr(llm_engines, dialect.base)(api_key=KEY, **dialect.options)
        return [chunk async for chunk in engine.stream(make_request(streamed=True))]

    monkeypatch.setattr(llm_engines.HTTPEngine, "http", Client())
    chunks = asyncio.run(read())

    assert "".join(chunk.text for chunk in chunks) == TEXT
    assert response.pings < 999


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
    "code": {"error": {"code": "upstream broke", "message": None}},
    "type": {"error": {"type": "upstream broke", "message": ""}},
    "OAuth": {"error": "invalid", "error_description": "upstream broke"},
    "nested OAuth": {"error": {"error_description": "upstream broke"}},
    "message in camel case": {"error": {"errorMessage": "upstream broke"}},
    "problem details": {"type": "about:blank", "title": "upstream broke", "status": 400},
    "problem details with a detail": {"title": "Bad Request", "detail": "upstream broke"},
    "title": {"error": {"title": "upstream broke"}},
    "reason": {"error": {"reason": "upstream broke"}},
    "status": {"error": {"status": "upstream broke"}},
    "msg": {"code": 7, "msg": "upstream broke", "status": "error"},
    "description": {"status": "failed", "description": "upstream broke"},
    "type and code": {"type": "error", "code": "upstream broke"},
    "fields": {"errors": {"model": ["upstream broke"]}},
    "message with detail": {"object": "error", "message": {"detail": [{"msg": "upstream broke"}]}},
}


@each_dialect
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_the_reason_of_an_error_response_is_shown(run, dialect, is_streamed):
    """FastAPI's `detail`, `errors` lists and nested forms contain the reason, truncated or not."""
    for name, body in BODIES.items():
        data = json.dumps(body).encode()
        for end in (Send(chunk(b"")), CloseConnection(), Reset(), Stall()):
            if isinstance(end, Stall) and name != "detail":
                continue  # it takes a second
            script = [Send(error_head(400)), Send(chunk(data)), end]
            with pytest.raises(ProviderError, match="upstream broke"):
                run(dialect, script, is_streamed=is_streamed)


@each_dialect
@pytest.mark.parametrize("end", [CloseConnection(), Reset()], ids=["close", "reset"])
def test_the_beginning_of_an_error_response_is_shown(run, dialect, end):
    """A truncated error page is quoted."""
    script = [Send(error_head(403)), Send(chunk(b"<p>upstream broke</p>")), end]

    with pytest.raises(GatewayError, match="upstream broke"):
        run(dialect, script)


@each_dialect
def test_the_reason_of_an_error_within_a_stream_is_shown(run, dialect):
    """An error object of any form raises an error with the reason."""
    for body in BODIES.values():
        if "error" in body:
            data = b"data: " + json.dumps(body).encode() + b"\n\n"
            with pytest.raises(ProviderError, match="upstream broke"):
                run(dialect, [Send(stream_head()), Send(chunk(data)), Send(chunk(b""))])


def test_an_error_with_only_a_number_shows_it(run):
    """A code is better than no reason; one that is not an HTTP status is not shown as one."""
    (dialect,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    body = json.dumps({"error": {"code": 1301}}).encode()

    with pytest.raises(ProviderError, match="reported an error: code 1301") as caught:
        run(dialect, [Send(reply(body))])
    assert caught.value.status == 200


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
def test_errors_from_a_gateway_in_front_are_retried(run, status):
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


def test_an_engine_that_always_adapts_does_not_send_a_request_forever():
    """The number of adaptations to refusals is bounded; then the refusal is raised."""

    class Adapting(llm_engines.OpenAICompatibleEngine):
        name = "adapting"

        def adapt_to_refusal(self, *_):
            return True

    with Server(lambda _: [Send(reply(b'{"error": {"message": "no"}}', 400))]) as server:
        engine = Adapting(api_key=KEY, base_url=f"{server.url}/v1")
        with EnginePool(env={}, engines=[engine]) as pool, pytest.raises(ProviderError):
            pool.ask("x", model="adapting:m")
        assert len(server.requests) == 11


def test_a_streams_events_are_parsed_on_request():
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


def test_a_log_is_searched_for_the_key_when_it_is_read():
    """Most logs are never read, and searching them would take a third of the time of a stream."""
    key = "sk-0123456789"
    log = EventLog(key=key)
    log.add([json.dumps({"a": key}), key])

    checked = ChunkChecker("engine", key).check(Chunk(raw=log))
    assert checked.raw is log
    shown = [*log], log[:], repr(log), [*pickle.loads(pickle.dumps(log))]
    assert key not in repr(shown)
    assert [each["a"] for each, _ in (shown[0], shown[1], shown[3])] == ["<key>"] * 3


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


@each_dialect
def test_a_whole_body_is_one_chunk(run, dialect, monkeypatch):
    """Each chunk is checked separately, so one chunk costs a fraction of several."""
    chunks = []
    add = PartialReply.add
    monkeypatch.setattr(
        PartialReply, "add", lambda partial, one: (chunks.append(one), add(partial, one))
    )

    run(dialect, [Send(reply(dialect.whole))], is_streamed=False)

    (chunk,) = (one for one in chunks if one.text or one.usage or one.finish_reason or one.raw)
    assert (chunk.text, chunk.finish_reason, chunk.usage.output_tokens) == (TEXT, "stop", 5)
    assert chunk.raw == json.loads(dialect.whole)


def test_the_text_before_an_error_in_a_whole_body_is_kept(run):
    """The provider bills this text, so the error has it as its partial answer."""
    (chat,) = (dialect for dialect in DIALECTS if dialect.name == "chat")
    choice = {"index": 0, "message": {"content": "Half an"}, "finish_reason": "error"}
    body = json.dumps({"choices": [choice]}).encode()

    with pytest.raises(ProviderError) as caught:
        run(chat, [Send(reply(body))], is_streamed=False)

    assert caught.value.partial == "Half an"
