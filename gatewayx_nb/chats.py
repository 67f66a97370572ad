"""Conversations: what was said before goes along, and a turn asked again replaces itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from gatewayx_nb.errors import UsageError, nearest
from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator

    from gatewayx_nb.messages import Chunk, Reply, Request


class Asker(Protocol):
    """What a conversation asks: a pool."""

    @property
    def ask(self) -> Callable[..., Reply]:
        """Ask and wait."""
        ...

    @property
    def aask(self) -> Callable[..., Awaitable[Reply]]:
        """Ask and await."""
        ...

    @property
    def stream(self) -> Callable[..., Iterable[Chunk]]:
        """Ask and read as it comes."""
        ...

    @property
    def astream(self) -> Callable[..., AsyncIterable[Chunk]]:
        """Ask and read as it comes, on an event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its whole answer.

    Attributes:
        prompt: What was asked.
        reply: What was answered.
        cell: The cell that asked, where the front end names it; asking there again replaces this.
    """

    prompt: Message
    reply: Reply
    cell: str | None = None


class Chat:
    """A conversation with a model.

    It lives as long as its pool; `export` keeps it longer. A question that failed or was stopped is
    no turn of it, and is not sent again.

    Args:
        asker: Who is asked.
        name: Its name; empty for one of a script's own.
        model: The reference that answers where a call names none.
        system: The system prompt of each call that names none.

    Attributes:
        turns: What was said, the oldest first.
    """

    def __init__(
        self, asker: Asker, name: str = "", model: str | None = None, system: str | None = None
    ) -> None:
        self.name, self.model, self.system = name, model, system
        self.turns: list[Turn] = []
        self._asker = asker

    def ask(self, prompt: str, /, **options: Any) -> Reply:  # noqa: ANN401 - a call's own
        """Ask the next question and wait; the keywords are those of `EnginePool.ask`."""
        return self._asker.ask(prompt, chat=self, **options)

    async def aask(self, prompt: str, /, **options: Any) -> Reply:  # noqa: ANN401
        """Ask the next question and await the answer."""
        return await self._asker.aask(prompt, chat=self, **options)

    def stream(self, prompt: str, /, **options: Any) -> Iterable[Chunk]:  # noqa: ANN401
        """Ask the next question and read the answer as it comes."""
        return self._asker.stream(prompt, chat=self, **options)

    def astream(self, prompt: str, /, **options: Any) -> AsyncIterable[Chunk]:  # noqa: ANN401
        """Ask the next question and read the answer as it comes, on an event loop."""
        return self._asker.astream(prompt, chat=self, **options)

    def slot(self, cell: str | None = None) -> Slot:
        """Give the place of the next turn: that of the cell's earlier one, else the end."""
        return Slot(self, cell)

    def reset(self, keep: int = 0) -> None:
        """Forget all turns but the first ``keep``."""
        del self.turns[keep:]

    def export(self, path: str | Path) -> Path:
        """Write it to a new file: a notebook where the name ends in ``.ipynb``, else Markdown.

        Raises:
            UsageError: The file is there already, or cannot be written.
        """
        path = Path(path).expanduser()
        text = self._notebook() if path.suffix == ".ipynb" else self.to_markdown()
        try:
            with path.open("x", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} is not written: {error.strerror}.", mend="Name another file."
            ) from None
        return path

    def to_markdown(self) -> str:
        """Give it as Markdown, a heading before each side's words."""
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
class Slot:
    """Where a turn goes."""

    chat: Chat
    cell: str | None

    @property
    def index(self) -> int:
        """How many turns stand before it."""
        cells = [turn.cell for turn in self.chat.turns]
        return cells.index(self.cell) if self.cell in cells and self.cell else len(cells)

    def join(self, request: Request) -> Request:
        """Give a request with what was said before its prompt, and the conversation's system."""
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
        """Put the turn in its place; what came after it stays."""
        index = self.index
        self.chat.turns[index : index + 1] = [Turn(prompt, reply, self.cell)]
        self.chat.model = self.chat.model or f"{reply.engine}:{reply.model}".rstrip(":")


class Chats:
    """The conversations of a pool, by name.

    Args:
        asker: Who is asked.
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._named: dict[str, Chat] = {}

    def get(self, name: str) -> Chat:
        """Give a conversation; a new name begins one.

        Raises:
            UsageError: That is no name.
        """
        if not re.fullmatch(r"[\w.-]{1,64}", name):
            raise UsageError(
                f"{name!r} is no name of a chat; expected letters, digits, '_', '-' or '.'.",
                mend="For instance `--chat story`.",
            )
        return self._named.setdefault(name, Chat(self._asker, name))

    def known(self, name: str) -> Chat:
        """Give a conversation that there is.

        Raises:
            UsageError: There is none of the name.
        """
        if name not in self._named:
            raise UsageError(
                f"no chat {name!r}.{nearest(name, self._named)}",
                mend="`%gatewayx chat list` lists them; they end with the kernel.",
            )
        return self._named[name]

    def drop(self, name: str) -> None:
        """Forget a conversation."""
        del self._named[self.known(name).name]

    def __iter__(self) -> Iterator[Chat]:
        return iter(self._named.values())


def _sections(chat: Chat) -> Iterator[str]:
    if chat.system:
        yield f"**System**\n\n{chat.system}"
    for turn in chat.turns:
        yield f"**You**\n\n{turn.prompt.content}"
        yield f"**{turn.reply.engine}:{turn.reply.model}**\n\n{turn.reply.text}"
