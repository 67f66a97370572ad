"""The turns that are sent: empty turns are left out, and carried data goes to its own engine."""

import re

import pytest

from gatewayx_nb import Chunk, EnginePool, UsageError
from gatewayx_nb.errors import TransportError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Details, LLMEngine
from gatewayx_nb.llm_engines.message_parts import accepted_id, sendable
from gatewayx_nb.messages import Carried, Message, ToolCall, ToolResult
from gatewayx_nb.testing import ScriptedEngine

IMAGE = Image("image/png", b"\x89PNG\r\n\x1a\n")
CALL = ToolCall("c1", "look", "{}")
RESULT = Message("tool", [ToolResult("c1", "")])
DATA = {"dialect": "x", "items": [{"a": 1}]}


def user(*parts):
    return Message("user", list(parts))


def answer(*parts):
    return Message("assistant", list(parts))


CASES = {
    "nothing to do": ([user("a"), answer("b"), user("c")], [user("a"), answer("b"), user("c")]),
    "empty answer": ([user("a"), answer(), user("c")], [user("a\n\nc")]),
    "blank answer": ([user("a"), answer(" \n"), user("c")], [user("a\n\nc")]),
    "two empty answers": (
        [user("a"), answer(), user("b"), answer(""), user("c")],
        [user("a\n\nb\n\nc")],
    ),
    "empty prompt": ([answer("a"), user(), answer("b"), user("c")], [answer("a\n\nb"), user("c")]),
    "images": ([user("a", IMAGE), answer(), user(IMAGE, "c")], [user("a", IMAGE, IMAGE, "c")]),
    "empty turn at the start": ([answer(), user("a")], [user("a")]),
    "neighbours of one role": ([user("a"), user("b")], [user("a"), user("b")]),
    "an empty result": ([user("a"), answer(CALL), RESULT], [user("a"), answer(CALL), RESULT]),
    "an empty answer after results": (
        [user("a"), answer(CALL), RESULT, answer(), user("b")],
        [user("a"), answer(CALL), RESULT, user("b")],
    ),
    "an image is content": ([user("a"), answer(IMAGE), user("b")],) * 2,
}


@pytest.mark.parametrize("name", CASES)
def test_no_empty_turn_is_sent(name):
    """An empty turn is left out, and its neighbours are merged if they have the same role."""
    messages, expected = CASES[name]
    assert sendable(messages, "e") == tuple(expected)


def test_a_turn_with_only_carried_data_is_sent_only_to_its_engine():
    """A turn with only carried data, such as an image, is sent only to the engine that made it."""
    turn = Message("assistant", "", carried=Carried.of("e", DATA, answer()))
    messages = (user("a"), turn, user("b"))

    assert sendable(messages, "e") == messages
    assert sendable(messages, "other") == (user("a\n\nb"),)


def test_carried_data_of_a_changed_turn_is_omitted():
    """Carried data is left out if the text or the tool calls of its turn were changed."""
    carried = Carried.of("e", DATA, answer("b", CALL))
    same, changed = answer("b", CALL), answer("c", CALL)

    assert sendable([Message("assistant", same.parts, carried=carried)], "e")[0].carried == carried
    assert sendable([Message("assistant", changed.parts, carried=carried)], "e") == (changed,)


@pytest.mark.parametrize(("role", "carried"), [("user", Carried("e", {})), ("assistant", {"a": 1})])
def test_only_an_answer_carries_data(role, carried):
    """`carried` is refused in any other message and with any other value; the error has the fix."""
    with pytest.raises(UsageError, match=r"Use `reply\.message`"):
        Message(role, "x", carried=carried)


def test_a_message_shows_what_it_carries():
    """`repr` shows the engine and the beginning of the data, and hashing needs no hashable data."""
    message = Message("assistant", "x", carried=Carried("e", {"a": "b" * 999}))

    assert repr(message).startswith("Message('assistant', 'x', carried=Carried('e', {'a': 'bbb")
    assert len(repr(message)) < 200
    assert len({message, message}) == 1


