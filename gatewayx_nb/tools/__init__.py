"""Calls in which a model calls functions: the loop, the permission and the result of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules

if TYPE_CHECKING:
    from gatewayx_nb.tools.approval import Approve
    from gatewayx_nb.tools.tool_loop import ToolHost, ToolLoop

__all__ = ["Approve", "ToolHost", "ToolLoop"]

# Most calls have no tools.
__getattr__ = attach_modules(
    __name__,
    {
        "approval": ["Approve"],
        "tool_loop": ["ToolHost", "ToolLoop"],
    },
)
