"""Lists of messages as a prompt: accepted and refused lists, and the calls of tool results."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb import EnginePool, Image, Message, Reply, ToolCall, ToolResult
from gatewayx_nb.calls import build_request, join_conversation
from gatewayx_nb.errors import UsageError
from gatewayx_nb.llm_engines import chat_messages
from gatewayx_nb.testing import ScriptedEngine
from tests.test_images import PNG

DATA_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
URL = "https://example.com/a.png"
LONG = "secret words " * 800

CALL = ToolCall("call_1", "weather", '{"city": "Rome"}')
CALL_DICT = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
ASKED = [Message("user", "Weather?"), Message("assistant", [CALL])]


def part(**fields):
    """Return a list of one user message with one part."""
    return [{"role": "user", "content": [fields]}]


def image(**fields):
    """Return a list of one user message with an ``image_url`` part."""
    return part(type="image_url", image_url=fields)


def calls(*tool_calls):
    """Return a list with an assistant message, followed by a user message."""
    return [{"role": "assistant", "tool_calls": list(tool_calls)}, {"role": "user", "content": "x"}]


@pytest.fixture
def engine():
    """Return an engine that records its requests."""
    return ScriptedEngine(["ok"])


@pytest.fixture
def ask(engine):
    """Yield a function that asks the engine and returns the messages that it received."""
    with EnginePool(env={}, engines=[engine]) as pool:

        def ask(prompt=None, **options):
            pool.ask(prompt, "scripted", **options)
            return engine.requests[-1].messages

        yield ask


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], r"list of messages must not be empty\. For example"),
        ({"role": "user", "content": "x"}, r"prompt must be a str .* got dict\. Put .* in a list"),
        (3, "prompt must be a str or a list of messages, got int"),
        (b"x", "prompt must be a str or a list of messages, got bytes"),
        ((m for m in ASKED), "prompt must be a str or a list of messages, got generator"),
        (["hi"], r"messages\[0\] must be a Message or a dict, got 'hi'"),
        (list(LONG), r"messages\[0\] must be a Message or a dict, got 's'"),
        ([{"content": "x"}], r"messages\[0\]\.role must be 'system', 'user', .* got None"),
        (
            [{"role": "user", "content": "x"}, {"role": "usr", "content": "x"}],
            r"messages\[1\]\.role must be .*, got 'usr'\. Did you mean 'user'\?",
        ),
        ([{"role": ["user"], "content": "x"}], r"messages\[0\]\.role must be .*, got \['user'\]"),
        (
            [{"role": "user", "contnet": "x"}],
            r"messages\[0\] has an unknown key 'contnet'\. Did you mean 'content'\?",
        ),
        ([{"role": "user", "content": "x", 3: 4}], r"messages\[0\] has an unknown key 3"),
        ([{"role": "user"}], r"messages\[0\]\.content must be a str or a list of parts, got None"),
        ([{"role": "user", "content": 3}], r"messages\[0\]\.content must be .*, got 3"),
        (
            [{"role": "user", "content": np.zeros(3)}],
            r"messages\[0\]\.content must be a str or a list of parts, got array",
        ),
        ([{"role": "user", "content": 0}, *ASKED[:1]], r"messages\[0\]\.content must be .* got 0"),
        ([{"role": "user", "content": []}], r"messages\[0\]\.content must not be empty"),
        (part(type=np.zeros(3)), r"content\[0\]\.type must be .* got array"),
        (image(url=URL, detail=np.zeros(3)), r"detail must be one of .* got array"),
        ([{"role": "user", "content": " "}], r"messages\[0\]\.content must not be empty"),
        (
            [{"role": "user", "content": ["x", 3]}],
            r"messages\[0\]\.content\[1\] must be text, .* 3",
        ),
        ([{"role": "user", "content": [CALL]}], "content of a user message must be text or an ima"),
        (part(type="txt", text="x"), r"content\[0\]\.type must be .* Did you mean 'text'\?"),
        (part(text="x"), r"content\[0\]\.type must be 'text' or 'image_url', got None"),
        (part(type="text", text=3), r"content\[0\]\.text must be a str, got 3"),
        (part(type="text", text="x", cache=1), r"content\[0\] has an unknown key 'cache'"),
        (
            image(url="plot.png"),
            r"image_url\.url must begin with https:// or data:, got 'plot.png'",
        ),
        (image(url="http://x/y.png"), r"url must begin with https:// or data:"),
        (
            image(url="data:image/png;base64,!"),
            r"messages\[0\]: an image.s data URL .* valid base64",
        ),
        (image(url="data:text/plain,hi"), r"messages\[0\]: an image must be PNG"),
        (image(url=URL, detail="hi"), r"image_url\.detail must be one of 'auto', .*, got 'hi'"),
        (image(uri=URL), r"image_url has an unknown key 'uri'"),
        (
            [{"role": "system", "content": [Image("", url=URL)]}, *ASKED],
            "system message must be te",
        ),
        (
            [{"role": "user", "content": [Path("/no/such.png")]}],
            r"messages\[0\]: the image '/no/such.png' cannot be read",
        ),
        ([{"role": "tool", "content": "x"}], r"messages\[0\]\.tool_call_id is missing"),
        (
            [{"role": "tool", "tool_call_id": 3, "content": "x"}],
            r"messages\[0\]: the id and name of a tool result must be strings, got 3",
        ),
        (
            [{"role": "tool", "tool_call_id": "a", "content": "x"}],
            r"messages\[0\] must answer an earlier tool call; there is none with the ID 'a'",
        ),
        (
            [*ASKED, Message("tool", [ToolResult("call_2", "x")])],
            r"messages\[2\] must answer .* ID 'call_2'\. The calls without a result are 'call_1'",
        ),
        (
            [*ASKED, Message("tool", [ToolResult("", "x", "forecast")])],
            r"messages\[2\] must answer .* name 'forecast'",
        ),
        (
            [*ASKED, Message("tool", [ToolResult("call_1", "x"), ToolResult("call_1", "x")])],
            r"messages\[2\] must answer",
        ),
        (
            [*ASKED, Message("user", "So?")],
            r"the result of tool call 'call_1' \('weather'\) is missing before messages\[2\]",
        ),
        (
            [
                Message("assistant", [CALL, ToolCall("b", "f", "{}")]),
                Message("tool", [ToolResult("call_1", "x")]),
            ],
            r"the result of tool call 'b' \('f'\) is missing before messages\[1\]",
        ),
        (calls("x"), r"messages\[0\]\.tool_calls\[0\] must be a dict, got 'x'"),
        (calls({"id": "1"}), r"tool_calls\[0\]\.function must be a dict, got None"),
        (calls({"function": {}}), r"tool_calls\[0\]\.function\.name must be a str, got None"),
        (
            calls({"function": {"name": "f", "argument": ""}}),
            r"function has an unknown key 'argument'\. Did you mean 'arguments'\?",
        ),
        (
            calls({"function": {"name": "f", "arguments": 3}}),
            r"tool_calls\[0\]\.function\.arguments must be a str, got 3",
        ),
        ([{"role": "assistant", "tool_calls": "x"}], r"tool_calls must be a list, got 'x'"),
        (
            [Message("user", "x"), Message("assistant", "y")],
            r"messages\[1\]\.role must be 'user' or 'tool' in the last message",
        ),
        ([Message("system", "x")], r"messages\[0\]\.role must be 'user' or 'tool' in the last"),
        ([{"role": "user", "content": [LONG, 5]}], r"content\[1\] must be .* got 5"),
        ([{"role": LONG, "content": "x"}], r"messages\[0\]\.role must be"),
        ([LONG], r"messages\[0\] must be a Message or a dict"),
        (part(type=LONG), r"type must be"),
    ],
)
def test_an_invalid_list_raises_one_line_that_names_the_place(ask, engine, prompt, message):
    """The error is one line with the place and the expected value, and never a whole prompt."""
    with pytest.raises(UsageError, match=message) as caught:
        ask(prompt)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not engine.requests


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "user", "content": "x"}, Message("user", "x")),
        (part(type="text", text="x")[0], Message("user", "x")),
        (image(url=DATA_URL)[0], Message("user", [Image("image/png", PNG)])),
        (image(url=URL)[0], Message("user", [Image("", url=URL)])),
        (image(url=URL, detail="low")[0], Message("user", [Image("", url=URL, detail="low")])),
        (part(type="image_url", image_url=URL)[0], Message("user", [Image("", url=URL)])),
        (image(url=PNG)[0], Message("user", [Image("image/png", PNG)])),
        ({"role": "user", "content": ["x", PNG]}, Message("user", ["x", Image("image/png", PNG)])),
        ({"role": "user", "content": "x", "tool_calls": None}, Message("user", "x")),
        (Message("user", ["x", "", "y"]), Message("user", ["x", "y"])),
    ],
)
def test_a_dict_in_openai_format_is_a_message(item, expected):
    """A dict in OpenAI's format and a `Message` result in the same request."""
    assert build_request([item], "", {}, streamed=False).messages == (expected,)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [CALL_DICT]}, [CALL]),
        ({"role": "assistant", "content": "I look.", "tool_calls": [CALL_DICT]}, ["I look.", CALL]),
        ({"role": "assistant", "tool_calls": [CALL]}, [CALL]),
        (
            {  # as the OpenAI SDK's `model_dump()` writes it
                "role": "assistant", "content": None, "refusal": None, "annotations": [],
                "audio": None, "function_call": None, "tool_calls": [{**CALL_DICT, "index": 0}],
            },
            [CALL],
        ),
        (  # as Ollama writes it
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "call_1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
            ]},
            [CALL],
        ),
    ],
)  # fmt: skip
def test_tool_calls_of_a_dict_become_parts(item, expected):
    """The text of an assistant message is followed by its tool calls; null fields are not set."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"}
    request = build_request([item, result], "", {}, streamed=False)

    assert request.messages == (
        Message("assistant", expected),
        Message("tool", [ToolResult("call_1", "12 °C")]),
    )


def test_an_sdk_object_is_refused_with_the_way_to_pass_it(ask):
    """For an object from a vendor's SDK, the error names the method that returns a dict."""

    class SDKMessage:
        def model_dump(self):
            return {}

    with pytest.raises(UsageError, match=r"Pass its `model_dump\(\)`"):
        ask([SDKMessage()])
    with pytest.raises(UsageError, match="Use its `message`"):
        ask([Reply("x", "e", "m")])


