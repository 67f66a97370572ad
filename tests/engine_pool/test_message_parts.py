"""Messages with parts, on every kind of engine: each part is sent or refused by name."""

import json

import pytest

from gatewayx_nb import Chunk, EnginePool, Image, Message, Reply, ToolCall, ToolResult
from gatewayx_nb.calls.prompt_messages import link_tool_results
from gatewayx_nb.errors import CassetteMissError, ProviderError, UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.testing import ScriptedEngine

IMAGE = Image("image/png", url="https://x.test/a.png")
ASK = Message("user", "Weather?")
CALL = ToolCall("call_1", "weather", '{"city": "Rome"}')
TIME = ToolCall("call_2", "time", "")
CALLED = Message("assistant", [CALL])
RESULT = Message("tool", [ToolResult("call_1", "12 °C")])
END = Chunk(finish_reason="stop")

CONVERSATIONS = {
    "texts": [Message("user", ["Two", "texts"])],
    "text and image": [Message("user", ["See", IMAGE])],
    "image between texts": [Message("user", ["Left", IMAGE, "right"])],
    "system later": [Message("user", "Hi"), Message("system", "Rhyme."), Message("user", "So?")],
    "empty answer": [Message("user", "Hi"), Message("assistant", ""), Message("user", "So?")],
    "call and result": [ASK, CALLED, RESULT],
    "text and calls": [
        ASK,
        Message("assistant", ["I look.", CALL, TIME]),
        Message("tool", [ToolResult("call_2", "noon"), ToolResult("call_1", "12 °C")]),
        Message("user", "So?"),
    ],
    "failed call": [ASK, CALLED, Message("tool", [ToolResult("call_1", "no", is_error=True)])],
    "image in a result": [ASK, CALLED, Message("tool", [ToolResult("call_1", ["See", IMAGE])])],
    "image in an answer": [ASK, Message("assistant", ["See", IMAGE]), Message("user", "So?")],
}

CHAT_IMAGE = {"type": "image_url", "image_url": {"url": IMAGE.url}}
CHAT_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
CHAT_TIME = {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}}
CHAT_ASK = {"role": "user", "content": "Weather?"}
CHAT_CALLED = {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]}
CHAT = {
    "texts": [
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("Two", "texts")]}
    ],
    "text and image": [{"role": "user", "content": [{"type": "text", "text": "See"}, CHAT_IMAGE]}],
    "image between texts": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Left"}, CHAT_IMAGE, {"type": "text", "text": "right"},
            ],
        }
    ],
    "system later": [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Rhyme."},
        {"role": "user", "content": "So?"},
    ],
    # The turns around an empty one become one.
    "empty answer": [{"role": "user", "content": "Hi\n\nSo?"}],
    "call and result": [
        CHAT_ASK, CHAT_CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
    ],
    "text and calls": [
        CHAT_ASK,
        {"role": "assistant", "content": "I look.", "tool_calls": [CHAT_CALL, CHAT_TIME]},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"},
        {"role": "user", "content": "So?"},
    ],
    "failed call": [
        CHAT_ASK, CHAT_CALLED, {"role": "tool", "tool_call_id": "call_1", "content": "Error: no"},
    ],
    # Results are texts; an image follows as a user's message.
    "image in a result": [
        CHAT_ASK,
        CHAT_CALLED,
        {"role": "tool", "tool_call_id": "call_1", "content": "See"},
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": "Images in the result of weather (tool call call_1):",
                },
                CHAT_IMAGE,
            ],
        },
    ],
    "image in an answer": "Chat Completions does not support images in assistant messages",
}  # fmt: skip

COHERE_CALLED = {"role": "assistant", "tool_calls": [CHAT_CALL]}


def _cohere_result(call, **data):
    """Return a result as a document, which an answer can cite."""
    content = [{"type": "document", "document": {"data": data}}]
    return {"role": "tool", "tool_call_id": call, "content": content}


COHERE = CHAT | {
    "call and result": [CHAT_ASK, COHERE_CALLED, _cohere_result("call_1", output="12 °C")],
    "failed call": [CHAT_ASK, COHERE_CALLED, _cohere_result("call_1", error="no")],
    "text and calls": [
        CHAT_ASK,
        {"role": "assistant", "tool_calls": [CHAT_CALL, CHAT_TIME], "tool_plan": "I look."},
        _cohere_result("call_2", output="noon"),
        _cohere_result("call_1", output="12 °C"),
        CHAT["text and calls"][-1],
    ],
    "image in a result": [
        CHAT_ASK,
        COHERE_CALLED,
        _cohere_result("call_1", output="See"),
        CHAT["image in a result"][-1],
    ],
    "image in an answer": "Cohere's Chat API does not support images in assistant messages",
}

