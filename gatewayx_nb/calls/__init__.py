"""Shared parts of all calls: options, planners, partial replies, retries, streams and tables."""

from gatewayx_nb.calls.answer_cleaner import AnswerCleaner
from gatewayx_nb.calls.call_request import (
    attach_images,
    build_request,
    join_conversation,
    params_for,
)
from gatewayx_nb.calls.caller import Caller, hide_option, select_prompt, show_options
from gatewayx_nb.calls.option import InvalidValueError, Option, checker
from gatewayx_nb.calls.options import (
    OPTIONS,
    PARAM_OPTIONS,
    AskOptions,
    CallOptions,
    CompareOptions,
    ConversationSlot,
    MapOptions,
    call_limits,
    check_option,
    check_options,
    check_value,
    option_table,
)
from gatewayx_nb.calls.partial_reply import PartialReply, PendingRetry
from gatewayx_nb.calls.planner import (
    ChunkHandler,
    PlannedCall,
    Planner,
    run_async,
    run_blocking,
)
from gatewayx_nb.calls.prompt_messages import prompt_text, read_messages
from gatewayx_nb.calls.retry import is_transient, may_succeed_later, with_retries
from gatewayx_nb.calls.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.calls.summary import finish_note, reply_summary
from gatewayx_nb.calls.table import (
    Excerpt,
    Note,
    RowFolding,
    Table,
    TableColumn,
    text_columns,
    to_frame,
)
from gatewayx_nb.calls.tool_caller import ToolCaller
from gatewayx_nb.calls.tool_options import DEFAULT_MAX_TURNS, ResumeOptions, check_tool_options

__all__ = [
    "DEFAULT_MAX_TURNS",
    "OPTIONS",
    "PARAM_OPTIONS",
    "AnswerCleaner",
    "AskOptions",
    "AsyncReplyStream",
    "CallOptions",
    "Caller",
    "ChunkHandler",
    "CompareOptions",
    "ConversationSlot",
    "Excerpt",
    "InvalidValueError",
    "MapOptions",
    "Note",
    "Option",
    "PartialReply",
    "PendingRetry",
    "PlannedCall",
    "Planner",
    "ReplyStream",
    "ResumeOptions",
    "RowFolding",
    "Table",
    "TableColumn",
    "ToolCaller",
    "attach_images",
    "build_request",
    "call_limits",
    "check_option",
    "check_options",
    "check_tool_options",
    "check_value",
    "checker",
    "finish_note",
    "hide_option",
    "is_transient",
    "join_conversation",
    "may_succeed_later",
    "option_table",
    "params_for",
    "prompt_text",
    "read_messages",
    "reply_summary",
    "run_async",
    "run_blocking",
    "select_prompt",
    "show_options",
    "text_columns",
    "to_frame",
    "with_retries",
]
