"""Reads the input of a request to OpenAI's Responses API, and converts its items to messages.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Message, ToolCall, ToolResult
from gatewayx_nb.server.request_fields import InvalidFieldError, RequestFields
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Role

_ROLES: Mapping[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}

_TEXT_TYPES = ("input_text", "output_text", "text")

_DETAIL_LEVELS = ("auto", "low", "high", "original")


def read_input(value: object) -> list[Message]:
    """Return the messages of an input, which is a string or a list of items.

    The items of one answer, its text and its function calls, become one message.

    Raises:
        InvalidFieldError: If an item or one of its fields is missing, unknown or invalid, if a call
            has no output, or if a model cannot answer the last item.
    """
    if value is None:
        raise InvalidFieldError("input", "is missing")
    if not isinstance(value, str | list):
        raise InvalidFieldError("input", "must be a string or a list")
    if not value or (isinstance(value, str) and not value.strip()):
        raise InvalidFieldError("input", "must not be empty")
    if isinstance(value, str):
        return [Message("user", value)]
    messages = [_read_item(item, f"input[{index}]") for index, item in enumerate(value)]
    _check_calls(messages)
    _check_last_message(messages[-1], f"input[{len(messages) - 1}]")
    return _joined_answers(messages)


def _read_item(value: object, field_path: str) -> Message:
    fields = RequestFields(value, field_path)
    item_type = fields.take("type", str) or "message"
    if item_type not in _READER_BY_TYPE:
        raise InvalidFieldError(
            f"{field_path}.type",
            'must be "message", "function_call" or "function_call_output", got'
            f" {short_repr(item_type)}",
        )
    message = _READER_BY_TYPE[item_type](fields, field_path)
    # Items copied from an earlier response have these fields, which are not used here.
    fields.accept({}, ignored_names=("id", "status"))
    fields.check_all_known()
    return message


def _read_message(fields: RequestFields, field_path: str) -> Message:
    role = fields.require("role", str)
    if role not in _ROLES:
        raise InvalidFieldError(
            f"{field_path}.role",
            f'must be "user", "assistant", "system" or "developer", got {short_repr(role)}',
        )
    return Message(
        _ROLES[role], _read_parts(fields, field_path, "content", allows_images=role == "user")
    )


def _read_call(fields: RequestFields, _: str) -> Message:
    names = ("call_id", "name", "arguments")
    return Message("assistant", [ToolCall(*(fields.require(name, str) for name in names))])


def _read_output(fields: RequestFields, field_path: str) -> Message:
    call_id = fields.require("call_id", str)
    return Message(
        "tool", [ToolResult(call_id, _read_parts(fields, field_path, "output", allows_images=True))]
    )


_READER_BY_TYPE: Mapping[str, Callable[[RequestFields, str], Message]] = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
}
"""The function that reads each type of item."""


def _read_parts(
    fields: RequestFields, field_path: str, name: str, *, allows_images: bool
) -> list[str | Image]:
    """Return the parts in a field that is a string or a list of parts."""
    value = fields.take_any(name)
    if isinstance(value, str):
        return [value]
    if value is None:
        raise InvalidFieldError(f"{field_path}.{name}", "is missing")
    if not isinstance(value, list):
        raise InvalidFieldError(f"{field_path}.{name}", "must be a string or a list")
    return fields.take_list(name, partial(_read_part, allows_images=allows_images))


def _read_part(value: object, field_path: str, *, allows_images: bool) -> str | Image:
    fields = RequestFields(value, field_path)
    part_type = fields.require("type", str)
    part: str | Image
    if part_type in _TEXT_TYPES:
        part = fields.require("text", str)
        fields.accept({"annotations": ([],), "logprobs": ([],)})
    elif part_type == "input_image" and allows_images:
        part = _read_image(fields, field_path)
    else:
        accepted_types = '"input_text", "output_text" or "text"'
        accepted_types = f'"input_image", {accepted_types}' if allows_images else accepted_types
        raise InvalidFieldError(
            f"{field_path}.type", f"must be {accepted_types}, got {short_repr(part_type)}"
        )
    fields.check_all_known()
    return part


def _read_image(fields: RequestFields, field_path: str) -> Image:
    fields.accept({"file_id": ()})
    url = fields.require("image_url", str)
    detail = fields.take("detail", str) or ""
    if detail not in ("", *_DETAIL_LEVELS):
        raise InvalidFieldError(
            f"{field_path}.detail",
            f'must be "auto", "low", "high" or "original", got {short_repr(detail)}',
        )
    # `images.load` would read any other string as the path of a file on this machine.
    if not url.lower().startswith(("https://", "data:")):
        raise InvalidFieldError(f"{field_path}.image_url", "must begin with https:// or data:")
    try:
        return replace(images.load(url), detail=detail)
    except UsageError as error:
        problem = f"is invalid: {error.message.removesuffix('.')}"
        raise InvalidFieldError(f"{field_path}.image_url", problem) from None


def _check_calls(messages: Sequence[Message]) -> None:
    """Check that each output belongs to a function call, and that each call has an output."""
    unanswered_ids: dict[str, None] = {}  # a set in the order of the calls
    for index, message in enumerate(messages):
        unanswered_ids.update((call.id, None) for call in message.tool_calls)
        for result in message.tool_results:
            if result.id not in unanswered_ids:
                raise InvalidFieldError(
                    f"input[{index}].call_id",
                    "must be the call_id of an earlier function_call without an output, got"
                    f" {short_repr(result.id)}",
                )
            del unanswered_ids[result.id]
    for call_id in unanswered_ids:
        raise InvalidFieldError(
            "input", f"has no function_call_output for the call_id {short_repr(call_id)}"
        )


def _check_last_message(message: Message, field_path: str) -> None:
    if message.role not in ("user", "tool"):
        raise InvalidFieldError(
            field_path, "is the last item, which must be a user message or a function_call_output"
        )
    if not (message.content.strip() or message.images or message.tool_results):
        raise InvalidFieldError(f"{field_path}.content", "must not be empty")


def _joined_answers(messages: Sequence[Message]) -> list[Message]:
    """Return the messages, with the items of each answer joined into one message."""
    answers: list[list[Message]] = []
    for message in messages:
        if answers and _is_same_answer(answers[-1][-1], message):
            answers[-1].append(message)
        else:
            answers.append([message])
    return [
        items[0]
        if len(items) == 1
        else Message("assistant", [part for item in items for part in item.parts])
        for items in answers
    ]


def _is_same_answer(first_message: Message, second_message: Message) -> bool:
    """Return whether two items are text and a call, or two calls, of the same answer."""
    if first_message.role != "assistant" or second_message.role != "assistant":
        return False
    return bool(first_message.tool_calls or second_message.tool_calls)
