"""OpenAI's and xAI's Responses API, with Chat Completions for requests that require it.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.llm_engines import json_body, tool_declarations
from gatewayx_nb.llm_engines.answer_details import (
    details_chunk,
    image_of,
    openai_citations,
    openai_logprobs,
)
from gatewayx_nb.llm_engines.http import Dialect
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_list, as_str
from gatewayx_nb.llm_engines.message_parts import (
    accepted_id,
    carried_items,
    check_images,
    content_of,
    result_parts,
)
from gatewayx_nb.llm_engines.openai_batches import OpenAIBatches
from gatewayx_nb.llm_engines.openai_chat import OpenAICompatibleEngine, cache_key, usage_of
from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.messages import Message, ToolCall
from gatewayx_nb.replies import Chunk, FinishReason, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.images import Image
    from gatewayx_nb.llm_engines.batches import BatchInterface
    from gatewayx_nb.llm_engines.http import Parser
    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
    from gatewayx_nb.messages import Request
    from gatewayx_nb.replies import Citation

CHAT_ONLY = frozenset({"frequency_penalty", "logit_bias", "n", "presence_penalty", "seed", "stop"})
"""Chat Completions parameters that the Responses API lacks."""

_INCOMPLETE_REASONS: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
_ENCRYPTED_REASONING = "reasoning.encrypted_content"
_DIALECT = "responses"

_PLAIN_FIELDS = {
    "message": {"id", "type", "role", "status", "content"},
    "function_call": {"id", "type", "status", "call_id", "name", "arguments"},
}
"""The types of items that contain only text or a tool call, and the fields of such items."""

_NO_ENCRYPTED_CONTENT = re.compile("encrypted content.{0,200}support", re.IGNORECASE)
_MAX_SEARCHED_CHARS = 10_000
"""Number of characters at the beginning of an error message that are searched."""

_ACCEPTED_ID = re.compile(r".{1,64}", re.DOTALL)
"""The IDs of tool calls that the API accepts: https://github.com/RooCodeInc/Roo-Code/pull/10763"""

_UNFINISHED_STATUSES = frozenset({"queued", "in_progress", "cancelled"})