DEEPSEEK = {
    name: turns
    if isinstance(turns, str)
    else [row | {"reasoning_content": ""} if "tool_calls" in row else row for row in turns]
    for name, turns in CHAT.items()
}
"""DeepSeek requires the field, which is empty in answers of other models."""

INPUT_IMAGE = {"type": "input_image", "detail": "auto", "image_url": IMAGE.url}
FUNCTION_CALL = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Rome"}',
}
RESPONSES = CHAT | {
    "texts": [
        {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("Two", "texts")]}
    ],
    "text and image": [
        {"role": "user", "content": [{"type": "input_text", "text": "See"}, INPUT_IMAGE]}
    ],
    "image between texts": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Left"},
                INPUT_IMAGE,
                {"type": "input_text", "text": "right"},
            ],
        }
    ],
    "call and result": [
        CHAT_ASK,
        FUNCTION_CALL,
        {"type": "function_call_output", "call_id": "call_1", "output": "12 °C"},
    ],
    "text and calls": [
        CHAT_ASK,
        {"role": "assistant", "content": "I look."},
        FUNCTION_CALL,
        {"type": "function_call", "call_id": "call_2", "name": "time", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_2", "output": "noon"},
        {"type": "function_call_output", "call_id": "call_1", "output": "12 °C"},
        {"role": "user", "content": "So?"},
    ],
    "failed call": [
        CHAT_ASK,
        FUNCTION_CALL,
        {"type": "function_call_output", "call_id": "call_1", "output": "Error: no"},
    ],
    "image in a result": [
        CHAT_ASK,
        FUNCTION_CALL,
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_text", "text": "See"}, INPUT_IMAGE],
        },
    ],
    "image in an answer": "the Responses API does not support images in assistant messages",
}

IMAGE_BLOCK = {"type": "image", "source": {"type": "url", "url": IMAGE.url}}
TOOL_USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}}


def _tool_result(content, **fields):
    """Return a user message with one `tool_result` block."""
    block = {"type": "tool_result", "tool_use_id": "call_1", "content": content, **fields}
    return {"role": "user", "content": [block]}


ANTHROPIC = {
    "texts": CHAT["texts"],
    # Images before a single text, as Anthropic recommends; any other order is kept.
    "text and image": [{"role": "user", "content": [IMAGE_BLOCK, {"type": "text", "text": "See"}]}],
    "image between texts": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Left"}, IMAGE_BLOCK, {"type": "text", "text": "right"},
            ],
        }
    ],
    # The system message goes into `system`, and adjacent messages of a role become one.
    "system later": [
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("Hi", "So?")]}
    ],
    "empty answer": CHAT["empty answer"],
    "call and result": [
        CHAT_ASK, {"role": "assistant", "content": [TOOL_USE]}, _tool_result("12 °C"),
    ],
    "text and calls": [
        CHAT_ASK,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                TOOL_USE,
                {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_2", "content": "noon"},
                {"type": "tool_result", "tool_use_id": "call_1", "content": "12 °C"},
                {"type": "text", "text": "So?"},
            ],
        },
    ],
    "failed call": [
        CHAT_ASK, {"role": "assistant", "content": [TOOL_USE]}, _tool_result("no", is_error=True),
    ],
    "image in a result": [
        CHAT_ASK,
        {"role": "assistant", "content": [TOOL_USE]},
        _tool_result([{"type": "text", "text": "See"}, IMAGE_BLOCK]),
    ],
    "image in an answer": "the Messages API does not support images in assistant messages",
}  # fmt: skip

FILE_PART = {"fileData": {"fileUri": IMAGE.url, "mimeType": "image/png"}}


def _content(role, *parts):
    """Return a turn in Gemini's format; a str is a text part."""
    return {
        "role": role,
        "parts": [{"text": part} if isinstance(part, str) else part for part in parts],
    }


def _response(response, call_id="call_1", name="weather", **fields):
    """Return a `functionResponse` part."""
    return {"functionResponse": {"id": call_id, "name": name, "response": response, **fields}}


