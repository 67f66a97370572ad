"""The request as an engine takes it: its features, its model, and the schema in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.errors import UnsupportedFeatureError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import Message

if TYPE_CHECKING:
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.schema import ResponseSchema


async def prepare(engine: LLMEngine, request: Request, schema: ResponseSchema | None) -> Request:
    """Return the request with the engine's model, and with the schema as it can enforce it.

    Raises:
        UnsupportedFeatureError: If the engine takes no images or no conversation.
    """
    if request.images and "images" not in engine.features:
        raise _unsupported(engine, "images", "images")
    if len(request.messages) > 1 and "history" not in engine.features:
        raise _unsupported(engine, "conversations", "chat")
    model = request.model or engine.model_name or await _first_model(engine)
    if request.model != model:
        request = replace(request, model=model)
    if schema is None or schema.schema is None:
        return request
    if "schema" in engine.features and not schema.is_loose:
        return request
    return _with_schema_in_words(request, schema.instructions)


def with_correction(request: Request, answer: str, error: ValueError) -> Request:
    """Return the request with one more turn: the invalid answer, and what is wrong with it."""
    complaint = (
        f"That is not the JSON that was asked for: {error}. Answer again, with the JSON alone."
    )
    turns = (Message("assistant", answer or "…"), Message("user", complaint))
    return replace(request, messages=(*request.messages, *turns))


def _with_schema_in_words(request: Request, instructions: str) -> Request:
    rule = f"Answer with {instructions}"
    system = f"{request.system}\n\n{rule}" if request.system else rule
    return replace(request, system=system, schema=None)


async def _first_model(engine: LLMEngine) -> str:
    """Return the first model of a server that serves the models it was started with."""
    models = await engine.models()
    return models[0].model if models else ""


def _unsupported(engine: LLMEngine, feature: str, option: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(
        f"engine {engine.name!r} does not support {feature}.",
        hint=Hint("omit_option", option=option) | Hint("list_engines"),
    )
