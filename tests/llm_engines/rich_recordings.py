"""One answer from each provider with everything that answers can contain, whole and as events.

Each has reasoning that must go back, the text "Hé, sky is blue." and a call of ``look``, and what
else its provider sends: citations, an image, log probabilities. The tests also read them with the
vendors' SDKs.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from gatewayx_nb.images import Image
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Citation, Logprob, Usage
from tests.llm_engines.recordings import delta_event, message_event, start_event, stop_event

TEXT = "Hé, sky is blue."
PIECES = ("Hé, sky", " is blue.")
ARGUMENTS = '{"at": "sky"}'

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()


@dataclass(frozen=True)
class Rich:
    """An answer, and what is expected of it.

    Attributes:
        name: Name of the dialect.
        engine: The engine, and the path below its server.
        body: The body of the whole answer.
        events: The data of the stream's events.
        sent_back: The answer as it is in the next request, and the field of that request.
        field: The field of a request with the messages.
        position: Position of the answer in that field.
        settings: Lines of the project's settings.
    """

    name: str
    engine: str
    path: str
    body: dict
    events: list
    field: str
    sent_back: list
    usage: Usage
    position: int = 1
    reasoning: str = "Hm."
    call_id: str = "call_1"
    arguments: str = ARGUMENTS
    citations: tuple = ()
    images: tuple = ()
    logprobs: tuple = ()
    settings: str = ""
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def tool_calls(self):
        """The call of the answer."""
        return (ToolCall(self.call_id, "look", self.arguments),)


# ------------------------------------------------------------------------------ Chat Completions

_DETAIL = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0}
_ENCRYPTED_DETAIL = {"type": "reasoning.encrypted", "data": "abcd", "id": "r1", "index": 1}
_CHAT_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": ARGUMENTS},
}
_ANNOTATION = {
    "type": "url_citation",
    "url_citation": {
        "start_index": 4,
        "end_index": 7,
        "title": "Sky",
        "url": "https://sky.test/",
    },
}
_FAR_ANNOTATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 900, "end_index": 999, "title": "", "url": "https://x.test/"},
}
_CHAT_IMAGE = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{PNG_TEXT}"},
    "index": 0,
}


def _token(text, logprob):
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


_CHAT_LOGPROBS = [
    _token(PIECES[0], -0.25) | {"top_logprobs": [_token(PIECES[0], -0.25), _token("Ho", -3.0)]},
    _token(PIECES[1], float("nan")) | {"top_logprobs": []},
]
LOGPROBS = (
    Logprob(PIECES[0], -0.25, (Logprob(PIECES[0], -0.25), Logprob("Ho", -3.0))),
    Logprob(PIECES[1], None),
)
CITATIONS = (
    Citation("sky", "Sky", "https://sky.test/", None, 4, 7),
    Citation("", "", "https://x.test/", None, 900, 999),
)
_CHAT_USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 80,
    "total_tokens": 130,
    "completion_tokens_details": {"reasoning_tokens": 30},
}


def _chat(kind, choice, **fields):
    ids = {"id": "gen-1", "object": kind, "created": 1, "model": "exact-1"}
    return ids | {"choices": [{"index": 0, "logprobs": None} | choice]} | fields


def chat_chunk(delta=None, reason=None, logprobs=None, **fields):
    """Return a chunk of a stream of Chat Completions."""
    content = None if logprobs is None else {"content": logprobs, "refusal": None}
    choice = {"delta": delta or {}, "finish_reason": reason, "logprobs": content}
    return _chat("chat.completion.chunk", choice, **fields)


def chat_body(message, reason="stop", logprobs=None, **fields):
    """Return a whole answer of Chat Completions."""
    content = None if logprobs is None else {"content": logprobs, "refusal": None}
    whole = {"role": "assistant", "content": None} | message
    choice = {"message": whole, "finish_reason": reason, "logprobs": content}
    return _chat("chat.completion", choice, **fields)


CHAT = Rich(
    "chat",
    "openrouter",
    "/v1",
    chat_body(
        {
            "content": TEXT,
            "reasoning": "Hm.",
            "reasoning_details": [_DETAIL, _ENCRYPTED_DETAIL],
            "tool_calls": [_CHAT_CALL],
            "annotations": [_ANNOTATION, _FAR_ANNOTATION],
            "images": [_CHAT_IMAGE],
        },
        "tool_calls",
        _CHAT_LOGPROBS,
        usage=_CHAT_USAGE,
    ),
    [
        chat_chunk({"role": "assistant", "content": ""}),
        chat_chunk(
            {
                "reasoning": "H",
                "reasoning_details": [{"type": "reasoning.text", "text": "H", "index": 0}],
            }
        ),
        chat_chunk(
            {
                "reasoning": "m.",
                "reasoning_details": [{"type": "reasoning.text", "text": "m.", "index": 0}],
            }
        ),
        chat_chunk(
            {
                "reasoning_details": [
                    {"type": "reasoning.text", "signature": "c2ln", "index": 0},
                    _ENCRYPTED_DETAIL,
                ]
            }
        ),
        chat_chunk({"content": PIECES[0]}, logprobs=_CHAT_LOGPROBS[:1]),
        chat_chunk({"content": PIECES[1]}, logprobs=_CHAT_LOGPROBS[1:]),
        chat_chunk({"annotations": [_ANNOTATION]}),
        chat_chunk({"annotations": [_FAR_ANNOTATION], "images": [_CHAT_IMAGE]}),
        chat_chunk(
            {
                "tool_calls": [
                    _CHAT_CALL | {"index": 0, "function": {"name": "look", "arguments": ""}}
                ]
            }
        ),
        chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]}),
        chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"sky"}'}}]}),
        chat_chunk(reason="tool_calls"),
        chat_chunk(usage=_CHAT_USAGE) | {"choices": []},
    ],
    "messages",
    [
        {
            "role": "assistant",
            "content": TEXT,
            "tool_calls": [_CHAT_CALL],
            "reasoning_details": [_DETAIL, _ENCRYPTED_DETAIL],
        }
    ],
    Usage(50, 80, reasoning_tokens=30),
    citations=CITATIONS,
    images=(Image("image/png", PNG),),
    logprobs=LOGPROBS,
)

# ------------------------------------------------------------------------------------- Responses

_REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "gAAA",
    "status": None,
}
_SPAN_ANNOTATION = {"type": "url_citation"} | _ANNOTATION["url_citation"]
_FILE_ANNOTATION = {
    "type": "file_citation",
    "file_id": "file-1",
    "filename": "sky.pdf",
    "index": 7,
}
_TEXT_PART = {
    "type": "output_text",
    "text": TEXT,
    "annotations": [
        _SPAN_ANNOTATION,
        {"type": "url_citation"} | _FAR_ANNOTATION["url_citation"],
        _FILE_ANNOTATION,
    ],
    "logprobs": _CHAT_LOGPROBS,
}
_MESSAGE_ITEM = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [_TEXT_PART],
}
_IMAGE_ITEM = {
    "type": "image_generation_call",
    "id": "ig_1",
    "status": "completed",
    "result": PNG_TEXT,
}
_CALL_ITEM = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look",
    "arguments": ARGUMENTS,
    "status": "completed",
}
_OUTPUT = [_REASONING, _MESSAGE_ITEM, _IMAGE_ITEM, _CALL_ITEM]
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1.0,
    "model": "exact-1",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": _OUTPUT,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
        "output_tokens": 80,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 130,
    },
}
_STARTED = _RESPONSE | {"status": "in_progress", "output": [], "usage": None}


def _response_events():
    yield "created", {"response": _STARTED}
    yield (
        "output_item.added",
        {"output_index": 0, "item": _REASONING | {"summary": [], "encrypted_content": "gA"}},
    )
    part = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    yield "reasoning_summary_part.added", part | {"part": {"type": "summary_text", "text": ""}}
    yield "reasoning_summary_text.delta", part | {"delta": "Hm."}
    yield "output_item.done", {"output_index": 0, "item": _REASONING}
    yield (
        "output_item.added",
        {"output_index": 1, "item": _MESSAGE_ITEM | {"content": [], "status": "in_progress"}},
    )
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield "content_part.added", place | {"part": empty}
    for piece in PIECES:
        yield "output_text.delta", place | {"delta": piece, "logprobs": []}
    yield (
        "output_text.annotation.added",
        place | {"annotation_index": 0, "annotation": _SPAN_ANNOTATION},
    )
    yield "output_text.done", place | {"text": TEXT, "logprobs": []}
    yield "content_part.done", place | {"part": _TEXT_PART}
    yield "output_item.done", {"output_index": 1, "item": _MESSAGE_ITEM}
    yield (
        "output_item.added",
        {"output_index": 2, "item": _IMAGE_ITEM | {"result": None, "status": "in_progress"}},
    )
    yield "output_item.done", {"output_index": 2, "item": _IMAGE_ITEM}
    call = {"item_id": "fc_1", "output_index": 3}
    yield (
        "output_item.added",
        {"output_index": 3, "item": _CALL_ITEM | {"arguments": "", "status": "in_progress"}},
    )
    yield "function_call_arguments.delta", call | {"delta": ARGUMENTS}
    yield "function_call_arguments.done", call | {"arguments": ARGUMENTS, "name": "look"}
    yield "output_item.done", {"output_index": 3, "item": _CALL_ITEM}
    yield "completed", {"response": _RESPONSE}


_PLAIN_PART = {name: value for name, value in _TEXT_PART.items() if name != "logprobs"}

RESPONSES = Rich(
    "responses",
    "openai",
    "/v1",
    _RESPONSE,
    [
        {"type": f"response.{kind}", "sequence_number": number} | fields
        for number, (kind, fields) in enumerate(_response_events())
    ],
    "input",
    [_REASONING, _MESSAGE_ITEM | {"content": [_PLAIN_PART]}, _IMAGE_ITEM, _CALL_ITEM],
    Usage(50, 80, 40, 0, 30),
    citations=(*CITATIONS, Citation("", "sky.pdf")),
    images=(Image("image/png", PNG),),
    logprobs=LOGPROBS,
    settings='[engines.openai]\napi = "responses"',
)

# ------------------------------------------------------------------------------------- Anthropic

_WEB_CITATION = {
    "type": "web_search_result_location",
    "cited_text": "The sky is blue.",
    "encrypted_index": "Eo8",
    "title": "Sky",
    "url": "https://sky.test/",
}
_PAGE_CITATION = {
    "type": "page_location",
    "cited_text": "Blue.",
    "document_index": 0,
    "document_title": "sky.pdf",
    "start_page_number": 3,
    "end_page_number": 4,
    "file_id": None,
}
_SEARCH = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "sky"},
}
_FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://sky.test/",
            "title": "Sky",
            "encrypted_content": "EqgfC",
            "page_age": None,
        }
    ],
}
_BLOCKS = [
    {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"},
    {"type": "redacted_thinking", "data": "EmwKAh"},
    _SEARCH,
    _FOUND,
    {"type": "text", "text": PIECES[0]},
    {"type": "text", "text": PIECES[1], "citations": [_WEB_CITATION, _PAGE_CITATION]},
    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sky"}},
]
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "exact-1",
    "content": _BLOCKS,
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 50, "output_tokens": 80},
}

ANTHROPIC = Rich(
    "anthropic",
    "anthropic",
    "",
    _MESSAGE,
    [
        {
            "type": "message_start",
            "message": _MESSAGE
            | {
                "content": [],
                "stop_reason": None,
                "usage": {"input_tokens": 50, "output_tokens": 1},
            },
        },
        start_event(0, "thinking", thinking="", signature=""),
        delta_event(0, "thinking_delta", thinking="H"),
        delta_event(0, "thinking_delta", thinking="m."),
        delta_event(0, "signature_delta", signature="c2lnbmF0dXJl"),
        stop_event(0),
        start_event(1, "redacted_thinking", data="EmwKAh"),
        stop_event(1),
        start_event(2, "server_tool_use", id="srvtoolu_1", name="web_search", input={}),
        delta_event(2, "input_json_delta", partial_json='{"query": '),
        delta_event(2, "input_json_delta", partial_json='"sky"}'),
        stop_event(2),
        start_event(
            3,
            "web_search_tool_result",
            **{name: value for name, value in _FOUND.items() if name != "type"},
        ),
        stop_event(3),
        start_event(4, "text", text=""),
        delta_event(4, "text_delta", text=PIECES[0]),
        stop_event(4),
        start_event(5, "text", text="", citations=[]),
        delta_event(5, "citations_delta", citation=_WEB_CITATION),
        delta_event(5, "text_delta", text=PIECES[1]),
        delta_event(5, "citations_delta", citation=_PAGE_CITATION),
        stop_event(5),
        start_event(6, "tool_use", id="call_1", name="look", input={}),
        delta_event(6, "input_json_delta", partial_json=""),
        delta_event(6, "input_json_delta", partial_json=ARGUMENTS),
        stop_event(6),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 80},
        },
        {"type": "message_stop"},
    ],
    "messages",
    [{"role": "assistant", "content": _BLOCKS}],
    Usage(50, 80),
    citations=(
        Citation("The sky is blue.", "Sky", "https://sky.test/", None, 7, 16),
        Citation("Blue.", "sky.pdf", "", 3, 7, 16),
    ),
)

# ---------------------------------------------------------------------------------------- Gemini

_IMAGE_PART = {"inlineData": {"mimeType": "image/png", "data": PNG_TEXT}}
_FUNCTION_PART = {
    "functionCall": {"name": "look", "args": {"at": "sky"}},
    "thoughtSignature": "c2lnMQ==",
}
_GROUNDING = {
    "groundingChunks": [
        {"web": {"uri": "https://sky.test/", "title": "Sky"}},
        {"retrievedContext": {"title": "sky.pdf", "text": "Blue.", "pageNumber": 3}},
    ],
    "groundingSupports": [
        {
            "segment": {"startIndex": 5, "endIndex": 8, "text": "sky"},
            "groundingChunkIndices": [0, 1, 99],
        },
    ],
}
_RECITATION = {
    "citationSources": [{"startIndex": 900, "endIndex": 999, "uri": "https://x.test/"}],
}
_GEMINI_LOGPROBS = {
    "chosenCandidates": [
        {"token": PIECES[0], "tokenId": 1, "logProbability": -0.25},
        {"token": PIECES[1], "tokenId": 2, "logProbability": float("-inf")},
    ],
    "topCandidates": [
        {
            "candidates": [
                {"token": PIECES[0], "tokenId": 1, "logProbability": -0.25},
                {"token": "Ho", "tokenId": 3, "logProbability": -3.0},
            ]
        },
        {"candidates": []},
    ],
}
_GEMINI_USAGE = {"promptTokenCount": 50, "candidatesTokenCount": 50, "thoughtsTokenCount": 30}


def _gemini(parts, **fields):
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}} | fields
    ids = {"modelVersion": "exact-1", "responseId": "r-1"}
    return {"candidates": [candidate], "usageMetadata": _GEMINI_USAGE} | ids


_GEMINI_END = {
    "finishReason": "STOP",
    "groundingMetadata": _GROUNDING,
    "citationMetadata": _RECITATION,
    "logprobsResult": _GEMINI_LOGPROBS,
}
_THOUGHT = {"text": "Hm.", "thought": True}

GEMINI = Rich(
    "gemini",
    "google",
    "",
    _gemini([_THOUGHT, {"text": TEXT}, _IMAGE_PART, _FUNCTION_PART], **_GEMINI_END),
    [
        _gemini([{"text": "H", "thought": True}]),
        _gemini([{"text": "m.", "thought": True}]),
        _gemini([{"text": PIECES[0]}]),
        _gemini([{"text": PIECES[1]}]),
        _gemini([_IMAGE_PART]),
        _gemini([_FUNCTION_PART]),
        _gemini([{"text": ""}], **_GEMINI_END),
    ],
    "contents",
    [{"role": "model", "parts": [_THOUGHT, {"text": TEXT}, _IMAGE_PART, _FUNCTION_PART]}],
    Usage(50, 80, reasoning_tokens=30),
    call_id="",
    citations=(
        Citation("sky", "Sky", "https://sky.test/", None, 4, 7),
        Citation("Blue.", "sky.pdf", "", 3, 4, 7),
        Citation("", "", "https://x.test/", None, 16, 16),
    ),
    images=(Image("image/png", PNG),),
    logprobs=LOGPROBS,
)

# ---------------------------------------------------------------------------------------- Cohere

_COHERE_CITATION = {
    "start": 4,
    "end": 7,
    "text": "sky",
    "sources": [
        {
            "type": "document",
            "id": "doc:0",
            "document": {"id": "doc:0", "title": "Sky", "url": "https://sky.test/"},
        },
        {"type": "tool", "id": "look:0", "tool_output": {"height": "9"}},
    ],
    "content_index": 1,
    "type": "TEXT_CONTENT",
}
_COHERE_CONTENT = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": TEXT}]
_COHERE_USAGE = {
    "billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
    "tokens": {"input_tokens": 50.0, "output_tokens": 80.0},
}
_COHERE_MESSAGE = {
    "role": "assistant",
    "content": _COHERE_CONTENT,
    "tool_plan": " I look.",
    "tool_calls": [_CHAT_CALL],
}
_COHERE_LOGPROBS = [
    {"text": PIECES[0], "token_ids": [1, 2], "logprobs": [-0.5, -0.25]},
    {"text": PIECES[1], "token_ids": [3], "logprobs": [float("nan")]},
]


def _cohere_call(kind, arguments, **fields):
    function = {"arguments": arguments} | fields.pop("function", {})
    return message_event(kind, 0, tool_calls={"function": function} | fields)


COHERE = Rich(
    "cohere",
    "cohere",
    "",
    {
        "id": "reply-1",
        "finish_reason": "TOOL_CALL",
        "message": _COHERE_MESSAGE | {"citations": [_COHERE_CITATION]},
        "usage": _COHERE_USAGE,
        "logprobs": _COHERE_LOGPROBS,
    },
    [
        {"type": "message-start", "id": "reply-1", "delta": {"message": {"role": "assistant"}}},
        message_event("content-start", 0, content={"type": "thinking", "thinking": ""}),
        message_event("content-delta", 0, content={"thinking": "H"}),
        message_event("content-delta", 0, content={"thinking": "m."}),
        {"type": "content-end", "index": 0},
        message_event("content-start", 1, content={"type": "text", "text": ""}),
        message_event("content-delta", 1, content={"text": PIECES[0]})
        | {"logprobs": _COHERE_LOGPROBS[0]},
        message_event("content-delta", 1, content={"text": PIECES[1]})
        | {"logprobs": _COHERE_LOGPROBS[1]},
        message_event("citation-start", 0, citations=_COHERE_CITATION),
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 1},
        message_event("tool-plan-delta", tool_plan=" I"),
        message_event("tool-plan-delta", tool_plan=" look."),
        _cohere_call(
            "tool-call-start", "", id="call_1", type="function", function={"name": "look"}
        ),
        _cohere_call("tool-call-delta", ARGUMENTS),
        {"type": "tool-call-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": _COHERE_USAGE}},
    ],
    "messages",
    [_COHERE_MESSAGE],
    Usage(50, 80),
    reasoning="Hm. I look.",
    citations=(
        Citation("sky", "Sky", "https://sky.test/", None, 4, 7),
        Citation("sky", "look:0", "", None, 4, 7),
    ),
    # That of a piece of text is the product of those of its tokens.
    logprobs=(Logprob(PIECES[0], -0.75), Logprob(PIECES[1])),
)

ALL = (CHAT, RESPONSES, ANTHROPIC, GEMINI, COHERE)
"""All answers."""


def encoded_events(rich):
    """Return the encoded events of a stream, with the end marker of the dialects that have one."""
    names = (event.get("type") for event in rich.events)
    blocks = [
        (f"event: {name}\n" if name else "").encode() + f"data: {json.dumps(event)}\n\n".encode()
        for name, event in zip(names, rich.events, strict=True)
    ]
    return [*blocks, b"data: [DONE]\n\n"] if rich.name == "chat" else blocks
