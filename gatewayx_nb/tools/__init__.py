"""Calls in which a model calls functions: the loop, the permission and the result of a call."""

from gatewayx_nb.tools.approval import Approve
from gatewayx_nb.tools.tool_loop import ToolHost, ToolLoop

__all__ = ["Approve", "ToolHost", "ToolLoop"]
