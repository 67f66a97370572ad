"""HTTP: clients, deadlines, caps, and what can go wrong on the way.

The only package that names httpx, aiohttp and httpx-aiohttp, and it imports them on first use.
"""

from gatewayx_nb.transport.client import LIMIT, HTTPClient, Response

__all__ = ["LIMIT", "HTTPClient", "Response"]
