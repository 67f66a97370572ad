"""Values and rules of one call, shared by every kind of call: options, partial reply, retries."""

from gatewayx_nb.calls.options import CallOptions, build_request, call_limits, response_schema
from gatewayx_nb.calls.partial_reply import PartialReply, PendingRetry
from gatewayx_nb.calls.retry import wait_before_retry

__all__ = [
    "CallOptions",
    "PartialReply",
    "PendingRetry",
    "build_request",
    "call_limits",
    "response_schema",
    "wait_before_retry",
]
