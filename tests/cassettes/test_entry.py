"""Cassette entries: encoding and decoding of a line, and digests of requests."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.cassettes import RecordedChunk, RequestBody, body_of, entry_of
from gatewayx_nb.cassettes.entry import decode, encode
from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Image, Message, Request, ToolCall
from gatewayx_nb.replies import Reply, Usage

TEXT = st.text(st.characters(codec=None), max_size=40)  # includes lone surrogates and NUL
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=6,
)
REQUESTS = st.builds(
    Request,
    messages=st.lists(
        st.builds(Message, st.sampled_from(["user", "assistant"]), TEXT), min_size=1, max_size=3
    ).map(tuple),
    model=st.just(""),
    system=st.none() | TEXT,
    temperature=st.none() | st.floats(0, 2) | st.integers(0, 2),
    max_tokens=st.none() | st.integers(1, 9),
    stop=st.lists(TEXT, max_size=2).map(tuple),
    params=st.dictionaries(TEXT, VALUE, max_size=3),
)


def keep(text):
    """Return the text unchanged."""
    return text


def make_body(request):
    """Return the body that a cassette stores for a request."""
    return body_of(request, (), keep)


def make_request(**options):
    """Return a request."""
    return Request((Message("user", "Hi"),), "", **options)


@given(REQUESTS, TEXT, st.lists(st.tuples(st.floats(0, 9), TEXT, TEXT), max_size=5))
def test_decoding_an_encoded_entry_returns_it_unchanged(request, answer, chunks):
    """Entries with any text and parameters are one line of UTF-8 and are decoded unchanged."""
    identity = {"recorded": "2026-01-01T00:00:00Z", "engine": "e", "model": "m"}
    reply = Reply(answer, "e", "m", usage=Usage(1), tool_calls=(ToolCall("1", "f", answer),))
    entry = entry_of(
        make_body(request), identity, reply, [RecordedChunk(*chunk) for chunk in chunks], keep
    )

    line = encode(entry)
    line.decode("utf-8")
    decoded = decode(line)

    assert b"\n" not in line
    assert decoded == entry
    assert (decoded.text, decoded.reasoning) == (answer, "")
    assert decoded.request.digest == make_body(request).digest


@pytest.mark.parametrize(
    ("first", "second", "is_equal"),
    [
        (make_request(temperature=0), make_request(temperature=0.0), True),
        (make_request(streamed=True), make_request(streamed=False), True),
        (make_request(params={"a": 1, "b": 2}), make_request(params={"b": 2, "a": 1}), True),
        (make_request(params={"a": 1}), make_request(params={"a": 2}), False),
        (make_request(), make_request(temperature=0), False),
        (make_request(system=""), make_request(), False),
        (Request((Message("user", "Hi "),), ""), make_request(), False),
        (
            Request((Message("user", "Hi", (Image("image/png", b"1"),)),), ""),
            Request((Message("user", "Hi", (Image("image/png", b"2"),)),), ""),
            False,
        ),
    ],
)
def test_equal_requests_have_equal_digests(first, second, is_equal):
    """Digests depend on the content of a request, not on whether the reply is streamed."""
    assert (make_body(first).digest == make_body(second).digest) is is_equal


def test_an_image_is_stored_as_its_digest():
    """A cassette stores the digest of an image and none of its bytes."""
    image = Image("image/png", b"\x89PNG secret")
    entry = entry_of(
        make_body(Request((Message("user", "Hi", (image,)),), "")),
        {"recorded": "", "engine": "e", "model": ""},
        Reply("x", "e", "m"),
        [],
        keep,
    )
    (stored_image,) = json.loads(encode(entry))["request"]["messages"][0]["images"]

    assert stored_image == {"mime": "image/png", "sha256": sha256(image.data).hexdigest()}


def test_chunks_that_arrive_together_are_stored_as_one():
    """Chunks within 50 ms are stored as one chunk; other chunks are stored with their times."""
    chunks = [RecordedChunk(0.1, "a"), RecordedChunk(0.12, "b"), RecordedChunk(0.3, "c", "r")]
    identity = {"recorded": "", "engine": "e", "model": ""}
    entry = entry_of(
        make_body(make_request()), identity, Reply("abc", "e", "m", reasoning="r"), chunks, keep
    )

    assert entry.chunks == (RecordedChunk(0.1, "ab"), RecordedChunk(0.3, "c", "r"))


def test_a_parameter_that_is_not_json_is_refused():
    """Parameters that are not JSON raise an error when the body is built, before the request."""
    with pytest.raises(UsageError, match=r"params must be JSON .*, got object"):
        make_body(make_request(params={"x": object()}))


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"recorded":1}'])
def test_decoding_an_invalid_line_raises_value_error(line):
    """A line that is not an entry raises `ValueError`."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message varies
        decode(line)


def test_every_option_that_affects_the_answer_is_recorded():
    """Options that affect the answer are part of a recorded request; limits are not."""
    recorded = {name for name, option in OPTIONS.items() if option.to_recorded}

    assert recorded == set(RequestBody.__struct_fields__) - {
        "messages", "texts", "drop_unsupported", "fallback",
    }  # fmt: skip
    assert set(OPTIONS) - recorded == {
        "model", "images", "timeout", "max_cost", "allow_unpriced", "fallback", "chat", "fresh",
    }  # fmt: skip
