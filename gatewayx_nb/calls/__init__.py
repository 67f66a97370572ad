"""Calls as every kind of use shares them: options, planner, partial reply, retries and streams."""

from gatewayx_nb.calls.options import (
    OPTIONS,
    CallOptions,
    Option,
    build_request,
    call_limits,
    check_options,
)
from gatewayx_nb.calls.partial_reply import PartialReply, PendingRetry
from gatewayx_nb.calls.planner import (
    Conversation,
    ConversationSlot,
    Emit,
    PlannedCall,
    Planner,
    aask,
    ask,
    await_from,
    wait_for,
)
from gatewayx_nb.calls.retry import wait_before_retry, with_retries
from gatewayx_nb.calls.streams import AsyncReplyStream, ReplyStream

__all__ = [
    "OPTIONS",
    "AsyncReplyStream",
    "CallOptions",
    "Conversation",
    "ConversationSlot",
    "Emit",
    "Option",
    "PartialReply",
    "PendingRetry",
    "PlannedCall",
    "Planner",
    "ReplyStream",
    "aask",
    "ask",
    "await_from",
    "build_request",
    "call_limits",
    "check_options",
    "wait_before_retry",
    "wait_for",
    "with_retries",
]
