"""The Uvicorn settings of the notebook's server and of the standalone server."""

from __future__ import annotations

import logging
import threading

import uvicorn

HOST = "127.0.0.1"

SHUTDOWN_TIMEOUT = 10
"""Seconds in which open streams can end when a server is stopped."""


THREAD = "gatewayx server"
"""Name of the thread in which a notebook's server runs."""


def uvicorn_settings(app: object, *, is_public: bool = False) -> uvicorn.Config:
    """Return settings with which Uvicorn logs neither requests nor errors.

    The text of an error may contain a prompt or a key; the application logs its class and line.

    Args:
        app: The application.
        is_public: Whether other machines may connect.
    """
    # Uvicorn's own logging settings would close the handlers of the notebook.
    logging.getLogger("uvicorn.error").addFilter(_is_other_thread)
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        # The faster parser does not limit the size of the headers.
        http="h11" if is_public else "auto",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # otherwise a header could name another client's address
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
        lifespan="off",
    )


def _is_other_thread(_: logging.LogRecord) -> bool:
    """Return whether a record was logged outside the thread of a notebook's server."""
    return threading.current_thread().name != THREAD
