"""Extensions of Chat Completions by servers: reasoning, sources, images, tool-call IDs."""

import dataclasses
import json

import pytest

from gatewayx_nb.errors import UnsupportedFeatureError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.replies import Citation, Logprob, Usage
from tests.llm_engines.rich_recordings import PNG, PNG_TEXT, chat_body, chat_chunk
from tests.llm_engines.wire import Wire, body_script, make_event, stream_script

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "look", "arguments": "{}"},
}
RESULT = Message("tool", [ToolResult("", "blue", name="look")])
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def ask(request, tmp_path):
    """Return a function that asks an engine for an answer, whole or streamed."""
    stack = []

    def call(engine, body, events, **options):
        wire = Wire(tmp_path / engine, engine, "/v1")
        stack.append(wire)
        if not request.param:
            wire.respond_with(body_script(json.dumps(body)))
            return wire, wire.pool.ask("Hi", model=f"{engine}:m", **options)
        wire.respond_with(stream_script([*map(make_event, events), make_event("[DONE]")]))
        stream = wire.pool.stream("Hi", model=f"{engine}:m", **options)
        for _ in stream:
            pass
        return wire, stream.reply

    yield call
    for wire in stack:
        wire.__exit__()


def _continue(wire, reply, **options):
    """Return the messages of a request that continues a reply."""
    wire.respond_with(body_script(json.dumps(chat_body({"content": "ok"}))))
    messages = [Message("user", "Hi"), reply.message, RESULT]
    wire.pool.ask(messages=messages, model=f"{wire.name}:m", **options)
    return wire.request_body["messages"]


REASONED = {"reasoning_content": "Hm.", "content": "", "tool_calls": [CALL]}
REASONED_EVENTS = [
    chat_chunk({"role": "assistant", "content": None, "reasoning_content": "H"}),
    chat_chunk({"content": None, "reasoning_content": "m."}),
    chat_chunk({"tool_calls": [CALL | {"index": 0}]}, "tool_calls"),
]


@pytest.mark.parametrize("engine", ["deepseek", "moonshot"])
def test_reasoning_goes_back_with_tools_where_it_is_required(ask, engine):
    """DeepSeek and Moonshot require earlier reasoning if a request has tools or tool calls.

    https://api-docs.deepseek.com/guides/thinking_mode#tool-calls
    """
    body = chat_body(REASONED, "tool_calls")
    wire, reply = ask(engine, body, REASONED_EVENTS)
    with_tools = _continue(wire, reply, params={"tools": []})
    without_tools = _continue(wire, reply)
    plain = [Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "So?")]
    wire.pool.ask(messages=plain, model=f"{wire.name}:m")
    without_calls = wire.request_body["messages"]
    wire.pool.ask(messages=plain, model=f"{wire.name}:m", params={"tools": []})
    of_another = wire.request_body["messages"]

    assert with_tools[1]["reasoning_content"] == "Hm."
    assert without_tools[1]["reasoning_content"] == "Hm."
    assert "reasoning_content" not in without_calls[1]
    assert of_another[1]["reasoning_content"] == ""


def test_reasoning_does_not_go_back_elsewhere(ask):
    """Reasoning is not sent to Groq and Cerebras, which refuse a message that contains it."""
    wire, reply = ask("groq", chat_body(REASONED, "tool_calls"), REASONED_EVENTS)

    assert reply.reasoning == "Hm."
    assert reply.carried is None
    assert _continue(wire, reply)[1].keys() == {"role", "content", "tool_calls"}


def test_an_answer_with_only_reasoning_is_not_sent(ask):
    """An answer that was truncated before its text is empty, although it carries reasoning."""
    body = chat_body({"reasoning_content": "Hm.", "content": ""}, "length")
    events = [chat_chunk({"reasoning_content": "Hm."}), chat_chunk({}, "length")]
    wire, reply = ask("deepseek", body, events)
    wire.respond_with(body_script(json.dumps(chat_body({"content": "ok"}))))
    messages = [Message("user", "Hi"), reply.message, Message("user", "So?")]
    wire.pool.ask(messages=messages, model="deepseek:m", params={"tools": []})

    assert wire.request_body["messages"] == [{"role": "user", "content": "Hi\n\nSo?"}]


