"""The command ``serve``: runs a server in a thread of a notebook, or standalone in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gatewayx_nb._lazy import attach
from gatewayx_nb.calls import Note
from gatewayx_nb.commands.cassette import recording

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.server import NotebookServer

# Import on first use, because the packages of the server are an optional extra.
_load, _ = attach(__name__, {"serve": "gatewayx_nb.server", "serve_forever": "gatewayx_nb.server"})


def serve_notebook(_: Session, __: argparse.Namespace) -> Note:
    """Start the server for other libraries in the notebook, unless it is already running."""
    serve = cast("Callable[[], NotebookServer]", _load("serve"))
    return Note(
        f"{serve()!r}",
        "`gx.serve().openai` and `gx.serve().anthropic` are the arguments of a client, as in"
        " `OpenAI(**gx.serve().openai)`.",
    )


def serve_standalone(session: Session, args: argparse.Namespace) -> None:
    """Run the server until the user stops the command."""
    with recording(session.pool, args.cassette):
        serve_forever = cast("Callable[..., None]", _load("serve_forever"))
        serve_forever(session.pool, args.host, args.port)


def serve_arguments(parser: LineParser) -> None:
    """Add the arguments of ``serve`` in a shell."""
    add = parser.add_argument
    add(
        "--port",
        type=int,
        default=3001,
        metavar="N",
        help="the port, 3001 if omitted; 0 selects a free one",
    )
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address (127.0.0.1); 0.0.0.0 lets other machines connect",
    )
    add("--cassette", metavar="FILE", help="record the replies in this file, or replay them")
