"""Writes responses of OpenAI's Responses API, and the events of streamed responses.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb.server.inference import ModelRequest, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.replies import Chunk, Reply, Usage
    from gatewayx_nb.server.api_errors import APIError


def finished_response(request: ModelRequest, model: str, reply: Reply) -> dict[str, Any]:
    """Return the response for a whole answer, with the status completed or incomplete."""
    reason = _incomplete_reason(reply)
    status = "incomplete" if reason else "completed"
    message = [_message(request, status, _text_part(reply.text))] if reply.text else []
    return _response(
        request,
        model,
        status,
        incomplete_details=reason and {"reason": reason},
        output=[*message, *_calls(request, reply)],
        usage=_usage(reply.usage),
    )


def _response(request: ModelRequest, model: str, status: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "id": f"resp_{request.id}",
        "object": "response",
        "created_at": request.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        **request.echo,
        **fields,
    }


def _incomplete_reason(reply: Reply) -> str | None:
    """Return why an answer is incomplete; ``None`` if it is complete, as with tool calls."""
    if reply.finish_reason == "length":
        return "max_output_tokens"
    # An engine may report another reason although it calls a tool.
    is_whole = reply.tool_calls or reply.finish_reason in ("stop", "tool_calls")
    return None if is_whole else "content_filter"


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    """Return the token counts of an answer; ``None`` if the provider does not report them."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _message(request: ModelRequest, status: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{request.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": list(parts),
    }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _calls(request: ModelRequest, reply: Reply) -> list[dict[str, Any]]:
    calls = [_call(request, number, call) for number, call in enumerate(reply.tool_calls)]
    if calls and reply.finish_reason == "length":
        calls[-1]["status"] = "incomplete"  # its arguments may be truncated
    return calls


def _call(request: ModelRequest, number: int, call: ToolCall) -> dict[str, Any]:
    return {
        "id": f"fc_{request.id}_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


class ResponseWriter(StreamWriter):
    """Writes the events of one response: first of its message, then of each function call.

    The calls are written at the end, so that no client runs a function of a truncated answer.

    Args:
        request: The request.
    """

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._model = ""
        self._event_count = 0  # also the next sequence number
        self._texts: list[str] = []
        message = _message(request, "in_progress")
        self._message_item: dict[str, Any] = {"output_index": 0, "item": message}
        self._part_location: dict[str, Any] = {
            "item_id": message["id"],
            "output_index": 0,
            "content_index": 0,
        }

    @override
    def begin(self, model: str) -> bytes:
        """Return the events before the first chunk, with the response in progress."""
        self._model = model
        response = _response(self._request, model, "in_progress")
        names = ("response.created", "response.in_progress")
        return b"".join([self._event(name, response=response) for name in names])

    @override
    def chunk(self, chunk: Chunk) -> bytes:
        """Return the event for the text of a chunk; before the first text, open the message."""
        if not chunk.text:
            return b""
        events = b"" if self._texts else self._open_message()
        self._texts.append(chunk.text)
        return events + self._event(
            "response.output_text.delta", **self._part_location, delta=chunk.text, logprobs=[]
        )

    @override
    def end(self, reply: Reply) -> bytes:
        """Return the events that close the message, write the calls and end the response."""
        # The response contains exactly the text that the client has received.
        reply = replace(reply, text="".join(self._texts))
        response = finished_response(self._request, self._model, reply)
        events = [
            event
            for index, item in enumerate(response["output"])
            for event in (
                self._call(item, index)
                if item["type"] == "function_call"
                else self._close_message(item, reply.text)
            )
        ]
        return b"".join(events) + self._event(f"response.{response['status']}", response=response)

    @override
    def error(self, error: APIError) -> bytes:
        """Return the event of a failed response, and an event that makes SDKs raise an error."""
        details = {"code": error.code or error.type, "message": error.message}
        response = _response(self._request, self._model, "failed", error=details)
        failure_event = self._event("response.failed", response=response)
        # Many clients ignore a failed response, and would treat its text as a complete answer. An
        # event with the object `error`, which OpenAI itself does not send, makes its SDKs raise an
        # error.
        return failure_event + self._event("error", **details, param=error.param, **error.openai)

    def _open_message(self) -> bytes:
        return self._event("response.output_item.added", **self._message_item) + self._event(
            "response.content_part.added", **self._part_location, part=_text_part("")
        )

    def _close_message(self, item: dict[str, Any], text: str) -> Iterator[bytes]:
        yield self._event(
            "response.output_text.done", **self._part_location, text=text, logprobs=[]
        )
        yield self._event(
            "response.content_part.done", **self._part_location, part=item["content"][0]
        )
        yield self._event("response.output_item.done", output_index=0, item=item)

    def _call(self, item: dict[str, Any], index: int) -> Iterator[bytes]:
        location = {"item_id": item["id"], "output_index": index}
        open_item = {**item, "status": "in_progress", "arguments": ""}
        arguments = item["arguments"]
        event_type = "response.function_call_arguments"
        yield self._event("response.output_item.added", output_index=index, item=open_item)
        yield self._event(f"{event_type}.delta", **location, delta=arguments)
        yield self._event(f"{event_type}.done", **location, name=item["name"], arguments=arguments)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _event(self, event_type: str, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
        values = {"type": event_type, "sequence_number": self._event_count, **fields}
        self._event_count += 1
        return b"event: %b\ndata: %b\n\n" % (event_type.encode(), msgspec.json.encode(values))
