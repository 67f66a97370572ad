"""The installed version; a module of its own, because reading it takes 15 ms."""

from importlib import metadata

__version__ = metadata.version("gatewayx-nb")
