"""Cassette entries: encoding and decoding of a line, and digests of requests."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.cassettes import CassetteEntry, RecordedChunk, RequestBody, body_of, entry_of
from gatewayx_nb.cassettes.codec import decode, encode
from gatewayx_nb.cassettes.entry import Piece
from gatewayx_nb.cassettes.nearest import describe_differences
from gatewayx_nb.errors import UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Carried, Message, Request, ToolCall, ToolResult
from gatewayx_nb.replies import Citation, Reply, Usage

IMAGE = Image("", url="https://x/y.png")

TEXT = st.text(st.characters(codec=None), max_size=40)  # includes lone surrogates and NUL
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXT, values, max_size=3),
    max_leaves=6,
)
IMAGES = st.builds(Image, st.just("image/png"), st.binary(min_size=1)) | st.builds(
    Image, st.just(""), url=TEXT.filter(bool), detail=st.sampled_from(["", "low"])
)
CALLS = st.builds(ToolCall, TEXT, TEXT, TEXT)
RESULTS = st.builds(ToolResult, TEXT, st.lists(TEXT | IMAGES, max_size=3), TEXT, st.booleans())
MESSAGES = (
    st.builds(Message, st.just("user"), TEXT | st.lists(TEXT | IMAGES, max_size=3))
    | st.builds(Message, st.just("assistant"), st.lists(TEXT | CALLS, max_size=3))
    | st.builds(Message, st.just("tool"), st.lists(RESULTS, max_size=2))
)
REQUESTS = st.builds(
    Request,
    messages=st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
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
            Request((Message("user", ["Hi", Image("image/png", b"1")]),), ""),
            Request((Message("user", ["Hi", Image("image/png", b"2")]),), ""),
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
        make_body(Request((Message("user", ["Hi", image]),), "")),
        {"recorded": "", "engine": "e", "model": ""},
        Reply("x", "e", "m"),
        [],
        keep,
    )
    (stored_image,) = json.loads(encode(entry))["request"]["messages"][0]["images"]

    assert stored_image == {"mime": "image/png", "sha256": sha256(image.data).hexdigest()}


@pytest.mark.parametrize(
    ("message", "recorded"),
    [
        (Message("user", "Hi"), {"role": "user", "content": "Hi"}),
        (Message("assistant", ""), {"role": "assistant", "content": ""}),
        (
            Message("user", ["Hi", IMAGE]),
            {"role": "user", "content": "Hi", "images": [{"mime": "", "url": "https://x/y.png"}]},
        ),
        (
            Message("user", IMAGE),
            {"role": "user", "content": "", "images": [{"mime": "", "url": "https://x/y.png"}]},
        ),
    ],
)
def test_messages_without_new_parts_are_recorded_as_before(message, recorded):
    """A text with or without images has the form of older cassettes, so their calls are found."""
    entry = CassetteEntry(engine="e", request=make_body(Request((message,), "")))
    assert json.loads(encode(entry))["request"] == {"messages": [recorded]}


def test_every_part_is_recorded_and_redacted():
    """Texts, arguments and results are recorded in order, with private values removed."""
    messages = (
        Message("user", ["a secret", IMAGE, "b"]),
        Message("assistant", ["a secret", ToolCall("1", "f", '"secret"')]),
        Message("tool", [ToolResult("1", ["a secret", IMAGE], "f", is_error=True)]),
    )
    body = body_of(Request(messages, ""), (), lambda text: text.replace("secret", "***"))
    image = {"image": {"mime": "", "url": "https://x/y.png"}}
    result = {"id": "1", "name": "f", "parts": [{"text": "a ***"}, image], "is_error": True}

    assert json.loads(encode(CassetteEntry(engine="e", request=body)))["request"]["messages"] == [
        {"role": "user", "content": "", "parts": [{"text": "a ***"}, image, {"text": "b"}]},
        {
            "role": "assistant",
            "content": "",
            "parts": [
                {"text": "a ***"},
                {"tool_call": {"id": "1", "name": "f", "arguments": '"***"'}},
            ],
        },
        {"role": "tool", "content": "", "parts": [{"tool_result": result}]},
    ]
    assert body.prompt == "a ***"
    assert [message.text for message in body.messages] == ["a ***\n\nb", "a ***", "a ***"]


PARTS_CHANGED = [
    (Message("user", ["a", "b"]), Message("user", "a\n\nb")),
    (Message("user", ["a", IMAGE, "b"]), Message("user", ["a", "b", IMAGE])),
    (Message("user", IMAGE), Message("user", replace(IMAGE, detail="low"))),
    (
        Message("tool", [ToolResult("1", "x")]),
        Message("tool", [ToolResult("1", "x", is_error=True)]),
    ),
    (
        Message("assistant", [ToolCall("1", "f", "{}")]),
        Message("assistant", [ToolCall("1", "f", '{"a": 1}')]),
    ),
]


@pytest.mark.parametrize(("first", "second"), PARTS_CHANGED)
def test_messages_with_other_parts_are_other_calls(first, second):
    """A different part makes a different call, and the difference is described."""
    bodies = [make_body(Request((message,), "")) for message in (first, second)]
    entry = CassetteEntry(engine="e", request=bodies[0])

    assert bodies[0].digest != bodies[1].digest
    assert describe_differences(entry, "e", "", bodies[1]).startswith("its ")


CALLS_OF_TOOLS = (
    Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")]),
    Message("tool", [ToolResult("a", "x", "f"), ToolResult("b", "x", "g")]),
)


@pytest.mark.parametrize(
    ("ids", "is_same"),
    [(("c", "d", "c", "d"), True), (("b", "a", "b", "a"), True), (("a", "b", "b", "a"), False)],
)
def test_ids_of_tool_calls_only_connect_them_to_their_results(ids, is_same):
    """Other IDs make the same call, because providers choose new ones for each answer."""
    calls = (
        Message("assistant", [ToolCall(ids[0], "f", "{}"), ToolCall(ids[1], "g", "{}")]),
        Message("tool", [ToolResult(ids[2], "x", "f"), ToolResult(ids[3], "x", "g")]),
    )
    bodies = [make_body(Request(messages, "")) for messages in (CALLS_OF_TOOLS, calls)]
    assert (bodies[0].digest == bodies[1].digest) is is_same


@pytest.mark.parametrize(
    ("arguments", "is_parsed"),
    [
        ('{"city":"Paris","days":3}', True),
        ('{"city": "Zürich", "days": 3.0}', True),
        ('{"b":1,"a":{"d":1,"c":2}}', True),
        ('{"a":1, "b":2}', False),
        ('{"n":100000000000000000000000}', True),
        ('{"x":1.10}', False),
        ('{"a":1,"a":2}', False),
        ('{"city":"Par', False),
        ("[1]", False),
        ("", False),
    ],
)
def test_arguments_are_stored_parsed_if_their_text_can_be_restored(arguments, is_parsed):
    """A replayed tool call has the arguments exactly as the model wrote them."""
    reply = Reply("", "e", "m", tool_calls=(ToolCall("1", "f", arguments),))
    line = encode(entry_of(make_body(make_request()), {"engine": "e"}, reply, (), keep))

    assert isinstance(json.loads(line)["tool_calls"][0]["arguments"], dict) is is_parsed
    assert decode(line).to_reply().tool_calls == reply.tool_calls


FORMAT_1 = {
    "recorded": "2026-01-01T00:00:00Z",
    "engine": "e",
    "model": "m",
    "request": {
        "messages": [
            {
                "role": "assistant",
                "content": "",
                "parts": [{"tool_call": {"id": "call_x", "name": "f", "arguments": "{}"}}],
            }
        ]
    },
    "reference": "e:m",
    "repeat": 1,
    "chunks": [[0.1, "Manc", "hm"], [0.3, "hester"]],
    "reply": {
        "engine": "e2",
        "model": "m-2",
        "finish_reason": "length",
        "usage": {"output_tokens": 2},
        "cost": "0.01",
        "latency": 0.4,
        "time_to_first": 0.1,
        "fallback_from": "e:m",
        "tool_calls": [{"id": "1", "name": "f", "arguments": '{"a": 1}'}],
        "dropped": ["seed"],
        "citations": [{"url": "https://x"}],
        "logprobs": [["a", -0.5, [["b", -1.5]]]],
        "carried": '{"a":1}',
    },
}


def test_an_entry_in_format_1_is_read():
    """An entry in the first format has the same reply, chunks and call in the current one."""
    old = decode(json.dumps(FORMAT_1).encode(), 1)
    reply = old.to_reply()
    messages = (Message("assistant", ToolCall("call_y", "f", "{}")),)

    assert decode(encode(old)) == old
    assert old.request.digest == make_body(Request(messages, "")).digest
    assert (reply.text, reply.reasoning, reply.engine) == ("Manchester", "hm", "e2")
    assert (reply.finish_reason, reply.dropped) == ("length", ("seed",))
    assert reply.tool_calls == (ToolCall("1", "f", '{"a": 1}'),)
    assert (reply.logprobs[0].top[0].token, reply.carried.data) == ("b", {"a": 1})
    assert [(at, chunk.text, chunk.reasoning) for at, chunk in old.chunks()] == [
        (0.1, "Manc", "hm"),
        (0.3, "hester", ""),
        (0.4, "", ""),
    ]


def test_a_line_is_made_for_review():
    """The request comes first, then the whole answer, and the figures and the date last."""
    reply = Reply("Hello.", "e", "m", usage=Usage(1, 2), latency=0.5)
    identity = {"recorded": "2026-01-01T00:00:00Z", "engine": "e", "reference": "e"}
    body = make_body(make_request(system="Be brief.", params={"b": 1, "a": 2}))
    chunks = [RecordedChunk(0.1, "Hel"), RecordedChunk(0.3, "lo.")]

    assert encode(entry_of(body, identity, reply, chunks, keep)).decode() == (
        '{"request":{"messages":[{"content":"Hi","role":"user"}],"params":{"a":2,"b":1},'
        '"system":"Be brief."},"reference":"e","engine":"e","text":"Hello.",'
        '"pieces":[[0.1,3],[0.3,3]],"figures":{"engine":"e","latency":0.5,"model":"m",'
        '"usage":{"input_tokens":1,"output_tokens":2}},"recorded":"2026-01-01T00:00:00Z"}'
    )


@pytest.mark.parametrize("text", ["Hello, world.", "Hel", ""])
def test_an_answer_that_was_edited_in_the_file_is_replayed_whole(text):
    """The pieces of an edited answer are longer or shorter, but nothing is missing or repeated."""
    entry = entry_of(
        make_body(make_request()), {"engine": "e"}, Reply("Hello.", "e", "m"),
        [RecordedChunk(0.1, "Hel"), RecordedChunk(0.3, "lo.")], keep,
    )  # fmt: skip
    edited = decode(encode(entry).replace(b'"Hello."', json.dumps(text).encode()))

    assert "".join(chunk.text for _, chunk in edited.chunks()) == edited.to_reply().text == text


def test_chunks_that_arrive_together_are_stored_as_one():
    """Chunks within 50 ms are stored as one piece; other chunks are stored with their times."""
    chunks = [RecordedChunk(0.1, "a"), RecordedChunk(0.12, "b"), RecordedChunk(0.3, "c", "r")]
    identity = {"recorded": "", "engine": "e", "model": ""}
    entry = entry_of(
        make_body(make_request()), identity, Reply("abc", "e", "m", reasoning="r"), chunks, keep
    )

    assert entry.pieces == (Piece(0.1, 2), Piece(0.3, 1, 1))


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
        "messages", "texts", "drop_unsupported", "fallback", "digests",
    }  # fmt: skip
    assert set(OPTIONS) - recorded == {
        "model", "images", "timeout", "max_cost", "allow_unpriced", "fallback", "chat", "fresh",
        "renew", "cache", "max_turns", "approve",
    }  # fmt: skip


CARRIED = Carried("e", {"items": [{"text": "signed", "signature": "c2ln"}], "turn": "x"})


@pytest.mark.parametrize(("secret", "is_kept"), [("other", True), ("signed", False)])
def test_what_an_answer_carries_is_recorded_whole_or_not_at_all(secret, is_kept):
    """Carried data with a secret is left out, because a provider rejects a changed turn."""
    reply = Reply("x", "e", "m", carried=CARRIED, citations=(Citation("my signed text", "T"),))
    body, redact = make_body(make_request()), lambda text: text.replace(secret, "***")
    identity = {"recorded": "", "engine": "e", "model": "m"}
    line = encode(entry_of(body, identity, reply, (), redact))
    replayed = decode(line).to_reply()

    assert replayed.carried == (CARRIED if is_kept else None)
    assert replayed.citations[0].title == "T"
    assert ("signed" in replayed.citations[0].text) is is_kept
    assert is_kept or b"signed" not in line


@given(st.dictionaries(TEXT, VALUE.filter(lambda value: "nan" not in repr(value)), max_size=3))
def test_what_an_answer_carries_may_be_any_json(data):
    """Numbers of any size and lone surrogates in carried data are the same after a recording."""
    reply = Reply("x", "e", "m", carried=Carried("e", data | {"n": 10**40}))
    identity = {"recorded": "", "engine": "e", "model": "m"}
    line = encode(entry_of(make_body(make_request()), identity, reply, (), keep))

    assert decode(line).to_reply().carried == reply.carried


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "[" * 9999], ids=["cut", "list", "text", "deep"]
)
def test_carried_data_that_was_edited_is_left_out(text):
    """If carried data was edited to be invalid, a reply has its text and carries nothing."""
    line = {"request": {}, "engine": "e", "text": "x", "carried": text}
    reply = decode(json.dumps(line).encode()).to_reply()

    assert (reply.text, reply.carried) == ("x", None)
