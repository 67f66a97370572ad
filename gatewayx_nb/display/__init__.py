"""What is shown while models answer: in a notebook one display, in a terminal plain text."""

from gatewayx_nb.display.answer import (
    NotebookView,
    PartialView,
    QuietView,
    TerminalView,
    View,
    aread,
    figures,
    read,
)
from gatewayx_nb.display.columns import (
    ColumnsView,
    NotebookColumns,
    QuietColumns,
    TerminalColumns,
    awatch,
    watch,
)

__all__ = [
    "ColumnsView",
    "NotebookColumns",
    "NotebookView",
    "PartialView",
    "QuietColumns",
    "QuietView",
    "TerminalColumns",
    "TerminalView",
    "View",
    "aread",
    "awatch",
    "figures",
    "read",
    "watch",
]
