"""Displays answers and the progress of maps, in a notebook or as text in a terminal."""

from gatewayx_nb.display.answer import (
    AnswerState,
    FinalView,
    NotebookView,
    QuietView,
    TerminalView,
    View,
    answer_state,
    ashow_stream,
    call_status,
    show_stream,
)
from gatewayx_nb.display.column_view import (
    ColumnsView,
    FinalColumns,
    NotebookColumns,
    QuietColumns,
    TerminalColumns,
    ashow_comparison,
    show_comparison,
)
from gatewayx_nb.display.map_view import NotebookMapView
from gatewayx_nb.display.throttle import INTERVAL, Throttle

__all__ = [
    "INTERVAL",
    "AnswerState",
    "ColumnsView",
    "FinalColumns",
    "FinalView",
    "NotebookColumns",
    "NotebookMapView",
    "NotebookView",
    "QuietColumns",
    "QuietView",
    "TerminalColumns",
    "TerminalView",
    "Throttle",
    "View",
    "answer_state",
    "ashow_comparison",
    "ashow_stream",
    "call_status",
    "show_comparison",
    "show_stream",
]
