"""Rules for HTTP engines, with a server that disconnects, splits, lies and refuses."""

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
from gatewayx_nb.testing.subject import Rule
from gatewayx_nb.transport import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.testing.dialects import Dialect
    from gatewayx_nb.testing.server import Server
    from gatewayx_nb.testing.steps import Step
    from gatewayx_nb.testing.subject import EngineUnderTest, Outcome

_SIZES = (1, 2, 3, 7, 64)
"""Sizes in bytes of the writes of a stream."""

_WAIT = 7.0
"""Retry delay in seconds that a server requests."""

_PAUSE = 0.002
"""Seconds between pieces, because pieces that arrive together are read together."""

_STATUSES: dict[int, tuple[type[GatewayError], ...]] = {
    401: (AuthenticationError,),
    403: (AuthenticationError,),
    404: (ModelNotFoundError, ProviderError),
    429: (RateLimitError,),
    500: (ProviderError,),
}
"""The errors for each status."""


def _dialect(subject: EngineUnderTest) -> Dialect:
    assert subject.dialect is not None  # noqa: S101 - these rules need a dialect
    return subject.dialect


def _server(subject: EngineUnderTest) -> Server:
    assert subject.server is not None  # noqa: S101 - these rules need a server
    return subject.server


def _wrong(outcome: Outcome, *, text: str = TEXT) -> str | None:
    """Return what is wrong with a reply that should be complete."""
    usage = outcome.usage
    tokens = (usage.input_tokens, usage.output_tokens) if usage else None
    if outcome.error or (outcome.text, outcome.finish_reason) != (text, "stop"):
        return f"it {outcome}"
    return None if tokens == (INPUT_TOKENS, OUTPUT_TOKENS) else f"it counted {tokens}"


def _not(outcome: Outcome, *kinds: type[GatewayError]) -> str | None:
    """Return what is wrong with a call that should fail with one of these errors."""
    return None if isinstance(outcome.error, kinds) else f"it {outcome}"


def _first(found: Iterable[str | None]) -> str | None:
    return next(filter(None, found), None)


async def _statuses(subject: EngineUnderTest) -> str | None:
    for status, kinds in _STATUSES.items():
        script = [Send(reply(b'{"error": {"message": "no"}}', status))]
        outcome = await subject.ask(script)
        if seen := _not(outcome, *kinds):
            return f"at {status} {seen}"
    return None


async def _retry_after(subject: EngineUnderTest) -> str | None:
    outcome = await subject.ask([Send(reply(b"{}", 429, retry_after=f"{_WAIT:g}"))])
    asked = getattr(outcome.error, "retry_after", None)
    return None if asked == _WAIT else f"it is {asked!r}"


async def _unsaid(subject: EngineUnderTest) -> str | None:
    said = f'{{"error": {{"message": "bad key {subject.key}"}}}}'.encode()
    for script in ([Send(reply(said, 401))], [Send(reply(said))], [Reset()]):
        error = (await subject.ask(script)).error
        if error is not None and subject.key in _shown(error):
            return f"it stands in a {type(error).__name__}"
    return None


def _shown(error: BaseException) -> str:
    """Return everything that a page or a log may show of an error."""
    return f"{error!r} {vars(error)} {''.join(traceback.format_exception(error))}"


async def _page(subject: EngineUnderTest) -> str | None:
    return _not(await subject.ask([Send(html())]), GatewayError)


async def _redirected(subject: EngineUnderTest) -> str | None:
    server = _server(subject)
    before = len(server.requests)
    outcome = await subject.ask([Send(redirect(f"{server.url}/elsewhere"))])
    if len(server.requests) > before + 1:
        return "it went there"
    return _not(outcome, GatewayError)


async def _compressed(subject: EngineUnderTest) -> str | None:
    return _not(await subject.ask([Send(gzipped())]), GatewayError)


async def _unreached(subject: EngineUnderTest) -> str | None:
    return _first(
        [_not(await subject.ask([end]), GatewayError) for end in (CloseConnection(), Reset())]
    )


async def _urls(subject: EngineUnderTest) -> str | None:
    targets = [seen.target for seen in _server(subject).requests if subject.key in seen.target]
    return "it stands in a path" if targets else None


FAULTS = (
    Rule(
        "401, 403, 404, 429 and 500 are errors of their class",
        "Make them by `faults.status(…)`.",
        _statuses,
    ),
    Rule(
        "a rate limit says when to come again",
        "Pass `Retry-After` on as `retry_after`.",
        _retry_after,
    ),
    Rule("the key does not show in an error", "Say `redact(text, [self.api_key])`.", _unsaid),
    Rule("a page of HTML is an error", "Read bodies by `body.parse`.", _page),
    Rule("a redirect is not followed", "Ask through `self.http`.", _redirected),
    Rule("a compressed answer is an error", "Ask through `self.http`.", _compressed),
    Rule("a broken connection is an error of ours", "Ask through `self.http`.", _unreached),
    Rule("the key stands in no URL", "Set `key_header` and `key_prefix`.", _urls),
)
"""Rules for all HTTP engines."""


