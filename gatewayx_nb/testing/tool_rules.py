"""Rules for HTTP engines whose models call functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gatewayx_nb.llm_engines import Message, ToolCall, ToolDefinition, ToolResult
from gatewayx_nb.testing.dialects import ARGUMENTS, CALL_ID, TOOL
from gatewayx_nb.testing.steps import Send, reply
from gatewayx_nb.testing.subject import PROMPT, Rule, rule

if TYPE_CHECKING:
    from gatewayx_nb.testing.subject import CallResult, EngineUnderTest

TOOL_RULES: list[Rule] = []
"""Rules for an engine with ``"tools"`` in ``features`` and a known dialect."""

_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_DEFINITION = ToolDefinition(TOOL, "Return the weather.", _PARAMETERS)

_RESULT = "sunny and warm"

_TURNS = (
    Message("user", PROMPT),
    Message("assistant", [ToolCall(CALL_ID, TOOL, ARGUMENTS)]),
    Message("tool", [ToolResult(CALL_ID, _RESULT, name=TOOL)]),
)
"""A conversation that ends with the result of a call."""


async def _sent_body(subject: EngineUnderTest, messages: tuple[Message, ...]) -> str:
    """Return the body of a request with a tool, as normalized JSON."""
    assert subject.server is not None  # noqa: S101 - these rules need a server
    await subject.ask(tools=(_DEFINITION,), messages=messages)
    return json.dumps(json.loads(subject.server.requests[-1].body))


@rule(TOOL_RULES, "a request declares its tools", "Add `request.tools` to the payload.")
async def _declared(subject: EngineUnderTest) -> str | None:
    body = await _sent_body(subject, _TURNS[:1])
    expected_texts = (TOOL, _DEFINITION.description, json.dumps(_PARAMETERS))
    missing_texts = [text for text in expected_texts if text not in body]
    return f"the request has no {missing_texts[0]!r}" if missing_texts else None


@rule(
    TOOL_RULES,
    "a tool call is the same whether or not it is streamed",
    "Yield `Chunk(tool_calls=…)` once the arguments are complete.",
)
async def _same_calls(subject: EngineUnderTest) -> str | None:
    dialect = subject.dialect
    assert dialect is not None  # noqa: S101 - these rules need a dialect
    tools = (_DEFINITION,)
    whole_reply = await subject.ask([Send(reply(dialect.call))], streamed=False, tools=tools)
    streamed_reply = await subject.ask(dialect.stream(*dialect.call_events), tools=tools)
    for name, outcome in {"the whole reply": whole_reply, "the stream": streamed_reply}.items():
        if problem := _difference(outcome):
            return f"{name}: {problem}"
    return None


def _difference(outcome: CallResult) -> str | None:
    """Return the problem of a reply that should have the call; ``None`` if it is correct."""
    if outcome.error or outcome.finish_reason != "tool_calls":
        return f"it {outcome}"
    calls = [call for chunk in outcome.chunks for call in chunk.tool_calls]
    # The ID is not compared, because not every provider sends an ID.
    observed_calls = [(call.name, json.loads(call.arguments)) for call in calls]
    return (
        None
        if observed_calls == [(TOOL, json.loads(ARGUMENTS))]
        else f"it has the calls {observed_calls}"
    )


@rule(
    TOOL_RULES,
    "the result of a tool is sent after its call",
    "Convert `message.tool_calls` and `message.tool_results`.",
)
async def _results(subject: EngineUnderTest) -> str | None:
    body = await _sent_body(subject, _TURNS)
    if _RESULT not in body:
        return "the request has no result"
    return None if "Rome" in body[: body.index(_RESULT)] else "the call is not before the result"