def test_one_message_is_a_prompt(ask):
    """A single `Message` and a tuple of messages are also prompts."""
    assert ask(Message("user", ["x", "y"])) == (Message("user", ["x", "y"]),)
    assert ask(tuple(ASKED[:1])) == tuple(ASKED[:1])
    assert ask(messages=ASKED[:1]) == tuple(ASKED[:1])


def test_images_are_added_to_the_last_message(ask):
    """The `images` of a call belong to the last message, which must be the user's."""
    request = build_request(ASKED[:1], "", {"images": (Image("", url=URL),)}, streamed=False)
    assert request.messages == (Message("user", ["Weather?", Image("", url=URL)]),)
    with pytest.raises(UsageError, match="images must be attached to a user message"):
        ask([*ASKED, Message("tool", [ToolResult("call_1", "x")])], images=PNG)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_the_first_system_messages_are_the_system_prompt(ask, engine, role):
    """System messages at the start are the system prompt; a later one keeps its position."""
    system = [{"role": role, "content": "Be brief."}, {"role": role, "content": "Rhyme."}]
    later = Message("system", "In German.")

    sent = ask([*system, Message("user", "a"), later, Message("user", "b")])

    assert engine.requests[-1].system == "Be brief.\n\nRhyme."
    assert sent == (Message("user", "a"), later, Message("user", "b"))


