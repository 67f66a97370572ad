"""A server written with the SDK; its tools return what a test needs."""

import base64
import os
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

server = MCPServer("calc")
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def fail(reason: str) -> str:
    """Fail."""
    raise ToolError(reason)


@server.tool()
def slow(seconds: float, file: str = "") -> str:
    """Take some time; create a file at the beginning."""
    if file:
        Path(file).touch()
    time.sleep(seconds)
    return "done"


@server.tool()
def long(size: int) -> str:
    """Return a long text."""
    return "x" * size


@server.tool()
def variables() -> str:
    """Return the names of the environment variables."""
    return " ".join(sorted(os.environ))


@server.tool()
def variable(name: str) -> str:
    """Return the value of an environment variable."""
    return os.environ.get(name, "not set")


@server.tool()
def process() -> str:
    """Return the ID of this process."""
    return str(os.getpid())


@server.tool()
def leave() -> str:
    """End the server."""
    sys.stderr.write("fatal: the disk is on fire\n")
    sys.stderr.flush()
    os._exit(3)


@server.tool()
def picture() -> list[TextContent | ImageContent]:
    """Return a text and an image."""
    return [
        TextContent(type="text", text="a pixel"),
        ImageContent(type="image", data=PIXEL, mime_type="image/png"),
    ]


@server.tool()
def everything() -> list[AudioContent | EmbeddedResource | ResourceLink | ImageContent]:
    """Return all kinds of content."""
    blob = base64.b64encode(b"abc").decode()
    return [
        AudioContent(type="audio", data=blob, mime_type="audio/wav"),
        ImageContent(type="image", data=blob, mime_type="image/png"),
        ResourceLink(type="resource_link", uri="file:///a.txt", name="a"),
        EmbeddedResource(
            type="resource",
            resource=TextResourceContents(uri="memo://1", mime_type="text/plain", text="a memo"),
        ),
        EmbeddedResource(
            type="resource",
            resource=BlobResourceContents(uri="memo://2", mime_type="application/x", blob=blob),
        ),
    ]


if __name__ == "__main__":
    sys.stdout.write("this line is noise\n")
    sys.stderr.write("so is this one\n")
    if sys.argv[1:]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
