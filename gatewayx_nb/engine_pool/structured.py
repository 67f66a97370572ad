"""Answers to a schema: asking a model that holds none by itself, and mending an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from gatewayx_nb.messages import Request


def spelt_out(request: Request, asked: str) -> Request:
    """Ask in words for what an engine cannot be made to hold."""
    rule = f"Answer with {asked}"
    system = f"{request.system}\n\n{rule}" if request.system else rule
    return replace(request, system=system, schema=None)


def corrected(request: Request, answer: str, fault: ValueError) -> Request:
    """Ask once more, with the answer that did not fit and what is wrong with it."""
    complaint = (
        f"That is not the JSON that was asked for: {fault}. Answer again, with the JSON alone."
    )
    turns = (Message("assistant", answer or "…"), Message("user", complaint))
    return replace(request, messages=(*request.messages, *turns))
