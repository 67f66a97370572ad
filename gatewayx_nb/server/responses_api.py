"""Implements OpenAI's Responses API without stored state: a request has the whole conversation.

Source: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gatewayx_nb.messages import EFFORTS, Message
from gatewayx_nb.server.inference import ModelAPI, ModelRequest, StreamWriter
from gatewayx_nb.server.input_items import read_input
from gatewayx_nb.server.openai_fields import (
    IGNORED_FIELDS,
    read_format,
    read_tool,
    read_tool_choice,
)
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields, check_fields
from gatewayx_nb.server.response_events import ResponseWriter, finished_response
from gatewayx_nb.server.tool_fields import tool_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.server.api_errors import APIError

NEUTRAL_FIELDS: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "include": ([],),
    "max_tool_calls": (),
    "prompt": (),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""For each unsupported field, the values that are accepted because they have no effect."""

_ECHOED_FIELDS: Mapping[str, object] = {
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
"""The fields of a request that its response repeats, with their default values."""


class ResponsesAPI(ModelAPI):
    """Requests, answers, streams and errors of the Responses API."""

    @override
    def read(self, body: RequestFields) -> ModelRequest:
        """Return the request that a body contains."""
        _refuse_state(body)
        strict_schemas: dict[str, ResponseSchema] = {}
        tools = body.take_list("tools", partial(read_tool, strict_schemas=strict_schemas))
        options: dict[str, Any] = {
            "model": body.require("model", str),
            "messages": [*_read_instructions(body), *read_input(body.take_any("input"))],
            "temperature": body.take("temperature", float),
            "top_p": body.take("top_p", float),
            "max_tokens": _read_max_tokens(body),
            "effort": _read_effort(body.take_object("reasoning")),
            "schema": _read_schema(body.take_object("text")),
            **tool_options(tools, read_tool_choice(body.take_any("tool_choice"), tools)),
        }
        is_streamed = body.take("stream", bool) or False
        may_call_in_parallel = body.take("parallel_tool_calls", bool) is not False
        body.accept(NEUTRAL_FIELDS, ignored_names=IGNORED_FIELDS)
        body.check_all_known()
        options = {name: value for name, value in options.items() if value is not None}
        check_fields(options, {"max_tokens": "max_output_tokens", "effort": "reasoning.effort"})
        return ModelRequest(
            options,
            is_streamed,
            allows_parallel_calls=may_call_in_parallel,
            strict_schemas=strict_schemas,
            echo=_echoed_fields(body),
        )

    @override
    def answer(self, request: ModelRequest, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        return finished_response(request, f"{reply.engine}:{reply.model}", reply)

    @override
    def writer(self, request: ModelRequest) -> StreamWriter:
        """Return a writer of the events of a stream."""
        return ResponseWriter(request)

    @override
    def error(self, error: APIError) -> dict[str, Any]:
        """Return the body of an error."""
        return error.openai


def _echoed_fields(body: RequestFields) -> dict[str, msgspec.Raw]:
    """Return the fields that the response repeats, encoded once for all events of a stream."""
    values = {name: body.take_any(name) for name in _ECHOED_FIELDS}
    # Unlike msgspec, `json` encodes lone surrogates and integers of any size.
    return {
        name: msgspec.Raw(json.dumps(_ECHOED_FIELDS[name] if value is None else value).encode())
        for name, value in values.items()
    }


def _refuse_state(body: RequestFields) -> None:
    """Check that a request neither uses nor creates stored state."""
    if body.take("store", bool):
        raise InvalidFieldError("store", "must be false, because the server keeps no responses")
    for name in ("previous_response_id", "conversation"):
        if body.take_any(name) is not None:
            raise InvalidFieldError(
                name,
                "is not supported, because the server keeps no responses; send the whole"
                " conversation as input",
            )


def _read_instructions(body: RequestFields) -> list[Message]:
    # The instructions precede the system messages of the input, which the call appends to them.
    text = body.take("instructions", str)
    return [Message("system", text)] if text else []


def _read_max_tokens(body: RequestFields) -> int | None:
    limit = body.take("max_output_tokens", int)
    if limit is not None and limit < 1:
        raise InvalidFieldError("max_output_tokens", f"must be an integer >= 1, got {limit}")
    return limit


def _read_effort(reasoning: RequestFields | None) -> str | None:
    if reasoning is None:
        return None
    effort = reasoning.require_choice("effort", EFFORTS) if "effort" in reasoning else None
    reasoning.accept({"summary": ()})
    reasoning.check_all_known()
    return effort


def _read_schema(text: RequestFields | None) -> ResponseSchema | None:
    if text is None:
        return None
    schema = read_format(text.take_object("format"))
    text.accept({"verbosity": ()})
    text.check_all_known()
    return schema
