"""Connects to MCP servers: their processes, their tools and the results of calls.

Only this package uses the official SDK, `mcp`, which it imports on first use.
"""

from gatewayx_nb.mcp_client.declarations import MCPTool, decode_tools, encode_tools
from gatewayx_nb.mcp_client.servers import MCPServers, MCPServerStatus, close_servers_at_exit

__all__ = [
    "MCPServerStatus",
    "MCPServers",
    "MCPTool",
    "close_servers_at_exit",
    "decode_tools",
    "encode_tools",
]
