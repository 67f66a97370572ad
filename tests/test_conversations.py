"""Conversations: which messages are sent, and which calls become turns."""

import asyncio
import json

import nbformat
import pytest

from gatewayx_nb import EnginePool, Message, ToolCall, ToolResult
from gatewayx_nb.errors import ProviderError, UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import Chunk, Citation, Details, LLMEngine
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
    """Return the texts of the messages of the last request."""
    return [f"{message.role}: {message.content}" for message in engine.requests[-1].messages]


def test_a_chat_of_the_wrong_type_raises(pool):
    """The error for a ``chat`` of the wrong type names the method that returns a conversation."""
    with pytest.raises(UsageError, match=r"a conversation from `pool\.chat`, got 3"):
        pool.ask("a", chat=3)


def test_a_call_in_a_conversation_cannot_join_another_one(pool, engine):
    """The methods of a conversation raise an error if ``chat`` names another conversation."""
    chat = pool.chat("scripted")
    for call in (chat.ask, chat.stream, chat.astream):
        with pytest.raises(UsageError, match="cannot join another conversation"):
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
    """`chat="story"` and `pool.chat(name="story")` refer to the same conversation."""
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


CALLS = (ToolCall("1", "weather", '{"city": "Rome"}'), ToolCall("2", "time", "{}"))
RESULTS = [
    {"role": "tool", "tool_call_id": "1", "content": "12 °C"},
    {"role": "tool", "tool_call_id": "2", "content": "noon"},
]


def test_a_list_of_messages_joins_the_earlier_turns(pool, engine):
    """All messages of a list become part of the turn, and are sent again by later calls."""
    chat = pool.chat("scripted")
    chat.ask("a")
    chat.ask([Message("user", "b"), Message("assistant", "c"), {"role": "user", "content": "d"}])
    chat.ask("e")

    assert last_messages(engine) == [
        "user: a", "assistant: 1", "user: b", "assistant: c", "user: d", "assistant: 2", "user: e",
    ]  # fmt: skip
    assert chat.turns[1].prompt == Message("user", "d")


def test_results_continue_a_reply_with_tool_calls(pool, engine):
    """The tool calls of a reply are sent unabridged, with the results that answer them."""
    calling = Chunk(finish_reason="tool_calls", tool_calls=CALLS)
    engine.scripts = [["I look.", calling], ["It is noon.", END]]
    chat = pool.chat("scripted")
    chat.ask("Weather?")
    chat.ask(RESULTS)
    chat.ask("Thanks")

    sent = engine.requests[-1].messages
    assert sent[1] == Message("assistant", ["I look.", *CALLS])
    assert sent[2:4] == (
        Message("tool", [ToolResult("1", "12 °C", "weather")]),
        Message("tool", [ToolResult("2", "noon", "time")]),
    )
    assert last_messages(engine)[-2:] == ["assistant: It is noon.", "user: Thanks"]


def test_unanswered_tool_calls_are_not_sent(pool, engine):
    """If text follows a reply with tool calls, only the text of the reply is sent."""
    engine.scripts = [["I look.", Chunk(finish_reason="tool_calls", tool_calls=CALLS)], ["1", END]]
    chat = pool.chat("scripted")
    chat.ask("Weather?")
    chat.ask("Never mind")

    assert engine.requests[-1].messages[1] == Message("assistant", "I look.")


def test_errors_count_the_messages_of_the_call_alone(pool, engine):
    """The index in an error refers to the list of the call, not to the whole conversation."""
    engine.scripts = [[Chunk(finish_reason="tool_calls", tool_calls=CALLS)], ["1", END]]
    chat = pool.chat("scripted")
    chat.ask("Weather?")
    with pytest.raises(
        UsageError, match=r"messages\[0\] must answer .* without a result are '1', '2'"
    ):
        chat.ask([{"role": "tool", "tool_call_id": "3", "content": "x"}])
    expected = r"the result of tool call '2' \('.*'\) is missing before messages\[0\]"
    with pytest.raises(UsageError, match=expected):
        chat.ask(RESULTS[:1])
    assert len(chat) == 1


def test_the_system_message_of_a_list_overrides_that_of_the_chat(pool, engine):
    """A system message in a list overrides the system prompt, but only for that call."""
    chat = pool.chat("scripted", system="Count.")
    chat.ask([Message("system", "Rhyme."), Message("user", "a")])
    chat.ask("b")

    assert [request.system for request in engine.requests] == ["Rhyme.", "Count."]
    assert last_messages(engine) == ["user: a", "assistant: 1", "user: b"]


def test_a_conversation_with_tools_replays_from_a_cassette(pool, engine, tmp_path):
    """The turns of a replayed conversation contain the recorded tool calls and results."""
    engine.scripts = [[Chunk(finish_reason="tool_calls", tool_calls=CALLS)], ["noon", END]]
    for mode in ("auto", "replay"):
        with pool.cassette(tmp_path / "tape.jsonl", mode):
            chat = pool.chat("scripted")
            chat.ask("Weather?")
            assert chat.ask(RESULTS).text == "noon"
    assert len(engine.requests) == 2
    assert chat.turns[0].reply.tool_calls == CALLS


def test_exported_turns_show_calls_and_results(pool, engine):
    """Markdown has a heading for each message of a list, and the tool calls."""
    engine.scripts = [
        ["I look.", Chunk(finish_reason="tool_calls", tool_calls=CALLS[:1])],
        ["x", END],
    ]
    chat = pool.chat("scripted")
    chat.ask([Message("user", "Weather?"), Message("system", "Rhyme."), Message("user", "Now!")])
    chat.ask(RESULTS[:1])

    assert chat.to_markdown() == (
        "**You**\n\nWeather?\n\n**System**\n\nRhyme.\n\n**You**\n\nNow!\n\n"
        '**scripted:script**\n\nI look.\n\nCalls `weather({"city": "Rome"})`\n\n'
        "**Tool**\n\n12 °C\n\n**scripted:script**\n\nx\n"
    )


def test_exported_turns_show_citations_below_the_text(pool, engine):
    """The sources of an answer are in the export, as numbered notes."""
    details = Chunk(details=Details(citations=(Citation(title="Sky"),)))
    engine.scripts = [["Blue.", details, END]]
    chat = pool.chat("scripted")
    chat.ask("Sky?")

    assert "Blue.\n\n&#91;1&#93; Sky\n" in chat.to_markdown()


def test_an_export_runs_nothing_in_a_page(pool, tmp_path):
    """`nbconvert` and Quarto show the raw HTML and run the code of Markdown."""
    hostile = (
        "<script>x()</script> ![p](https://x.example/p.png) `r system(1)`\n```{python}\n1\n```"
    )
    chat = pool.chat("mock", name="story")
    chat.ask(hostile)

    for name in ("story.md", "story.ipynb"):
        text = chat.export(tmp_path / name).read_text()
        for part in ("<script", "![p]", "`r system", "```{python}"):
            assert part not in text, name
