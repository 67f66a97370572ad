"""HTTP: clients, deadlines, size limits and transport errors.

The only package that uses httpx, aiohttp and httpx-aiohttp; it imports them on first use.
"""

from gatewayx_nb.transport.client import MAX_RESPONSE_BYTES, HTTPClient, Response
from gatewayx_nb.transport.retry_headers import limit_reset, retry_after, should_retry
from gatewayx_nb.transport.sse import Decoder

__all__ = [
    "MAX_RESPONSE_BYTES",
    "Decoder",
    "HTTPClient",
    "Response",
    "limit_reset",
    "retry_after",
    "should_retry",
]