def test_signatures_of_calls_go_back(ask):
    """The signatures of tool calls are sent back to Google's endpoint, which requires them."""
    extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    body = chat_body({"tool_calls": [CALL | extra]}, "tool_calls")
    wire, reply = ask(
        "huggingface", body, [chat_chunk({"tool_calls": [CALL | extra | {"index": 0}]}, "stop")]
    )

    assert _continue(wire, reply)[1]["tool_calls"] == [CALL | extra]


SEARCHED = {
    "citations": ["https://a.test/", "https://b.test/"],
    "search_results": [
        {"title": "A", "url": "https://a.test/", "date": "2026-01-01", "snippet": "An A."},
        {"title": "B", "url": "https://b.test/"},
    ],
}
FOUND = (Citation("An A.", "A", "https://a.test/"), Citation("", "B", "https://b.test/"))
LINKED = (Citation(url="https://a.test/"), Citation(url="https://b.test/"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [(SEARCHED, FOUND), ({"citations": SEARCHED["citations"]}, LINKED), ({"citations": [1]}, ())],
    ids=["search results", "addresses", "neither"],
)
def test_sources_beside_the_message_are_citations(ask, fields, expected):
    """Sources are citations, whether every chunk has them (Perplexity) or the last one (xAI)."""
    events = [
        chat_chunk({"content": "x"}, **fields),
        chat_chunk({}, "stop", **fields),
        chat_chunk(**fields) | {"choices": []},
    ]
    _, reply = ask("huggingface", chat_body({"content": "x"}, **fields), events)

    assert reply.citations == expected


def test_groq_reports_usage_in_its_own_field(ask):
    """A stream from Groq has its usage in `x_groq`."""
    end = chat_chunk({}, "stop", x_groq={"id": "req_1", "usage": USAGE})
    body = chat_body({"content": "x"}, usage=USAGE)
    _, reply = ask("groq", body, [chat_chunk({"content": "x"}), end])

    assert reply.usage == Usage(5, 7)


IMAGES = {
    "PNG": (f"data:image/png;base64,{PNG_TEXT}", Image("image/png", PNG)),
    "declared as JPEG": (f"data:image/jpeg;base64,{PNG_TEXT}", Image("image/png", PNG)),
    "SVG": ("data:image/svg+xml;base64,PHN2Zz4=", Image("image/svg+xml", b"<svg>")),
    "address": ("https://x.test/a.png", Image("", url="https://x.test/a.png")),
    "http": ("http://x.test/a.png", None),
    "script": ("javascript:alert(1)", None),
    "not Base64": ("data:image/png;base64,§", None),
    "empty": ("data:image/png;base64,", None),
    "a number": (7, None),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_bytes_with_their_real_type(ask, name):
    """Data that cannot be an image is left out, and the text is kept."""
    url, image = IMAGES[name]
    images = [{"type": "image_url", "image_url": {"url": url}}]
    body = chat_body({"content": "x", "images": images})
    events = [chat_chunk({"content": "x"}), chat_chunk({"images": images}), chat_chunk({}, "stop")]
    _, reply = ask("huggingface", body, events)

    assert (reply.text, reply.images) == ("x", () if image is None else (image,))


def test_log_probabilities_from_together(ask):
    """Log probabilities are read from two lists, tokens and numbers, as Together sends them."""
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [-0.5, float("-inf")]}
    choice = {"index": 0, "logprobs": logprobs, "finish_reason": "stop"}
    body = chat_body({"content": "ab"}) | {
        "choices": [choice | {"message": {"role": "assistant", "content": "ab"}}]
    }
    event = chat_chunk() | {"choices": [choice | {"delta": {"content": "ab"}}]}
    _, reply = ask("huggingface", body, [event])

    assert reply.logprobs == (Logprob("a", -0.5), Logprob("b", None))


CALLED = Message(
    "assistant", [ToolCall("toolu_01", "look", "{}"), ToolCall("abcDEF123", "see", "{}")]
)
RESULTS = Message("tool", [ToolResult("toolu_01", "blue"), ToolResult("abcDEF123", "red")])


def test_mistral_gets_ids_of_nine_letters_and_digits(tmp_path):
    """IDs from other engines are replaced in calls and results; Mistral's own IDs are kept."""
    with Wire(tmp_path / "p", "mistral", "/v1") as wire:
        wire.respond_with(body_script(json.dumps(chat_body({"content": "ok"}))))
        wire.pool.ask(messages=[Message("user", "Hi"), CALLED, RESULTS], model="mistral:m")
        _, called, *results = wire.request_body["messages"]
    ids = [call["id"] for call in called["tool_calls"]]

    assert ids[1] == "abcDEF123"
    assert ids[0].isalnum()
    assert len(ids[0]) == 9
    assert [row["tool_call_id"] for row in results] == ids


def test_mistral_gets_an_answer_between_results_and_a_prompt(tmp_path):
    """Mistral rejects a user's message right after tool results."""
    messages = [Message("user", "Hi"), CALLED, RESULTS, Message("user", "So?")]
    with Wire(tmp_path / "p", "mistral", "/v1") as wire:
        wire.respond_with(body_script(json.dumps(chat_body({"content": "ok"}))))
        wire.pool.ask(messages=messages, model="mistral:m")
        sent = wire.request_body["messages"]

    assert [row["role"] for row in sent] == [
        "user",
        "assistant",
        *["tool"] * 2,
        "assistant",
        "user",
    ]
    assert sent[4]["content"]
    assert "tool_calls" not in sent[4]


def test_a_server_that_refuses_a_prompt_after_results_gets_an_answer_between(tmp_path):
    """Other servers offer Mistral's models, too, and are asked once."""
    message = {"message": "Unexpected role 'user' after role 'tool'", "code": "3230"}
    messages = [Message("user", "Hi"), CALLED, RESULTS, Message("user", "So?")]
    roles = []

    def script(request):
        roles.append([row["role"] for row in json.loads(request.body)["messages"]])
        if roles[-1][-2:] == ["tool", "user"]:
            return body_script({"error": message}, 400)
        return body_script(json.dumps(chat_body({"content": "ok"})))

    with Wire(tmp_path / "p", "groq", "/v1") as wire:
        wire.respond_with(script)
        for _ in range(2):
            assert wire.pool.ask(messages=messages, model="groq:m").text == "ok"

    assert [row[-2:] for row in roles] == [["tool", "user"], *[["assistant", "user"]] * 2]


def test_an_image_in_a_result_is_refused_where_no_message_can_hold_it(tmp_path):
    """An image in a tool result is refused: Mistral accepts no user's message after results."""
    result = Message("tool", [ToolResult("toolu_01", Image("image/png", PNG))])
    called = Message("assistant", [CALLED.tool_calls[0]])
    messages = [Message("user", "Hi"), called, result]
    with Wire(tmp_path / "p", "mistral", "/v1") as wire:
        with pytest.raises(UnsupportedFeatureError, match="images in tool results"):
            wire.pool.ask(messages=messages, model="mistral:m")
        assert not wire.server.requests
    with Wire(tmp_path / "q", "groq", "/v1") as wire:
        wire.respond_with(body_script(json.dumps(chat_body({"content": "ok"}))))
        wire.pool.ask(messages=messages, model="groq:m")
        *_, row, picture = wire.request_body["messages"]

    assert row["content"] == "The result is the image below."
    assert picture["role"] == "user"
    assert [part["type"] for part in picture["content"]] == ["text", "image_url"]
    assert "look" in picture["content"][0]["text"]


def test_reasoning_details_without_an_index_are_separate(ask):
    """Only pieces of reasoning details with the same index are joined."""
    details = [{"type": "reasoning.text", "text": text} for text in ("a", "b")]
    body = chat_body({"content": "x", "reasoning_details": details})
    events = [
        *(chat_chunk({"reasoning_details": [detail]}) for detail in details),
        chat_chunk({"content": "x"}, "stop"),
    ]
    _, reply = ask("openrouter", body, events)

    assert reply.carried.data["reasoning_details"] == details
    assert dataclasses.replace(reply.carried, data={}) != reply.carried
