"""Prepares messages for all dialects: selects turns, checks images and converts content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.json_body import as_dicts
from gatewayx_nb.messages import Message
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.messages import Part, Request, Role, ToolCall, ToolResult


def sendable(messages: Iterable[Message], engine: str) -> tuple[Message, ...]:
    """Return the messages to send to an engine.

    Turns without content, which most providers refuse, are omitted. The turns around an omitted
    turn are merged if they have the same role, because some models require alternating roles.
    Carried data from another engine's answers is also omitted.

    Args:
        messages: A conversation.
        engine: Name of the engine.
    """
    turns: list[Message] = []
    is_after_empty = False
    for message in messages:
        turn = _without_foreign_data(message, engine)
        if _is_empty(turn):
            is_after_empty = True
            continue
        if is_after_empty and turns and turns[-1].role == turn.role != "tool":
            turn = _join_turns(turns.pop(), turn)
        turns.append(turn)
        is_after_empty = False
    return tuple(turns)


def _without_foreign_data(message: Message, engine: str) -> Message:
    carried = message.carried
    if carried is None or (carried.engine == engine and carried.fits(message)):
        return message
    return Message(message.role, message.parts)


def _is_empty(message: Message) -> bool:
    # Some answers, such as images, consist only of carried items.
    has_items = message.carried is not None and bool(message.carried.data.get("items"))
    return not has_items and all(
        isinstance(part, str) and not part.strip() for part in message.parts
    )


def _join_turns(first_turn: Message, second_turn: Message) -> Message:
    """Merge two turns; a blank line separates adjacent strings."""
    match (first_turn.parts, second_turn.parts):
        case ((*before, str(end)), (str(start), *after)):
            return Message(first_turn.role, [*before, f"{end}\n\n{start}", *after])
        case _:
            return Message(first_turn.role, [*first_turn.parts, *second_turn.parts])


def carried_data(turn: Message, dialect: str) -> Mapping[str, Any] | None:
    """Return a turn's carried data; ``None`` if it has none in this dialect."""
    carried = turn.carried
    return carried.data if carried and carried.data.get("dialect") == dialect else None


def carried_items(turn: Message, dialect: str) -> list[dict[str, Any]]:
    """Return a turn's items as the provider sent them; empty if they are in another dialect."""
    return as_dicts((carried_data(turn, dialect) or {}).get("items"))


def accepted_id(call_id: str, pattern: re.Pattern[str], length: int) -> str:
    """Return a tool call's ID, or a replacement that the provider accepts.

    Args:
        call_id: The ID.
        pattern: Matches the IDs that are accepted.
        length: Length of a replacement; equal IDs have equal replacements.
    """
    if pattern.fullmatch(call_id):
        return call_id
    digest = hashlib.blake2b(call_id.encode(errors="replace"), digest_size=(length + 1) // 2)
    return digest.hexdigest()[:length]


def check_images(request: Request, api: str, *roles: Role, has_detail: bool = False) -> None:
    """Check that an API accepts the images of a request.

    Args:
        request: The request.
        api: Name of the API.
        *roles: The roles whose messages may have images.
        has_detail: Whether the resolution of an image can be set.

    Raises:
        UnsupportedFeatureError: If a message of another role has an image, or if an image sets its
            resolution and the API does not support that.
    """
    for message in request.messages:
        if message.images and message.role not in roles:
            place_text = "tool results" if message.role == "tool" else f"{message.role} messages"
            raise UnsupportedFeatureError(
                f"{api} does not support images in {place_text}; nothing was sent.",
                hint="Send the image in a user message.",
            )
        details = {image.detail for image in message.images} - {"", "auto"}
        if details and not has_detail:
            raise UnsupportedFeatureError(
                f"{api} does not support an image's `detail`, here {min(details)!r}; nothing was"
                " sent.",
                hint="Omit `detail`.",
            )


def content_of(
    parts: Iterable[Part], to_json: Callable[[str | Image], dict[str, Any]]
) -> str | list[dict[str, Any]]:
    """Return strings and images as JSON: a single string as a str, otherwise a list of parts."""
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
        UsageError: If the arguments are not a JSON object; a model may write any text.
    """
    try:
        arguments = bounded_json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise UsageError(
            f"the arguments of tool call {short_repr(call.name)} must be a JSON object, got"
            f" {short_repr(call.arguments)}.",
            hint="Correct them, or remove the call and its result.",
        )
    return arguments
