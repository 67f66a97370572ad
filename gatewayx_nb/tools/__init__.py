"""Calls in which a model calls functions: the loop of requests, permissions and results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules

if TYPE_CHECKING:
    from gatewayx_nb.tools.approval import Approve
    from gatewayx_nb.tools.tool_loop import ToolHost, ToolLoop

__all__ = ["Approve", "ToolHost", "ToolLoop"]

# The modules are imported on first use, because most calls have no tools.
__getattr__ = attach_modules(
    __name__,
    {
        "approval": ["Approve"],
        "tool_loop": ["ToolHost", "ToolLoop"],
    },
)
