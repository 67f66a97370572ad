"""The command ``tools``: lists the MCP servers and their tools."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Table, text_columns
from gatewayx_nb.text import one_line, plain, shorten

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.mcp_client import MCPServerStatus

_MAX_DESCRIPTION_LENGTH = 100
"""Maximum number of characters of a description or an address in the table."""


def tools(session: Session, args: argparse.Namespace) -> Table[Sequence[str]]:
    """Return a table of the MCP servers; if a server is named, start it and list its tools."""
    states = session.pool.mcp_servers(args.name)
    rows: list[Sequence[str]] = [row for state in states for row in _server_rows(state)]
    notes = [f"`{session.prog} tools NAME` starts a server and lists its tools."]
    if any(state.state == "needs trust" for state in states):
        notes.append(f"`{session.prog} trust` allows this project's servers; it asks first.")
    if any(state.tools for state in states):
        notes = [
            "The descriptions and claims are the server's own words; nothing verifies them.",
            "You are asked before each call.",
        ]
    if not states:
        notes = ['No MCP servers. Add one to the settings as [mcp.NAME], or use `gx.mcp("…")`.']
    if importlib.util.find_spec("mcp") is None and not any(state.tools for state in states):
        notes.append('Servers need the extra `mcp`: `pip install "gatewayx-nb[mcp]"`.')
    return Table(rows, text_columns("server", "tool", "description", "server claims"), notes)


def _server_rows(state: MCPServerStatus) -> Iterator[tuple[str, ...]]:
    name = state.server.name
    if not state.tools:
        yield name, "", plain(shorten(state.address, _MAX_DESCRIPTION_LENGTH)), state.state
    for tool in state.tools:
        text = one_line(tool.description)
        yield name, plain(tool.name), shorten(text, _MAX_DESCRIPTION_LENGTH), tool.claims


def tools_arguments(parser: LineParser) -> None:
    """Add the arguments of ``tools``: ``[NAME]``."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="start this server and list its tools; omit it to list all servers",
    )
