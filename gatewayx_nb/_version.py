"""The installed version, in its own module because reading the package's metadata takes 15 ms."""

from importlib import metadata

__version__ = metadata.version("gatewayx-nb")
