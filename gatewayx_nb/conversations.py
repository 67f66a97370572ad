"""Conversations that send earlier turns along; running a cell again replaces its turn."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator

    from gatewayx_nb.messages import Request
    from gatewayx_nb.replies import Chunk, Reply


class Asker(Protocol):
    """Protocol of a conversation's pool."""

    @property
    def ask(self) -> Callable[..., Reply]:
        """Call the model and wait for its reply."""
        ...

    @property
    def aask(self) -> Callable[..., Awaitable[Reply]]:
        """Call the model and await its reply."""
        ...

    @property
    def stream(self) -> Callable[..., Iterable[Chunk]]:
        """Call the model and stream its reply."""
        ...

    @property
    def astream(self) -> Callable[..., AsyncIterable[Chunk]]:
        """Call the model and stream its reply on an event loop."""
        ...


@dataclass(frozen=True, slots=True)
class ChatTurn:
    """A prompt and its complete reply.

    Attributes:
        prompt: The prompt.
        reply: The reply.
        cell: Id of the cell, if the front end provides it; running it again replaces the turn.
    """

    prompt: Message
    reply: Reply
    cell: str | None = None


class Chat:
    """A conversation with a model.

    It lives as long as its pool; use `export` to keep it. A prompt that failed or was stopped does
    not become a turn and is not sent again.

    Args:
        asker: The pool that makes the calls.
        name: Its name; empty for a private conversation.
        model: Reference used if a call names none.
        system: System prompt used if a call has none.

    Attributes:
        turns: The turns, oldest first.
    """

    def __init__(
        self, asker: Asker, name: str = "", model: str | None = None, system: str | None = None
    ) -> None:
        self.name, self.model, self.system = name, model, system
        self.turns: list[ChatTurn] = []
        self._asker = asker

    def ask(self, prompt: str, /, **options: Any) -> Reply:  # noqa: ANN401 - the call's options
        """Send the next prompt and wait for the reply; takes the keywords of `EnginePool.ask`."""
        return self._asker.ask(prompt, chat=self, **options)

    async def aask(self, prompt: str, /, **options: Any) -> Reply:  # noqa: ANN401
        """Send the next prompt and await the reply."""
        return await self._asker.aask(prompt, chat=self, **options)

    def stream(self, prompt: str, /, **options: Any) -> Iterable[Chunk]:  # noqa: ANN401
        """Send the next prompt and stream the reply."""
        return self._asker.stream(prompt, chat=self, **options)

    def astream(self, prompt: str, /, **options: Any) -> AsyncIterable[Chunk]:  # noqa: ANN401
        """Send the next prompt and stream the reply on an event loop."""
        return self._asker.astream(prompt, chat=self, **options)

    def slot(self, cell: str | None = None) -> ChatSlot:
        """Return the slot of the next turn: the cell's earlier turn, otherwise the end."""
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
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} is not written: {error.strerror}.", hint="Name another file."
            ) from None
        return path

    def to_markdown(self) -> str:
        """Return the conversation as Markdown, with a heading for each message."""
        head = [f"# {self.name}"] if self.name else []
        return "\n\n".join([*head, *_sections(self)]) + "\n"

    def _notebook(self) -> str:
        cells = [
            {"cell_type": "markdown", "id": f"turn-{number}", "metadata": {}, "source": section}
            for number, section in enumerate(_sections(self))
        ]
        book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        return json.dumps(book, ensure_ascii=False, indent=1) + "\n"

    def __len__(self) -> int:
        return len(self.turns)

    def __bool__(self) -> bool:
        return True

    @override
    def __repr__(self) -> str:
        return f"Chat({self.name!r}, {len(self.turns)} turns)"


@dataclass(frozen=True, slots=True)
class ChatSlot:
    """The position of a turn in a conversation."""

    chat: Chat
    cell: str | None

    @property
    def index(self) -> int:
        """Number of turns before it."""
        cells = [turn.cell for turn in self.chat.turns]
        return cells.index(self.cell) if self.cell in cells and self.cell else len(cells)

    def join(self, request: Request) -> Request:
        """Return a request with the earlier turns and the conversation's system prompt added."""
        said = [
            message
            for turn in self.chat.turns[: self.index]
            for message in (turn.prompt, Message("assistant", turn.reply.text))
        ]
        return replace(
            request,
            messages=(*said, *request.messages),
            system=request.system or self.chat.system,
        )

    def keep(self, prompt: Message, reply: Reply) -> None:
        """Store the turn at its position; later turns are kept."""
        index = self.index
        self.chat.turns[index : index + 1] = [ChatTurn(prompt, reply, self.cell)]
        self.chat.model = self.chat.model or f"{reply.engine}:{reply.model}".rstrip(":")


class ChatStore:
    """The conversations of a pool, by name.

    Args:
        asker: The pool that makes the calls.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._named: dict[str, Chat] = {}

    def get(self, name: str) -> Chat:
        """Return a conversation, creating it if the name is new.

        Raises:
            UsageError: If the name is invalid.
        """
        if not re.fullmatch(r"[\w.-]{1,64}", name):
            raise UsageError(
                f"{name!r} is no name of a chat; expected letters, digits, '_', '-' or '.'.",
                hint="For instance `--chat story`.",
            )
        return self._named.setdefault(name, Chat(self._asker, name))

    def require(self, name: str) -> Chat:
        """Return an existing conversation.

        Raises:
            UsageError: If no conversation has the name.
        """
        if name not in self._named:
            raise UsageError(
                f"no chat {name!r}.{did_you_mean(name, self._named)}",
                hint="`%gatewayx chat list` lists them; they end with the kernel.",
            )
        return self._named[name]

    def drop(self, name: str) -> None:
        """Remove a conversation."""
        del self._named[self.require(name).name]

    def __iter__(self) -> Iterator[Chat]:
        return iter(self._named.values())


def _sections(chat: Chat) -> Iterator[str]:
    if chat.system:
        yield f"**System**\n\n{chat.system}"
    for turn in chat.turns:
        yield f"**You**\n\n{turn.prompt.content}"
        yield f"**{turn.reply.engine}:{turn.reply.model}**\n\n{turn.reply.text}"
