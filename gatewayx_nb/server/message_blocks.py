"""Reads the messages, system prompt and tools of a request to Anthropic's Messages API.

Source: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING, Any

from gatewayx_nb import images
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields
from gatewayx_nb.server.tool_fields import client_tool, named_choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Part

_BLOCK_TYPES: Mapping[str, Sequence[str]] = {
    "user": ("text", "image", "tool_result"),
    "assistant": ("text", "tool_use"),
    "tool_result": ("text", "image"),
    "system": ("text",),
}
"""The block types that each message role, a tool result and a system prompt accept."""

_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")

_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
"""Maps the types of `tool_choice`, except `tool`, to the option of a call."""

_NEUTRAL_TOOL_FIELDS: Mapping[str, tuple[object, ...]] = {
    "strict": (False,),
    "defer_loading": (False,),
    "eager_input_streaming": (False,),
    "allowed_callers": (["direct"],),
}
"""For each unsupported field of a tool, the values that are accepted as they have no effect."""


class PromptReader:
    """Reads the prompt of one request, and refuses every field that it does not use.

    Attributes:
        has_cache_mark: Whether any part so far is marked for the provider's cache.

    Raises:
        InvalidFieldError: From any method, if a field is invalid or not supported.
    """

    def __init__(self) -> None:
        self.has_cache_mark = False

    def read_messages(self, body: RequestFields) -> list[Message]:
        """Return the messages; tool results become separate messages."""
        turns = body.take_list("messages", self._read_turn)
        if not turns:
            raise InvalidFieldError("messages", "is missing or empty")
        if turns[-1][-1].role == "assistant":
            raise InvalidFieldError(
                f"messages[{len(turns) - 1}].role",
                'must be "user" in the last message; prefilling the answer is not supported',
            )
        return [message for turn in turns for message in turn]

    def read_system(self, body: RequestFields) -> str | None:
        """Return the system prompt; blank lines separate its blocks."""
        parts = self._read_content(body, "system", "system", _BLOCK_TYPES["system"])
        return "\n\n".join(filter(None, map(str, parts))) or None

    def read_tool(self, value: object, field_path: str) -> Tool:
        """Return a tool, which the client runs.

        Args:
            value: The tool.
            field_path: The path of the tool in the request.
        """
        fields = RequestFields(value, field_path)
        if "type" in fields:
            fields.require_choice("type", ("custom",))
        name = fields.require("name", str)
        description = fields.take("description", str)
        schema: dict[str, Any] = fields.require("input_schema", dict)
        self.read_cache_control(fields)
        fields.accept(_NEUTRAL_TOOL_FIELDS)
        fields.check_all_known()
        return client_tool(field_path, name, description, schema, "input_schema")

    def read_cache_control(self, fields: RequestFields) -> None:
        """Record whether an object is marked as the end of a cached prefix.

        The provider's engine decides where the prefix ends and how long it is kept.
        """
        control = fields.take_object("cache_control")
        if control is None:
            return
        control.require_choice("type", ("ephemeral",))
        control.accept({"ttl": ("5m",)})  # how long the engines keep the prefix
        control.check_all_known()
        self.has_cache_mark = True

    def _read_turn(self, value: object, field_path: str) -> list[Message]:
        fields = RequestFields(value, field_path)
        role = fields.require_choice("role", ("user", "assistant"))
        parts = self._read_content(fields, "content", f"{field_path}.content", _BLOCK_TYPES[role])
        fields.check_all_known()
        if not parts:
            raise InvalidFieldError(f"{field_path}.content", "must not be empty")
        if role == "assistant":
            return [Message("assistant", parts)]
        return _user_messages(parts, f"{field_path}.content")

    def _read_content(
        self, fields: RequestFields, name: str, field_path: str, block_types: Sequence[str]
    ) -> list[Part]:
        """Return the text or the blocks of a field; empty if it is not set."""
        value = fields.take_any(name)
        if isinstance(value, str):
            return [value] if value else []
        if value is not None and not isinstance(value, list):
            raise InvalidFieldError(field_path, "must be a string or a list of blocks")
        return fields.take_list(name, partial(self._read_block, block_types))

    def _read_block(self, block_types: Sequence[str], value: object, field_path: str) -> Part:
        fields = RequestFields(value, field_path)
        part: Part
        match fields.require_choice("type", block_types):
            case "text":
                part = _read_text(fields)
            case "image":
                part = _read_image(fields, field_path)
            case "tool_use":
                part = _read_tool_call(fields)
            case _:
                part = self._read_tool_result(fields, field_path)
        self.read_cache_control(fields)
        fields.check_all_known()
        return part

    def _read_tool_result(self, fields: RequestFields, field_path: str) -> ToolResult:
        call_id = fields.require("tool_use_id", str)
        content = self._read_content(
            fields, "content", f"{field_path}.content", _BLOCK_TYPES["tool_result"]
        )
        is_error = fields.take("is_error", bool) or False
        return ToolResult(call_id, content, is_error=is_error)  # type: ignore[arg-type]  # no calls


def allows_parallel_calls(choice: RequestFields | None) -> bool:
    """Return whether a tool choice allows more than one call; ``True`` if it is not set.

    Raises:
        InvalidFieldError: If the field ``disable_parallel_tool_use`` is invalid.
    """
    return choice is None or not choice.take("disable_parallel_tool_use", bool)


def read_tool_choice(choice: RequestFields | None, tools: Sequence[Tool]) -> str | None:
    """Return the tool choice as the option of a call; ``None`` if it is not set.

    Args:
        choice: The fields of the choice.
        tools: The tools of the request.

    Raises:
        InvalidFieldError: If the choice is invalid.
    """
    if choice is None:
        return None
    choice_type = choice.require_choice("type", (*_TOOL_CHOICES, "tool"))
    if choice_type == "tool":
        name = named_choice("tool_choice.name", choice.require("name", str), tools)
    else:
        name = _TOOL_CHOICES[choice_type]
    choice.accept({}, ignored_names=("disable_parallel_tool_use",))  # see `allows_parallel_calls`
    choice.check_all_known()
    return name


def _user_messages(parts: list[Part], field_path: str) -> list[Message]:
    """Return a message with the tool results of a user's turn, and one with its text and images."""
    result_count = sum(isinstance(part, ToolResult) for part in parts)
    for index in range(result_count, len(parts)):
        if isinstance(parts[index], ToolResult):
            raise InvalidFieldError(f"{field_path}[{index}]", "must precede text and images")
    results = [Message("tool", parts[:result_count])] if result_count else []
    return [*results, *([Message("user", parts[result_count:])] if parts[result_count:] else [])]


