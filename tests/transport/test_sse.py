import contextlib
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.errors import GatewayError, ProviderError
from gatewayx_nb.transport.sse import Decoder, ServerSentEvent
from tests.processor import seconds


@dataclass(frozen=True)
class Case:
    """A stream and its events."""

    id: str
    stream: bytes
    events: list[ServerSentEvent]


def message(*texts):
    """Return unnamed events with these texts."""
    return [ServerSentEvent("message", text) for text in texts]


SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"

CASES = [
    Case("lf", b"data: a\n\ndata: b\n\n", message("a", "b")),
    Case("cr", b"data: a\r\rdata: b\r\r", message("a", "b")),
    Case("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", message("a", "b")),
    Case("crlf-between-lines", b"data: a\r\ndata: b\r\n\r\n", message("a\nb")),
    Case("mixed", b"data: a\r\n\ndata: b\n\r\n", message("a", "b")),
    Case("byte-order-mark", b"\xef\xbb\xbfdata: a\n\n", message("a")),
    Case("a-second-mark-is-text", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    Case("a-mark-in-line-two-is-text", b"data: a\n\xef\xbb\xbfdata: b\n\n", message("a")),
    Case("a-late-mark-is-text", b"\n\xef\xbb\xbfdata: a\n\n", []),
    Case("comments", b": ping\n\ndata: a\n:\ndata: b\n\n: bye\n\n", message("a\nb")),
    Case("several-lines", b"data: a\ndata\ndata: \ndata:  b\n\n", message("a\n\n\n b")),
    Case("no-space", b"data:a\n\n", message("a")),
    Case("empty-data-counts", b"data:\n\n", message("")),
    Case("no-data-does-not", b"event: x\n\ndata: a\n\n", message("a")),
    Case("name", b"event: x\ndata: a\n\ndata: b\n\n", [ServerSentEvent("x", "a"), *message("b")]),
    Case("last-name-wins", b"event: x\nevent: y\ndata: a\n\n", [ServerSentEvent("y", "a")]),
    Case("empty-name", b"event:\ndata: a\n\n", message("a")),
    Case("others-ignored", b"id: 1\nretry: 5\nfoo: x\nDATA: no\ndata: a\n\n", message("a")),
    Case("no-blank-line-at-the-end", b"data: a\n\ndata: b\n", message("a", "b")),
    Case("no-line-end-at-the-end", b"event: x\ndata: b", [ServerSentEvent("x", "b")]),
    Case("ends-in-cr", b"data: a\r", message("a")),
    Case("utf-8", "data: é€😀\n\n".encode(), message("é€😀")),
    Case("invalid-utf-8", b"data: a\xff\xe2\x82\n\n", message("a\ufffd\ufffd")),
    Case("other-separators", f"data: {SEPARATORS}\n\n".encode(), message(SEPARATORS)),
    Case("nothing", b"", []),
]  # fmt: skip


def decode(blocks, **options):
    """Return all events of a stream that arrives in these blocks."""
    decoder = Decoder(**options)
    return [event for block in blocks for event in decoder.feed(block)] + decoder.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_of_no_event_are_kept_apart(size):
    """Lines that are not part of an event are kept separately, except comments and known fields."""
    stream = b': ping\nid: 1\ndata: a\n\n{\n  "error": 1\r\n}\n: bye\nretry: 3\n'
    decoder = Decoder()
    events = [
        event
        for at in range(0, len(stream), size)
        for event in decoder.feed(stream[at : at + size])
    ]

    assert events + decoder.close() == message("a")
    assert decoder.stray == '{\n  "error": 1\n}'


def test_lines_of_no_event_are_bounded():
    """Lines outside of events beyond 64 KiB are dropped, and later events still arrive."""
    decoder = Decoder()
    events = decoder.feed(b"x" * 60_000 + b"\n" + b"y" * 60_000 + b"\ndata: a\n\n")

    assert events == message("a")
    assert decoder.stray == "x" * 60_000


def decode_plainly(stream):
    """Decode a whole stream as the standard describes it, without regard to speed or splits."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events, name, data = [], "", []
    for line in [*lines, ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(ServerSentEvent(name or "message", "\n".join(data)))
            name, data = "", []
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return events


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_follows_the_standard(case):
    """Whole or by bytes, the events are the standard's, and one more at an unterminated end."""
    assert decode([case.stream]) == case.events
    assert decode([case.stream[at : at + 1] for at in range(len(case.stream))]) == case.events
    assert decode_plainly(case.stream) == case.events


PARTS = [
    b"data", b"event", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"data: x", b"\xef\xbb\xbf",
    b"id: 1", b"\xff", "€".encode(), "\u2028".encode(), b"\x00", b"{}",
]  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.builds(
    lambda line, end: line + end, st.sampled_from([b"data: x", b"event: y", b""]), ENDS
)
STREAMS = st.lists(LINES | st.sampled_from(PARTS) | st.binary(max_size=3)).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 80)))
def test_any_split_gives_the_same_events(stream, cuts):
    """The events do not depend on the blocks that arrive."""
    marks = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    blocks = [stream[start:end] for start, end in itertools.pairwise(marks)]
    assert decode(blocks) == decode_plainly(stream)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_only_our_own_error_comes_out(blocks, limit):
    """Any bytes yield events or raise GatewayError, and no other exception."""
    with contextlib.suppress(GatewayError):
        decode(blocks, max_bytes=limit)


