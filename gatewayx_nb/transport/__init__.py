"""HTTP clients with deadlines, size limits and typed errors.

Only this package uses aiohttp, which it imports on first use.
"""

from gatewayx_nb.transport.client import MAX_RESPONSE_BYTES, HTTPClient, Response, encode_payload
from gatewayx_nb.transport.error_mapping import ForbiddenAddressError
from gatewayx_nb.transport.retry_headers import (
    limit_reset,
    longest_delay,
    retry_after,
    should_retry,
)
from gatewayx_nb.transport.route import is_local_url, parse_base_url
from gatewayx_nb.transport.sdk_client import sdk_client
from gatewayx_nb.transport.sse import Decoder, ServerSentEvent

__all__ = [
    "MAX_RESPONSE_BYTES",
    "Decoder",
    "ForbiddenAddressError",
    "HTTPClient",
    "Response",
    "ServerSentEvent",
    "encode_payload",
    "is_local_url",
    "limit_reset",
    "longest_delay",
    "parse_base_url",
    "retry_after",
    "sdk_client",
    "should_retry",
]
