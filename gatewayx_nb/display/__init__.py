"""Display of models' answers: one updated display in a notebook, plain text in a terminal."""

from gatewayx_nb.display.answer import (
    NotebookView,
    PartialView,
    QuietView,
    TerminalView,
    View,
    WholeView,
    aread,
    figures,
    read,
    waiting,
)
from gatewayx_nb.display.columns import (
    ColumnsView,
    NotebookColumns,
    QuietColumns,
    TerminalColumns,
    WholeColumns,
    awatch,
    watch,
)
from gatewayx_nb.display.throttle import INTERVAL, Throttle

__all__ = [
    "INTERVAL",
    "ColumnsView",
    "NotebookColumns",
    "NotebookView",
    "PartialView",
    "QuietColumns",
    "QuietView",
    "TerminalColumns",
    "TerminalView",
    "Throttle",
    "View",
    "WholeColumns",
    "WholeView",
    "aread",
    "awatch",
    "figures",
    "read",
    "waiting",
    "watch",
]
