"""What the APIs' codecs share: message content as JSON, and refusal of parts that an API lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayx_nb.messages import Part, Request, Role, ToolCall, ToolResult


def check_images(request: Request, api: str, *roles: Role, has_detail: bool = False) -> None:
    """Check that an API accepts the images of a request.

    Args:
        request: The request.
        api: Name of the API.
        *roles: The roles whose messages may have images.
        has_detail: Whether the resolution of an image can be set.

    Raises:
        UnsupportedFeatureError: If a message of another role has an image, or an image sets a
            resolution in vain.
    """
    for message in request.messages:
        if message.images and message.role not in roles:
            place = "tool results" if message.role == "tool" else f"{message.role} messages"
            raise UnsupportedFeatureError(
                f"{api} does not support images in {place}; nothing was sent.",
                hint="Send the image in a user message.",
            )
        details = {image.detail for image in message.images} - {"", "auto"}
        if details and not has_detail:
            raise UnsupportedFeatureError(
                f"{api} does not support `detail` of an image, here {min(details)!r}; nothing was"
                " sent.",
                hint="Omit it.",
            )


def content_of(
    parts: Iterable[Part], to_json: Callable[[str | Image], dict[str, Any]]
) -> str | list[dict[str, Any]]:
    """Return texts and images as JSON: one text as a str, otherwise a list of converted parts."""
    shown_parts = [part for part in parts if isinstance(part, str | Image)]
    match shown_parts:
        case []:
            return ""
        case [str(text)]:
            return text
        case _:
            return list(map(to_json, shown_parts))


def result_parts(result: ToolResult) -> tuple[str | Image, ...]:
    """Return the parts of a tool result, for APIs that can show a failure only as text."""
    if not result.is_error:
        return result.parts
    return (f"Error: {result.content}", *result.images)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments of a tool call, for APIs that take them as an object.

    Raises:
        UsageError: If they are not a JSON object, which a model may have written.
    """
    try:
        value = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(
            f"the arguments of tool call {short_repr(call.name)} must be a JSON object, got"
            f" {short_repr(call.arguments)}.",
            hint="Correct them, or remove the call and its result.",
        )
    return value
