from mcp.server.mcpserver import MCPServer

server = MCPServer("stock")
STOCK = {"Rome": 12, "Oslo": 0}


@server.tool()
def in_stock(city: str) -> int:
    """Return the number of items in the shop of a city."""
    return STOCK[city]


server.run()