@given(STREAMS, st.integers(1, 30), st.integers(1, 7))
def test_the_limit_falls_at_the_same_event_for_any_split(stream, limit, size):
    """Events before an overlong one are yielded, then it raises, however the bytes are split."""

    def outcome(blocks):
        decoder, events = Decoder(limit), []
        try:
            for block in blocks:
                events += decoder.feed(block)
            events += decoder.close()
        except ProviderError:
            events.append("too long")
        return events

    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert outcome(parts) == outcome([stream])


def test_an_event_may_be_as_long_as_the_limit():
    """An event as long as the limit is valid, on one line and on several."""
    assert decode([b"data:6789\n\n"], max_bytes=9) == message("6789")
    assert decode([b"data:\ndata:\n\n"], max_bytes=10) == message("\n")
    for stream in (b"data:6789\n\n", b"data:\ndat:\n\n"):
        with pytest.raises(ProviderError, match="exceeds 8 bytes"):
            decode([stream], max_bytes=8)


def test_the_events_before_an_overlong_one_are_given():
    """Complete events in the same block as an overlong one are yielded."""
    decoder = Decoder(max_bytes=10)
    assert decoder.feed(b"data:a\n\ndata:" + b"x" * 20) == message("a")
    with pytest.raises(ProviderError):
        decoder.close()


def test_an_overlong_event_stays_an_error():
    """Data after an overlong event is never taken for events."""
    decoder = Decoder(max_bytes=10)
    for block in (b"data: " + b"x" * 20, b"\n\ndata: a\n\n"):
        with pytest.raises(ProviderError):
            decoder.feed(block)
    with pytest.raises(ProviderError):
        decoder.close()


def test_an_event_comes_with_the_block_that_completes_it():
    """An event is yielded with the block that completes it, even if it ends with a lone CR."""
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\r") == message("a")
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\n\nda") == message("b")


def cost(length, size):
    """Return the CPU seconds to decode one line of this length in blocks of this size."""
    line = b"data: " + b"x" * length + b"\n\n"
    blocks = [line[at : at + size] for at in range(0, len(line), size)]
    return min(seconds(lambda: decode(blocks)) for _ in range(5))


@pytest.mark.parametrize(("length", "size"), [(200_000, 1), (4_000_000, 64)])
def test_time_is_linear(length, size):
    """Twice the input takes at most 2.6 times as long, by bytes and for one huge line."""
    # Several tries, because a busy machine disturbs one; quadratic time would be 4 in each.
    ratios = (cost(2 * length, size) / cost(length, size) for _ in range(6))
    assert any(ratio <= 2.6 for ratio in ratios)
