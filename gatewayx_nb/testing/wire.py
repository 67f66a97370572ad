"""Rules for HTTP engines, tested with a server that misbehaves in many ways."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    AuthenticationError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    RateLimitError,
    TransportError,
    TruncatedError,
)
from gatewayx_nb.testing.dialects import INPUT_TOKENS, MODELS, OUTPUT_TOKENS, TEXT, event
from gatewayx_nb.testing.steps import (
    CloseConnection,
    Reset,
    Send,
    Split,
    Wait,
    chunk,
    gzipped,
    html,
    redirect,
    reply,
    stream_head,
)
from gatewayx_nb.testing.subject import Rule, rule
from gatewayx_nb.transport import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.testing.dialects import DialectSample
    from gatewayx_nb.testing.server import Server
    from gatewayx_nb.testing.steps import Step
    from gatewayx_nb.testing.subject import CallResult, EngineUnderTest

FAULT_RULES: list[Rule] = []
"""Rules for all HTTP engines."""

STREAM_RULES: list[Rule] = []
"""Rules for an engine with a known dialect."""

_WRITE_SIZES = (1, 2, 3, 7, 64)
"""Bytes per write: small writes split characters and field names, larger writes split lines."""

_RETRY_DELAY = 7.0
"""Seconds that the server requests before a retry."""

_WRITE_INTERVAL = 0.002
"""Seconds between writes; without a pause, their bytes would be read together."""

_USE_CLIENT = "Send requests with `self.http`."
_USE_DECODER = "Read events with `sse.Decoder`."

_STATUSES: dict[int, tuple[type[GatewayError], ...]] = {
    401: (AuthenticationError,),
    403: (AuthenticationError,),
    404: (ModelNotFoundError, ProviderError),
    429: (RateLimitError,),
    500: (ProviderError,),
}
"""The errors for each status."""


def _dialect(subject: EngineUnderTest) -> DialectSample:
    assert subject.dialect is not None  # noqa: S101 - these rules need a dialect
    return subject.dialect


def _server(subject: EngineUnderTest) -> Server:
    assert subject.server is not None  # noqa: S101 - these rules need a server
    return subject.server


def _difference(outcome: CallResult, *, text: str = TEXT) -> str | None:
    """Return the problem of a reply that should be complete; ``None`` if it is complete."""
    usage = outcome.usage
    tokens = (usage.input_tokens, usage.output_tokens) if usage else None
    if outcome.error or (outcome.text, outcome.finish_reason) != (text, "stop"):
        return f"it {outcome}"
    return None if tokens == (INPUT_TOKENS, OUTPUT_TOKENS) else f"its usage is {tokens}"


def _problem_unless_raised(outcome: CallResult, *error_types: type[GatewayError]) -> str | None:
    """Return the outcome of a call, or ``None`` if the call failed with one of these errors."""
    return None if isinstance(outcome.error, error_types) else f"it {outcome}"


@rule(
    FAULT_RULES,
    "401, 403, 404, 429 and 500 raise the error class for that status",
    "Create them with `errors.from_response(…)`.",
)
async def _statuses(subject: EngineUnderTest) -> str | None:
    for status, error_types in _STATUSES.items():
        outcome = await subject.ask([Send(reply(b'{"error": {"message": "no"}}', status))])
        if problem := _problem_unless_raised(outcome, *error_types):
            return f"for {status} {problem}"
    return None


@rule(
    FAULT_RULES, "a rate limit error has `retry_after`", "Pass `Retry-After` on as `retry_after`."
)
async def _retry_after(subject: EngineUnderTest) -> str | None:
    outcome = await subject.ask([Send(reply(b"{}", 429, retry_after=f"{_RETRY_DELAY:g}"))])
    delay = getattr(outcome.error, "retry_after", None)
    return None if delay == _RETRY_DELAY else f"it is {delay!r}"


@rule(FAULT_RULES, "no error contains the key", "Use `redact(text, [self.api_key])`.")
async def _key_in_errors(subject: EngineUnderTest) -> str | None:
    body = f'{{"error": {{"message": "bad key {subject.key}"}}}}'.encode()
    for script in ([Send(reply(body, 401))], [Send(reply(body))], [Reset()]):
        error = (await subject.ask(script)).error
        if error is not None:
            # All parts of an error that may be shown on a page or in a log.
            error_text = f"{error!r} {vars(error)} {''.join(traceback.format_exception(error))}"
            if subject.key in error_text:
                return f"a {type(error).__name__} contains it"
    return None


@rule(FAULT_RULES, "an HTML page raises an error", "Parse bodies with `json_body.parse`.")
async def _page(subject: EngineUnderTest) -> str | None:
    return _problem_unless_raised(await subject.ask([Send(html())]), GatewayError)


@rule(FAULT_RULES, "a redirect is not followed", _USE_CLIENT)
async def _redirected(subject: EngineUnderTest) -> str | None:
    server = _server(subject)
    count_before = len(server.requests)
    outcome = await subject.ask([Send(redirect(f"{server.url}/elsewhere"))])
    if len(server.requests) > count_before + 1:
        return "it was followed"
    return _problem_unless_raised(outcome, GatewayError)


@rule(FAULT_RULES, "a compressed reply raises an error", _USE_CLIENT)
async def _compressed(subject: EngineUnderTest) -> str | None:
    return _problem_unless_raised(await subject.ask([Send(gzipped())]), GatewayError)


@rule(FAULT_RULES, "a broken connection raises a GatewayError", _USE_CLIENT)
async def _disconnected(subject: EngineUnderTest) -> str | None:
    for step in (CloseConnection(), Reset()):
        if problem := _problem_unless_raised(await subject.ask([step]), GatewayError):
            return problem
    return None


@rule(FAULT_RULES, "no URL contains the key", "Set `key_header` and `key_prefix`.")
async def _urls(subject: EngineUnderTest) -> str | None:
    targets = [request.target for request in _server(subject).requests]
    targets = [target for target in targets if subject.key in target]
    return "a path contains it" if targets else None


@rule(
    STREAM_RULES,
    "a reply has the same content whether or not it is streamed",
    "Parse both with one parser: text, finish reason and usage.",
)
async def _same_content(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    whole_reply = await subject.ask([Send(reply(dialect.whole))], streamed=False)
    streamed_reply = await subject.ask(dialect.stream(*dialect.events))
    if problem := _difference(whole_reply):
        return f"the whole reply: {problem}"
    return f"the stream: {problem}" if (problem := _difference(streamed_reply)) else None


@rule(STREAM_RULES, "a truncated stream raises an error", "Set `finished` at the end marker.")
async def _truncated(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    for end in (Send(chunk(b"")), CloseConnection(), Reset()):
        for count in range(dialect.end + 1):
            outcome = await subject.ask(dialect.stream(*dialect.events[:count], end=end))
            if problem := _problem_unless_raised(outcome, TruncatedError, TransportError):
                return f"after {count} events and {type(end).__name__}, {problem}"
    return None


@rule(STREAM_RULES, "a stream may be split at any byte", _USE_DECODER)
async def _splits(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    unsplit_result = await subject.ask(dialect.stream(*dialect.events))
    body = b"".join(map(chunk, dialect.events)) + chunk(b"")
    for size in _WRITE_SIZES:
        outcome = await subject.ask([Send(stream_head()), Split(body, size)])
        if outcome.error or outcome.chunks != unsplit_result.chunks:
            return f"in pieces of {size} bytes, it {outcome}"
    return None


@rule(STREAM_RULES, "lines end in LF, CRLF or CR, and data may span lines", _USE_DECODER)
async def _line_ends(subject: EngineUnderTest) -> str | None:
    for line_end in (b"\n", b"\r\n", b"\r"):
        # Data on two lines, to detect line endings that are counted twice.
        lines = (data.replace(b"data: {", b"data: {\ndata: ") for data in _dialect(subject).events)
        body = b"".join(lines).replace(b"\n", line_end)
        outcome = await subject.ask([Send(stream_head()), *_split_after_cr(body), Send(chunk(b""))])
        if problem := _difference(outcome):
            return f"with {line_end!r} {problem}"
    return None


def _split_after_cr(body: bytes) -> Iterator[Step]:
    """Yield steps that send these bytes, with a pause after each CR to separate the reads."""
    for piece in body.replace(b"\r", b"\r\0").split(b"\0"):
        if piece:
            yield Send(chunk(piece))
            yield Wait(_WRITE_INTERVAL)


@rule(STREAM_RULES, "a byte order mark is skipped", _USE_DECODER)
async def _byte_order_mark(subject: EngineUnderTest) -> str | None:
    # Put the mark before the first event with text, because the loss of an empty event is not
    # noticed.
    events = _dialect(subject).events
    text_index = next(index for index, data in enumerate(events) if b"Hel" in data)
    data_lines = events[text_index][events[text_index].index(b"data:") :]
    marked_events = (b"\xef\xbb\xbf" + data_lines, *events[text_index + 1 :])
    outcome = await subject.ask(_dialect(subject).stream(*marked_events))
    return None if outcome.error is None and outcome.text == TEXT else f"it {outcome}"


@rule(STREAM_RULES, "comments are skipped", _USE_DECODER)
async def _comments(subject: EngineUnderTest) -> str | None:
    return await _check_insertions(subject, b": ping\n\n", b":\n\n")


@rule(
    STREAM_RULES,
    "empty and unknown events are skipped",
    "Let the parser yield nothing for events it does not know.",
)
async def _ignorable_events(subject: EngineUnderTest) -> str | None:
    return await _check_insertions(subject, *_dialect(subject).ignorable)


async def _check_insertions(subject: EngineUnderTest, *insertions: bytes) -> str | None:
    """Insert bytes between the events of a stream; the reply must not change."""
    dialect = _dialect(subject)
    for ignorable in insertions:
        events = [piece for data in dialect.events[: dialect.end] for piece in (data, ignorable)]
        outcome = await subject.ask(dialect.stream(*events, *dialect.events[dialect.end :]))
        if problem := _difference(outcome):
            return f"with {ignorable[:80]!r} {problem}"
    return None


@rule(
    STREAM_RULES, "invalid UTF-8 does not raise a raw exception", 'Decode with `errors="replace"`.'
)
async def _invalid_utf8(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    events = [piece.replace(b"Hel", b"Hel\xff") for piece in dialect.events]
    outcome = await subject.ask(dialect.stream(*events))
    # A reply with U+FFFD and a typed error are both acceptable.
    return f"it {outcome}" if outcome.is_raw else None


@rule(STREAM_RULES, "an endless line raises an error", _USE_DECODER)
async def _endless_line(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    line = b"data: " + b"x" * (MAX_RESPONSE_BYTES + 1) + b"\n\n"
    return _problem_unless_raised(
        await subject.ask(dialect.stream(dialect.events[0], line)), GatewayError
    )


@rule(STREAM_RULES, "an error in a reply with status 200 is raised", "Raise `errors.from_body(…)`.")
async def _errors_in_replies(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    data = event(dialect.fault.decode(), name="error")
    scripts = {
        "whole": [Send(reply(dialect.fault))],
        "at the start of a stream": dialect.stream(data),
        "within a stream": dialect.stream(*dialect.events[: dialect.end], data),
    }
    for position, script in scripts.items():
        outcome = await subject.ask(script)
        if isinstance(outcome.error, TruncatedError) or not isinstance(outcome.error, GatewayError):
            return f"{position}, it {outcome}"
    return None


@rule(STREAM_RULES, "the models are listed", "Override `model_names` and `models_path`.")
async def _listed(subject: EngineUnderTest) -> str | None:
    subject.script = _dialect(subject).answer
    names = [info.model for info in await subject.engine.models()]
    if tuple(names) != MODELS:
        return f"`models` returned {names}"
    return None if await subject.engine.health_check() is True else "`health_check` is not True"
