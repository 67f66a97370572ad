"""What is shown while models answer: in a notebook one display, in a terminal plain text."""

from gatewayx_nb.display.answer import (
    INTERVAL,
    NotebookView,
    PartialView,
    QuietView,
    TerminalView,
    View,
    WholeView,
    aread,
    figures,
    read,
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
    "View",
    "WholeColumns",
    "WholeView",
    "aread",
    "awatch",
    "figures",
    "read",
    "watch",
]
