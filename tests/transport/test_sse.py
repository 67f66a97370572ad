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
    """A stream and its expected events."""

    id: str
    stream: bytes
    events: list[ServerSentEvent]


def make_events(*texts):
    """Return unnamed events with these data."""
    return [ServerSentEvent("message", text) for text in texts]


EVENT_B = ServerSentEvent("message", "b")
SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"

CASES = [
    Case("lf", b"data: a\n\ndata: b\n\n", make_events("a", "b")),
    Case("cr", b"data: a\r\rdata: b\r\r", make_events("a", "b")),
    Case("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", make_events("a", "b")),
    Case("crlf-between-lines", b"data: a\r\ndata: b\r\n\r\n", make_events("a\nb")),
    Case("mixed", b"data: a\r\n\ndata: b\n\r\n", make_events("a", "b")),
    Case("bom", b"\xef\xbb\xbfdata: a\n\n", make_events("a")),
    Case("second-bom-is-text", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    Case("bom-in-line-two-is-text", b"data: a\n\xef\xbb\xbfdata: b\n\n", make_events("a")),
    Case("bom-after-newline-is-text", b"\n\xef\xbb\xbfdata: a\n\n", []),
    Case("comments", b": ping\n\ndata: a\n:\ndata: b\n\n: bye\n\n", make_events("a\nb")),
    Case("several-lines", b"data: a\ndata\ndata: \ndata:  b\n\n", make_events("a\n\n\n b")),
    Case("no-space", b"data:a\n\n", make_events("a")),
    Case("empty-data-is-an-event", b"data:\n\n", make_events("")),
    Case("no-data-is-no-event", b"event: x\n\ndata: a\n\n", make_events("a")),
    Case("name", b"event: x\ndata: a\n\ndata: b\n\n", [ServerSentEvent("x", "a"), EVENT_B]),
    Case("last-name-overrides", b"event: x\nevent: y\ndata: a\n\n", [ServerSentEvent("y", "a")]),
    Case("empty-name", b"event:\ndata: a\n\n", make_events("a")),
    Case("unknown-fields", b"id: 1\nretry: 5\nfoo: x\nDATA: no\ndata: a\n\n", make_events("a")),
    Case("no-blank-line-at-the-end", b"data: a\n\ndata: b\n", make_events("a", "b")),
    Case("no-line-end-at-the-end", b"event: x\ndata: b", [ServerSentEvent("x", "b")]),
    Case("cr-at-the-end", b"data: a\r", make_events("a")),
    Case("utf-8", "data: é€😀\n\n".encode(), make_events("é€😀")),
    Case("invalid-utf-8", b"data: a\xff\xe2\x82\n\n", make_events("a\ufffd\ufffd")),
    Case("unicode-line-separators", f"data: {SEPARATORS}\n\n".encode(), make_events(SEPARATORS)),
    Case("empty-stream", b"", []),
]  # fmt: skip


def decode(blocks, **options):
    """Return all events of a stream that is received in these blocks."""
    decoder = Decoder(**options)
    return [event for block in blocks for event in decoder.feed(block)] + decoder.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_outside_of_events_are_collected(size):
    """Lines outside of events are collected in `stray`, except for comments and known fields."""
    stream = b': ping\nid: 1\ndata: a\n\n{\n  "error": 1\r\n}\n: bye\nretry: 3\n'
    decoder = Decoder()
    events = [
        event
        for start in range(0, len(stream), size)
        for event in decoder.feed(stream[start : start + size])
    ]

    assert events + decoder.close() == make_events("a")
    assert decoder.stray == '{\n  "error": 1\n}'


def test_collected_lines_are_limited_to_64_kib():
    """Lines outside of events are dropped beyond 64 KiB, and later events are still yielded."""
    decoder = Decoder()
    events = decoder.feed(b"x" * 60_000 + b"\n" + b"y" * 60_000 + b"\ndata: a\n\n")

    assert events == make_events("a")
    assert decoder.stray == "x" * 60_000


def decode_by_the_standard(stream):
    """Decode a complete stream in the simplest way, as a reference for the decoder."""
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
def test_events_follow_the_standard(case):
    """Events are those of the standard, and an unterminated event at the end is also yielded."""
    assert decode([case.stream]) == case.events
    assert (
        decode([case.stream[index : index + 1] for index in range(len(case.stream))]) == case.events
    )
    assert decode_by_the_standard(case.stream) == case.events


TOKENS = [
    b"data", b"event", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"data: x", b"\xef\xbb\xbf",
    b"id: 1", b"\xff", "€".encode(), "\u2028".encode(), b"\x00", b"{}",
]  # fmt: skip
LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.builds(
    lambda line, end: line + end, st.sampled_from([b"data: x", b"event: y", b""]), LINE_ENDS
)
STREAMS = st.lists(LINES | st.sampled_from(TOKENS) | st.binary(max_size=3)).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 80)))
def test_events_do_not_depend_on_block_boundaries(stream, cuts):
    """The events do not depend on how the bytes are split into blocks."""
    boundaries = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    blocks = [stream[start:end] for start, end in itertools.pairwise(boundaries)]
    assert decode(blocks) == decode_by_the_standard(stream)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_arbitrary_bytes_raise_only_typed_errors(blocks, limit):
    """Arbitrary bytes yield events or raise `GatewayError`, and no other exception."""
    with contextlib.suppress(GatewayError):
        decode(blocks, max_bytes=limit)


