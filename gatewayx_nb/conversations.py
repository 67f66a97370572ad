"""Keeps conversations, whose earlier turns are part of every request."""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb import html
from gatewayx_nb.calls import Caller, ToolCaller, hide_option
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import Message
from gatewayx_nb.replies import details_text
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatewayx_nb.calls import CallOptions, ConversationSlot, PlannedCall, Planner
    from gatewayx_nb.messages import Prompt, Request, ToolCall
    from gatewayx_nb.replies import Reply


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A prompt and its complete reply.

    Attributes:
        messages: The messages of the call; the last one is the prompt.
        reply: The reply.
        cell: ID of the cell, if the front end provides it; running that cell again
            replaces the turn.
    """

    messages: tuple[Message, ...]
    reply: Reply
    cell: str | None = None

    @property
    def prompt(self) -> Message:
        """The prompt."""
        return self.messages[-1]


@hide_option("chat")
class Chat(Caller, ToolCaller):
    """A conversation with a model.

    It exists as long as its pool; `export` writes it to a file. A failed or stopped call does not
    become a turn, so it is not sent again.

    Args:
        planner: Plans the calls.
        name: The conversation's name; empty if it is private.
        model: Reference of the model to use if a call does not name one.
        system: System prompt to use if a call does not set one.

    Attributes:
        turns: The turns, oldest first.
    """

    def __init__(
        self, planner: Planner, name: str = "", model: str | None = None, system: str | None = None
    ) -> None:
        self.name, self.model, self.system = name, model, system
        self.turns: list[ChatTurn] = []
        self._planner = planner

    def slot(self, cell: str | None = None) -> ChatSlot:
        """Return the position of the next turn: that of the cell's earlier turn, or the end."""
        return ChatSlot(self, cell)

    def reset(self, keep: int = 0) -> None:
        """Remove all turns after the first ``keep``."""
        del self.turns[keep:]

    def export(self, path: str | Path) -> Path:
        """Write to a new file: a notebook if the path ends in ``.ipynb``, otherwise Markdown.

        Raises:
            UsageError: If the file exists or cannot be written.
        """
        path = Path(path).expanduser()
        text = self._notebook() if path.suffix == ".ipynb" else self.to_markdown()
        try:
            # "x" never overwrites. An answer may contain lone surrogates, which UTF-8 cannot
            # encode.
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be written: {error.strerror}.", hint="Use another file name."
            ) from None
        return path

    def to_markdown(self) -> str:
        """Return the conversation as Markdown, with a heading for each message."""
        title = [f"# {self.name}"] if self.name else []
        return "\n\n".join([*title, *_sections(self)]) + "\n"

    @override
    def _plan(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> PlannedCall:
        if options.get("chat") not in (None, self):
            raise UsageError(
                "a call in a conversation cannot join another conversation.",
                hint=Hint("omit_option", option="chat"),
            )
        return self._planner.plan(prompt, {**options, "chat": self}, streamed=streamed)

    @override
    def _plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        slot = ChatSlot(self, None, continued=reply)
        return self._planner.plan_resumed(reply, {**options, "chat": slot}, results)

    def _notebook(self) -> str:
        cells = [
            # Cell IDs have been mandatory since nbformat 4.5:
            # https://nbformat.readthedocs.io/en/latest/format_description.html#cell-ids
            {"cell_type": "markdown", "id": f"turn-{number}", "metadata": {}, "source": section}
            for number, section in enumerate(_sections(self))
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"

    def __len__(self) -> int:
        return len(self.turns)

    def __bool__(self) -> bool:
        return True  # by default, `__len__` would make an empty conversation falsy

    @override
    def __repr__(self) -> str:
        count = len(self.turns)
        return f"Chat({self.name!r}, {count} turn{'s' * (count != 1)})"


@dataclass(frozen=True, slots=True)
class ChatSlot:
    """The position of a turn in a conversation.

    Attributes:
        chat: The conversation.
        cell: ID of the cell, if the front end provides it.
        adds_turn: Whether the reply is added to the conversation.
        continued: The reply that the call continues and whose turn it replaces; ``None`` for a new
            turn.
    """

    chat: Chat
    cell: str | None
    adds_turn: bool = True
    continued: Reply | None = None

    def without_adding(self) -> ChatSlot:
        """Return the position for a request whose reply is not added to the conversation."""
        return replace(self, adds_turn=False)

    @property
    def model(self) -> str | None:
        """Reference of the model to use if the call does not name one."""
        return self.chat.model

    @property
    def index(self) -> int:
        """Number of turns before this one."""
        if self.continued is not None:
            matching_indexes = (
                number
                for number, turn in enumerate(self.chat.turns)
                if _is_same(turn.reply, self.continued)
            )
            return next(matching_indexes, len(self.chat.turns))
        cells = [turn.cell for turn in self.chat.turns]
        # Turns without a cell ID have `None`, which must not match this turn's `None`.
        return cells.index(self.cell) if self.cell in cells and self.cell else len(cells)

    @property
    def has_outside_text(self) -> bool:
        """Whether an earlier turn has a tool result that contains text from outside; see `tool`."""
        turns = self.chat.turns[: self.index]
        return any(step.outside for turn in turns for step in turn.reply.steps)

    def with_history(self, request: Request) -> Request:
        """Return the request with the earlier turns, and a system prompt if it has none."""
        turns = self.chat.turns[: self.index]
        next_messages_by_turn = [*(turn.messages for turn in turns[1:]), request.messages]
        earlier_messages = [
            message
            for turn, next_messages in zip(turns, next_messages_by_turn, strict=False)
            for message in (*turn.messages, _answer(turn.reply, next_messages[0]))
        ]
        system = request.system or self.chat.system
        return replace(request, messages=(*earlier_messages, *request.messages), system=system)

    def add_turn(self, messages: tuple[Message, ...], reply: Reply) -> None:
        """Add the turn at its position, replacing the same cell's turn; keep later turns."""
        if not self.adds_turn:
            return
        # Compute the index now, because another call may have added a turn since this call began.
        index = self.index
        replaced_turns = self.chat.turns[index : index + 1]
        cell = replaced_turns[0].cell if replaced_turns else self.cell
        self.chat.turns[index : index + 1] = [ChatTurn(messages, reply, cell)]
        # The first answer fixes the model, because a new default must not change an ongoing
        # conversation.
        self.chat.model = self.chat.model or f"{reply.engine}:{reply.model}".rstrip(":")


class ChatStore:
    """The conversations of a pool, by name.

    Args:
        planner: Returns the planner for the calls; called when a conversation is created.
    """

    def __init__(self, planner: Callable[[], Planner]) -> None:
        self._planner = planner
        self._named_chats: dict[str, Chat] = {}
        self._all_chats: weakref.WeakSet[Chat] = weakref.WeakSet()

    def get(self, name: str) -> Chat:
        """Return a conversation, creating it if the name is new.

        Raises:
            UsageError: If the name is invalid.
        """
        # A name of these characters needs no quotes in a command line.
        if not (isinstance(name, str) and re.fullmatch(r"[\w.-]{1,64}", name)):
            raise UsageError(
                "a chat's name must consist of 1 to 64 letters, digits, '_', '-' or '.',"
                f" got {short_repr(name)}.",
                hint=Hint("set_option", option="chat", value="story"),
            )
        return self._named_chats.get(name) or self._named_chats.setdefault(name, self.create(name))

    def create(self, name: str = "") -> Chat:
        """Return a new, private conversation; only those from `get` are available by name."""
        chat = Chat(self._planner(), name)
        self._all_chats.add(chat)
        return chat

    def adopt(self, other_store: ChatStore) -> None:
        """Continue another pool's conversations in this pool."""
        for chat in other_store._all_chats:
            chat._planner = self._planner()  # noqa: SLF001 - a class of this module
            self._all_chats.add(chat)
        self._named_chats |= other_store._named_chats

    def require(self, name: str) -> Chat:
        """Return an existing conversation.

        Raises:
            UsageError: If no conversation has the name.
        """
        if name not in self._named_chats:
            raise UsageError(
                f"there is no chat {name!r}.{did_you_mean(name, self._named_chats)}",
                hint=Hint("list_chats"),
            )
        return self._named_chats[name]

    def slot(self, chat: object) -> ConversationSlot | None:
        """Return the position of the next turn in a conversation; ``None`` for ``None``.

        Raises:
            UsageError: If ``chat`` is not a name or a conversation.
        """
        if isinstance(chat, str):
            return self.get(chat).slot()
        if isinstance(chat, Chat):
            return chat.slot()
        if chat is None or isinstance(chat, ChatSlot):
            return chat
        raise UsageError(
            f"chat must be a name or a conversation from `pool.chat`, got {short_repr(chat)}.",
            hint=Hint("set_option", option="chat", value="story"),
        )

    def __contains__(self, name: object) -> bool:
        """Return whether a conversation has the name."""
        return name in self._named_chats

    def drop(self, name: str) -> None:
        """Remove a conversation."""
        del self._named_chats[self.require(name).name]

    def __iter__(self) -> Iterator[Chat]:
        return iter(self._named_chats.values())


def _is_same(reply: Reply, other_reply: Reply) -> bool:
    """Return whether two replies are equal in text and open calls; one may be an unpickled copy."""
    calls, other_calls = reply.tool_calls, other_reply.tool_calls
    return reply is other_reply or bool(
        calls and calls == other_calls and reply.text == other_reply.text
    )


def _answer(reply: Reply, next_message: Message) -> Message:
    """Return a reply as a message, without unanswered tool calls, which providers reject."""
    if reply.tool_calls and next_message.role != "tool":
        return Message("assistant", reply.text)
    return reply.message


_HEADINGS = {"user": "You", "assistant": "Assistant", "tool": "Tool", "system": "System"}


def _sections(chat: Chat) -> Iterator[str]:
    if chat.system:
        yield _section("System", chat.system, ())
    for turn in chat.turns:
        for message in turn.messages:
            yield _section(_HEADINGS[message.role], message.content, message.tool_calls)
        name = f"{turn.reply.engine}:{turn.reply.model}"
        text = "\n\n".join(filter(None, (turn.reply.text, details_text(turn.reply))))
        yield _section(name, text, turn.reply.tool_calls)


def _section(heading: str, text: str, calls: Iterable[ToolCall]) -> str:
    """Return a message as Markdown that runs no code when a program converts it to a page."""
    call_lines = (f"Calls `{call.name}({call.arguments})`" for call in calls)
    return "\n\n".join(filter(None, map(html.safe_markdown, (f"**{heading}**", text, *call_lines))))
