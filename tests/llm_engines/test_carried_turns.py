"""Turns that are sent back as their provider sent them, because it signs or encrypts reasoning."""

import json

import pytest

from gatewayx_nb.engine_pool.token_estimates import estimate_request_tokens
from gatewayx_nb.errors import ProviderError, UsageError
from gatewayx_nb.llm_engines.anthropic_messages import MessagesParser
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.openai_chat import ChatParser
from gatewayx_nb.llm_engines.openai_responses import ResponsesParser
from gatewayx_nb.messages import Carried, Message, ToolCall, ToolResult
from gatewayx_nb.testing import Send, reply
from tests.llm_engines.recordings import delta_event, end_event, start_event, stop_event
from tests.llm_engines.rich_recordings import ANTHROPIC, GEMINI, RESPONSES
from tests.llm_engines.wire import Wire, body_script, make_errors, make_request

RESPONSES_SETTINGS = '[engines.openai]\napi = "responses"'


def _carried(parser, *bodies):
    """Return the items that an answer carries, or ``None``."""
    chunks = [chunk for body in bodies for chunk in parser.feed(json.dumps(body))]
    found = [chunk.details.carried for chunk in chunks if chunk.details and chunk.details.carried]
    assert len(found) <= 1
    return found[0]["items"] if found else None