class OpenAIResponsesEngine(OpenAICompatibleEngine):
    """An endpoint that implements both Responses and Chat Completions.

    A request with parameters that Responses lacks (`CHAT_ONLY`) is sent to Chat Completions. Unless
    ``api`` is set, so is every request to a base URL that the user has set, because most proxies
    and local servers support only Chat Completions.

    Attributes:
        has_batches: Whether the provider has OpenAI's batch API.

    Args:
        api_key: The engine's key.
        api: ``"responses"`` or ``"chat"``; empty to choose by the base URL.
        **kwargs: The options of `LLMEngine`.

    Raises:
        ConfigError: If ``api`` has any other value.
    """

    max_tokens_field: ClassVar[str] = "max_completion_tokens"
    has_batches: ClassVar[bool] = False
    unsupported_options: ClassVar[frozenset[str]] = frozenset()
    keywords: ClassVar[frozenset[str] | None] = frozenset()

    def __init__(self, api_key: str = "", *, api: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(api_key, **kwargs)
        if api not in {"", "responses", "chat"}:
            raise ConfigError(
                f"an engine's `api` must be 'responses' or 'chat', got {api!r}.",
                hint='Set `api = "responses"` in the table `[engines.<name>]`.',
            )
        is_default_url = self.base_url.rstrip("/") == type(self).base_url.rstrip("/")
        self.api = api or ("responses" if is_default_url else "chat")

    @override
    def dialect(self, request: Request) -> Dialect:
        # A seed of 0 counts as set.
        needs_chat = request.stop or request.seed is not None or CHAT_ONLY & request.params.keys()
        if needs_chat or self.api == "chat":
            return self
        return ResponsesDialect(asks_for_reasoning="include" not in self._refused_features)

    @override
    def batch_interface(self) -> BatchInterface | None:
        if not self.has_batches:
            return None
        return OpenAIBatches(self, self._batch_dialect, self._parser_of)

    def _batch_dialect(self, request: Request) -> Dialect:
        """Return the dialect for a batch row, which cannot be adapted after a refusal."""
        dialect = self.dialect(request)
        return dialect if dialect is self else ResponsesDialect(asks_for_reasoning=False)

    def _parser_of(self, endpoint: str, errors: ProviderErrors) -> Parser:
        is_responses = endpoint.endswith("/responses")
        return ResponsesDialect().parser(errors) if is_responses else self.parser(errors)

    @override
    def adapt_to_refusal(self, status: int, body: bytes) -> bool:
        param, message = json_body.rejected_param(body)
        # Models without reasoning: "Encrypted content is not supported with this model."
        is_unsupported = _NO_ENCRYPTED_CONTENT.search(message[:_MAX_SEARCHED_CHARS])
        is_refused = param.startswith("include") or is_unsupported
        if status not in (400, 422) or not is_refused or "include" in self._refused_features:
            return super().adapt_to_refusal(status, body)
        self._refused_features |= {"include"}
        return True


class ResponsesDialect(Dialect):
    """The dialect of the Responses API.

    Args:
        asks_for_reasoning: Whether to request encrypted reasoning, to send back with the turn.
    """

    def __init__(self, *, asks_for_reasoning: bool = True) -> None:
        self._asks_for_reasoning = asks_for_reasoning

    @override
    def route(self, request: Request) -> str:
        return "responses"

    @override
    def payload(self, request: Request) -> dict[str, Any]:
        check_images(request, "the Responses API", "user", "tool", has_detail=True)
        payload = {
            "model": request.model,
            "input": [_with_short_id(item) for turn in request.messages for item in _items(turn)],
            "store": False,  # OpenAI keeps responses for 30 days by default
            "stream": request.streamed,
        }
        optional_fields = {
            "instructions": request.system or None,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_output_tokens": request.max_tokens,
            "reasoning": request.effort and {"effort": request.effort},
            "prompt_cache_key": request.cache and cache_key(request),
            "text": _text_format(request),
            "tools": tool_declarations.responses_tools(request),
            "tool_choice": tool_declarations.responses_choice(request),
        }
        payload = json_body.with_options(payload, optional_fields, request.params)
        return payload | self._include(payload) if self._asks_for_reasoning else payload

    def _include(self, payload: dict[str, Any]) -> dict[str, list[Any]]:
        """Return the field that requests encrypted reasoning, unless OpenAI stores it."""
        user_fields = as_list(payload.get("include"))
        if payload["store"] is not False or _ENCRYPTED_REASONING in user_fields:
            return {}
        return {"include": [*user_fields, _ENCRYPTED_REASONING]}

    @override
    def parser(self, errors: ProviderErrors) -> Parser:
        return ResponsesParser(errors)


class ResponsesParser:
    """Parser for one response; a stream's last event contains the whole body."""

    def __init__(self, errors: ProviderErrors) -> None:
        self.finished = self.ended = False
        self._errors = errors
        self._open_types: set[str] = set()  # types of the items that have arrived partially
        self._sent_text: list[str] = []
        self._sent_reasoning: list[str] = []
        self._sent_call_count = 0
        self._items: list[dict[str, Any]] = []
        self._content_count = self._end_count = 0
        self._call_assembler = ToolCallAssembler()
        self._reasoning_part: tuple[object, object] | None = None
        self._has_refused = False
        self._has_tool_calls = False

    def feed(self, data: str) -> Iterator[Chunk]:
        """Yield the chunks of one event's data, or of a whole body."""
        if data.startswith("[DONE]"):
            return
        event = json_body.parse(data)
        event_type = as_str(event.get("type"))
        delta = as_str(event.get("delta"))
        match event_type:
            case "response.output_text.delta" | "response.refusal.delta" if delta:
                self._open_types.add("message")
                self._has_refused = self._has_refused or event_type == "response.refusal.delta"
                self._sent_text.append(delta)
                yield Chunk.of_text(delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._open_types.add("reasoning")
                part = (event_type, event.get("summary_index", event.get("content_index")))
                yield self._reasoning_chunk(delta, (event.get("output_index"), part))
            case "response.output_item.added" | "response.function_call_arguments.delta":
                self._extend_call(event)
            case "response.output_item.done":
                yield from self._finish_item(event)
            case "response.created":
                yield _ids_chunk(as_dict(event.get("response")))
            case "response.completed" | "response.incomplete" | "response.failed":
                # Some proxies send an end event without a response, or a response without a status.
                response, status = as_dict(event.get("response")), event_type.split(".")[1]
                yield from self._end(response | {"status": response.get("status") or status})
                self.ended = self.finished
            case "error":
                raise self._errors.from_body(event)
            case "":
                yield from self._whole_answer(event)

    def _whole_answer(self, body: dict[str, Any]) -> Iterator[Chunk]:
        if body.get("error"):
            raise self._errors.from_body(body)
        if isinstance(body.get("output"), list):
            yield from self._end(body)
            yield Chunk(raw=body)
            if body["output"] and not self.finished:
                raise self._errors.truncated()

    def _extend_call(self, event: dict[str, Any]) -> None:
        """Keep the pieces of a call until its end, which some proxies omit."""
        index, item = event.get("output_index"), as_dict(event.get("item"))
        if item.get("type") == "function_call":
            self._call_assembler.add(index, as_str(item.get("call_id")), as_str(item.get("name")))
        self._call_assembler.extend(index, as_str(event.get("delta")))

    def _finish_item(self, event: dict[str, Any]) -> Iterator[Chunk]:
        item = as_dict(event.get("item"))
        self._items.append(item)
        parts = as_dicts(item.get("content"))
        self._content_count += 1 + sum(len(as_list(part.get("annotations"))) for part in parts)
        self._errors.check_count(self._content_count)
        item_type = as_str(item.get("type"))
        if item_type == "function_call":
            self._call_assembler.drop(event.get("output_index"))
            yield self._tool_call_chunk(item)
        elif item_type in self._open_types:
            self._open_types.remove(item_type)
        else:  # some proxies send the item only as a whole
            yield from self._item(item, event.get("output_index"))

    def _end(self, response: dict[str, Any]) -> Iterator[Chunk]:
        """Yield the parts of a finished response that were not streamed, and its finish reason."""
        self._end_count += 1
        self._errors.check_count(self._end_count * 100)  # each end joins all of the text
        yield _ids_chunk(response)
        status = as_str(response.get("status"))
        if status == "failed" or response.get("error"):
            raise self._errors.from_body(response)
        yield from self._unsent_parts(as_dicts(response.get("output")))
        if self._call_assembler:
            self._has_tool_calls = True
            yield Chunk(tool_calls=self._call_assembler.finish_all())
        self.finished = status not in _UNFINISHED_STATUSES
        # Some proxies omit the items that they have streamed from the final response.
        yield from _details(as_dicts(response.get("output")) or self._items)
        usage = as_dict(response.get("usage"))
        yield Chunk(
            finish_reason=self._finish_reason(response) if self.finished else None,
            usage=_usage(usage) if usage else None,
        )

    def _unsent_parts(self, output: list[dict[str, Any]]) -> Iterator[Chunk]:
        """Yield the parts of the final output that have not been streamed."""
        output_parser = ResponsesParser(self._errors)
        chunks = [
            chunk
            for number, item in enumerate(output)
            for chunk in output_parser._item(item, number)
        ]
        self._has_refused = self._has_refused or output_parser._has_refused
        texts, reasoning_texts = output_parser._sent_text, output_parser._sent_reasoning
        if self._sent_text or self._sent_reasoning or self._sent_call_count:
            text, reasoning = (
                _unsent_text(texts, self._sent_text),
                _unsent_text(reasoning_texts, self._sent_reasoning),
            )
            tool_calls = [call for chunk in chunks for call in chunk.tool_calls]
            chunks = [Chunk(text=text, reasoning=reasoning)] if text or reasoning else []
            chunks += [Chunk(tool_calls=(call,)) for call in tool_calls[self._sent_call_count :]]
        if any(chunk.tool_calls for chunk in chunks):
            self._call_assembler.finish_all()
            self._has_tool_calls = True
        yield from chunks

    def _item(self, item: dict[str, Any], number: object) -> Iterator[Chunk]:
        match item.get("type"):
            case "message":
                for part in as_dicts(item.get("content")):
                    refusal = as_str(part.get("refusal"))
                    self._has_refused = self._has_refused or bool(refusal)
                    if text := as_str(part.get("text")) or refusal:
                        self._sent_text.append(text)
                        yield Chunk(text=text)
            case "reasoning":
                for name in ("summary", "content"):
                    for index, part in enumerate(as_dicts(item.get(name))):
                        if text := as_str(part.get("text")):
                            yield self._reasoning_chunk(text, (number, (name, index)))
            case "function_call":
                yield self._tool_call_chunk(item)

    def _reasoning_chunk(self, text: str, part: tuple[object, object]) -> Chunk:
        """Return a piece of reasoning, with a blank line between parts."""
        gap = "" if self._reasoning_part is None or self._reasoning_part == part else "\n\n"
        if text:
            self._reasoning_part = part
            self._sent_reasoning.append(gap + text)
        return Chunk.of_text("", gap + text if text else "")

    def _tool_call_chunk(self, item: dict[str, Any]) -> Chunk:
        self._has_tool_calls = True
        self._sent_call_count += 1
        texts = (as_str(item.get(name)) for name in ("call_id", "name", "arguments"))
        return Chunk(tool_calls=(ToolCall(*texts),))

    def _finish_reason(self, response: dict[str, Any]) -> FinishReason:
        if self._has_refused:
            return "content_filter"
        if response.get("status") == "incomplete":
            reason = as_dict(response.get("incomplete_details")).get("reason")
            return _INCOMPLETE_REASONS.get(as_str(reason), "other")
        return "tool_calls" if self._has_tool_calls else "stop"


def _unsent_text(pieces: list[str], sent_pieces: list[str]) -> str:
    """Return the part of the text that has not been sent; empty if the sent text differs."""
    text, sent_text = "".join(pieces), "".join(sent_pieces)
    return text.removeprefix(sent_text) if text.startswith(sent_text) else ""


def _details(items: list[dict[str, Any]]) -> Iterator[Chunk]:
    """Yield the contents of items other than text and tool calls."""
    contents = [row for item in items for row in as_dicts(item.get("content"))]
    citations: list[Citation] = []
    start = 0
    for content in contents:
        citations += openai_citations(content.get("annotations"), start)
        start += len(as_str(content.get("text")) or as_str(content.get("refusal")))
    image_calls = (item for item in items if item.get("type") == "image_generation_call")
    yield from details_chunk(
        citations=citations,
        images=[image for item in image_calls for image in image_of(item.get("result"))],
        logprobs=[row for part in contents for row in openai_logprobs(part.get("logprobs"))],
        carried=_carried(items),
    )


def _carried(items: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the items to send back; ``None`` if they are only text and tool calls.

    Reasoning without its encrypted content is useless, and so are the IDs that belong to it:
    https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items
    """
    usable_items = [
        item for item in items if item.get("type") != "reasoning" or _is_encrypted(item)
    ]
    are_all_usable = len(usable_items) == len(items)
    turn = [_input_item(item, keep_id=are_all_usable) for item in usable_items]
    if all(map(_is_plain, turn)) or all(item.get("type") == "reasoning" for item in turn):
        return None
    return {"dialect": _DIALECT, "items": turn}


def _is_encrypted(item: dict[str, Any]) -> bool:
    return bool(item.get("encrypted_content"))


def _is_plain(item: dict[str, Any]) -> bool:
    fields = {name for name, value in item.items() if value is not None}
    return fields <= _PLAIN_FIELDS.get(as_str(item.get("type")), set())


def _input_item(item: dict[str, Any], *, keep_id: bool) -> dict[str, Any]:
    """Return an item of an answer in the form to send back, without log probabilities."""
    dropped_fields = set() if keep_id else {"id"}
    kept_fields = {name: value for name, value in item.items() if name not in dropped_fields}
    if item.get("type") != "message":
        return kept_fields
    parts = [
        {name: value for name, value in part.items() if name != "logprobs"}
        for part in as_dicts(item.get("content"))
    ]
    return kept_fields | {"content": parts}


def _ids_chunk(response: dict[str, Any]) -> Chunk:
    model, request_id = as_str(response.get("model")), as_str(response.get("id"))
    return Chunk(model=model or None, request_id=request_id or None)


def _usage(usage: dict[str, Any]) -> Usage:
    """Parse the usage, which has the counts of Chat Completions under different names."""
    chat_names = {
        "input_tokens": "prompt_tokens",
        "output_tokens": "completion_tokens",
        "input_tokens_details": "prompt_tokens_details",
        "output_tokens_details": "completion_tokens_details",
        "total_tokens": "total_tokens",
    }
    return usage_of({chat: usage.get(name) for name, chat in chat_names.items()})


def _items(turn: Message) -> Iterator[dict[str, Any]]:
    """Yield a turn as input items: its text and images, then its tool calls or results."""
    if items := carried_items(turn, _DIALECT):
        yield from items
        return
    for result in turn.tool_results:
        output = content_of(result_parts(result), _input_part)
        yield {"type": "function_call_output", "call_id": result.id, "output": output}
    if turn.role != "tool":
        content = content_of(turn.parts, _output_part if turn.role == "assistant" else _input_part)
        if content or not turn.tool_calls:
            yield {"role": turn.role, "content": content}
    for call in turn.tool_calls:
        fields = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
        yield {"type": "function_call", **fields}


def _with_short_id(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item with a call ID that is accepted; IDs of other providers may be longer."""
    if call_id := as_str(item.get("call_id")):
        return item | {"call_id": accepted_id(call_id, _ACCEPTED_ID, 24)}
    return item


def _input_part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "input_text", "text": part}
    return {"type": "input_image", "detail": part.detail or "auto", "image_url": part.address}


def _output_part(text: str | Image) -> dict[str, Any]:
    return {"type": "output_text", "text": text}


def _text_format(request: Request) -> dict[str, Any] | None:
    if request.schema is None:
        return None
    if not request.schema:
        return {"format": {"type": "json_object"}}
    schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
    return {"format": {"type": "json_schema", **schema}}
