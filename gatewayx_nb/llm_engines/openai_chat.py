"""The Chat Completions dialect, which the OpenAI-compatible family shares.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.llm_engines import body, embedding
from gatewayx_nb.llm_engines.http import HTTPEngine
from gatewayx_nb.messages import Chunk, FinishReason, Message, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    features = frozenset({"system", "history", "images", "schema"})
    max_tokens_field: ClassVar[str] = "max_tokens"
    seed_field: ClassVar[str] = "seed"
    stream_usage: ClassVar[bool] = True

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system}] if request.system else []
        turns = [{"role": turn.role, "content": _content(turn)} for turn in request.messages]
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
        return body.merged(payload, request.params)

    @override
    def parser(self, faults: Faults) -> Parser:
        return ChatParser(faults)

    @override
    async def embed(self, texts: Sequence[str], model: str) -> list[list[float]]:
        if "embed" not in self.features:
            return await super().embed(texts, model)
        # The vendor's SDK asks for base64 where nothing is said; not every server knows that.
        payload = {"model": model, "input": list(texts), "encoding_format": "float"}
        answer = await embedding.ask(self, "embeddings", payload, model)
        rows = [body.table(row) for row in body.rows(answer.get("data"))]
        rows.sort(key=lambda row: body.count(row.get("index")) or 0)
        return embedding.vectors([row.get("embedding") for row in rows], texts, self.name)


class ChatParser:
    """Reads one answer: a whole body and a stream's chunk differ in one name only."""

    def __init__(self, faults: Faults) -> None:
        self.finished = False
        self._faults = faults
        self._names = ("", "")
        self._refused = False
        self._calls = _Calls()

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body."""
        if data.startswith("[DONE]"):
            return
        answer = body.parse(data)
        if answer.get("error") or answer.get("object") == "error":
            raise self._faults.within(answer)
        names = (body.text(answer.get("model")), body.text(answer.get("id")))
        if names != self._names:
            self._names = names
            yield Chunk(model=names[0] or None, request_id=names[1] or None)
        whole = False
        for row in body.rows(answer.get("choices")):
            choice = body.table(row)
            whole = whole or bool(choice.get("message"))
            if not choice.get("index"):  # of several answers (`n`) the first is given
                yield from self._choice(choice)
        usage = body.table(answer.get("usage"))
        if usage or whole:
            yield Chunk(usage=usage_of(usage) if usage else None, raw=answer if whole else None)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Chunk]:
        part = body.table(choice.get("delta")) or body.table(choice.get("message"))
        content, refusal = part.get("content"), body.text(part.get("refusal"))
        self._refused = self._refused or bool(refusal)
        if isinstance(content, list):
            yield from _of_parts(content)
        text = body.text(content) or refusal
        # DeepSeek, xAI and older vLLM say `reasoning_content`; OpenRouter, Groq, vLLM `reasoning`.
        reasoning = body.text(part.get("reasoning_content")) or body.text(part.get("reasoning"))
        if text or reasoning:
            yield Chunk(text=text, reasoning=reasoning)
        for position, call in enumerate(body.rows(part.get("tool_calls"))):
            self._calls.add(body.table(call), position)
        reason = body.text(choice.get("finish_reason"))
        if reason == "error":
            raise self._faults.within(choice)
        if reason and not self.finished:
            self.finished = True
            yield self._end(reason)

    def _end(self, reason: str) -> Chunk:
        """Give the finish reason, and the tool calls, which are whole by now.

        A call that the caller forced ends with ``stop``.
        """
        calls = self._calls.whole()
        finish = _FINISH_REASONS.get(reason, "other")
        if self._refused:
            finish = "content_filter"
        elif calls and finish == "stop":
            finish = "tool_calls"
        return Chunk(finish_reason=finish, tool_calls=calls)


@dataclass(slots=True)
class _Call:
    """A tool call as far as it has arrived."""

    index: object
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Calls:
    """Puts tool calls together from the fragments of a stream.

    A fragment belongs to the last call of its index, unless it brings another id: some servers
    leave the index out, number every call 0, or repeat the id.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def add(self, fragment: dict[str, Any], position: int) -> None:
        index, id_ = fragment.get("index", position), body.text(fragment.get("id"))
        mine = (
            call
            for call in reversed(self._calls)
            if call.index == index and id_ in {"", call.id or id_}
        )
        call = next(mine, None)
        if call is None:
            call = _Call(index, id_)
            self._calls.append(call)
        function = body.table(fragment.get("function"))
        call.id = call.id or id_
        call.name = call.name or body.text(function.get("name"))
        arguments = function.get("arguments")
        written = json.dumps(arguments) if isinstance(arguments, dict) else body.text(arguments)
        call.arguments.append(written)

    def whole(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(c.id, c.name, "".join(c.arguments)) for c in self._calls)


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


def _content(turn: Message) -> str | list[dict[str, Any]]:
    if not turn.images:
        return turn.content
    text = [{"type": "text", "text": turn.content}] if turn.content else []
    images = [{"type": "image_url", "image_url": {"url": image.address}} for image in turn.images]
    return [*text, *images]


def _of_parts(parts: list[Any]) -> Iterator[Chunk]:
    """Yield the parts of a content that is no plain text, as Mistral's reasoning models send it.

    https://docs.mistral.ai/capabilities/reasoning
    """
    for row in parts:
        part = body.table(row)
        thoughts = (
            body.text(body.table(row).get("text")) for row in body.rows(part.get("thinking"))
        )
        chunk = Chunk(text=body.text(part.get("text")), reasoning="".join(thoughts))
        if chunk.text or chunk.reasoning:
            yield chunk


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
    return {"type": "json_schema", "json_schema": schema}
