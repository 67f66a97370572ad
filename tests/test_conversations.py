"""Conversations: what is sent along, what becomes a turn, and what is kept of it."""

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
    """Give an engine that counts its answers."""
    return ScriptedEngine(*([str(number), END] for number in range(1, 9)))


@pytest.fixture
def pool(engine):
    """Give a pool that has it."""
    with EnginePool(env={}, engines=[engine]) as pool:
        yield pool


def sent(engine):
    """Give what the last call sent, a text for each turn."""
    return [f"{message.role}: {message.content}" for message in engine.requests[-1].messages]


def test_what_was_said_goes_along(pool, engine):
    """In every way of calling; the system prompt with each."""
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


def test_a_name_is_one_conversation(pool, engine):
    """By keyword or by `chat`; a call without it knows nothing of it."""
    pool.ask("a", model="scripted", chat="story")
    pool.ask("b", model="scripted")
    pool.chat(name="story").ask("c")

    assert [len(request.messages) for request in engine.requests] == [1, 1, 3]


def test_a_conversation_goes_on_with_the_model_that_answered(engine):
    """Unless a call names another, which then hears all that was said."""
    other = ScriptedEngine(["other", END])
    other.name = "other"
    with EnginePool(env={}, engines=[engine, other]) as pool:
        chat = pool.chat("scripted")
        chat.ask("a")
        chat.ask("b", model="other")
        assert chat.ask("c").engine == "scripted"

    assert len(other.requests[0].messages) == 3


def test_a_turn_that_failed_or_was_left_is_not_sent_again(pool, engine):
    """It is no turn."""
    engine.scripts = [["half", ProviderError("no")], ["yes", END], ["left", 30.0], ["last", END]]
    chat = pool.chat("scripted")
    with pytest.raises(ProviderError):
        chat.ask("a")
    chat.ask("b")
    with chat.stream("c") as stream:
        next(stream)
    chat.ask("d")

    assert sent(engine) == ["user: b", "assistant: yes", "user: d"]


def test_asking_again_in_a_cell_replaces_its_own_turn(pool, engine):
    """It hears what stood before it; what came after it stays, until that is dropped."""
    chat = pool.chat("scripted")
    for cell in ("one", "two", "three"):
        pool.ask(f"in {cell}", chat=chat.slot(cell))

    pool.ask("in two, again", chat=chat.slot("two"))

    assert sent(engine) == ["user: in one", "assistant: 1", "user: in two, again"]
    assert [turn.reply.text for turn in chat.turns] == ["1", "4", "3"]
    chat.reset(keep=2)
    assert len(chat) == 2


def test_a_cell_that_fails_again_keeps_its_turn(pool, engine):
    """Nothing is lost by trying."""
    engine.scripts = [["yes", END], [ProviderError("no")]]
    chat = pool.chat("scripted")
    pool.ask("a", chat=chat.slot("one"))
    with pytest.raises(ProviderError):
        pool.ask("b", chat=chat.slot("one"))

    assert [turn.reply.text for turn in chat.turns] == ["yes"]


def test_an_engine_that_takes_no_history_says_so():
    """At the second turn, before anything is sent."""

    class Forgetful(LLMEngine):
        requires_key = False
        features = frozenset()

        async def generate(self, prompt, **_):
            return "what?"

    with EnginePool(env={}, engines=[Forgetful()]) as pool:
        chat = pool.chat("forgetful")
        chat.ask("a")
        with pytest.raises(UnsupportedFeatureError, match="takes no conversation"):
            chat.ask("b")
        assert len(chat) == 1


def test_it_is_exported_as_markdown_and_as_a_notebook(pool, tmp_path):
    """Both sides, in order; the notebook is a valid one."""
    chat = pool.chat("scripted", system="Count.", name="story")
    chat.ask("Ä \ud800?")
    text = chat.export(tmp_path / "story.md").read_text()
    book = chat.export(tmp_path / "story.ipynb")

    assert text.startswith("# story\n\n**System**\n\nCount.\n\n**You**\n\nÄ")
    assert text.endswith("**scripted:script**\n\n1\n")
    nbformat.validate(nbformat.read(book, 4))
    assert len(json.loads(book.read_text())["cells"]) == 3


def test_an_export_overwrites_nothing(pool, tmp_path):
    """The file's name is in the message."""
    (tmp_path / "there.md").write_text("mine")
    chat = pool.chat("scripted", name="story")

    for name in ("there.md", "nowhere/x.md"):
        with pytest.raises(UsageError, match="is not written"):
            chat.export(tmp_path / name)
    assert (tmp_path / "there.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, 3, b"x"])
def test_a_chat_that_is_none(pool, name):
    """Refused before anything is sent."""
    with pytest.raises(UsageError, match="chat"):
        pool.ask("hi", model="scripted", chat=name)


def test_a_chat_that_is_not_there_is_named_with_the_nearest(pool):
    """The commands ask for one that is there."""
    pool.chat(name="story")

    with pytest.raises(UsageError, match="Did you mean 'story'"):
        pool.chats.require("storyy")
    pool.chats.drop("story")
    assert list(pool.chats) == []
