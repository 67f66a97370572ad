"""The installed version; in a separate module, because reading it takes 15 ms."""

from importlib import metadata

__version__ = metadata.version("gatewayx-nb")
