"""Structured replies: schema instructions in the prompt, and correction of a reply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from gatewayx_nb.messages import Request


def with_schema_instructions(request: Request, asked: str) -> Request:
    """Return a request that asks in the prompt for what the engine cannot enforce."""
    rule = f"Answer with {asked}"
    system = f"{request.system}\n\n{rule}" if request.system else rule
    return replace(request, system=system, schema=None)


def with_correction(request: Request, answer: str, fault: ValueError) -> Request:
    """Return a request with the invalid reply and a message about its error."""
    complaint = (
        f"That is not the JSON that was asked for: {fault}. Answer again, with the JSON alone."
    )
    turns = (Message("assistant", answer or "…"), Message("user", complaint))
    return replace(request, messages=(*request.messages, *turns))