async def _same(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    whole = await subject.ask([Send(reply(dialect.whole))], streamed=False)
    streamed = await subject.ask(dialect.stream(*dialect.events))
    if seen := _wrong(whole):
        return f"whole, {seen}"
    return f"streamed, {seen}" if (seen := _wrong(streamed)) else None


async def _cuts(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    for end in (Send(chunk(b"")), CloseConnection(), Reset()):
        for count in range(dialect.end + 1):
            outcome = await subject.ask(dialect.stream(*dialect.events[:count], end=end))
            if seen := _not(outcome, TruncatedError, TransportError):
                return f"cut behind {count} events by {type(end).__name__}, {seen}"
    return None


async def _splits(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    expected = await subject.ask(dialect.stream(*dialect.events))
    body = b"".join(map(chunk, dialect.events)) + chunk(b"")
    for size in _SIZES:
        outcome = await subject.ask([Send(stream_head()), Split(body, size)])
        if outcome.error or outcome.chunks != expected.chunks:
            return f"{size} bytes at a time, it {outcome}"
    return None


async def _line_ends(subject: EngineUnderTest) -> str | None:
    for line_end in (b"\n", b"\r\n", b"\r"):
        # Data on two lines, to detect line endings that are counted twice.
        lines = (data.replace(b"data: {", b"data: {\ndata: ") for data in _dialect(subject).events)
        body = b"".join(lines).replace(b"\n", line_end)
        outcome = await subject.ask([Send(stream_head()), *_behind_cr(body), Send(chunk(b""))])
        if seen := _wrong(outcome):
            return f"with {line_end!r} {seen}"
    return None


def _behind_cr(body: bytes) -> Iterator[Step]:
    """Send these bytes, with a pause after every carriage return to separate the reads."""
    for piece in body.replace(b"\r", b"\r\0").split(b"\0"):
        if piece:
            yield Send(chunk(piece))
            yield Wait(_PAUSE)


async def _mark(subject: EngineUnderTest) -> str | None:
    # Before the first text, whose loss is visible: earlier events may be empty.
    events = _dialect(subject).events
    first = next(place for place, data in enumerate(events) if b"Hel" in data)
    bare = events[first][events[first].index(b"data:") :]
    marked = (b"\xef\xbb\xbf" + bare, *events[first + 1 :])
    outcome = await subject.ask(_dialect(subject).stream(*marked))
    return None if outcome.error is None and outcome.text == TEXT else f"it {outcome}"


async def _comments(subject: EngineUnderTest) -> str | None:
    return await _between(subject, b": ping\n\n", b":\n\n")


async def _idle(subject: EngineUnderTest) -> str | None:
    return await _between(subject, *_dialect(subject).idle)


async def _between(subject: EngineUnderTest, *further: bytes) -> str | None:
    """Insert bytes between the events of a stream; the reply must not change."""
    dialect = _dialect(subject)
    for idle in further:
        events = [piece for one in dialect.events[: dialect.end] for piece in (one, idle)]
        outcome = await subject.ask(dialect.stream(*events, *dialect.events[dialect.end :]))
        if seen := _wrong(outcome):
            return f"with {idle[:80]!r} {seen}"
    return None


async def _broken_text(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    events = [piece.replace(b"Hel", b"Hel\xff") for piece in dialect.events]
    outcome = await subject.ask(dialect.stream(*events))
    return f"it {outcome}" if outcome.is_raw else None


async def _huge(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    line = b"data: " + b"x" * (LIMIT + 1) + b"\n\n"
    return _not(await subject.ask(dialect.stream(dialect.events[0], line)), GatewayError)


async def _within(subject: EngineUnderTest) -> str | None:
    dialect = _dialect(subject)
    data = event(dialect.fault.decode(), name="error")
    scripts = {
        "whole": [Send(reply(dialect.fault))],
        "at the start of a stream": dialect.stream(data),
        "within a stream": dialect.stream(*dialect.events[: dialect.end], data),
    }
    for place, script in scripts.items():
        outcome = await subject.ask(script)
        if isinstance(outcome.error, TruncatedError) or not isinstance(outcome.error, GatewayError):
            return f"{place}, it {outcome}"
    return None


async def _listed(subject: EngineUnderTest) -> str | None:
    subject.script = _dialect(subject).answer
    names = [info.model for info in await subject.engine.models()]
    if tuple(names) != MODELS:
        return f"`models` gave {names}"
    return None if await subject.engine.health_check() is True else "`health_check` is not True"


STREAMS = (
    Rule(
        "a whole answer and a stream of it say the same",
        "Read both with one parser: text, finish reason and usage.",
        _same,
    ),
    Rule(
        "no cut of a stream is silent",
        "Set the parser's `finished` at the end mark, and nowhere else.",
        _cuts,
    ),
    Rule(
        "a stream may be split at every byte",
        "Read events by `sse.Decoder`.",
        _splits,
    ),
    Rule(
        "lines end in LF, CRLF or CR, and data may have several",
        "Read events by `sse.Decoder`.",
        _line_ends,
    ),
    Rule("a byte order mark is skipped", "Read events by `sse.Decoder`.", _mark),
    Rule("comments are skipped", "Read events by `sse.Decoder`.", _comments),
    Rule(
        "events that say nothing, and unknown ones, are skipped",
        "Let the parser yield nothing for what it does not know.",
        _idle,
    ),
    Rule(
        "broken UTF-8 is no raw exception",
        'Decode by `errors="replace"`.',
        _broken_text,
    ),
    Rule("an endless line is an error", "Read events by `sse.Decoder`.", _huge),
    Rule(
        "an error in an answer of status 200 is an error",
        "Raise `faults.within(…)`.",
        _within,
    ),
    Rule("the models are listed", "Override `listed` and `models_path`.", _listed),
)
"""Rules for an engine with a known dialect."""
