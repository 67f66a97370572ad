"""Builds the request for a call from its prompt and its options."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.calls.prompt_messages import link_tool_results, read_messages
from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from gatewayx_nb.calls.options import CallOptions, ConversationSlot
    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.schema import ResponseSchema

_MISSPELLING_SIMILARITY = 0.8
"""Minimum similarity, from 0 to 1, of a misspelt name to an engine's name."""

_RESERVED_PARAMS = ("messages", "model", "input", "contents")
"""Provider parameters for the prompt and the model, which ``params`` must not contain."""

_REQUEST_FIELDS = ("temperature", "top_p", "max_tokens", "stop", "seed", "effort", "cache")
"""Options that become fields of the same name in a `Request`."""


def build_request(prompt: Prompt, model: str, options: CallOptions, *, streamed: bool) -> Request:
    """Return the request for a call, without the earlier turns of its conversation.

    Args:
        prompt: The prompt, as a string or a list of messages.
        model: Name of the model; empty for the engine's default.
        options: Normalized options.
        streamed: Whether the caller receives the answer as it arrives.

    Raises:
        UsageError: If the prompt is invalid or contradicts the options.
    """
    messages = read_messages(prompt)
    # Leading system messages form the system prompt, whose position depends on the provider.
    turns = tuple(itertools.dropwhile(lambda message: message.role == "system", messages))
    system = _system_prompt(messages[: len(messages) - len(turns)], options)
    params = {**options.get("params", {})}  # a copy, so that the caller's dict is not modified
    for name in _RESERVED_PARAMS:
        if name in params:
            raise UsageError(
                f"params must not contain {name!r}, which the call sets itself.",
                hint="Pass it to the call as the prompt, `messages` or `model`.",
            )
    tools = cast("tuple[Tool, ...]", options.get("tools", ()))
    for name in ("tools", "tool_choice") if tools else ():
        if name in params:
            raise UsageError(
                f"params must not contain {name!r} if `tools` is set.",
                hint=f"Pass `{name}=` to the call, not in `params`.",
            )
    drop_unsupported = params.pop("drop_unsupported", False)
    if not isinstance(drop_unsupported, bool):
        raise UsageError(
            f"drop_unsupported must be a bool, got {short_repr(drop_unsupported)}.",
            hint='For example, `params={"drop_unsupported": True}`.',
        )
    schema = cast("ResponseSchema | None", options.get("schema"))
    pictures = cast("tuple[Image, ...]", options.get("images", ()))
    fields: dict[str, Any] = {name: options[name] for name in _REQUEST_FIELDS if name in options}  # type: ignore[literal-required]
    return Request(
        messages=attach_images(turns, pictures) if pictures else turns,
        model=model,
        system=system,
        schema=schema.schema if schema else None,
        tools=tuple(tool.definition for tool in tools),
        tool_choice=options.get("tool_choice"),
        drop_unsupported=drop_unsupported,
        params=params,
        streamed=streamed,
        **fields,
    )


def params_for(
    engine: str, params: Mapping[str, object], engines: Collection[str]
) -> dict[str, object]:
    """Return an engine's parameters: those under its name take precedence over common ones.

    >>> params_for("mock", {"rate": 1, "mock": {"latency": 2}, "grok": {"n": 1}}, {"mock", "grok"})
    {'rate': 1, 'latency': 2}

    Raises:
        UsageError: If the name of an engine is misspelt.
    """
    common_params: dict[str, object] = {}
    engine_params: Mapping[str, object] = {}
    for name, value in params.items():
        if not (name in engines and isinstance(value, Mapping)):
            common_params[name] = value
        elif name == engine:
            engine_params = value
    for name, value in common_params.items():
        similar_names = difflib.get_close_matches(name, engines, 1, _MISSPELLING_SIMILARITY)
        if similar_names and isinstance(value, Mapping):
            raise UsageError(
                f"params has values for {name!r}, but there is no such engine."
                f" Did you mean {similar_names[0]!r}?",
                hint="Parameters for all engines go directly into `params`.",
            )
    return {**common_params, **engine_params}


def _system_prompt(messages: Iterable[Message], options: CallOptions) -> str | None:
    texts = [message.content for message in messages]
    if not texts:
        return options.get("system")
    if options.get("system") is not None:
        raise UsageError(
            "`system` is set, but messages[0] is also a system message.",
            hint="Use only one of them.",
        )
    return "\n\n".join(filter(None, texts))


def attach_images(
    messages: tuple[Message, ...], pictures: tuple[Image, ...]
) -> tuple[Message, ...]:
    """Return the messages with images added to the last one.

    Raises:
        UsageError: If the last message is not a user message.
    """
    *earlier_messages, last_message = messages
    if last_message.role != "user":
        raise UsageError(
            "images must be attached to a user message; the last message has the role"
            f" {last_message.role!r}.",
            hint="Put them into a user message in the list.",
        )
    return (*earlier_messages, Message("user", (*last_message.parts, *pictures)))


def join_conversation(request: Request, slot: ConversationSlot | None) -> Request:
    """Return the request with the earlier turns added and every tool result linked to its call.

    Raises:
        UsageError: If a tool result does not match any tool call, or a tool call has no result.
    """
    full_request = slot.with_history(request) if slot else request
    earlier_count = len(full_request.messages) - len(request.messages)
    linked_messages = link_tool_results(full_request.messages, earlier_count)
    return (
        full_request
        if linked_messages is full_request.messages
        else replace(full_request, messages=linked_messages)
    )