def _read_text(fields: RequestFields) -> str:
    fields.accept({"citations": ([],)})
    return fields.require("text", str)


def _read_tool_call(fields: RequestFields) -> ToolCall:
    call_id, name = fields.require("id", str), fields.require("name", str)
    arguments = json.dumps(fields.require("input", dict), ensure_ascii=False)
    fields.accept({"caller": ({"type": "direct"},)})
    return ToolCall(call_id, name, arguments)


def _read_image(fields: RequestFields, field_path: str) -> Image:
    source = fields.require_object("source")
    if source.require_choice("type", ("base64", "url")) == "base64":
        media_type = source.require_choice("media_type", _MEDIA_TYPES)
        image = _decoded_image(source.require("data", str), media_type, f"{field_path}.source")
    else:
        url = source.require("url", str)
        # `images.load` would read any other string as the path of a file on this machine.
        if not url.startswith("https://"):
            raise InvalidFieldError(f"{field_path}.source.url", "must begin with https://")
        image = images.load(url)
    source.check_all_known()
    return image


def _decoded_image(text: str, media_type: str, field_path: str) -> Image:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # `ValueError` if the text is not ASCII
        raise InvalidFieldError(f"{field_path}.data", "must be valid base64") from None
    detected_type = images.sniff(data)
    if detected_type is None:
        raise InvalidFieldError(f"{field_path}.data", "must be a PNG, JPEG, GIF or WebP image")
    if detected_type != media_type:
        raise InvalidFieldError(
            f"{field_path}.media_type", f'must be "{detected_type}", the type of the data'
        )
    return images.load(data)
