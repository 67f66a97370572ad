"""Reads the installed version on first use, because reading it takes 15 ms."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str


@functools.cache
def _installed_version() -> str:
    from importlib import metadata

    return metadata.version("gatewayx-nb")


def __getattr__(name: str) -> str:
    if name == "__version__":
        return _installed_version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
