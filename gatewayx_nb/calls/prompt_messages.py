"""Parses a call's messages, which may be in OpenAI's format, and links tool results to calls.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import is_
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.messages import ROLES, Message, ToolCall, ToolResult
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Part, Prompt, Role

_ROLES = {role: role for role in ROLES} | {"developer": "system"}
"""Roles in OpenAI's format; newer models use the role ``developer`` for the system prompt."""

_KEYS_BY_ROLE = {
    "assistant": ("role", "content", "tool_calls"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
"""The valid keys of a message by role; messages with other roles have `_PLAIN_KEYS`."""

_PLAIN_KEYS = ("role", "content")

_PART_TYPES = ("text", "image_url")

_IMAGE_DETAILS = ("auto", "low", "high", "original")

_MESSAGE_HINT = 'For example, `{"role": "user", "content": "Why is the sky blue?"}`.'
_PROMPT_HINT = 'For example, `ask("Why is the sky blue?")`.'
_CALL_HINT = (
    'For example, `{"id": "call_1", "type": "function", "function": {"name": "f", "arguments":'
    ' "{}"}}`.'
)
_RESULT_HINT = "Precede it with the message that contains the call: `[…, reply.message, …]`."


def read_messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return the messages of a prompt; messages already parsed are returned unchanged.

    Args:
        prompt: A string, a message, or a list of messages, which may be dicts in OpenAI's format.

    Raises:
        UsageError: If the prompt has any other type, or no model could answer it.
    """
    if isinstance(prompt, str):
        if not prompt.strip():
            raise UsageError("the prompt must not be empty.", hint=_PROMPT_HINT)
        return (Message("user", prompt),)
    if isinstance(prompt, Message):
        prompt = (prompt,)
    if not isinstance(prompt, (list, tuple)):  # not `Sequence`, which includes str and bytes
        raise UsageError(
            f"prompt must be a str or a list of messages, got {type(prompt).__name__}.",
            hint=f"Put the message in a list. {_MESSAGE_HINT}"
            if isinstance(prompt, Mapping)
            else None,
        )
    if not prompt:
        raise UsageError("the list of messages must not be empty.", hint=_MESSAGE_HINT)
    if {Message}.issuperset(map(type, prompt)):  # `select_prompt` has usually parsed them
        messages = cast("tuple[Message, ...]", tuple(prompt))
    else:
        messages = tuple(
            _parse_message(item, f"messages[{number}]") for number, item in enumerate(prompt)
        )
    _check_last(messages[-1], f"messages[{len(messages) - 1}]")
    return messages


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as text; for a list of messages, return the text of the last message.

    Raises:
        UsageError: If the prompt is invalid; see `read_messages`.
    """
    return prompt if isinstance(prompt, str) else read_messages(prompt)[-1].content


def link_tool_results(messages: tuple[Message, ...], earlier_count: int = 0) -> tuple[Message, ...]:
    """Return the messages with an ID in each tool call and the call's name in each tool result.

    Args:
        messages: A whole conversation.
        earlier_count: Number of leading messages from earlier turns. In error messages,
            numbering starts at 0 after them.

    Raises:
        UsageError: If a result does not belong to a preceding call, or a call has no result.
    """
    if not any(message.tool_calls or message.tool_results for message in messages):
        return messages
    linker = _ToolResultLinker()
    linked_messages = tuple(
        linker.link(message, f"messages[{number - earlier_count}]")
        for number, message in enumerate(messages)
    )
    linker.check_answered(f"messages[{len(messages) - earlier_count - 1}]")
    return linked_messages


class _ToolResultLinker:
    """Matches results with the calls that precede them."""

    def __init__(self) -> None:
        self._call_count = 0
        self._unanswered_calls: list[ToolCall] = []

    def link(self, message: Message, location: str) -> Message:
        """Return the message, with an ID in each call and the name of the call in each result."""
        if message.role == "user":
            self.check_answered(location)
        if message.role == "tool":
            results = [self._result(part, location) for part in message.tool_results]
            return _with_parts(message, results)
        if not message.tool_calls:
            return message
        parts = [self._call(part) if isinstance(part, ToolCall) else part for part in message.parts]
        return _with_parts(message, parts)

    def check_answered(self, location: str) -> None:
        """Check that every tool call so far has a result, because providers require it."""
        if self._unanswered_calls:
            call = self._unanswered_calls[0]
            raise UsageError(
                f"the result of tool call {short_repr(call.id)} ({short_repr(call.name)}) is"
                f" missing before {location}.",
                hint=f'Insert `Message("tool", [ToolResult({short_repr(call.id)}, "…")])` there.',
            )

    def _call(self, call: ToolCall) -> ToolCall:
        self._call_count += 1
        # Mistral accepts only IDs of nine ASCII letters or digits.
        call = call if call.id else replace(call, id=f"call{self._call_count:05}")
        self._unanswered_calls.append(call)
        return call

    def _result(self, result: ToolResult, location: str) -> ToolResult:
        call = next((call for call in self._unanswered_calls if _answers_call(result, call)), None)
        if call is None:
            key = f"ID {short_repr(result.id)}" if result.id else f"name {short_repr(result.name)}"
            open_ids = ", ".join(short_repr(call.id) for call in self._unanswered_calls)
            raise UsageError(
                f"{location} must answer an earlier tool call; there is none with the {key}.",
                hint=f"The calls without a result are {open_ids}." if open_ids else _RESULT_HINT,
            )
        self._unanswered_calls.remove(call)
        if (result.id, result.name) == (call.id, call.name):
            return result
        return ToolResult(call.id, result.parts, call.name, result.is_error)


def _with_parts(message: Message, parts: Sequence[Part]) -> Message:
    """Return a message with its parts replaced; the same object if the parts are identical."""
    # A call with tools links its whole conversation again in every turn.
    if all(map(is_, parts, message.parts)):
        return message
    return Message(message.role, parts, carried=message.carried)


def _answers_call(result: ToolResult, call: ToolCall) -> bool:
    return result.id == call.id if result.id else result.name == call.name


def _check_last(message: Message, location: str) -> None:
    """Check that the last message is one that a model can answer."""
    if message.carried is not None and message.carried.is_paused:
        return
    if message.role not in ("user", "tool"):
        raise UsageError(
            f"{location}.role must be 'user' or 'tool' in the last message, got {message.role!r}.",
            hint="End the list with the message that the model is to answer.",
        )
    if not (message.content.strip() or message.images or message.tool_results):
        raise UsageError(f"{location}.content must not be empty.", hint=_PROMPT_HINT)


def _parse_message(item: object, location: str) -> Message:
    if isinstance(item, Message):
        return item
    if not isinstance(item, Mapping):
        raise UsageError(
            f"{location} must be a Message or a dict, got {short_repr(item)}.",
            hint=_item_hint(item),
        )
    # SDKs write unset message fields as null or as an empty list.
    fields = {
        key: value
        for key, value in item.items()
        if value is not None and (key == "content" or not isinstance(value, list) or value)
    }
    role = fields.get("role")
    known_role = _ROLES.get(role) if isinstance(role, str) else None
    if known_role is not None:
        _check_keys(fields, _KEYS_BY_ROLE.get(known_role, _PLAIN_KEYS), location)
    try:
        # `Message` raises an error for an unknown role.
        return Message(cast("Role", known_role or role), _message_parts(fields, location))
    except UsageError as error:
        if error.message.startswith(location):
            raise
        separator = "." if error.message.startswith(("role", "content")) else ": "
        raise UsageError(f"{location}{separator}{error.message}", hint=error.hint) from None


def _item_hint(item: object) -> str:
    if isinstance(item, Reply):
        return "Use its `message`, as in `[…, reply.message, …]`."
    # A message from a vendor's SDK has this method.
    return "Pass its `model_dump()`." if hasattr(item, "model_dump") else _MESSAGE_HINT


def _message_parts(fields: Mapping[str, Any], location: str) -> list[Any]:
    content, tool_calls = fields.get("content"), fields.get("tool_calls", ())
    if content is None and not tool_calls:
        raise UsageError(
            f"{location}.content must be a str or a list of parts, got None.", hint=_MESSAGE_HINT
        )
    parts = _content_parts("" if content is None else content, f"{location}.content")
    if fields.get("role") == "tool":
        if "tool_call_id" not in fields:
            raise UsageError(
                f"{location}.tool_call_id is missing.", hint="Set it to the ID of the tool call."
            )
        return [ToolResult(fields["tool_call_id"], parts, fields.get("name", ""))]
    if isinstance(tool_calls, str) or not isinstance(tool_calls, Sequence):
        raise UsageError(f"{location}.tool_calls must be a list, got {short_repr(tool_calls)}.")
    locations = (f"{location}.tool_calls[{number}]" for number in range(len(tool_calls)))
    return [*parts, *map(_parse_tool_call, tool_calls, locations)]


def _content_parts(content: object, location: str) -> list[Any]:
    if isinstance(content, (list, tuple)):
        # `Message` checks parts that are not dicts.
        return [
            _parse_part(part, f"{location}[{number}]") if isinstance(part, Mapping) else part
            for number, part in enumerate(content)
        ]
    if not isinstance(content, str):
        raise UsageError(f"{location} must be a str or a list of parts, got {short_repr(content)}.")
    return [content]


def _parse_part(part: Mapping[str, Any], location: str) -> Part:
    part_type = part.get("type")
    if not isinstance(part_type, str) or part_type not in _PART_TYPES:
        suggestion = did_you_mean(part_type, _PART_TYPES) if isinstance(part_type, str) else ""
        raise UsageError(
            f"{location}.type must be 'text' or 'image_url', got {short_repr(part_type)}."
            f"{suggestion}",
            hint='For example, `{"type": "text", "text": "Hi"}`.',
        )
    _check_keys(part, ("type", part_type), location)
    value = part.get(part_type)
    if part_type == "image_url":
        return _parse_image(value, f"{location}.image_url")
    if not isinstance(value, str):
        raise UsageError(f"{location}.text must be a str, got {short_repr(value)}.")
    return value


def _parse_image(value: object, location: str) -> Image:
    fields = value if isinstance(value, Mapping) else {"url": value}
    _check_keys(fields, ("url", "detail"), location)
    url, detail = fields.get("url"), fields.get("detail", "")
    if not isinstance(detail, str) or detail not in ("", *_IMAGE_DETAILS):
        raise UsageError(
            f"{location}.detail must be one of {', '.join(map(repr, _IMAGE_DETAILS))},"
            f" got {short_repr(detail)}."
        )
    # A path is refused, because such a dict may come from an untrusted source.
    is_url = isinstance(url, str) and url.lower().startswith(("https://", "data:"))
    if not (is_url or images.is_source(url)):
        raise UsageError(
            f"{location}.url must begin with https:// or data:, got {short_repr(url)}.",
            hint='For a file, use `Message("user", ["…", Path("plot.png")])`.',
        )
    return replace(images.load(url), detail=detail)


def _parse_tool_call(call: object, location: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if not isinstance(call, Mapping):
        raise UsageError(f"{location} must be a dict, got {short_repr(call)}.", hint=_CALL_HINT)
    _check_keys(call, ("id", "type", "function", "index"), location)
    function = call.get("function")
    if not isinstance(function, Mapping):
        raise UsageError(
            f"{location}.function must be a dict, got {short_repr(function)}.", hint=_CALL_HINT
        )
    _check_keys(function, ("name", "arguments"), f"{location}.function")
    arguments = function.get("arguments", "")
    if isinstance(arguments, Mapping):  # Ollama writes an object instead of a str
        arguments = json.dumps(arguments, ensure_ascii=False)
    string_by_key = {"id": call.get("id") or "", "function.name": function.get("name")}
    for name, text in (string_by_key | {"function.arguments": arguments}).items():
        if not isinstance(text, str):
            raise UsageError(
                f"{location}.{name} must be a str, got {short_repr(text)}.", hint=_CALL_HINT
            )
    return ToolCall(call.get("id") or "", function["name"], arguments)


def _check_keys(fields: Iterable[object], valid_keys: Sequence[str], location: str) -> None:
    for key in fields:
        if key not in valid_keys:
            raise UsageError(
                f"{location} has an unknown key {short_repr(key)}."
                f"{did_you_mean(str(key), valid_keys)}",
                hint=f"The valid keys are {', '.join(valid_keys)}.",
            )
