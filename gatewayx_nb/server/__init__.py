"""A local HTTP server with the APIs of OpenAI and Anthropic, and the status of the engines.

::

    uvicorn gatewayx_nb.server:app --port 3001
    curl http://127.0.0.1:3001/engines/status
    curl http://127.0.0.1:3001/security/status

The server needs the extra ``server``.
"""

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint

try:
    from gatewayx_nb.server.app import app, build
    from gatewayx_nb.server.notebook_server import NotebookServer, serve
    from gatewayx_nb.server.standalone import serve_forever
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] not in ("starlette", "uvicorn"):
        raise
    raise ConfigError(
        f"the server needs {missing.name.partition('.')[0]}, which is not installed.",
        hint=Hint("install", extra="server"),
    ) from None

__all__ = ["NotebookServer", "app", "build", "serve", "serve_forever"]
