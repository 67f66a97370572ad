"""Mock engine, which has no model and always returns the same reply to the same prompt."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from typing_extensions import override

from ..errors import UsageError, classify
from ..hints import Hint
from ..llm_engines import Chunk, LLMEngine, Usage
from ..messages import ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..llm_engines import Request


_CALL_LINE = re.compile(r"^call (?P<name>[\w-]+)(?: (?P<arguments>\{.*\}))?$", re.MULTILINE)


class MockEngine(LLMEngine):
    """Engine that echoes the prompt word by word.

    ``params`` control the engine: ``latency`` (seconds before the first chunk), ``rate`` (chunks
    per second) and ``fail`` (the HTTP status to fail with). Each word counts as a token.
    Sampling parameters are accepted, but do not change the echo. A line such as ``call weather
    {"city": "Rome"}`` in the prompt calls the tool; the engine then echoes the results. If
    ``tool_choice`` requires a call, a tool is called even if the prompt names none.
    """

    requires_key = False
    model_name = "mock"
    keywords = frozenset()
    params = frozenset({"latency", "rate", "fail"})
    features = LLMEngine.features | {"tools"}

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        latency, rate = _nonnegative_param(request, "latency"), _nonnegative_param(request, "rate")
        if latency:
            await asyncio.sleep(latency)
        if status := request.params.get("fail"):
            raise _requested_error(str(status))
        system = f" (system: {request.system})" if request.system else ""
        # Words keep the whitespace before them, so that the chunks add up to the reply.
        words = re.findall(r"(?<!\s)\s*+\S++(?:\s++$)?", f"[mock{system}] {request.prompt}")
        sent_words = words[: request.max_tokens]
        for word in sent_words:
            yield Chunk(text=word)
            if rate:
                await asyncio.sleep(1 / rate)
        tool_calls = () if len(sent_words) < len(words) else tuple(_requested_calls(request))
        if tool_calls:
            yield Chunk(tool_calls=tool_calls)
        input_tokens = sum(len(message.content.split()) for message in request.messages)
        yield Chunk(
            finish_reason="tool_calls"
            if tool_calls
            else "stop"
            if len(sent_words) == len(words)
            else "length",
            usage=Usage(input_tokens=input_tokens, output_tokens=len(sent_words)),
        )

    @override
    def get_cost_per_token(self) -> float:
        return 0.0


def _requested_calls(request: Request) -> Iterator[ToolCall]:
    """Yield the tool calls that the prompt or ``tool_choice`` requests."""
    choice, names = request.tool_choice, [tool.name for tool in request.tools]
    if request.messages[-1].role != "user" or choice == "none":
        return
    callable_names = [choice] if choice in names else names
    matches = [
        match for match in _CALL_LINE.finditer(request.prompt) if match["name"] in callable_names
    ]
    for number, match in enumerate(matches):
        yield ToolCall(f"mock{number:05}", match["name"], match["arguments"] or "{}")
    if not matches and choice in ("required", *names):
        yield ToolCall("mock00000", callable_names[0], "{}")


def _nonnegative_param(request: Request, name: str) -> float:
    value = request.params.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise UsageError(
            f"param {name!r} of the mock engine must be a number >= 0, got {value!r}.",
            hint=Hint("set_option", option="params", value={name: 0.5}),
        )
    return float(value)


def _requested_error(status: str) -> Exception:
    status_code = int(status) if status.isdigit() else 500
    return classify(status_code)(
        f"the mock engine failed with status {status}, as requested by `fail`.",
        hint=Hint("omit_option", option="fail"),
        status=status_code,
    )
