import asyncio
import copy
import datetime as dt
import json
import pickle
from dataclasses import FrozenInstanceError, dataclass, replace
from decimal import Decimal

import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ModelInfo, ModelRef, Request, ToolCall, ToolResult
from gatewayx_nb.replies import Chunk, Reply
from tests.test_images import PNG, FakeFigure


@pytest.mark.parametrize(
    ("text", "engine", "model"),
    [
        ("grok", "grok", None),
        ("openrouter:meta-llama/llama-4", "openrouter", "meta-llama/llama-4"),
        ("ollama:llama3:8b", "ollama", "llama3:8b"),
        (" grok: ", "grok", None),
    ],
)
def test_only_the_first_colon_counts(text, engine, model):
    """A reference is split at its first colon into engine and model."""
    assert ModelRef.parse(text) == ModelRef(engine, model)


def test_a_reference_can_be_parsed_from_its_text():
    """The text of a reference parses to an equal reference."""
    for ref in (ModelRef("grok"), ModelRef("a", "b:c")):
        assert ModelRef.parse(str(ref)) == ref
    assert str(ModelInfo("grok", "grok-4.6")) == "grok:grok-4.6"


def test_unset_options_are_not_passed_to_an_engine():
    """The keyword arguments of a request are the options that are set, without the prompt."""
    request = Request((Message("user", "hi"),), "m", temperature=0.0, params={"top_p": 0.5})

    assert request.keywords() == {"temperature": 0.0, "top_p": 0.5}
    assert request.prompt == "hi"


CALL = ToolCall("1", "f", "{}")
PICTURE = Image("", url="https://x/y.png")


@pytest.mark.parametrize(
    ("message", "parts", "content", "images"),
    [
        (Message("user", "Hi"), ("Hi",), "Hi", ()),
        (Message("user", ""), (), "", ()),
        (Message("user", ["a", "", PICTURE, "b"]), ("a", PICTURE, "b"), "a\n\nb", (PICTURE,)),
        (Message("user", PICTURE), (PICTURE,), "", (PICTURE,)),
        (Message("assistant", [CALL]), (CALL,), "", ()),
        (Message("assistant", CALL), (CALL,), "", ()),
        (
            Message("tool", [ToolResult("1", ["x", PICTURE]), ToolResult("2", "y")]),
            (ToolResult("1", ["x", PICTURE]), ToolResult("2", "y")),
            "x\n\ny",
            (PICTURE,),
        ),
    ],
)
def test_the_parts_of_a_message(message, parts, content, images):
    """A message has its parts in order; `content` is their text, and `images` are their images."""
    assert (message.parts, message.content, message.images) == (parts, content, images)