TEXT = {"type": "text", "text": "x"}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
USED = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
SEARCH = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
MESSAGES = {
    "text and a call alone": ([TEXT, USED], "tool_use", None),
    "thinking alone": ([SIGNED], "max_tokens", None),
    "thinking and a blank text": ([SIGNED, TEXT | {"text": "\n"}], "max_tokens", None),
    "thinking and a text": ([SIGNED, TEXT], "end_turn", [SIGNED, TEXT]),
    "a blank text before a call": (
        [SIGNED, TEXT | {"text": "\n\n"}, USED], "tool_use", [SIGNED, USED],
    ),
    "a call by a program": (
        [USED | {"caller": {"type": "direct"}}], "tool_use",
        [USED | {"caller": {"type": "direct"}}],
    ),
    "a pause": ([SEARCH], "pause_turn", [SEARCH]),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_blocks_go_back_if_they_say_more_than_text_and_calls(name):
    """Anthropic rejects blank texts, and a turn that ends in thinking."""
    content, reason, expected = MESSAGES[name]
    body = ANTHROPIC.body | {"content": content, "stop_reason": reason}

    assert _carried(MessagesParser(make_errors()), body) == expected


def test_a_call_that_was_cut_off_does_not_go_back():
    """A turn is not carried if a call's arguments are truncated, which is not valid JSON."""
    events = [
        start_event(0, "thinking", thinking="Hm.", signature="c2ln"),
        start_event(1, "tool_use", id="t", name="f", input={}),
        delta_event(1, "input_json_delta", partial_json='{"a": '),
        stop_event(1),
        end_event("max_tokens"),
    ]

    assert _carried(MessagesParser(make_errors()), *events) is None


def test_ids_that_anthropic_rejects_are_replaced(tmp_path):
    """The same ID is sent in a call and in its result."""
    messages = [
        Message("user", "Hi"),
        Message("assistant", [ToolCall("functions.look:0", "look", "{}")]),
        Message("tool", [ToolResult("functions.look:0", "blue")]),
    ]
    with Wire(tmp_path / "p", "anthropic") as wire:
        wire.respond_with(body_script(ANTHROPIC.body))
        wire.pool.ask(messages=messages, model="anthropic:m")
        _, called, results = wire.request_body["messages"]

    assert called["content"][0]["id"] == results["content"][0]["tool_use_id"]
    assert called["content"][0]["id"].isalnum()


REASONING, ITEM, IMAGE, CALL = RESPONSES.body["output"]
PLAIN = {name: value for name, value in ITEM.items() if name != "phase"}
BARE = REASONING | {"encrypted_content": None}


def _sent(item, *dropped):
    parts = [{k: v for k, v in part.items() if k != "logprobs"} for part in item["content"]]
    kept = {name: value for name, value in item.items() if name not in dropped}
    return kept | {"content": parts}


ITEMS = {
    "a text and a call alone": ([PLAIN, CALL], None),
    "reasoning alone": ([REASONING], None),
    "reasoning without its content": ([BARE, PLAIN], None),
    "a phase": ([ITEM], [_sent(ITEM)]),
    # Its ID would refer to the reasoning that is left out.
    "a phase after reasoning without its content": ([BARE, ITEM], [_sent(ITEM, "id")]),
    "encrypted reasoning": ([REASONING, PLAIN, CALL], [REASONING, _sent(PLAIN), CALL]),
    "an image alone": ([IMAGE], [IMAGE]),
}


@pytest.mark.parametrize("name", ITEMS)
def test_items_go_back_if_they_say_more_than_text_and_calls(name):
    """Encrypted reasoning is sent back, and so is a message with its phase."""
    output, expected = ITEMS[name]

    assert _carried(ResponsesParser(make_errors()), RESPONSES.body | {"output": output}) == expected


def test_streamed_items_are_used_if_the_end_has_none():
    """If a proxy omits the output in the last event, the streamed items are carried."""
    *events, end = RESPONSES.events
    last = end | {"response": end["response"] | {"output": []}}
    whole = _carried(ResponsesParser(make_errors()), RESPONSES.body)

    assert _carried(ResponsesParser(make_errors()), *events, last) == whole


REFUSALS = [
    {"message": "Encrypted content is not supported with this model.", "param": None},
    {"message": "Unknown value.", "param": "include[0]"},
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["message", "parameter"])
def test_encrypted_reasoning_is_not_requested_after_a_refusal(tmp_path, refusal):
    """If a model refuses encrypted reasoning, it answers without it, and later requests omit it."""
    asked = []

    def script(request):
        asked.append("include" in json.loads(request.body))
        if asked[-1]:
            return [Send(reply(json.dumps({"error": refusal}).encode(), 400))]
        return body_script(RESPONSES.body)

    with Wire(tmp_path / "p", "openai", "/v1", RESPONSES_SETTINGS) as wire:
        wire.respond_with(script)
        texts = [wire.pool.ask("Hi", model="openai:m").text for _ in range(2)]

    assert texts == [RESPONSES.body["output"][1]["content"][0]["text"]] * 2
    assert asked == [True, False, False]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["reasoning.encrypted_content"]),
        (
            {"include": ["file_search_call.results"]},
            ["file_search_call.results", "reasoning.encrypted_content"],
        ),
        ({"store": True}, None),
        ({"include": ["reasoning.encrypted_content"]}, ["reasoning.encrypted_content"]),
    ],
    ids=["by default", "with the caller's", "stored", "by the caller"],
)
def test_encrypted_reasoning_is_requested_unless_openai_keeps_it(tmp_path, params, expected):
    """The caller's `include` is kept."""
    with Wire(tmp_path / "p", "openai", "/v1", RESPONSES_SETTINGS) as wire:
        wire.respond_with(body_script(RESPONSES.body))
        wire.get_answer(make_request("Hi", params=params))
        assert wire.request_body.get("include") == expected


def _candidate(*parts, **fields):
    body = json.loads(json.dumps(GEMINI.body))
    body["candidates"] = [{"content": {"role": "model", "parts": list(parts)}} | fields]
    return body


def _chat_chunk(reason=None, **delta):
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def _late(parser, *bodies):
    """Return the calls, the last finish reason and the last turn of an answer."""
    chunks = [chunk for body in bodies for chunk in parser.feed(json.dumps(body))]
    calls = [call.name for chunk in chunks for call in chunk.tool_calls]
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    turns = [chunk.details.carried for chunk in chunks if chunk.details]
    return calls, reasons[-1], turns[-1]


