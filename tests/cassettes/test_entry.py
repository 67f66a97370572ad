"""Cassette entries: the round trip through one line."""

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
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
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


def same(text):
    """Return the text unchanged."""
    return text


def body(request):
    """Return the body that a cassette stores for a request."""
    return body_of(request, (), same)


def ask(**options):
    """Return a request."""
    return Request((Message("user", "Hi"),), "", **options)


@given(REQUESTS, TEXT, st.lists(st.tuples(st.floats(0, 9), TEXT, TEXT), max_size=5))
def test_an_entry_round_trips(request, answer, chunks):
    """Any text and parameter fits in one line of UTF-8 and is found again by its request."""
    identity = {"recorded": "2026-01-01T00:00:00Z", "engine": "e", "model": "m"}
    reply = Reply(answer, "e", "m", usage=Usage(1), tool_calls=(ToolCall("1", "f", answer),))
    entry = entry_of(
        body(request), identity, reply, [RecordedChunk(*chunk) for chunk in chunks], same
    )

    line = encode(entry)
    line.decode("utf-8")
    read = decode(line)

    assert b"\n" not in line
    assert read == entry
    assert (read.text, read.reasoning) == (answer, "")
    assert read.request.digest == body(request).digest


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (ask(temperature=0), ask(temperature=0.0), True),
        (ask(streamed=True), ask(streamed=False), True),
        (ask(params={"a": 1, "b": 2}), ask(params={"b": 2, "a": 1}), True),
        (ask(params={"a": 1}), ask(params={"a": 2}), False),
        (ask(), ask(temperature=0), False),
        (ask(system=""), ask(), False),
        (Request((Message("user", "Hi "),), ""), ask(), False),
        (
            Request((Message("user", "Hi", (Image("image/png", b"1"),)),), ""),
            Request((Message("user", "Hi", (Image("image/png", b"2"),)),), ""),
            False,
        ),
    ],
)
def test_equal_requests_have_equal_digests(one, other, equal):
    """Digests depend on the request to the model, not on how the reply is read."""
    assert (body(one).digest == body(other).digest) is equal


def test_an_image_is_kept_as_its_digest():
    """A cassette stores the digest of an image and none of its bytes."""
    picture = Image("image/png", b"\x89PNG secret")
    entry = entry_of(
        body(Request((Message("user", "Hi", (picture,)),), "")),
        {"recorded": "", "engine": "e", "model": ""},
        Reply("x", "e", "m"),
        [],
        same,
    )
    (image,) = json.loads(encode(entry))["request"]["messages"][0]["images"]

    assert image == {"mime": "image/png", "sha256": sha256(picture.data).hexdigest()}


def test_chunks_that_arrive_together_are_stored_as_one():
    """Chunks that arrive within 50 ms are stored as one; the timing of the others is kept."""
    chunks = [RecordedChunk(0.1, "a"), RecordedChunk(0.12, "b"), RecordedChunk(0.3, "c", "r")]
    identity = {"recorded": "", "engine": "e", "model": ""}
    entry = entry_of(body(ask()), identity, Reply("abc", "e", "m", reasoning="r"), chunks, same)

    assert entry.chunks == (RecordedChunk(0.1, "ab"), RecordedChunk(0.3, "c", "r"))


def test_a_parameter_that_is_not_json_is_refused():
    """The error is raised before anything is sent."""
    with pytest.raises(UsageError, match=r"params must be JSON .*, got object"):
        body(ask(params={"x": object()}))


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"recorded":1}'])
def test_an_invalid_entry_is_a_value_error(line):
    """A line that is not an entry raises `ValueError`."""
    with pytest.raises(ValueError):  # noqa: PT011 - the message varies
        decode(line)


def test_every_option_that_shapes_the_answer_is_recorded():
    """Two requests that differ in such an option are two recordings; limits are not recorded."""
    recorded = {name for name, option in OPTIONS.items() if option.to_recorded}

    assert recorded == set(RequestBody.__struct_fields__) - {
        "messages", "texts", "drop_unsupported", "fallback",
    }  # fmt: skip
    assert set(OPTIONS) - recorded == {
        "model", "images", "timeout", "max_cost", "allow_unpriced", "fallback", "chat", "fresh",
    }  # fmt: skip