def test_two_system_prompts_are_refused(ask):
    """A system message together with `system` is an error, even if `system` is empty."""
    for system in ("x", ""):
        with pytest.raises(UsageError, match=r"`system` is set, but messages\[0\]"):
            ask([Message("system", "y"), Message("user", "z")], system=system)


def test_results_get_the_names_of_their_calls_and_missing_ids(ask):
    """Each result has the name of its call, and calls without an ID get one."""
    sent = ask([
        Message("user", "Weather?"),
        Message("assistant", [ToolCall("", "weather", "{}"), ToolCall("", "time", "{}"), CALL]),
        Message("tool", [ToolResult("", "noon", "time"), ToolResult("", "sun", "weather")]),
        Message("tool", [ToolResult("call_1", "rain")]),
    ])  # fmt: skip

    assert [call.id for call in sent[1].tool_calls] == ["call00001", "call00002", "call_1"]
    assert sent[2].tool_results == (
        ToolResult("call00002", "noon", "time"),
        ToolResult("call00001", "sun", "weather"),
    )
    assert sent[3].tool_results == (ToolResult("call_1", "rain", "weather"),)


TEXT = st.text(min_size=1, max_size=20)
TEXT_PART = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
IMAGE_PART = st.builds(
    lambda url, detail: {"type": "image_url", "image_url": {"url": url, **detail}},
    st.sampled_from([DATA_URL, URL]),
    st.sampled_from([{}, {"detail": "low"}, {"detail": "auto"}]),
)
PARTS = st.lists(TEXT_PART | IMAGE_PART, min_size=2, max_size=4) | st.lists(IMAGE_PART, min_size=1)
ARGUMENTS = st.dictionaries(TEXT, TEXT | st.integers(), max_size=2).map(json.dumps)


@st.composite
def _rounds(draw):
    """Return a question, tool calls with their results, and the answer."""
    messages = [{"role": "user", "content": draw(TEXT | PARTS)}]
    ids = [
        f"call_{draw(st.integers(0, 10**6))}_{number}" for number in range(draw(st.integers(0, 3)))
    ]
    if ids:
        tool_calls = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": draw(TEXT), "arguments": draw(ARGUMENTS)},
            }
            for call_id in ids
        ]
        text = draw(st.none() | TEXT)
        messages.append({"role": "assistant", "content": text, "tool_calls": tool_calls})
        contents = TEXT | st.lists(TEXT_PART, min_size=2, max_size=3)
        messages += [
            {"role": "tool", "tool_call_id": call_id, "content": draw(contents)}
            for call_id in draw(st.permutations(ids))
        ]
    messages.append({"role": "assistant", "content": draw(TEXT)})
    return messages


@given(
    st.lists(TEXT.map(lambda text: {"role": "system", "content": text}), max_size=1),
    st.lists(_rounds(), max_size=3),
    TEXT.filter(str.strip) | PARTS.filter(lambda parts: any("image_url" in part for part in parts)),
)
def test_messages_in_openai_format_are_sent_unchanged(system, rounds, content):
    """Messages read from OpenAI's format are written to it without loss."""
    prompt = {"role": "user", "content": content}
    messages = [*system, *(message for row in rounds for message in row), prompt]

    request = join_conversation(build_request(messages, "", {}, streamed=False), None)

    assert chat_messages(request) == messages
