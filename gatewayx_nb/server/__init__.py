"""Status server for the default pool, which serves only this machine.

::

    uvicorn gatewayx_nb.server:app --port 3001
    curl http://127.0.0.1:3001/engines/status
    curl http://127.0.0.1:3001/security/status

It needs the extra ``server``.
"""

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint

try:
    from gatewayx_nb.server.app import app, build
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] != "starlette":
        raise
    raise ConfigError(
        "The server needs starlette, which is not installed.", hint=Hint("install", extra="server")
    ) from None

__all__ = ["app", "build"]
