"""The Chat Completions dialect, which the OpenAI-compatible family shares.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.llm_engines import body
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.messages import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.llm_engines.faults import Faults
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.messages import Request

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class OpenAICompatibleEngine(HTTPEngine):
    """An endpoint that speaks the Chat Completions dialect.

    Attributes:
        max_tokens_field: Name of the field that bounds the answer: ``max_completion_tokens`` at
            OpenAI, Azure and xAI, ``max_tokens`` elsewhere.
        seed_field: Name of the field of the seed.
        stream_usage: Whether ``stream_options`` is understood, which asks a stream for its usage.
    """

    path: ClassVar[str] = "chat/completions"
    features = frozenset({"system", "history", "schema"})
    max_tokens_field: ClassVar[str] = "max_tokens"
    seed_field: ClassVar[str] = "seed"
    stream_usage: ClassVar[bool] = True

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system}] if request.system else []
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        set_by_caller = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.max_tokens_field: request.max_tokens,
            "stop": list(request.stop) or None,
            self.seed_field: request.seed,
            "response_format": _response_format(request),
        }
        payload = {"model": request.model, "messages": system + turns, "stream": request.streamed}
        if request.streamed and self.stream_usage:
            payload["stream_options"] = {"include_usage": True}
        payload |= {name: value for name, value in set_by_caller.items() if value is not None}
        return payload | dict(request.params)

    @override
    def parser(self, faults: Faults) -> Parser:
        return ChatParser(faults)


class ChatParser:
    """Reads one answer: a whole body and a stream's chunk differ in one name only."""

    def __init__(self, faults: Faults) -> None:
        self.finished = False
        self._faults = faults

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body."""
        if data.startswith("[DONE]"):
            return
        answer = body.parse(data)
        if answer.get("error") or answer.get("object") == "error":
            raise self._faults.within(answer)
        model = body.text(answer.get("model")) or None
        request_id = body.text(answer.get("id")) or None
        for choice in body.rows(answer.get("choices"))[:1]:
            yield from self._choice(body.table(choice), model, request_id)
        if usage := body.table(answer.get("usage")):
            yield Chunk(usage=usage_of(usage), model=model, request_id=request_id)

    def _choice(
        self, choice: dict[str, Any], model: str | None, request_id: str | None
    ) -> Iterator[Chunk]:
        part = body.table(choice.get("delta")) or body.table(choice.get("message"))
        text = body.text(part.get("content")) or body.text(part.get("refusal"))
        # DeepSeek, xAI and older vLLM say `reasoning_content`; OpenRouter, Groq, vLLM `reasoning`.
        reasoning = body.text(part.get("reasoning_content")) or body.text(part.get("reasoning"))
        if text or reasoning:
            yield Chunk(text=text, reasoning=reasoning, model=model, request_id=request_id)
        if reason := body.text(choice.get("finish_reason")):
            if reason == "error":
                raise self._faults.within(choice)
            self.finished = True
            finish = _FINISH_REASONS.get(reason, "other")
            yield Chunk(finish_reason=finish, model=model, request_id=request_id)


def usage_of(usage: dict[str, Any]) -> Usage:
    """Read the tokens; those of the reasoning are in the output, as DESIGN counts them.

    xAI leaves them out of ``completion_tokens``, which its total shows.
    """
    read = body.count(usage.get("prompt_tokens"))
    written = body.count(usage.get("completion_tokens"))
    read_details = body.table(usage.get("prompt_tokens_details"))
    reasoning = body.count(
        body.table(usage.get("completion_tokens_details")).get("reasoning_tokens")
    )
    cached = body.count(read_details.get("cached_tokens"))
    if reasoning and read is not None and written is not None:
        apart = body.count(usage.get("total_tokens")) == read + written + reasoning
        written += reasoning if apart else 0
    return Usage(
        input_tokens=read,
        output_tokens=written,
        # DeepSeek's name: https://api-docs.deepseek.com/guides/kv_cache
        cached_tokens=body.count(usage.get("prompt_cache_hit_tokens"))
        if cached is None
        else cached,
        cache_write_tokens=body.count(read_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
    )


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
    return {"type": "json_schema", "json_schema": schema}
