"""OpenAI's Responses API, without state: each request holds the whole conversation.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb.messages import EFFORTS, Message
from gatewayx_nb.server.chat_completions_api import IGNORED
from gatewayx_nb.server.inference import ModelAPI, ModelRequest, StreamWriter
from gatewayx_nb.server.input_items import read_input
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields
from gatewayx_nb.server.response_events import ResponseWriter, finished_response
from gatewayx_nb.server.tool_fields import client_tool, tool_options
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.server.api_errors import APIError

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "include": ([],),
    "max_tool_calls": (),
    "prompt": (),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""The values without effect of fields that are not supported."""

_REPEATED: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The fields of a request that its response repeats, with their values if they are not set."""

_CHOICES = ("auto", "none", "required")


class ResponsesAPI(ModelAPI):
    """Requests, answers, streams and errors of Responses."""

    @override
    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request in a body."""
        _refuse_state(body)
        tools = body.take_list("tools", _tool)
        options: dict[str, Any] = {
            "model": body.require("model", str),
            "messages": [*_instructions(body), *read_input(body.take_any("input"))],
            "temperature": body.take("temperature", float),
            "top_p": body.take("top_p", float),
            "max_tokens": _max_tokens(body),
            "effort": _effort(body.take_object("reasoning")),
            "schema": _schema(body.take_object("text")),
            **tool_options(tools, _choice(body.take_any("tool_choice"), tools)),
        }
        streamed = body.take("stream", bool) or False
        parallel_calls = body.take("parallel_tool_calls", bool) is not False
        body.accept(NEUTRAL, ignored=IGNORED)
        body.check_all_known()
        options = {name: value for name, value in options.items() if value is not None}
        return ModelRequest(options, streamed, parallel_calls=parallel_calls, echo=_echo(body))

    @override
    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return a whole answer."""
        return finished_response(request, f"{reply.engine}:{reply.model}", reply)

    @override
    def writer(self, request: ModelRequest) -> StreamWriter:
        """Return a writer of the events of a stream."""
        return ResponseWriter(request)

    @override
    def error(self, error: APIError) -> dict[str, Any]:
        """Return the body of an error."""
        return error.openai


def _echo(body: RequestFields) -> dict[str, msgspec.Raw]:
    """Return the fields that the response repeats, encoded once for all events of a stream."""
    values = {name: body.take_any(name) for name in _REPEATED}
    # Unlike msgspec, `json` encodes lone surrogates and integers of any size.
    return {
        name: msgspec.Raw(json.dumps(_REPEATED[name] if value is None else value).encode())
        for name, value in values.items()
    }


def _refuse_state(body: RequestFields) -> None:
    """Check that a request needs nothing that an earlier one has left, and leaves nothing."""
    if body.take("store", bool):
        raise InvalidFieldError("store", "must be false, because the server keeps no responses")
    for name in ("previous_response_id", "conversation"):
        if body.take_any(name) is not None:
            raise InvalidFieldError(
                name,
                "is not supported, because the server keeps no responses; send the whole"
                " conversation as input",
            )


def _instructions(body: RequestFields) -> list[Message]:
    # They precede the system messages of the input, with which the call joins them.
    text = body.take("instructions", str)
    return [Message("system", text)] if text else []


def _max_tokens(body: RequestFields) -> int | None:
    limit = body.take("max_output_tokens", int)
    if limit is not None and limit < 1:
        raise InvalidFieldError("max_output_tokens", f"must be an integer >= 1, got {limit}")
    return limit


def _effort(reasoning: RequestFields | None) -> str | None:
    if reasoning is None:
        return None
    effort = reasoning.take("effort", str)
    if effort is not None and effort not in EFFORTS:
        *others, last = (f'"{name}"' for name in EFFORTS)
        raise InvalidFieldError(
            "reasoning.effort", f"must be {', '.join(others)} or {last}, got {short_repr(effort)}"
        )
    reasoning.accept({"summary": ()})
    reasoning.check_all_known()
    return effort


def _schema(text: RequestFields | None) -> dict[str, Any] | None:
    if text is None:
        return None
    schema = _format_schema(text.take_object("format"))
    text.accept({"verbosity": ()})
    text.check_all_known()
    return schema


def _format_schema(text_format: RequestFields | None) -> dict[str, Any] | None:
    if text_format is None:
        return None
    kind = text_format.require("type", str)
    schema: dict[str, Any] | None = None
    if kind == "json_schema":
        schema = text_format.require("schema", dict)
        # The engine decides whether its provider enforces the schema.
        text_format.accept({}, ignored=("name", "description", "strict"))
    elif kind == "json_object":
        schema = {"type": "object"}
    elif kind != "text":
        raise InvalidFieldError(
            "text.format.type",
            f'must be "text", "json_object" or "json_schema", got {short_repr(kind)}',
        )
    text_format.check_all_known()
    return schema


def _tool(value: object, place: str) -> Tool:
    fields = RequestFields(value, place)
    kind = fields.require("type", str)
    if kind != "function":
        raise InvalidFieldError(f"{place}.type", f'must be "function", got {short_repr(kind)}')
    name = fields.require("name", str)
    description = fields.take("description", str)
    parameters = fields.take("parameters", dict)
    # The engine decides whether its provider enforces the schema.
    fields.accept({}, ignored=("strict",))
    fields.check_all_known()
    return client_tool(f"{place}.name", name, description, parameters)


def _choice(value: object, tools: Sequence[Tool]) -> str | None:
    """Return the tool choice as our option; a named tool is an object."""
    if isinstance(value, dict):
        return _named_tool(RequestFields(value, "tool_choice"), tools)
    if value is not None and value not in _CHOICES:
        raise InvalidFieldError(
            "tool_choice",
            'must be "auto", "none", "required" or {"type": "function", "name": …}, got'
            f" {short_repr(value)}",
        )
    if value == "required" and not tools:
        raise InvalidFieldError("tool_choice", "requires tools")
    return None if value is None else str(value)


def _named_tool(choice: RequestFields, tools: Sequence[Tool]) -> str:
    kind, name = choice.require("type", str), choice.require("name", str)
    if kind != "function":
        raise InvalidFieldError("tool_choice.type", f'must be "function", got {short_repr(kind)}')
    # The option takes these names for the keywords.
    if name in _CHOICES or name not in [tool.name for tool in tools]:
        raise InvalidFieldError(
            "tool_choice.name",
            f"must be the name of a tool, other than {', '.join(_CHOICES)}, got {short_repr(name)}",
        )
    choice.check_all_known()
    return name
