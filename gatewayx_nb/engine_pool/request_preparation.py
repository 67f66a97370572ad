"""Adapts a request to the engine that receives it."""

from __future__ import annotations

from dataclasses import replace
from operator import is_
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.probe import list_models
from gatewayx_nb.engine_pool.structured_output import with_schema_in_prompt
from gatewayx_nb.errors import UnsupportedFeatureError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.llm_engines import sendable, takes

if TYPE_CHECKING:
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.model_registry import ModelRegistry
    from gatewayx_nb.schema import ResponseSchema


def with_sendable_messages(request: Request, engine: str) -> Request:
    """Return the request with the messages that can be sent to an engine; see `sendable`."""
    messages = sendable(request.messages, engine)
    # Compared by identity, because equal messages may carry different provider data.
    is_same = len(messages) == len(request.messages) and all(map(is_, messages, request.messages))
    return request if is_same else replace(request, messages=messages)


def check_features(
    request: Request, engine: LLMEngine, name: str, registry: ModelRegistry, *, is_chat: bool
) -> None:
    """Check that an engine supports what a request contains.

    Args:
        request: The request.
        engine: The engine.
        name: Name of the engine.
        registry: The registry, to suggest other engines.
        is_chat: Whether the call belongs to a conversation.

    Raises:
        UnsupportedFeatureError: If the engine does not support images, system prompts,
            conversations or tools.
    """
    if request.images and "images" not in engine.features:
        raise _no_images_error(name, registry)
    if request.system and "system" not in engine.features:
        raise _unsupported_error(name, "system prompts", "system")
    if len(request.messages) > 1 and "history" not in engine.features:
        raise _unsupported_error(name, "conversations", "chat" if is_chat else "messages")
    if request.tools and "tools" not in engine.features:
        raise _unsupported_error(name, "tools", "tools")


async def with_model(request: Request, engine: LLMEngine, *, asks_for_model: bool) -> Request:
    """Return the request with a model: by default, the engine's.

    Args:
        request: The request.
        engine: The engine.
        asks_for_model: Whether to query the server for its models if the engine has no default
            model.
    """
    model = request.model or engine.model_name
    if not model and asks_for_model:
        # A local server offers only the models that it was started with.
        model = next((info.model for info in await list_models(engine)), "")
    model = str(model or "")  # the engine may have set the attribute to another type
    return request if request.model == model else replace(request, model=model)


def with_schema(request: Request, schema: ResponseSchema | None, engine: LLMEngine) -> Request:
    """Return the request with the schema in the form that the engine accepts.

    If the engine cannot enforce the schema, the prompt asks the model to follow it.
    """
    if schema is None or schema.schema is None:
        return request
    request = replace(request, schema=schema.described)
    engine_schema = engine.enforceable_schema(request) if "schema" in engine.features else None
    if engine_schema and not schema.is_loose:
        return replace(request, schema=engine_schema)
    takes_system = "system" in engine.features and takes(engine, "system")
    in_object = engine_schema is not None and not engine_schema
    instructed_request = with_schema_in_prompt(
        request, schema, takes_system=takes_system, in_object=in_object
    )
    return replace(instructed_request, schema=engine_schema)


def _no_images_error(engine: str, registry: ModelRegistry) -> UnsupportedFeatureError:
    """Return the error for unsupported images; its hint names ready engines that take them."""
    engines = registry.ready_with("images")
    hint = Hint("set_key_for_images", engine="openai", others="anthropic and google")
    if engines:
        hint = as_hint(f"These engines are ready and take images: {', '.join(engines)}.")
    return UnsupportedFeatureError(f"engine {engine!r} does not support images.", hint=hint)


def _unsupported_error(engine: str, feature: str, option: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(
        f"engine {engine!r} does not support {feature}.",
        hint=Hint("omit_option", option=option) | Hint("list_engines"),
    )
