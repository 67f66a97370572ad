"""Describes MCP servers for ``tools=``; creating a description does not start the server."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from typing_extensions import override

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secrets import vendor_of_key
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SERVER_NAME = re.compile(r"(?!.*__)[a-z][a-z0-9_-]{0,23}")
"""The valid names of servers; they are short, so that ``SERVER__TOOL`` fits in 64 characters."""

_MAX_NAME_LENGTH = 24

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The valid names of environment variables."""

_RUNNER = re.compile(
    r"uvx?|pipx|npx|npm|pnpm|yarn|bunx?|node|deno|docker|podman|(?:python|pypy)[\d.]*|pyw?|java|env"
)
"""Programs that run another program, whose name is their first argument."""

_RUNNER_SUBCOMMANDS = ("run", "exec", "tool", "dlx", "x")
"""Subcommands of runners, such as ``run`` in ``uv run``."""

_EXAMPLE = 'For example, `gx.mcp("uvx mcp-server-time")`.'


@dataclass(frozen=True, slots=True)
class MCPServer:
    """A server of the Model Context Protocol (MCP), whose tools a model may call; see `mcp`.

    It is a plain value; the server starts when a call needs it.

    Attributes:
        name: The server's name, which is the prefix of the names of its tools.
        command: The command that starts it, with its arguments; empty if it has a URL or is
            described in the settings.
        url: The URL at which it listens; empty if it has a command or is described in the settings.
        only: The names of the tools to use; all tools if empty.
        env: The names of the environment variables that it receives.
    """

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    only: tuple[str, ...] = ()
    env: tuple[str, ...] = ()

    @property
    def is_in_settings(self) -> bool:
        """Whether it is described in the settings, in the table ``[mcp.NAME]``."""
        return not (self.command or self.url)

    @property
    def address(self) -> str:
        """The command line or the URL; empty if it is described in the settings."""
        return self.url or shlex.join(self.command)

    @override
    def __repr__(self) -> str:
        address = f"url={self.url!r}" if self.url else repr(shlex.join(self.command) or self.name)
        only = f", only={list(self.only)!r}" if self.only else ""
        return f"mcp({address}{only})"


@with_one_line_errors
def mcp(
    command: str | Sequence[str] = "",
    *,
    url: str = "",
    name: str = "",
    only: str | Iterable[str] = (),
    env: str | Iterable[str] = (),
) -> MCPServer:
    """Return an MCP server for ``tools=``; it starts when a call first needs it.

    See also: the guide ``mcp-servers``.

    >>> mcp("uvx mcp-server-time", only="get_current_time")
    mcp('uvx mcp-server-time', only=['get_current_time'])

    Args:
        command: The command that starts the server, as a str or a list of str. A str of one word is
            the name of a server in the settings, ``[mcp.NAME]``.
        url: The URL of a running server, instead of a command.
        name: The prefix of the names of its tools, of at most 24 characters; derived from the
            command or the URL if omitted.
        only: The names of the tools to use, as the server lists them; all tools if omitted.
        env: The names of environment variables that the server receives, such as
            ``GITHUB_TOKEN``. Their values come from the environment or the key file.

    Raises:
        UsageError: If an argument is invalid, or the command contains a key.
    """
    words = _checked_words(command)
    if words and words[0].startswith(("https://", "http://")):
        raise UsageError(
            "the command of an MCP server is a URL.", hint="Pass it as `gx.mcp(url=…)`."
        )
    url = _checked_url(url)
    if bool(words) == bool(url):
        raise UsageError("gx.mcp needs either a command or a url.", hint=_EXAMPLE)
    if not isinstance(name, str) or (name and not _is_name(name)):
        raise UsageError(
            "name must consist of at most 24 characters (a-z, 0-9, '_', '-'), without '__', and"
            f" begin with a letter, got {short_repr(name)}.",
            hint='For example, `name="time"`.',
        )
    variables, tool_names = _checked_variables(env, url), _checked_strings("only", only)
    if not tool_names and only != ():
        raise UsageError("only must name at least one tool.", hint="Omit `only` to use all tools.")
    if not (isinstance(command, str) and len(words) == 1 and _is_name(words[0])):
        return MCPServer(name or _default_name(words, url), words, url, tool_names, variables)
    if name or variables:
        option = "name" if name else "env"
        raise UsageError(
            f"{option} has no effect for a server in the settings, [mcp.{words[0]}].",
            hint=f'Omit `{option}`. For a one-word command, pass a list: `gx.mcp(["{words[0]}"])`.',
        )
    return MCPServer(words[0], only=tool_names)