def _start(index, block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def test_a_block_after_an_early_stop_reason_goes_back():
    """What follows Anthropic's stop reason, before the end mark, belongs to the turn."""
    events = [
        _start(0, SIGNED),
        _start(1, TEXT),
        end_event("end_turn"),
        _start(2, USED),
        {"type": "message_stop"},
    ]
    calls, _, turn = _late(MessagesParser(make_errors()), *events)

    assert calls == ["f"]
    assert turn["items"] == [SIGNED, TEXT, USED]


def test_a_part_after_an_early_finish_reason_goes_back():
    """What follows Gemini's finish reason belongs to the turn."""
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}
    bodies = [_candidate(WORD, **STOP), _candidate(call)]
    calls, reason, turn = _late(GeminiParser(make_errors()), *bodies)

    assert (calls, reason) == (["f"], "tool_calls")
    assert turn["items"] == [WORD, call]


def test_a_signature_after_an_early_finish_reason_goes_back():
    """What follows a finish reason in Chat Completions belongs to the turn."""
    extra = {"google": {"thought_signature": "c2ln"}}
    function = {"name": "f", "arguments": "{}"}
    call = {"index": 0, "id": "c1", "function": function, "extra_content": extra}
    bodies = [_chat_chunk("stop", content="x"), _chat_chunk(tool_calls=[call])]
    calls, reason, turn = _late(ChatParser(make_errors()), *bodies)

    assert (calls, reason) == (["f"], "tool_calls")
    assert turn["calls"] == {"c1": {"extra_content": extra}}


def test_details_are_yielded_once():
    """A server that repeats its finish reason does not repeat what it says beside the text."""
    sources = {"groundingChunks": [{"web": {"title": "T", "uri": "https://x"}}]}
    logprobs = {"chosenCandidates": [{"token": "x", "logProbability": -1}]}
    body = _candidate(WORD, groundingMetadata=sources, logprobsResult=logprobs, **STOP)
    parser = GeminiParser(make_errors())
    chunks = [chunk for _ in range(2) for chunk in parser.feed(json.dumps(body))]
    details = [chunk.details for chunk in chunks if chunk.details]

    assert [len(part.citations) for part in details] == [1, 0]
    assert [len(part.logprobs) for part in details] == [1, 1]


