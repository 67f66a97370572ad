"""Obtains answers that match a schema: instructs the model, and asks for one correction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.engine_pool.token_estimates import estimate_tokens
from gatewayx_nb.errors import ProviderError, TruncatedError
from gatewayx_nb.extraction import ends_within_json
from gatewayx_nb.hints import Hint
from gatewayx_nb.json_schema import smallest
from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.messages import Request
    from gatewayx_nb.schema import ResponseSchema


def with_schema_in_prompt(
    request: Request, schema: ResponseSchema, *, takes_system: bool, in_object: bool = False
) -> Request:
    """Move the schema of a request from its ``schema`` field to an instruction in the prompt.

    The instruction is added to the system prompt or, if the engine supports none, below the prompt.

    Args:
        request: The request.
        schema: The schema.
        takes_system: Whether the engine supports system prompts.
        in_object: Whether the answer must be an object; any other value is wrapped in an object.
    """
    instruction = f"Answer with {schema.instructions(in_object=in_object)}"
    if not takes_system:
        *earlier_messages, prompt = request.messages
        return replace(
            request,
            messages=(*earlier_messages, *_with_instruction(prompt, instruction)),
            schema=None,
        )
    system = f"{request.system}\n\n{instruction}" if request.system else instruction
    return replace(request, system=system, schema=None)


def _with_instruction(prompt: Message, instruction: str) -> tuple[Message, ...]:
    """Return the prompt with an instruction: below its text, or after the results of tools."""
    match prompt.parts:
        case _ if prompt.role != "user":
            return (prompt, Message("user", instruction))
        case [str(text), *others] if not any(isinstance(part, str) for part in others):
            return (Message("user", [f"{text}\n\n{instruction}", *others]),)
        case parts:
            return (Message("user", [*parts, instruction]),)


async def parse_or_correct(
    schema: ResponseSchema,
    request: Request,
    partial: PartialReply,
    send_again: Callable[[Request], Awaitable[object]] | None,
) -> Any:  # noqa: ANN401 - depends on the schema
    """Return the parsed answer, after one request for a correction if it does not match the schema.

    Args:
        schema: The schema.
        request: The request that was answered.
        partial: The answer, which the correction replaces.
        send_again: Sends the request for a corrected answer; ``None`` if the engine does not
            support conversations.

    Raises:
        TruncatedError: If the answer was truncated at ``max_tokens``.
        ProviderError: If neither the answer nor a correction matches the schema.
    """
    answer = "".join(partial.text)
    # A truncated list may contain a complete object, which must not be mistaken for the answer.
    was_truncated = partial.finish_reason == "length" and schema.schema is not None
    if was_truncated and ends_within_json(answer):
        raise _truncated_error(request, partial)
    try:
        return await schema.aparse(answer)
    except ValueError as error:
        if partial.finish_reason == "length":  # a second answer would be truncated, too
            raise _truncated_error(request, partial) from None
        if send_again is None:
            raise _mismatch_error(schema, "the answer", partial, error) from None
        request = _with_correction(request, partial, error)
    # This is outside the `except` clause, so that an error in the second request has no context.
    partial.reset_for_correction()
    await send_again(request)
    try:
        return await schema.aparse("".join(partial.text))
    except ValueError as error:
        raise _mismatch_error(schema, "the answer and its correction", partial, error) from None


def _truncated_error(request: Request, partial: PartialReply) -> TruncatedError:
    """Return the error for an answer that was truncated before its JSON ended."""
    if partial.context_limit is not None:
        return TruncatedError(
            "the answer was truncated at the end of the context, after"
            f" {partial.context_limit:,} tokens with the prompt, before its JSON ended.",
            hint="Shorten the prompt, or use a model with a longer context.",
            topic="truncated-json",
        )
    option, note = "max_cost", ""
    if partial.token_cap is None:
        option, note = "max_tokens", _describe_max_tokens(request)
    return TruncatedError(
        f"the answer was truncated at `{option}`{note} before its JSON ended.",
        hint=Hint("raise_option", option=option),
        topic="truncated-json",
    )


def _describe_max_tokens(request: Request) -> str:
    """Return ``max_tokens`` in parentheses, with the size of the smallest answer if larger."""
    max_tokens, schema = request.max_tokens, request.schema or {}
    if max_tokens is None:
        return ""
    smallest_tokens = estimate_tokens([smallest(schema, schema)])
    size_note = (
        f"; the smallest that fits has about {smallest_tokens:,} tokens"
        if smallest_tokens > max_tokens
        else ""
    )
    return f" ({max_tokens:,}{size_note})"


def _mismatch_error(
    schema: ResponseSchema, subject: str, partial: PartialReply, error: ValueError
) -> ProviderError:
    # With `--as json`, the caller has not passed a schema, so the message does not mention one.
    requirement = "must match the schema" if schema.is_given else "must be JSON"
    return ProviderError(
        f"{subject} of {partial.engine!r} {requirement}: {error}.",
        hint=Hint("run_again") | "Use another model.",
        topic="invalid-answer",
    )


def _with_correction(request: Request, partial: PartialReply, error: ValueError) -> Request:
    correction = (
        f"That is not the JSON that was asked for: {error}. Answer again, with the JSON alone."
    )
    # Some providers reject an empty turn, and all of them reject tool calls without results.
    answer = Message("assistant", "".join(partial.text) or "…")
    if partial.text and not partial.tool_calls:
        answer = partial.reply().message
    turns = (answer, Message("user", correction))
    return replace(request, messages=(*request.messages, *turns))
