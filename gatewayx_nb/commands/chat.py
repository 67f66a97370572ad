"""``%gatewayx chat``: lists, resets and exports conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.conversations import Chat

_END = "They end with the kernel; `%gatewayx chat export NAME` keeps one."
_WIDTH = 60


def chat(session: Session, words: argparse.Namespace) -> Table | Note:
    """List the conversations, or reset or export one."""
    if words.action == "list":
        return _listed(session, words.name)
    chosen = _one(session, words.name, words.action)
    if words.action == "export":
        path = chosen.export(words.file or f"{chosen.name}.md")
        return note(
            f"{len(chosen)} turns of {chosen.name!r} are in {display_path(path.resolve())}."
        )
    chosen.reset(words.keep)
    if words.keep:
        return note(f"{chosen.name!r} is its first {len(chosen)} turns again.")
    session.pool.chats.drop(chosen.name)
    return note(f"{chosen.name!r} is forgotten.")


def chat_arguments(parser: Parser) -> None:
    """``list|reset|export [NAME] [FILE] [--keep N]``."""
    add = parser.add_argument
    add("action", choices=("list", "reset", "export"), metavar="list|reset|export", help="what")
    add("name", nargs="?", metavar="NAME", help="a conversation; not needed where there is one")
    add("file", nargs="?", metavar="FILE", help="written by export: .md, or .ipynb for a notebook")
    add("--keep", type=int, default=0, metavar="N", help="turns that reset leaves; 0 by default")


def _listed(session: Session, name: str | None) -> Table:
    if name:
        return _turns(session.pool.chats.require(name))
    rows = tuple(
        (
            chat.name,
            chat.model or "",
            str(len(chat)),
            _line(chat.turns[-1].prompt.content) if chat.turns else "",
        )
        for chat in session.pool.chats
    )
    none = "No conversation yet: `%%gatewayx REF --chat NAME` begins one."
    return Table(("chat", "model", "turns", "last question"), rows, (_END if rows else none,))


def _turns(chat: Chat) -> Table:
    rows = tuple(
        (str(number), _line(turn.prompt.content), _line(turn.reply.text))
        for number, turn in enumerate(chat.turns, 1)
    )
    return Table(("turn", "you", chat.model or "the model"), rows, (_END,))


def _one(session: Session, name: str | None, action: str) -> Chat:
    """Return the conversation with a name, or the only one that exists."""
    if name:
        return session.pool.chats.require(name)
    chats = list(session.pool.chats)
    if len(chats) == 1:
        return chats[0]
    names = ", ".join(chat.name for chat in chats)
    raise UsageError(
        f"which conversation? There are {names}." if chats else "there is no conversation.",
        hint=f"`%gatewayx chat {action} {chats[0].name}`"
        if chats
        else "`%%gatewayx REF --chat NAME` begins one.",
    )


def _line(text: str) -> str:
    return shorten(text, _WIDTH)
