"""Random answers from the Responses API: a stream and the equal body give the same reply."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayx_nb.llm_engines.openai_responses import ResponsesParser
from tests.llm_engines.wire import fields_of, make_errors

TEXTS = st.one_of(*[st.text("ab é🙂\n", min_size=1, max_size=6)] * 4, st.just(""))
NAMES = st.sampled_from(["f", "g", ""])
CITATION = {"type": "url_citation", "url": "https://x", "title": "T"}
PNG = "iVBORw0KGgo="


def optional(**fields):
    """Return a strategy for objects whose fields may each be missing or null."""
    return st.fixed_dictionaries(
        {},
        # Mostly with a value, so that the interesting answers are common.
        optional={name: st.one_of(*[value] * 4, st.none()) for name, value in fields.items()},
    )


LOGPROBS = st.lists(st.just({"token": "a", "logprob": -1.0, "top_logprobs": []}), max_size=2)
ANNOTATIONS = st.lists(
    st.builds(
        lambda start: CITATION | {"start_index": start, "end_index": start + 1}, st.integers(0, 9)
    ),
    max_size=2,
)
PARTS = st.one_of(
    optional(text=TEXTS, annotations=ANNOTATIONS, logprobs=LOGPROBS).map(
        lambda part: {"type": "output_text"} | part
    ),
    optional(refusal=TEXTS).map(lambda part: {"type": "refusal"} | part),
    st.just({"type": "output_audio", "transcript": "a"}),
)
THOUGHTS = st.lists(
    optional(text=TEXTS).map(lambda part: {"type": "summary_text"} | part), max_size=3
)
ITEMS = st.one_of(
    optional(
        id=st.just("msg_1"),
        role=st.just("assistant"),
        content=st.lists(PARTS, min_size=1, max_size=3) | st.just([]),
        phase=st.sampled_from(["commentary", "final_answer"]),
    ).map(lambda item: {"type": "message"} | item),
    optional(
        id=st.just("rs_1"), summary=THOUGHTS, content=THOUGHTS, encrypted_content=st.just("e")
    ).map(lambda item: {"type": "reasoning"} | item),
    optional(
        id=st.just("fc_1"),
        call_id=NAMES,
        name=NAMES,
        arguments=st.sampled_from(["{}", '{"a": 1}', ""]),
    ).map(lambda item: {"type": "function_call"} | item),
    st.sampled_from(["web_search_call", "mcp_call", "compaction", "something.new"]).map(
        lambda kind: {"type": kind, "id": "x_1", "status": "completed"}
    ),
    st.just({"type": "image_generation_call", "id": "ig_1", "result": PNG}),
    st.just({"type": "custom_tool_call", "id": "c_1", "call_id": "c", "name": "f", "input": "x"}),
    st.just({"id": "without a type"}),
)
ENDS = st.sampled_from(
    [
        {"status": "completed"},
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "incomplete", "incomplete_details": None},
    ]
)


@st.composite
def bodies(draw):
    """Draw the body of a response."""
    usage = {"input_tokens": 3, "output_tokens": 5}
    fixed = {"id": "resp_1", "object": "response", "model": "m-1", "usage": usage}
    return fixed | draw(ENDS) | {"output": draw(st.lists(ITEMS, min_size=1, max_size=4))}


def events_of(body, sizes, *, has_item_ends=True, has_output=True):
    """Yield the events of the stream that corresponds to a body.

    Args:
        body: The body.
        sizes: The number of characters of each piece of a text.
        has_item_ends: Whether the end of each item is sent; some proxies leave it out.
        has_output: Whether the last event has the output; some proxies leave it out.
    """
    yield {"type": "response.created", "response": body | {"status": "in_progress", "output": []}}
    for index, item in enumerate(body["output"]):
        place = {"output_index": index, "item_id": item.get("id")}
        started = {name: value for name, value in item.items() if name != "content"}
        if item.get("type") == "function_call":
            started |= {"arguments": ""}
        if item.get("type") == "reasoning":
            started |= {"summary": []}
        yield {"type": "response.output_item.added", "item": started} | place
        yield from _item_events(item, place, sizes)
        if has_item_ends:
            yield {"type": "response.output_item.done", "item": item} | place
    end = body if has_output else body | {"output": []}
    yield {"type": f"response.{body['status']}", "response": end}


def _item_events(item, place, sizes):
    kinds = {"output_text": "response.output_text", "refusal": "response.refusal"}
    if item.get("type") == "message":
        for number, part in enumerate(item.get("content") or []):
            text = part.get("text") or part.get("refusal") or ""
            kind = kinds.get(part["type"])
            for piece in _pieces(text, sizes) if kind else ():
                yield {"type": f"{kind}.delta", "delta": piece, "content_index": number} | place
    if item.get("type") == "reasoning":
        for name, kind in (("summary", "reasoning_summary_text"), ("content", "reasoning_text")):
            key = f"{name}_index"
            for number, part in enumerate(item.get(name) or []):
                for piece in _pieces(part.get("text") or "", sizes):
                    yield {"type": f"response.{kind}.delta", "delta": piece, key: number} | place
    if item.get("type") == "function_call":
        for piece in _pieces(item.get("arguments") or "", sizes):
            yield {"type": "response.function_call_arguments.delta", "delta": piece} | place


def _pieces(text, sizes):
    start = 0
    for size in sizes:
        if start < len(text):
            yield text[start : start + size]
        start += size
    if start < len(text):
        yield text[start:]


def message(*parts):
    """Return a message item."""
    return {"type": "message", "content": [{"type": "output_text", "text": text} for text in parts]}


def body_of(*items):
    """Return a body with these items."""
    return {"id": "r", "model": "m", "status": "completed", "output": list(items)}


def reply_fields(*events):
    """Return what a reply to these events holds; see `fields_of`."""
    return fields_of(ResponsesParser(make_errors()), *events)


@settings(max_examples=150)
@given(bodies(), st.lists(st.integers(1, 3), max_size=3))
@example(body_of(message("a"), message("b")), [1])
@example(body_of(message(), message("b")), [1])
@example(body_of({"type": "reasoning", "summary": [{"text": ""}, {"text": "a"}]}), [])
def test_a_stream_gives_the_reply_of_the_equal_body(body, sizes):
    """Every public field is equal, whatever the items are."""
    assert reply_fields(*events_of(body, sizes)) == reply_fields(body)


@settings(max_examples=100)
@given(bodies(), st.lists(st.integers(1, 3), max_size=3))
def test_a_stream_without_its_output_at_the_end_gives_the_reply(body, sizes):
    """Some proxies omit from the last event what they have streamed."""
    assert reply_fields(*events_of(body, sizes, has_output=False)) == reply_fields(body)


@settings(max_examples=100)
@given(bodies(), st.lists(st.integers(1, 3), max_size=3))
def test_a_stream_without_the_ends_of_its_items_gives_the_reply(body, sizes):
    """Some proxies omit the ends of items, which the last event contains."""
    assert reply_fields(*events_of(body, sizes, has_item_ends=False)) == reply_fields(body)


@settings(max_examples=100)
@given(body=bodies(), start=st.integers(0, 2), has_output=st.booleans())
@example(body=body_of(message("a"), message("b")), start=0, has_output=False)
@example(body=body_of(message("a"), message("b")), start=1, has_output=False)
@example(body=body_of(message("a"), message("b")), start=2, has_output=True)
def test_items_that_are_not_sent_in_pieces_are_read_from_their_ends(body, start, has_output):
    """A stream may send only some items in pieces."""
    all_events = list(events_of(body, [], has_output=has_output))
    is_sent = [number % 2 == start for number in range(len(body["output"]))]
    events = [
        event for event in all_events if "delta" not in event or is_sent[event["output_index"]]
    ]

    assert reply_fields(*events) == reply_fields(body)


@settings(max_examples=50)
@given(bodies())
def test_a_stream_with_only_its_last_event_gives_the_reply(body):
    """A server may stream nothing but the end."""
    end = {"type": f"response.{body['status']}", "response": body}

    assert reply_fields(end) == reply_fields(body)
