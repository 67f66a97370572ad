"""The MCP client: server processes, connections, tools, and the results of tools.

The official SDK, `mcp`, is imported only in this package, and only on first use.
"""

from gatewayx_nb.mcp_client.declarations import MCPTool, decode_tools, encode_tools
from gatewayx_nb.mcp_client.launch import key_engine_name
from gatewayx_nb.mcp_client.servers import MCPServers, MCPServerStatus, close_servers_at_exit

__all__ = [
    "MCPServerStatus",
    "MCPServers",
    "MCPTool",
    "close_servers_at_exit",
    "decode_tools",
    "encode_tools",
    "key_engine_name",
]