STOP = {"finishReason": "STOP"}
WORD = {"text": "x"}
THOUGHT = {"text": "Hm.", "thought": True}
SIGNATURE = {"text": "", "thoughtSignature": "c2ln"}
SIGNED_WORD = WORD | {"thoughtSignature": "c2ln"}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
PARTS = {
    "a text alone": ([_candidate(WORD, **STOP)], None),
    "thoughts alone": ([_candidate(THOUGHT | {"thoughtSignature": "c2ln"}, **STOP)], None),
    "a signature at the end": (
        [_candidate(WORD), _candidate(WORD), _candidate(SIGNATURE, **STOP)],
        [{"text": "xx"}, SIGNATURE],
    ),
    "a signature between texts": (
        [_candidate(WORD), _candidate(SIGNED_WORD), _candidate(WORD, **STOP)],
        [WORD, SIGNED_WORD, WORD],
    ),
    "code": ([_candidate(CODE), _candidate(WORD, **STOP)], [CODE, WORD]),
    "an empty end": (
        [_candidate(CODE), _candidate(WORD), _candidate({"text": ""}, **STOP)], [CODE, WORD],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_go_back_if_they_say_more_than_text_and_calls(name):
    """Signatures stay on their parts, and other pieces of text are joined."""
    bodies, expected = PARTS[name]

    assert _carried(GeminiParser(make_errors()), *bodies) == expected


@pytest.mark.parametrize("call_id", ["", "c1"])
def test_gemini_receives_its_own_ids(tmp_path, call_id):
    """A call without an ID has a result without one."""
    call = {"functionCall": {"name": "look", "args": {}}, "thoughtSignature": "c2ln"}
    if call_id:
        call["functionCall"]["id"] = call_id
    with Wire(tmp_path / "p", "google") as wire:
        wire.respond_with(body_script(_candidate(call, **STOP)))
        answer = wire.pool.ask("Hi", model="google:m")
        result = Message("tool", [ToolResult(call_id, "blue", name="look")])
        wire.pool.ask(messages=[Message("user", "Hi"), answer.message, result], model="google:m")
        _, called, results = wire.request_body["contents"]

    assert called["parts"] == [call]
    assert results["parts"][0]["functionResponse"].get("id", "") == call_id


def test_a_paused_answer_is_continued_without_a_prompt(tmp_path):
    """Only a paused answer from the same provider may be the last message."""
    paused = ANTHROPIC.body | {"content": [TEXT, SEARCH], "stop_reason": "pause_turn"}
    with Wire(tmp_path / "p", "anthropic") as wire:
        wire.respond_with(body_script(paused))
        first = wire.pool.ask("Hi", model="anthropic:m")
        done = ANTHROPIC.body | {"content": [TEXT], "stop_reason": "end_turn"}
        wire.respond_with(body_script(done))
        messages = [Message("user", "Hi"), first.message]
        second = wire.pool.ask(messages=messages, model="anthropic:m")
        sent = wire.request_body["messages"]
        with pytest.raises(UsageError, match="must be 'user' or 'tool'"):
            wire.pool.ask(messages=[*messages[:1], second.message], model="anthropic:m")

    assert first.finish_reason == "pause"
    assert sent[1:] == [{"role": "assistant", "content": [TEXT, SEARCH]}]
    assert second.text == "x"


def test_a_correction_sends_the_answer_back_as_it_came(tmp_path):
    """A model that is asked to correct its JSON gets its own reasoning back."""
    body = ANTHROPIC.body | {"content": [SIGNED, TEXT], "stop_reason": "end_turn"}
    with Wire(tmp_path / "p", "anthropic") as wire:
        wire.respond_with(body_script(body))
        with pytest.raises(ProviderError, match="and its correction"):
            wire.pool.ask("Hi", model="anthropic:m", schema=int)
        sent = wire.request_body["messages"]

    assert sent[1] == {"role": "assistant", "content": [SIGNED, TEXT]}


def test_what_a_turn_carries_counts_as_input():
    """An estimate of the tokens includes reasoning; an image counts as a bounded text."""
    carried = Carried.of("e", {"items": [{"text": "x" * 400}, {"data": "x" * 10**6}]}, PLAIN_TURN)
    turn = Message("assistant", PLAIN_TURN.parts, carried=carried)
    plain = estimate_request_tokens(make_request("Hi", PLAIN_TURN, "So?"))
    counted = estimate_request_tokens(make_request("Hi", turn, "So?"))

    assert plain + 12_600 <= counted < plain + 12_700


PLAIN_TURN = Message("assistant", "x")


@pytest.mark.parametrize(("depth", "is_kept"), [(100, True), (400, False)])
def test_a_turn_that_is_nested_too_deeply_is_not_carried(depth, is_kept):
    """A reply whose turn is nested too deeply can still be pickled and recorded."""
    query = json.loads('{"a":' * depth + "1" + "}" * depth)
    body = ANTHROPIC.body | {"content": [SEARCH | {"input": query}, TEXT]}

    assert bool(_carried(MessagesParser(make_errors()), body)) is is_kept


def test_positions_count_from_the_beginning_of_the_reply():
    """Responses counts the positions of a citation within one of several texts."""
    span = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "T", "url": "u"}
    parts = [{"type": "output_text", "text": "ab", "annotations": [span]}] * 2
    body = RESPONSES.body | {"output": [PLAIN | {"content": [part]} for part in parts]}
    chunks = ResponsesParser(make_errors()).feed(json.dumps(body))
    found = [citation for chunk in chunks if chunk.details for citation in chunk.details.citations]

    assert [(citation.start, citation.end) for citation in found] == [(0, 1), (2, 3)]