def _checked_variables(env: str | Iterable[str], url: str) -> tuple[str, ...]:
    variables = _checked_strings("env", env)
    if invalid_names := [variable for variable in variables if not VARIABLE.fullmatch(variable)]:
        name, equals, _ = invalid_names[0].partition("=")
        # The value may be a key, so it is not quoted.
        description = f"a value for {short_repr(name)}" if equals else short_repr(name)
        raise UsageError(
            f"env must contain only names of environment variables, got {description}.",
            hint="Set the variable in config/secrets/.env.local, and pass its name.",
        )
    if url and variables:
        raise UsageError("env has no effect with a url.", hint="Omit `env`.")
    return variables


def _checked_words(command: object) -> tuple[str, ...]:
    words = _split_command(command)
    if any(map(contains_key, words)):
        raise UsageError(
            "the command of an MCP server must not contain a key, which other processes could see.",
            hint='Pass the name of its variable, such as `env="GITHUB_TOKEN"`.',
        )
    return words


def _split_command(command: object) -> tuple[str, ...]:
    if isinstance(command, str):
        try:
            return tuple(shlex.split(command))
        except ValueError as error:
            raise UsageError(
                f"the command of an MCP server cannot be read: {str(error).lower()}.",
                hint="Pass a list of its words.",
            ) from None
    # The words may be paths, as `sys.executable` and the script often are.
    words = list(command) if isinstance(command, (list, tuple)) else [None]
    if not all(isinstance(word, (str, PurePath)) for word in words) or "" in words[:1]:
        raise UsageError(
            f"the command of an MCP server must be a str or a list of str, got"
            f" {short_repr(command)}.",
            hint=_EXAMPLE,
        )
    if any("\0" in str(word) for word in words):
        raise UsageError(
            "the command of an MCP server must not contain a NUL character.", hint=_EXAMPLE
        )
    return tuple(map(str, words))


def _checked_strings(option: str, value: object) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if isinstance(values, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) and name for name in values
    ):
        return tuple(dict.fromkeys(cast("Iterable[str]", values)))
    raise UsageError(
        f"{option} must be a name or a list of names, got {short_repr(value)}.",
        hint=f'For example, `{option}=["a", "b"]`.',
    )


def contains_key(word: str) -> bool:
    """Return whether a word of a command contains a key, as a whole or as in ``--token=KEY``."""
    return any(map(vendor_of_key, (word, word.rpartition("=")[2])))


def url_problem(url: str) -> str:
    """Return why a URL is not valid for a server; empty if it is valid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "has an invalid port or IPv6 address"
    if parts.scheme not in ("http", "https"):
        return "must begin with https:// or http://"
    if not host:
        return "has no host"
    if "@" in parts.netloc:
        return "must not contain a user name"
    return "must not contain a query" if parts.query or parts.fragment else ""


def _checked_url(url: object) -> str:
    if not isinstance(url, str):
        raise UsageError(f"url must be a str, got {short_repr(url)}.", hint=_EXAMPLE)
    url = url.strip()
    if url and (problem := url_problem(url)):
        # The user name, the query and the fragment may contain a key, so they are not quoted.
        public_part = re.split("[?#]", url)[0].rpartition("@")[2][:100]
        raise UsageError(
            f"the url {public_part!r} of an MCP server {problem}.",
            hint='For example, `gx.mcp(url="https://mcp.example.com/mcp")`.',
        )
    return url


def _is_name(word: str) -> bool:
    return bool(SERVER_NAME.fullmatch(word))


def _default_name(words: Sequence[str], url: str) -> str:
    """Return a name derived from the program that a command runs, or from the host of a URL.

    >>> _default_name(["uvx", "mcp-server-time"], ""), _default_name(["python", "a/b.py"], "")
    ('mcp-server-time', 'b')
    """
    if url:
        source = urlsplit(url).hostname or ""
    else:
        is_runner = _RUNNER.fullmatch(PurePath(words[0]).name.removesuffix(".exe"))
        arguments = [word for word in words[1:] if is_runner and not word.startswith("-")]
        name_words = [word for word in arguments if word not in _RUNNER_SUBCOMMANDS] or words[:1]
        source = PurePath(name_words[0]).stem
    name = (
        re.sub(r"[^a-z0-9_-]+|_+", "_", source.lower()).strip("_-")[:_MAX_NAME_LENGTH].rstrip("_-")
    )
    return name if _is_name(name) else f"mcp_{name}"[:_MAX_NAME_LENGTH].rstrip("_-")