def test_images_of_any_source_are_parts(tmp_path):
    """A path, bytes or a figure among the parts is loaded as an image."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    message = Message("user", ["See", path, PNG, FakeFigure()])

    assert message.parts == ("See", *[Image("image/png", PNG)] * 3)
    assert Message("user", path).images == ToolResult("1", path).images


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Message("usr", "x"), r"role must be 'system', .* got 'usr'\. Did you mean 'user'"),
        (lambda: Message(3, "x"), "role must be .* got 3"),
        (lambda: Message("user", None), "content must be a str or a list of parts, got None"),
        (lambda: Message("user", 3), "content must be a str or a list of parts, got 3"),
        (lambda: Message("user", ["x", {}]), r"content\[1\] must be text, an image, .* got \{\}"),
        (lambda: Message("user", [CALL]), "of a user message must be text or an image, got a tool"),
        (lambda: Message("system", [PICTURE]), "of a system message must be text, got an image"),
        (lambda: Message("tool", "x"), r"must be a tool result, got text.*ToolResult\(call\.id"),
        (lambda: Message("assistant", [ToolResult("1", "x")]), "an assistant message must be text"),
        (lambda: ToolResult("1", [CALL]), "of a tool result must be text or an image, got a tool"),
        (lambda: ToolCall("1", 2, "{}"), "the name of a tool call must be a str, got 2"),
        (lambda: ToolCall("1", "f", {"a": 1}), r"arguments of a tool call must .*`json\.dumps`"),
        (lambda: ToolResult(1, "x"), "the id and name of a tool result must be strings, got 1"),
    ],
)
def test_an_invalid_message_raises_one_line(make, message):
    """An unknown role, or a part that the role cannot have, raises an error on construction."""
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_repr_of_a_message_is_the_code_that_makes_it():
    """The repr of messages and results without images can be evaluated."""
    messages = [
        Message("user", "Hi"),
        Message("user", ["a", "b"]),
        Message("assistant", ["a", CALL]),
        Message("tool", [ToolResult("1", "x"), ToolResult("2", ["a", "b"], "f", is_error=True)]),
    ]
    assert eval(repr(messages)) == messages


def test_messages_can_be_copied_and_pickled():
    """Messages are values: they can be hashed, copied and pickled."""
    message = Message("tool", [ToolResult("1", ["x", PICTURE])])

    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message
    assert len({message, copy.copy(message)}) == 1


def test_a_reply_is_displayed_as_text_safe_html_and_safe_markdown():
    """A reply is displayed as text, as safe HTML and, for other programs, as safe Markdown."""
    reply = Reply("**hi** <script>", engine="mock", model="m")

    bundle = reply._repr_mimebundle_()

    assert str(reply) == bundle["text/plain"] == "**hi** <script>"
    assert "<strong>hi</strong>" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert bundle["text/markdown"] == "**hi** &lt;script&gt;"
    assert set(bundle) == {"text/plain", "text/html", "text/markdown"}


def test_a_reply_has_a_short_repr():
    """The repr of a reply is one line of limited length."""
    assert len(repr(Reply("long " * 1000, engine="mock", model="m"))) < 120


REPLY = Reply("Paris", engine="mock", model="m", cost=Decimal("0.01"), parsed={"city": "Paris"})


def test_a_reply_can_be_used_like_its_text():
    """`in`, `len`, `+` and format specifications use the text; an empty reply is still true."""
    assert "Par" in REPLY
    assert len(REPLY) == 5
    assert REPLY + "!" == "Paris!"
    assert "In " + REPLY + REPLY == "In ParisParis"
    assert f"{REPLY:>7}" == "  Paris"
    assert Reply("", engine="mock", model="m")


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda reply: reply.upper(), AttributeError, r"use `reply\.text\.upper`"),
        (lambda reply: reply.txt, AttributeError, "a reply has no attribute 'txt'$"),
        (lambda reply: reply[0], TypeError, r"use `reply\.parsed`"),
        (list, TypeError, r"use `reply\.parsed`"),
        (lambda _: Reply("Paris", engine="mock", model="m")[0], TypeError, r"use `reply\.text`"),
        (lambda reply: reply + 1, TypeError, "unsupported operand"),
        (lambda reply: asyncio.run(_await(reply)), TypeError, "await `gx.aask"),
    ],
)
def test_other_uses_of_a_reply_raise_an_error_that_says_what_to_use(use, error, message):
    """If a reply is used in another way, the error names its value or `gx.aask`."""
    with pytest.raises(error, match=message):
        use(REPLY)


async def _await(reply):
    return await reply


def test_a_reply_as_a_dict_can_be_written_as_json():
    """`to_dict` has every field except the body; the cost is a float."""
    values = json.loads(json.dumps(REPLY.to_dict()))

    assert values["text"] == "Paris"
    assert values["cost"] == 0.01
    assert values["parsed"] == {"city": "Paris"}
    assert values["usage"]["input_tokens"] is None
    assert "raw" not in values


@dataclass
class Birth:
    """A class with values that JSON cannot represent."""

    day: dt.date
    places: set[str]


def test_a_reply_with_any_parsed_value_can_be_written_as_json():
    """`to_dict` converts dates, sets and classes."""
    parsed = {"births": [Birth(dt.date(2020, 1, 1), {"Rome"})]}
    values = Reply("x", engine="mock", model="m", parsed=parsed).to_dict()

    assert json.loads(json.dumps(values))["parsed"] == {
        "births": [{"day": "2020-01-01", "places": ["Rome"]}]
    }


def test_a_reply_with_a_parsed_value_points_to_it():
    """If only the parsed value has an attribute, the error names the parsed value."""
    reply = Reply("x", engine="mock", model="m", parsed=Birth(dt.date(2020, 1, 1), set()))

    with pytest.raises(AttributeError, match=r"use `reply\.parsed\.day`"):
        _ = reply.day
    with pytest.raises(TypeError, match=r"use `reply\.parsed`"):
        _ = reply["day"]


def test_a_chunk_is_its_text():
    """`print(chunk)` shows the text."""
    assert str(Chunk(text="Par", finish_reason="stop")) == "Par"


def test_a_chunk_of_text_equals_one_of_the_constructor():
    """A chunk built from text alone has default values in all other fields, and is frozen."""
    chunk = Chunk.of_text("Par", "Hm.")
    built = Chunk(text="Par", reasoning="Hm.")
    assert (chunk, repr(chunk), hash(chunk)) == (built, repr(built), hash(built))
    assert replace(chunk, text="is") == Chunk(text="is", reasoning="Hm.")
    assert pickle.loads(pickle.dumps(chunk)) == copy.copy(chunk) == chunk
    with pytest.raises(FrozenInstanceError):
        chunk.text = "is"


def test_a_tool_call_can_be_encoded_as_utf_8():
    """Half surrogate pairs, as a model may send them, are replaced; whole pairs are joined."""
    call = ToolCall("c\ud800", "f\udc00", '{"a": "\ud83d\ude00 \ud83d"}')

    assert call == ToolCall("c\ufffd", "f\ufffd", '{"a": "\U0001f600 \ufffd"}')
