"""Random answers in four dialects: a stream and the equal body give the same reply.

`test_responses_streams` does the same for Responses, whose streams repeat their body.
"""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayx_nb.llm_engines.anthropic_messages import MessagesParser
from gatewayx_nb.llm_engines.cohere_chat import CohereParser
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.openai_chat import ChatParser
from tests.llm_engines.wire import fields_of, make_errors

TEXTS = st.one_of(*[st.text("ab é🙂\n", min_size=1, max_size=6)] * 4, st.just(""))
SIZES = st.lists(st.integers(1, 3), max_size=3)
ARGUMENTS = st.sampled_from(['{"a": 1}', "{}", '{"b": "é"}'])


def pieces(text, sizes):
    """Return a text in pieces of these sizes, and the rest."""
    parts = []
    for size in sizes:
        parts.append(text[:size])
        text = text[size:]
    return [part for part in (*parts, text) if part]


CITATION = {"type": "char_location", "cited_text": "a", "document_title": "T"}
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(
        lambda text, count: {"type": "text", "text": text, "citations": [CITATION] * count},
        TEXTS,
        st.integers(0, 2),
    ),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, TEXTS),
    st.just({"type": "redacted_thinking", "data": "d"}),
    st.builds(
        lambda text, kind: {"type": kind, "id": "t", "name": "f", "input": json.loads(text)},
        ARGUMENTS,
        st.sampled_from(["tool_use", "server_tool_use"]),
    ),
    st.just({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
    st.just({"type": "something_new", "value": 1}),
)
REASONS = ["end_turn", "max_tokens", "tool_use", "pause_turn", "refusal", "something_new"]


def message_events(body, sizes):
    """Yield the events of an Anthropic stream that corresponds to a body."""
    end = {"stop_reason": body["stop_reason"]}
    yield {"type": "message_start", "message": body | {"content": [], "stop_reason": None}}
    for index, block in enumerate(body["content"]):
        empty, deltas = dict(block), []
        if block["type"] == "text":
            empty |= {"text": ""}
            deltas += [
                {"type": "text_delta", "text": part} for part in pieces(block["text"], sizes)
            ]
            for citation in empty.pop("citations", []):
                deltas.append({"type": "citations_delta", "citation": citation})
        if block["type"] == "thinking":
            empty |= {"thinking": "", "signature": ""}
            parts = pieces(block["thinking"], sizes)
            deltas += [{"type": "thinking_delta", "thinking": part} for part in parts]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        if "input" in block:
            empty |= {"input": {}}
            parts = pieces(json.dumps(block["input"], ensure_ascii=False), sizes)
            deltas += [{"type": "input_json_delta", "partial_json": part} for part in parts]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


@settings(max_examples=150)
@given(st.lists(BLOCKS, max_size=4), st.sampled_from(REASONS), SIZES)
def test_an_anthropic_stream_gives_the_reply_of_the_body(content, reason, sizes):
    """Blocks of every type are equal in both."""
    usage = {"input_tokens": 3, "output_tokens": 5}
    body = {"type": "message", "model": "m-1", "content": content, "stop_reason": reason}
    body |= {"usage": usage}
    whole = fields_of(MessagesParser(make_errors()), body)

    assert fields_of(MessagesParser(make_errors()), *message_events(body, sizes)) == whole


PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, TEXTS),
    st.builds(lambda text: {"text": text, "thought": True}, TEXTS),
    st.builds(lambda text: {"text": text, "thoughtSignature": "s"}, TEXTS),
    st.builds(lambda text: {"functionCall": {"name": "f", "args": json.loads(text)}}, ARGUMENTS),
    st.just({"functionCall": {"id": "1", "name": "f"}, "thoughtSignature": "s"}),
    st.just({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
    st.just({"executableCode": {"language": "PYTHON", "code": "1"}}),
    st.just({"somethingNew": 1}),
    st.just({}),
)


@settings(max_examples=150)
@given(
    st.lists(PARTS, max_size=5),
    st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "SOMETHING_NEW"]),
    st.booleans(),
    SIZES,
)
def test_a_gemini_stream_gives_the_reply_of_the_body(parts, reason, repeats_reason, sizes):
    """Parts of every type are equal in both, even if each event has the finish reason."""
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 5}
    sources = {"groundingChunks": [{"web": {"uri": "https://x", "title": "T"}}]}
    last = {"finishReason": reason, "groundingMetadata": sources}
    names = {"modelVersion": "m-1", "usageMetadata": usage}
    body = {"candidates": [{"content": {"parts": parts}} | last]} | names
    each = {"finishReason": reason} if repeats_reason else {}
    split = []
    for part in parts:
        is_text = part.keys() <= {"text", "thought"} and part.get("text")
        split += (
            [part | {"text": piece} for piece in pieces(part["text"], sizes)] if is_text else [part]
        )
    events = [{"candidates": [{"content": {"parts": [part]}} | each]} | names for part in split]
    events.append({"candidates": [last]} | names)

    streamed = fields_of(GeminiParser(make_errors()), *events)
    assert streamed == fields_of(GeminiParser(make_errors()), body)


CONTENTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda text: {"type": "thinking", "thinking": text}, TEXTS),
    st.just({"type": "something_new"}),
)
COHERE_CITATION = {"start": 0, "end": 1, "text": "a", "sources": [{"id": "d", "type": "document"}]}


@settings(max_examples=150)
@given(
    st.lists(CONTENTS, max_size=3),
    st.lists(ARGUMENTS, max_size=2),
    TEXTS,
    st.integers(0, 2),
    st.tuples(st.sampled_from(["COMPLETE", "MAX_TOKENS", "TOOL_CALL", "SOMETHING_NEW"]), SIZES),
)
def test_a_cohere_stream_gives_the_reply_of_the_body(contents, arguments, plan, cited, end):
    """Contents, plans, calls, citations and log probabilities are equal in both."""
    reason, sizes = end
    usage = {"tokens": {"input_tokens": 3.0, "output_tokens": 5.0}}
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": text}}
        for number, text in enumerate(arguments)
    ]
    rows = [{"text": "a", "token_ids": [1], "logprobs": [-1.0]}] * cited
    message = {"content": contents, "tool_plan": plan, "tool_calls": calls}
    message |= {"citations": [COHERE_CITATION] * cited}
    body = {"id": "r", "message": message, "finish_reason": reason, "usage": usage}
    events = [{"type": "message-start", "id": "r"}]

    def event(kind, index, **fields):
        return {"type": kind, "index": index, "delta": {"message": fields}}

    for index, content in enumerate(contents):
        kind = content["type"]
        empty = content | ({kind: ""} if kind in content else {})
        events.append(event("content-start", index, content=empty))
        parts = pieces(content.get(kind, ""), sizes)
        events += [event("content-delta", index, content={kind: piece}) for piece in parts]
        events.append({"type": "content-end", "index": index})
    events += [event("content-delta", 0, content={}) | {"logprobs": row} for row in rows]
    events += [event("citation-start", n, citations=COHERE_CITATION) for n in range(cited)]
    events += [event("tool-plan-delta", None, tool_plan=piece) for piece in pieces(plan, sizes)]
    for index, call in enumerate(calls):
        start = call | {"function": {"name": "f", "arguments": ""}}
        events.append(event("tool-call-start", index, tool_calls=start))
        for piece in pieces(call["function"]["arguments"], sizes):
            part = {"function": {"arguments": piece}}
            events.append(event("tool-call-delta", index, tool_calls=part))
        events.append({"type": "tool-call-end", "index": index})
    events.append({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}})
    whole = fields_of(CohereParser(make_errors()), body | {"logprobs": rows})

    assert fields_of(CohereParser(make_errors()), *events) == whole


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content": st.none() | TEXTS,
            "refusal": st.none() | st.sampled_from(["", "no"]),
            "reasoning_content": TEXTS,
            "annotations": st.just(
                [{"type": "url_citation", "url_citation": {"url": "https://x"}}]
            ),
        },
    ),
    st.lists(ARGUMENTS, max_size=2),
    st.sampled_from(["stop", "length", "tool_calls", "content_filter", "something_new"]),
    st.booleans(),
    SIZES,
)
def test_a_chat_stream_gives_the_reply_of_the_body(message, arguments, reason, has_index, sizes):
    """Texts, refusals, reasoning, calls and annotations are equal in both."""
    if message.get("content") and message.get("refusal"):
        message |= {"refusal": None}
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": text}}
        for number, text in enumerate(arguments)
    ]
    names = {"model": "m-1", "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    full = message | {"role": "assistant"} | ({"tool_calls": calls} if calls else {})
    body = {"choices": [{"index": 0, "message": full, "finish_reason": reason}]} | names

    def event(end=None, **delta):
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return {"model": "m-1", "choices": [choice]}

    events = [event(role="assistant")]
    for field in ("reasoning_content", "content", "refusal"):
        events += [event(**{field: part}) for part in pieces(message.get(field) or "", sizes)]
    if "annotations" in message:
        found = {"annotations": message["annotations"]}
        if "content" in events[-1]["choices"][0]["delta"]:  # beside the text, or on their own
            events[-1]["choices"][0]["delta"] |= found
        else:
            events.append(event(**found))
    for index, call in enumerate(calls):
        place = {"index": index} if has_index or len(calls) > 1 else {}
        start = call | {"function": {"name": "f", "arguments": ""}} | place
        events.append(event(tool_calls=[start]))
        for part in pieces(call["function"]["arguments"], sizes):
            events.append(event(tool_calls=[{"function": {"arguments": part}} | place]))
    events += [event(reason), {"choices": []} | names]

    assert fields_of(ChatParser(make_errors()), *events) == fields_of(
        ChatParser(make_errors()), body
    )