FUNCTION_PART = {
    "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Rome"}},
    "thoughtSignature": "skip_thought_signature_validator",
}
GEMINI = {
    "texts": [_content("user", "Two", "texts")],
    "text and image": [_content("user", "See", FILE_PART)],
    "image between texts": [_content("user", "Left", FILE_PART, "right")],
    "system later": [_content("user", "Hi"), _content("user", "So?")],
    "empty answer": [_content("user", "Hi\n\nSo?")],
    "call and result": [
        _content("user", "Weather?"),
        _content("model", FUNCTION_PART),
        _content("user", _response({"output": "12 °C"})),
    ],
    "text and calls": [
        _content("user", "Weather?"),
        _content(
            "model",
            "I look.",
            FUNCTION_PART,
            {"functionCall": {"id": "call_2", "name": "time", "args": {}}},
        ),
        _content(
            "user",
            _response({"output": "noon"}, "call_2", "time"),
            _response({"output": "12 °C"}),
        ),
        _content("user", "So?"),
    ],
    "failed call": [
        _content("user", "Weather?"),
        _content("model", FUNCTION_PART),
        _content("user", _response({"error": "no"})),
    ],
    "image in a result": [
        _content("user", "Weather?"),
        _content("model", FUNCTION_PART),
        _content("user", _response({"output": "See"}, parts=[FILE_PART])),
    ],
    "image in an answer": [
        _content("user", "Weather?"),
        _content("model", "See", FILE_PART),
        _content("user", "So?"),
    ],
}

OWN = {name: list(link_tool_results(tuple(turns))) for name, turns in CONVERSATIONS.items()} | {
    # The prompt alone is sent.
    "texts": None,
    "empty answer": None,
}

DIALECTS = {
    "groq": ("messages", CHAT),
    "deepseek": ("messages", DEEPSEEK),
    "openai": ("input", RESPONSES),
    "anthropic": ("messages", ANTHROPIC),
    "google": ("contents", GEMINI),
    "cohere": ("messages", COHERE),
    "own": ("messages", OWN),
}
"""For each engine: the field with the messages, and each conversation's value or error."""

OWN_BODY = """\
    features = frozenset({"system", "history", "images"})

    async def generate(self, prompt, **kwargs):
        return prompt
"""


@pytest.fixture
def preview(project):
    """Yield a function that returns the body that an engine would send."""
    project.set_keys(
        "".join(
            f"GATEWAYX_{name}_API_KEY={name.lower()}-0123456789abcdef\n"
            for name in ("OPENAI", "GROQ", "DEEPSEEK", "ANTHROPIC", "GOOGLE", "COHERE")
        )
    )
    project.engine("own", body=OWN_BODY)
    with project.pool() as pool:
        yield lambda prompt, engine, **options: pool.preview(prompt, f"{engine}:m", **options).body


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("engine", DIALECTS)
def test_a_part_is_sent_or_refused_by_name(preview, engine, conversation):
    """Every kind of part is in the body, in its provider's format, or nothing is sent."""
    field, table = DIALECTS[engine]
    expected = table[conversation]
    if isinstance(expected, str):
        with pytest.raises(UnsupportedFeatureError, match=expected) as caught:
            preview(CONVERSATIONS[conversation], engine)
        assert "nothing was sent" in caught.value.message
        assert caught.value.hint
    else:
        assert preview(CONVERSATIONS[conversation], engine).get(field) == expected


def test_a_system_message_is_sent_as_each_provider_expects_it(preview):
    """Leading system messages are moved; so are later ones if a provider's turns lack the role."""
    messages = [{"role": "system", "content": "Be brief."}, *CONVERSATIONS["system later"]]

    assert preview(messages, "openai")["instructions"] == "Be brief."
    assert preview(messages, "deepseek")["messages"][0] == messages[0]
    assert preview(messages, "cohere")["messages"][0] == messages[0]
    assert preview(messages, "anthropic")["system"] == "Be brief.\n\nRhyme."
    system = preview(messages, "google")["systemInstruction"]
    assert system["parts"] == [{"text": "Be brief.\n\nRhyme."}]
    assert preview(messages, "own")["system"] == "Be brief."


@pytest.mark.parametrize("engine", DIALECTS)
def test_the_detail_of_an_image_is_sent_or_refused(preview, engine):
    """`detail` is sent to providers that know it, and refused for others."""
    url = {"url": IMAGE.url, "detail": "low"}
    prompt = [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]
    if engine in ("anthropic", "google"):
        with pytest.raises(UnsupportedFeatureError, match="an image's `detail`, here 'low'"):
            preview(prompt, engine)
    else:
        assert "low" in json.dumps(preview(prompt, engine), default=repr)