@given(STREAMS, st.integers(1, 30), st.integers(1, 7))
def test_the_size_limit_does_not_depend_on_block_boundaries(stream, limit, size):
    """Events before an event above the limit are yielded, however the bytes are split."""

    def decode_until_error(blocks):
        decoder, events = Decoder(limit), []
        try:
            for block in blocks:
                events += decoder.feed(block)
            events += decoder.close()
        except ProviderError:
            events.append("too long")
        return events

    blocks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert decode_until_error(blocks) == decode_until_error([stream])


def test_an_event_may_be_as_long_as_the_limit():
    """An event as long as the limit is valid, on one line and on several."""
    assert decode([b"data:6789\n\n"], max_bytes=9) == make_events("6789")
    assert decode([b"data:\ndata:\n\n"], max_bytes=10) == make_events("\n")
    for stream in (b"data:6789\n\n", b"data:\ndat:\n\n"):
        with pytest.raises(ProviderError, match="exceeds 8 bytes"):
            decode([stream], max_bytes=8)


def test_events_before_an_overlong_event_are_yielded():
    """Complete events in the same block as an event above the limit are yielded."""
    decoder = Decoder(max_bytes=10)
    assert decoder.feed(b"data:a\n\ndata:" + b"x" * 20) == make_events("a")
    with pytest.raises(ProviderError):
        decoder.close()


def test_after_an_overlong_event_the_decoder_raises_an_error():
    """After an event above the limit, further data raises the error again."""
    decoder = Decoder(max_bytes=10)
    for block in (b"data: " + b"x" * 20, b"\n\ndata: a\n\n"):
        with pytest.raises(ProviderError):
            decoder.feed(block)
    with pytest.raises(ProviderError):
        decoder.close()


def test_an_event_is_yielded_with_the_block_that_completes_it():
    """An event is yielded when its last byte is received, even if that is a single CR."""
    decoder = Decoder()
    assert decoder.feed(b"data: a\r\r") == make_events("a")
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: b\n\nda") == make_events("b")


def measure(length, size):
    """Return the CPU seconds to decode one line of this length in blocks of this size."""
    line = b"data: " + b"x" * length + b"\n\n"
    blocks = [line[start : start + size] for start in range(0, len(line), size)]
    return min(seconds(lambda: decode(blocks)) for _ in range(5))


@pytest.mark.parametrize(("length", "size"), [(200_000, 1), (4_000_000, 64)])
def test_decoding_takes_linear_time(length, size):
    """Twice the input takes at most 2.6 times as long, in blocks of 1 and of 64 bytes."""
    # Up to six attempts, because other processes may disturb one; quadratic time would be 4 times.
    ratios = (measure(2 * length, size) / measure(length, size) for _ in range(6))
    assert any(ratio <= 2.6 for ratio in ratios)
