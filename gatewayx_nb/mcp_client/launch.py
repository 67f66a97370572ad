"""Works out how to start or connect to a server: its command or URL, environment and secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, TrustError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Network, Secret, engine_variable, may_be_tracked
from gatewayx_nb.transport import is_local_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gatewayx_nb.mcp_server import MCPServer
    from gatewayx_nb.secure_config import Config

START_TIMEOUT = 60.0
"""Maximum number of seconds for a server to start; ``uvx``, for example, may download it."""

_INHERITED_VARIABLES = (
    *("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("APPDATA", "LOCALAPPDATA", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "USERPROFILE"),
)
"""Environment variables that every server inherits; none of them contains a key."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start or connect to a server; the user has granted all necessary permissions.

    Attributes:
        name: The server's name.
        command: The command and its arguments; empty if the server has a URL.
        url: The URL; empty if the server has a command.
        tool_names: The names of the tools to use; all of them if empty.
        env: The environment of the command.
        cwd: The working directory of the command; the current one if ``None``.
        key: The bearer token for the URL; empty if there is none.
        network: The network settings for the URL.
        timeout: Maximum number of seconds for the server to start.
        secrets: The values to mask in messages; a result that contains one of them is withheld.
    """

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    tool_names: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    key: Secret = field(default_factory=lambda: Secret(""))
    network: Network = field(default_factory=Network)
    timeout: float = START_TIMEOUT
    secrets: tuple[Secret, ...] = ()


def key_engine_name(name: str) -> str:
    """Return the engine name under which the key for a server with a URL is stored.

    For the server ``my-search``, the environment variable is ``GATEWAYX_MCP_MY_SEARCH_API_KEY``.

    >>> key_engine_name("my-search")
    'mcp_my_search'
    """
    return f"mcp_{name.replace('-', '_')}"


def resolve_launch(server: MCPServer, config: Config) -> Launch:
    """Return how to start or connect to a server.

    Raises:
        UsageError: If the settings have no server of this name.
        ConfigError: If an environment variable that the server needs is not set.
        TrustError: If the server or the network settings come from the project, and the user has
            not allowed them.
    """
    if server.is_in_settings:
        settings = config.settings.mcp.get(server.name)
        if settings is None:
            raise _unknown_server_error(server.name, config)
        _check_trust(server.name, config)
        command, url, env = settings.command, settings.url, settings.env
        cwd = config.mcp_folder(server.name) if settings.command else None
        tool_names, timeout = server.only or settings.only, settings.timeout
    else:
        command, url, env, cwd = server.command, server.url, server.env, None
        tool_names, timeout = server.only, START_TIMEOUT
    variables = [*env, *([engine_variable(key_engine_name(server.name))] if url else ())]
    if not (server.is_in_settings and config.is_mcp_of_project(server.name)):
        _check_key_file(server.name, variables, config)
    values = {name: _variable_value(name, server.name, config) for name in env}
    inherited_values = {
        name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ
    }
    key = Secret("")
    if url:
        _check_network(server.name, url, config)
        key = config.key(key_engine_name(server.name)).value
    return Launch(
        *(server.name, command, url, tool_names),
        env={**inherited_values, **values},
        cwd=cwd,
        key=key,
        network=config.settings.network,
        timeout=timeout,
        secrets=(*map(Secret, values.values()), *([key] if key else ())),
    )


def _variable_value(variable: str, server_name: str, config: Config) -> str:
    value = (config.keys.value(variable) or "").strip()
    if not value:
        raise ConfigError(
            f"the variable {variable}, which is passed to the MCP server {server_name!r}, is not"
            " set.",
            hint=f"Set {variable} in the environment or in config/secrets/.env.local.",
            topic="mcp-server",
        )
    return value


def _unknown_server_error(name: str, config: Config) -> UsageError:
    known_names = sorted(config.settings.mcp)
    names_text = ", ".join(known_names)
    known_text = (
        f"Configured servers: {names_text}." if known_names else "No servers are configured."
    )
    return UsageError(
        f"the settings have no MCP server {name!r}.{did_you_mean(name, known_names)}",
        hint=f'{known_text} For a one-word command, pass a list: `gx.mcp(["{name}"])`.',
        topic="mcp-server",
    )


def _check_trust(name: str, config: Config) -> None:
    missing_permissions = [
        permission for permission in config.mcp_permissions(name) if not config.may(permission)
    ]
    if missing_permissions:
        targets = " and ".join(
            f"{permission.target} ({permission.where})" for permission in missing_permissions
        )
        raise TrustError(
            f"this project wants to start or connect to the MCP server {name!r}, which you"
            f" have not allowed: {targets}.",
            hint=Hint("trust", ids=",".join(permission.id for permission in missing_permissions)),
            topic="mcp-trust",
        )


def _check_key_file(name: str, variables: Iterable[str], config: Config) -> None:
    """Check that a key file in a repository sets no variable that the user's server receives."""
    project = config.project
    project_variables = [
        variable for variable in variables if config.keys.owner(variable) == "project"
    ]
    if project and project_variables and may_be_tracked(project.keys):
        raise TrustError(
            f"{project.label(project.keys)} sets {project_variables[0]}, which your MCP server"
            f" {name!r} would receive, and the file may have been cloned with the project.",
            hint=f"Set {project_variables[0]} in the environment, or remove the file from the"
            " repository.",
            topic="mcp-trust",
        )


def _check_network(name: str, url: str, config: Config) -> None:
    """Check that the user has allowed the project's network settings that apply to the URL."""
    needed_permissions = () if is_local_url(url) else config.network_permissions(f"mcp:{name}")
    missing_permissions = [
        permission for permission in needed_permissions if not config.may(permission)
    ]
    if missing_permissions:
        raise TrustError(
            f"this project wants to connect to the MCP server {name!r} through"
            f" {missing_permissions[0].target} ({missing_permissions[0].where}).",
            hint=Hint("trust", ids=missing_permissions[0].id),
            topic="mcp-trust",
        )