@pytest.mark.parametrize("engine", ["anthropic", "google"])
@pytest.mark.parametrize("arguments", ["{broken", "[1]", "[" * 100_000])
def test_arguments_that_are_not_an_object_are_refused(preview, engine, arguments):
    """If a provider expects arguments as an object, invalid JSON from a model is an error."""
    called = Message("assistant", [ToolCall("call_1", "weather", arguments)])
    with pytest.raises(UsageError, match="arguments of tool call 'weather' must be a JSON object"):
        preview([ASK, called, RESULT], engine)


@pytest.mark.parametrize("engine", ["mock", "local"])
def test_an_engine_without_images_refuses_those_in_tool_results(project, engine):
    """An engine that does not support images also refuses an image in a tool result."""
    with project.pool() as pool, pytest.raises(UnsupportedFeatureError, match="support images"):
        pool.preview(CONVERSATIONS["image in a result"], engine)


def test_mock_answers_the_last_text(project):
    """The last text, which may be that of a tool result, is the prompt."""
    with project.pool() as pool:
        assert pool.ask(CONVERSATIONS["call and result"], "mock").text == "[mock] 12 °C"


class KeepingEngine(LLMEngine):
    """Engine whose `generate` stores its keyword arguments."""

    name = "keeping"
    requires_key = False
    model_name = "k"

    def __init__(self):
        super().__init__()
        self.kept = []

    async def generate(self, prompt, **kwargs):
        self.kept.append((prompt, kwargs))
        return Reply("ok", self.name, "k")


def test_a_wrapped_generate_engine_sees_every_part():
    """`generate` gets the last text, and all messages with their parts and results."""
    engine = KeepingEngine()
    with EnginePool(env={}, engines=[engine]) as pool:
        pool.ask(CONVERSATIONS["text and calls"], "keeping")

    prompt, keywords = engine.kept[0]
    assert prompt == "So?"
    assert [message.role for message in keywords["messages"]] == [
        "user", "assistant", "tool", "user",
    ]  # fmt: skip
    assert keywords["messages"][1].parts == ("I look.", CALL, TIME)
    assert keywords["messages"][2].content == "noon\n\n12 °C"
    assert keywords["messages"][2].tool_results[0].name == "time"


def test_a_fallback_gets_the_same_messages():
    """If an engine cannot send a part or fails, its fallback gets every part."""
    first, second = ScriptedEngine([ProviderError("no")]), ScriptedEngine(["ok", END])
    second.name = "second"
    with EnginePool(env={}, engines=[first, second]) as pool:
        reply = pool.ask(CONVERSATIONS["text and calls"], "scripted", fallback="second")

    assert reply.engine == "second"
    assert second.requests[0].messages == first.requests[0].messages
    assert second.requests[0].messages[1].tool_calls == (CALL, TIME)


def test_a_retry_and_a_correction_send_every_part():
    """A retry repeats the messages; a schema correction adds two to them."""
    busy = ProviderError("busy", status=503)
    engine = ScriptedEngine([busy], ["no JSON", END], ['{"city": "Rome"}', END])
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    with EnginePool(env={}, engines=[engine]) as pool:
        reply = pool.ask(CONVERSATIONS["call and result"], "scripted", schema=schema)

    assert reply.parsed == {"city": "Rome"}
    sent = [request.messages for request in engine.requests]
    assert sent[0] == sent[1] == sent[2][:-2]
    assert sent[2][1].tool_calls == (CALL,)


def test_a_comparison_sends_every_part():
    """Every model of a comparison gets the messages; its prompt is the text of the last one."""
    engine = ScriptedEngine(["ok", END])
    with EnginePool(env={}, engines=[engine]) as pool:
        comparison = pool.compare(CONVERSATIONS["text and calls"], ["scripted", "scripted"])

    assert comparison.prompt == "So?"
    assert engine.requests[0].messages == engine.requests[1].messages
    assert engine.requests[0].messages[1].tool_calls == (CALL, TIME)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_cassette_replays_messages_with_parts(tmp_path, conversation):
    """A list of messages is recorded as a whole; a replay finds only the same list."""
    path, messages = tmp_path / "tape.jsonl", CONVERSATIONS[conversation]
    engine = ScriptedEngine(["one", END], ["two", END])
    engine.features = frozenset({"system", "history", "images"})
    with EnginePool(env={}, engines=[engine]) as pool:
        with pool.cassette(path):
            pool.ask(messages, "scripted")
        with pool.cassette(path, "replay"):
            assert pool.ask(messages, "scripted").text == "one"
            with pytest.raises(CassetteMissError):
                pool.ask([*messages, Message("user", "And now?")], "scripted")