class CarryingEngine(ScriptedEngine):
    """An engine whose first answer carries data."""

    name = "carrying"

    def __init__(self):
        details = Chunk(details=Details(carried=DATA))
        super().__init__(["1", details, Chunk(finish_reason="stop")], ["2"])


def test_a_conversation_carries_data_only_to_the_same_engine():
    """A chat that continues with another engine sends it only the text."""
    first, second = CarryingEngine(), ScriptedEngine(["3"])
    with EnginePool(env={}, engines=[first, second]) as pool:
        chat = pool.chat("carrying")
        reply = chat.ask("a", model="carrying")
        chat.ask("b", model="carrying")
        chat.ask("c", model="scripted")

    assert first.requests[1].messages[1] == reply.message
    assert reply.message.carried.data["items"] == DATA["items"]
    assert [message.carried for message in second.requests[0].messages] == [None] * 5


def test_a_fallback_gets_the_turn_without_carried_data():
    """A fallback gets the turn without the data carried for the first engine."""

    class FailingEngine(LLMEngine):
        name, requires_key = "carrying", False

        async def stream(self, request):
            self.seen = request.messages
            raise RuntimeError("down")
            yield

    failing, other = FailingEngine(), ScriptedEngine(["ok"])
    turn = Message("assistant", "1", carried=Carried.of("carrying", DATA, answer("1")))
    with EnginePool(env={}, engines=[failing, other]) as pool:
        messages = [user("a"), turn, user("b")]
        pool.ask(messages=messages, model="carrying", fallback="scripted")

    assert failing.seen[1].carried == turn.carried
    assert other.requests[0].messages[1].carried is None


def test_a_reply_from_generate_keeps_its_contents():
    """`generate` may return a reply from another call, with its tool calls and citations."""
    from gatewayx_nb import Citation, Reply

    class WrappingEngine(LLMEngine):
        name, requires_key = "wrapping", False

        async def generate(self, prompt, **_):
            return Reply(
                prompt,
                "inner",
                "m",
                tool_calls=(CALL,),
                citations=(Citation("", "T"),),
                images=(IMAGE,),
                carried=Carried("inner", DATA),
            )

    with EnginePool(env={}, engines=[WrappingEngine()]) as pool:
        reply = pool.ask("x", model="wrapping")

    assert (reply.tool_calls, reply.images) == ((CALL,), (IMAGE,))
    assert reply.citations == (Citation("", "T"),)
    assert (reply.carried.engine, reply.carried.data["items"]) == ("wrapping", DATA["items"])


NINE = re.compile(r"[a-zA-Z0-9]{9}")


@pytest.mark.parametrize(
    "call_id", ["call_1", "toolu_01A", "", "functions.look:0", "é" * 9, "\ud800"]
)
def test_ids_are_replaced_by_accepted_ones(call_id):
    """Equal IDs have equal replacements, and different IDs have different ones."""
    replaced = accepted_id(call_id, NINE, 9)

    assert NINE.fullmatch(replaced)
    assert replaced == accepted_id(call_id, NINE, 9)
    assert replaced != accepted_id(f"{call_id}x", NINE, 9)
    assert accepted_id(replaced, NINE, 9) == replaced


def test_a_call_that_failed_after_an_image_is_not_sent_again():
    """A call that fails after an image is not retried, because the answer has begun."""

    class DrawingEngine(LLMEngine):
        name, requires_key = "drawing", False
        calls = 0

        async def stream(self, request):
            self.calls += 1
            yield Chunk(details=Details(images=(IMAGE,)))
            raise TransportError("the connection was reset", hint="Try again.")

    engine = DrawingEngine()
    with EnginePool(env={}, engines=[engine]) as pool, pytest.raises(TransportError):
        pool.ask("x", model="drawing")

    assert engine.calls == 1
