"""Shared by all calls: options, planners, partial replies, retries, streams and tables."""

from gatewayx_nb.calls.options import (
    OPTIONS,
    CallOptions,
    ConversationSlot,
    Option,
    build_request,
    call_limits,
    check_options,
)
from gatewayx_nb.calls.partial_reply import PartialReply, PendingRetry
from gatewayx_nb.calls.planner import (
    Emit,
    PlannedCall,
    Planner,
    aask,
    ask,
    await_from,
    wait_for,
)
from gatewayx_nb.calls.retry import with_retries
from gatewayx_nb.calls.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.calls.table import Note, Table

__all__ = [
    "OPTIONS",
    "AsyncReplyStream",
    "CallOptions",
    "ConversationSlot",
    "Emit",
    "Note",
    "Option",
    "PartialReply",
    "PendingRetry",
    "PlannedCall",
    "Planner",
    "ReplyStream",
    "Table",
    "aask",
    "ask",
    "await_from",
    "build_request",
    "call_limits",
    "check_options",
    "wait_for",
    "with_retries",
]
