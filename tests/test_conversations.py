"""Conversations: which messages are sent, and which calls become turns."""

import asyncio
import json

import nbformat
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import ProviderError, UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import Chunk, LLMEngine
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop")


@pytest.fixture
def engine():
    """Return an engine that counts its answers."""
    return ScriptedEngine(*([str(number), END] for number in range(1, 9)))


@pytest.fixture
def pool(engine):
    """Yield a pool with that engine."""
    with EnginePool(env={}, engines=[engine]) as pool:
        yield pool


def sent(engine):
    """Return the messages of the last call as texts."""
    return [f"{message.role}: {message.content}" for message in engine.requests[-1].messages]


def test_a_wrong_conversation_is_described_by_names_that_exist(pool):
    """The error for a wrong ``chat`` names the method that returns a conversation."""
    with pytest.raises(UsageError, match=r"a conversation of `pool\.chat`, got int"):
        pool.ask("a", chat=3)


def test_a_call_in_a_conversation_cannot_join_another_one(pool, engine):
    """``chat=`` is rejected by a conversation's own methods, and not ignored."""
    chat = pool.chat("scripted")
    for call in (chat.ask, chat.stream, chat.astream):
        with pytest.raises(UsageError, match="cannot join another one"):
            call("a", chat="other")
    assert not engine.requests
    assert chat.ask("a", chat=None).text == "1"


def test_earlier_turns_are_sent(pool, engine):
    """Every way of calling sends the earlier turns and the system prompt."""
    chat = pool.chat("scripted", system="Count.")

    chat.ask("a")
    asyncio.run(chat.aask("b"))
    list(chat.stream("c"))

    async def read():
        return [chunk async for chunk in chat.astream("d")]

    asyncio.run(read())
    assert sent(engine) == [
        "user: a", "assistant: 1", "user: b", "assistant: 2", "user: c", "assistant: 3", "user: d",
    ]  # fmt: skip
    assert engine.requests[-1].system == "Count."
    assert len(chat) == 4


def test_a_name_identifies_one_conversation(pool, engine):
    """A name identifies one conversation, by keyword or `chat`; other calls do not see it."""
    pool.ask("a", model="scripted", chat="story")
    pool.ask("b", model="scripted")
    pool.chat(name="story").ask("c")

    assert [len(request.messages) for request in engine.requests] == [1, 1, 3]


def test_a_conversation_continues_with_its_model(engine):
    """A conversation continues with the model that answered last, unless a call names another.

    That model then receives all turns.
    """
    other = ScriptedEngine(["other", END])
    other.name = "other"
    with EnginePool(env={}, engines=[engine, other]) as pool:
        chat = pool.chat("scripted")
        chat.ask("a")
        chat.ask("b", model="other")
        assert chat.ask("c").engine == "scripted"

    assert len(other.requests[0].messages) == 3


def test_failed_and_abandoned_calls_are_not_turns(pool, engine):
    """A failed or abandoned call does not become a turn."""
    engine.scripts = [["half", ProviderError("no")], ["yes", END], ["left", 30.0], ["last", END]]
    chat = pool.chat("scripted")
    with pytest.raises(ProviderError):
        chat.ask("a")
    chat.ask("b")
    with chat.stream("c") as stream:
        next(stream)
    chat.ask("d")

    assert sent(engine) == ["user: b", "assistant: yes", "user: d"]


def test_rerunning_a_cell_replaces_its_turn(pool, engine):
    """Rerunning a cell sends the turns before its own and replaces it; later turns stay."""
    chat = pool.chat("scripted")
    for cell in ("one", "two", "three"):
        pool.ask(f"in {cell}", chat=chat.slot(cell))

    pool.ask("in two, again", chat=chat.slot("two"))

    assert sent(engine) == ["user: in one", "assistant: 1", "user: in two, again"]
    assert [turn.reply.text for turn in chat.turns] == ["1", "4", "3"]
    chat.reset(keep=2)
    assert len(chat) == 2


def test_a_rerun_cell_that_fails_keeps_its_turn(pool, engine):
    """A rerun cell that fails keeps its turn."""
    engine.scripts = [["yes", END], [ProviderError("no")]]
    chat = pool.chat("scripted")
    pool.ask("a", chat=chat.slot("one"))
    with pytest.raises(ProviderError):
        pool.ask("b", chat=chat.slot("one"))

    assert [turn.reply.text for turn in chat.turns] == ["yes"]


def test_an_engine_without_history_raises_an_error():
    """An engine without history raises an error at the second turn, before anything is sent."""

    class Forgetful(LLMEngine):
        requires_key = False
        features = frozenset()

        async def generate(self, prompt, **_):
            return "what?"

    with EnginePool(env={}, engines=[Forgetful()]) as pool:
        chat = pool.chat("forgetful")
        chat.ask("a")
        with pytest.raises(UnsupportedFeatureError, match="does not support conversations"):
            chat.ask("b")
        assert len(chat) == 1


def test_a_conversation_is_exported_as_markdown_or_a_notebook(pool, tmp_path):
    """An export has both sides in order; the notebook is valid."""
    chat = pool.chat("scripted", system="Count.", name="story")
    chat.ask("Ä \ud800?")
    text = chat.export(tmp_path / "story.md").read_text()
    book = chat.export(tmp_path / "story.ipynb")

    assert text.startswith("# story\n\n**System**\n\nCount.\n\n**You**\n\nÄ")
    assert text.endswith("**scripted:script**\n\n1\n")
    nbformat.validate(nbformat.read(book, 4))
    assert len(json.loads(book.read_text())["cells"]) == 3


def test_an_export_overwrites_nothing(pool, tmp_path):
    """An export does not overwrite a file; the error names it."""
    (tmp_path / "there.md").write_text("mine")
    chat = pool.chat("scripted", name="story")

    for name in ("there.md", "nowhere/x.md"):
        with pytest.raises(UsageError, match="cannot be written"):
            chat.export(tmp_path / name)
    assert (tmp_path / "there.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, 3, b"x"])
def test_an_invalid_chat_raises_an_error(pool, name):
    """An invalid value raises an error before anything is sent."""
    with pytest.raises(UsageError, match="chat"):
        pool.ask("hi", model="scripted", chat=name)


def test_an_unknown_chat_raises_an_error_with_the_nearest_name(pool):
    """An unknown conversation raises an error with the nearest name."""
    pool.chat(name="story")

    with pytest.raises(UsageError, match="Did you mean 'story'"):
        pool.chats.require("storyy")
    pool.chats.drop("story")
    assert list(pool.chats) == []
