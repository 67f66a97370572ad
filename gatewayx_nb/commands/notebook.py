"""Commands for the running notebook: its conversations, last error and event loop."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Excerpt, Note, Table, text_columns
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import display_path, redact
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.command import FailedCell, Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.conversations import Chat

_MAX_SHOWN_CHARS = 60

_MAX_QUOTED_CHARS = 4_000
"""Maximum number of characters of a cell or an error to send."""

_SMALL_MODEL_NOTE = "A small model may be wrong."
"""Note on answers from the ``local`` engine."""

_NEST_NOTE = "gatewayx calls do not need this: `gx.ask(…)` and `await gx.aask(…)` always work."


def chat(session: Session, args: argparse.Namespace) -> Table | Note:
    """List the conversations, or reset or export one."""
    chats = session.pool.chats
    if args.keep is not None and args.action != "reset":
        line = " ".join(filter(None, ("chat reset", args.name, f"--keep {args.keep}")))
        raise UsageError(
            f"`--keep` has no effect with `chat {args.action}`.", hint=Hint("command", line=line)
        )
    if args.action == "list":
        return _list_turns(session, chats.require(args.name)) if args.name else _list_chats(session)
    selected_chat = _select_chat(session, args.name, args.action)
    if args.action == "export":
        path = selected_chat.export(args.file or f"{selected_chat.name}.md")
        turns = f"{len(selected_chat)} turn{'' if len(selected_chat) == 1 else 's'}"
        return Note(
            f"Exported {turns} of {selected_chat.name!r} to {display_path(path.resolve())}."
        )
    selected_chat.reset(args.keep or 0)
    if args.keep:
        turns = "turn" if len(selected_chat) == 1 else f"{len(selected_chat)} turns"
        return Note(f"{selected_chat.name!r} now has only its first {turns}.")
    # An empty conversation is deleted.
    chats.drop(selected_chat.name)
    return Note(f"{selected_chat.name!r} is deleted.")


def chat_arguments(parser: LineParser) -> None:
    """Add the arguments of ``chat``: ``list|reset|export [NAME] [FILE] [--keep N]``."""
    add = parser.add_argument
    actions = ("list", "reset", "export")
    add("action", choices=actions, metavar="list|reset|export", help="what to do")
    add("name", nargs="?", metavar="NAME", help="a conversation; optional if there is only one")
    add("file", nargs="?", metavar="FILE", help="file to export to: .md, or .ipynb for a notebook")
    add("--keep", type=int, metavar="N", help="turns that reset keeps; 0 by default")


def compare(session: Session, args: argparse.Namespace) -> object:
    """Return the widget for choosing, running and judging models."""
    return session.compare_view(args.references)


def compare_arguments(parser: LineParser) -> None:
    """Add the arguments of ``compare``: ``[REF …]``."""
    parser.usage = "%(prog)s [REF…]"
    parser.add_argument("references", nargs="*", metavar="REF", help="models selected initially")


def explain(session: Session, args: argparse.Namespace) -> Note | None:
    """Send the last error and its cell; show the prompt first, then the answer.

    If the error itself gives advice, show the advice instead.
    """
    failed_cell = session.last_failed_cell()
    if failed_cell is None:
        raise UsageError(
            "no cell has raised an exception yet.", hint="Run the cell that fails, then try again."
        )
    if failed_cell.advice:
        note = "The error already says what to do, so no model was asked."
        return Note(failed_cell.error, failed_cell.advice, note)
    model = args.reference or session.pool.default_model(to_call=True)
    # A cell or an error may contain a key.
    secrets = session.pool.config.keys.secrets_by_name().values()
    prompt = redact(_explain_prompt(failed_cell), secrets)
    code = [
        redact(_clip(text), secrets)
        for text in (failed_cell.source.strip(), failed_cell.error)
        if text
    ]
    intro = f"Asking {model}, without the values of variables:"
    session.show(Excerpt(intro, prompt, code))
    engine = session.pool.config.settings.aliases.get(model, model).partition(":")[0]
    session.answer(prompt, model, *([_SMALL_MODEL_NOTE] if engine == "local" else []))
    return None


def explain_arguments(parser: LineParser) -> None:
    """Add the arguments of ``explain``: ``[REF]``."""
    parser.add_argument(
        "reference", nargs="?", metavar="REF", help="model to ask; the default if omitted"
    )


def nest(session: Session, args: argparse.Namespace) -> Note:
    """Enable nested event loops, which `asyncio.run` needs in a cell, or report their state."""
    is_enabled = bool(getattr(asyncio, "_nest_patched", False))  # both packages below set it
    if args.switch == "on" and not is_enabled:
        # ipykernel 7.1 and later depend on nest_asyncio2, the maintained fork.
        has_maintained_fork = bool(importlib.util.find_spec("nest_asyncio2"))
        importlib.import_module("nest_asyncio2" if has_maintained_fork else "nest_asyncio").apply()
        return Note(
            "Nested event loops are on until the kernel restarts; `asyncio.run(…)` works now.",
            "While such a cell runs, clicks on widgets wait, and tasks take twice as long.",
        )
    if args.switch == "off" and is_enabled:
        return Note("Only restarting the kernel turns nested event loops off.", _NEST_NOTE)
    off_note = f"Nested event loops are off: `{session.prog} nest on` turns them on."
    return Note("Nested event loops are on." if is_enabled else off_note, _NEST_NOTE)


def nest_arguments(parser: LineParser) -> None:
    """Add the arguments of ``nest``: ``[on|off]``."""
    parser.add_argument(
        "switch",
        nargs="?",
        choices=("on", "off"),
        metavar="on|off",
        help="show the current state if omitted",
    )


def _list_chats(session: Session) -> Table:
    rows = []
    for chat in session.pool.chats:
        last_prompt = shorten(chat.turns[-1].prompt.content, _MAX_SHOWN_CHARS) if chat.turns else ""
        rows.append((chat.name, chat.model or "", str(len(chat)), last_prompt))
    note = _export_note(session) if rows else f"No conversations yet: {_start_hint(session)}"
    return Table(rows, text_columns("chat", "model", "turns", "last prompt"), (note,))


def _list_turns(session: Session, chat: Chat) -> Table:
    rows = []
    for number, turn in enumerate(chat.turns, 1):
        texts = (turn.prompt.content, turn.reply.text)
        rows.append((str(number), *(shorten(text, _MAX_SHOWN_CHARS) for text in texts)))
    columns = text_columns("turn", "you", chat.model or "the model")
    return Table(rows, columns, (_export_note(session),))


def _export_note(session: Session) -> str:
    return f"Conversations end with the kernel; `{session.prog} chat export NAME` saves one."


def _start_hint(session: Session) -> str:
    return f"`{session.ask_prog} REF --chat NAME` starts one."


def _select_chat(session: Session, name: str | None, action: str) -> Chat:
    """Return the named conversation, or the only conversation if the name is omitted."""
    if name:
        return session.pool.chats.require(name)
    chats = list(session.pool.chats)
    if len(chats) == 1:
        return chats[0]
    if not chats:
        raise UsageError("there are no conversations.", hint=_start_hint(session))
    raise UsageError(
        f"a name is required, because there are several conversations: "
        f"{', '.join(chat.name for chat in chats)}.",
        hint=Hint("command", line=f"chat {action} {chats[0].name}"),
    )


def _explain_prompt(failed_cell: FailedCell) -> str:
    # The traceback is omitted, because it may contain paths and values of variables.
    lines = failed_cell.source.splitlines()
    failed_line = (
        f"\nLine {failed_cell.line} raised: {lines[failed_cell.line - 1].strip()}"
        if failed_cell.line
        else ""
    )
    cell = (
        f"The cell:\n{_clip(failed_cell.source.strip())}\n{failed_line}\n"
        if failed_cell.source
        else ""
    )
    # Cassettes find a call by its prompt, so a different wording would invalidate them.
    return (
        "A cell of a Python notebook raised an error. Say in a few sentences why, and how to mend"
        f" it.\n\n{cell}\nThe error:\n{_clip(failed_cell.error)}"
    )


def _clip(text: str) -> str:
    clean = plain(text)
    return clean if len(clean) <= _MAX_QUOTED_CHARS else f"{clean[:_MAX_QUOTED_CHARS]}…"
