"""Encodes and decodes the replies and errors of rows for the results store."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb import errors
from gatewayx_nb.cassettes import CassetteEntry, RequestBody, entry_of
from gatewayx_nb.errors import ConfigError, GatewayError, ProviderError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.text import well_formed
from gatewayx_nb.tool_steps import Step

if TYPE_CHECKING:
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema

_NO_REQUEST = RequestBody()


class _StoredError(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A failed row; see `errors.GatewayError`."""

    message: str
    hint: str = ""
    engine: str | None = None
    model: str | None = None
    status: int | None = None
    code: str | None = None
    partial: str = ""
    prompt: str = ""


class _StoredStep(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A tool call of a row: a `Step` without the object that the function returned."""

    id: str
    name: str
    arguments: str
    sent: str = ""
    error: str = ""
    seconds: float | None = None
    allowed_by: str = ""
    text: str = ""
    outside: bool = False

    @classmethod
    def of(cls, step: Step) -> _StoredStep:
        call = step.call
        return cls(
            *(call.id, call.name, call.arguments, step.sent, step.error),
            *(step.seconds, step.allowed_by, step.text, step.outside),
        )

    def to_step(self) -> Step:
        call = ToolCall(self.id, self.name, self.arguments)
        return Step(
            *(call, call.parsed_arguments(), None, self.sent, self.error),
            *(self.seconds, self.allowed_by, self.text, self.outside),
        )


class _StoredReply(CassetteEntry, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """The reply to a row.

    Attributes:
        steps: The tool calls before the answer.
    """

    steps: tuple[_StoredStep, ...] = ()


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(_StoredReply)
_ERROR_DECODER = msgspec.json.Decoder(_StoredError)


def encode_outcome(
    outcome: Reply | GatewayError, prompt: str, steps: tuple[Step, ...] = ()
) -> bytes:
    """Return a reply as a cassette entry, or an error as another JSON object.

    Args:
        outcome: The reply or the error.
        prompt: The prompt of the row, to be stored with the outcome; empty to omit it.
        steps: The tool calls before the answer.
    """
    if isinstance(outcome, GatewayError):
        return _encode_error(outcome, prompt)
    request = RequestBody(texts=(prompt,)) if prompt else _NO_REQUEST
    entry = entry_of(request, {"engine": outcome.engine}, outcome, (), _unchanged)
    if steps:
        fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
        entry = _StoredReply(**fields, steps=tuple(map(_StoredStep.of, steps)))
    return _encode(entry)


def _encode_error(error: GatewayError, prompt: str) -> bytes:
    return _encode(
        _StoredError(
            message=error.message,
            hint=str(error.hint or ""),
            engine=error.engine,
            model=error.model,
            status=error.status,
            code=error.code,
            partial=getattr(error, "partial", ""),
            prompt=prompt,
        )
    )


def _encode(struct: msgspec.Struct) -> bytes:
    try:
        return _ENCODER.encode(struct)
    except UnicodeEncodeError:  # a reply or a row may contain an unpaired surrogate
        values = msgspec.to_builtins(struct)
        return well_formed(json.dumps(values, ensure_ascii=False)).encode()


def decode_outcome(
    content: bytes, outcome_name: str, schema: ResponseSchema | None
) -> Reply | GatewayError:
    """Return the reply or the error that the JSON contains.

    Args:
        content: The JSON.
        outcome_name: ``"ok"``, or the name of the error's class.
        schema: Parses the answer; ``None`` if no schema was requested.
    """
    try:
        if outcome_name != "ok":
            return _decode_error(_ERROR_DECODER.decode(content), outcome_name)
        entry = _DECODER.decode(content)
        parsed_value: Any = None if schema is None else schema.parse(entry.text)
        steps = tuple(step.to_step() for step in entry.steps)
        return (
            replace(entry.to_reply(parsed_value), steps=steps)
            if steps
            else entry.to_reply(parsed_value)
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return ConfigError(
            f"a row's stored answer cannot be read: {error}.",
            hint=Hint("set_option", option="fresh", value=True),
        )


def stored_prompt(content: bytes, outcome_name: str) -> str:
    """Return the prompt of a stored row; empty if it is not stored."""
    try:
        if outcome_name != "ok":
            return _ERROR_DECODER.decode(content).prompt
        return _DECODER.decode(content).request.prompt
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


def _decode_error(stored_error: _StoredError, outcome_name: str) -> GatewayError:
    error_class = getattr(errors, outcome_name, ProviderError)
    if not (isinstance(error_class, type) and issubclass(error_class, GatewayError)):
        error_class = ProviderError
    error = error_class(
        stored_error.message,
        hint=stored_error.hint or None,
        engine=stored_error.engine,
        model=stored_error.model,
        status=stored_error.status,
        code=stored_error.code,
    )
    if stored_error.partial and isinstance(error, errors.RequestError):
        error.partial = stored_error.partial
    return error


def _unchanged(text: str) -> str:
    return text
