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
    """Yield a pool with the scripted engine."""
    with EnginePool(env={}, engines=[engine]) as pool:
        yield pool


def last_messages(engine):
    """Return the messages of the last request as texts."""
    return [f"{message.role}: {message.content}" for message in engine.requests[-1].messages]


def test_a_chat_of_the_wrong_type_raises(pool):
    """The error for a ``chat`` of the wrong type names the method that returns a conversation."""
    with pytest.raises(UsageError, match=r"a conversation of `pool\.chat`, got int"):
        pool.ask("a", chat=3)


def test_a_call_in_a_conversation_cannot_join_another_one(pool, engine):
    """The methods of a conversation raise an error if ``chat`` names another conversation."""
    chat = pool.chat("scripted")
    for call in (chat.ask, chat.stream, chat.astream):
        with pytest.raises(UsageError, match="cannot join another one"):
            call("a", chat="other")
    assert not engine.requests
    assert chat.ask("a", chat=None).text == "1"


def test_earlier_turns_are_sent(pool, engine):
    """Sync and async calls and streams send the earlier turns and the system prompt."""
    chat = pool.chat("scripted", system="Count.")

    chat.ask("a")
    asyncio.run(chat.aask("b"))
    list(chat.stream("c"))

    async def read_stream():
        return [chunk async for chunk in chat.astream("d")]

    asyncio.run(read_stream())
    assert last_messages(engine) == [
        "user: a", "assistant: 1", "user: b", "assistant: 2", "user: c", "assistant: 3", "user: d",
    ]  # fmt: skip
    assert engine.requests[-1].system == "Count."
    assert len(chat) == 4


def test_a_name_identifies_one_conversation(pool, engine):
    """`chat="story"` and `pool.chat(name="story")` mean the same conversation."""
    pool.ask("a", model="scripted", chat="story")
    pool.ask("b", model="scripted")
    pool.chat(name="story").ask("c")

    assert [len(request.messages) for request in engine.requests] == [1, 1, 3]


def test_a_conversation_continues_with_its_model(engine):
    """A conversation continues with its own model after a call that names another.

    The other model receives all earlier turns.
    """
    other_engine = ScriptedEngine(["other", END])
    other_engine.name = "other"
    with EnginePool(env={}, engines=[engine, other_engine]) as pool:
        chat = pool.chat("scripted")
        chat.ask("a")
        chat.ask("b", model="other")
        assert chat.ask("c").engine == "scripted"

    assert len(other_engine.requests[0].messages) == 3


def test_failed_and_abandoned_calls_are_not_turns(pool, engine):
    """A call that failed, or whose stream was not read to its end, is not a turn."""
    engine.scripts = [
        ["half", ProviderError("no")],
        ["yes", END],
        ["abandoned", 30.0],
        ["last", END],
    ]
    chat = pool.chat("scripted")
    with pytest.raises(ProviderError):
        chat.ask("a")
    chat.ask("b")
    with chat.stream("c") as stream:
        next(stream)
    chat.ask("d")

    assert last_messages(engine) == ["user: b", "assistant: yes", "user: d"]


def test_rerunning_a_cell_replaces_its_turn(pool, engine):
    """A rerun cell sends the turns before its own and replaces its own; later turns are kept."""
    chat = pool.chat("scripted")
    for cell in ("one", "two", "three"):
        pool.ask(f"in {cell}", chat=chat.slot(cell))

    pool.ask("in two, again", chat=chat.slot("two"))

    assert last_messages(engine) == ["user: in one", "assistant: 1", "user: in two, again"]
    assert [turn.reply.text for turn in chat.turns] == ["1", "4", "3"]
    chat.reset(keep=2)
    assert len(chat) == 2


def test_a_rerun_cell_that_fails_keeps_its_turn(pool, engine):
    """If a rerun cell fails, its earlier turn is kept."""
    engine.scripts = [["yes", END], [ProviderError("no")]]
    chat = pool.chat("scripted")
    pool.ask("a", chat=chat.slot("one"))
    with pytest.raises(ProviderError):
        pool.ask("b", chat=chat.slot("one"))

    assert [turn.reply.text for turn in chat.turns] == ["yes"]


def test_an_engine_without_history_refuses_a_second_turn():
    """The second turn with an engine that does not support history raises an error."""

    class NoHistory(LLMEngine):
        requires_key = False
        features = frozenset()

        async def generate(self, prompt, **_):
            return "what?"

    with EnginePool(env={}, engines=[NoHistory()]) as pool:
        chat = pool.chat("no_history")
        chat.ask("a")
        with pytest.raises(UnsupportedFeatureError, match="does not support conversations"):
            chat.ask("b")
        assert len(chat) == 1


def test_a_conversation_is_exported_as_markdown_or_a_notebook(pool, tmp_path):
    """An export contains the system prompt, prompts and replies; the notebook is valid."""
    chat = pool.chat("scripted", system="Count.", name="story")
    chat.ask("Ä \ud800?")
    text = chat.export(tmp_path / "story.md").read_text()
    notebook = chat.export(tmp_path / "story.ipynb")

    assert text.startswith("# story\n\n**System**\n\nCount.\n\n**You**\n\nÄ")
    assert text.endswith("**scripted:script**\n\n1\n")
    nbformat.validate(nbformat.read(notebook, 4))
    assert len(json.loads(notebook.read_text())["cells"]) == 3


def test_an_export_does_not_overwrite_a_file(pool, tmp_path):
    """An export to an existing file, or into a missing folder, raises an error."""
    (tmp_path / "existing.md").write_text("mine")
    chat = pool.chat("scripted", name="story")

    for name in ("existing.md", "missing/x.md"):
        with pytest.raises(UsageError, match="cannot be written"):
            chat.export(tmp_path / name)
    assert (tmp_path / "existing.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, 3, b"x"])
def test_an_invalid_conversation_name_raises(pool, name):
    """An invalid name of a conversation raises an error."""
    with pytest.raises(UsageError, match="chat"):
        pool.ask("hi", model="scripted", chat=name)


def test_an_unknown_chat_raises_an_error_with_the_nearest_name(pool):
    """`chats.require` raises an error that suggests the nearest name."""
    pool.chat(name="story")

    with pytest.raises(UsageError, match="Did you mean 'story'"):
        pool.chats.require("storyy")
    pool.chats.drop("story")
    assert list(pool.chats) == []
