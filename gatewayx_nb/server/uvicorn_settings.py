"""The settings of Uvicorn, the same in a notebook and alone."""

from __future__ import annotations

import uvicorn

HOST = "127.0.0.1"

GRACE = 10
"""Seconds that open streams have to end when a server is stopped."""


def uvicorn_settings(app: object) -> uvicorn.Config:
    """Return the settings of Uvicorn, which logs neither requests nor errors.

    The text of an error may contain a prompt or a key; the application logs its class and line.
    """
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # otherwise a header could name another client's address
        timeout_graceful_shutdown=GRACE,
        lifespan="off",
    )
