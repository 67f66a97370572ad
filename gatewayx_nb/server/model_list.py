"""Lists the models that can be called, in the formats of OpenAI's and Anthropic's APIs.

Sources: https://platform.openai.com/docs/api-reference/models and
https://platform.claude.com/docs/en/api/models-list
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ModelNotFoundError, did_you_mean
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from gatewayx_nb.engine_pool import EnginePool

_UNKNOWN_CREATION_TIME = "1970-01-01T00:00:00Z"


def list_models(pool: EnginePool, *, anthropic: bool) -> dict[str, Any]:
    """Return the engines, their models and the aliases of engines that can be called.

    Args:
        pool: The pool.
        anthropic: Whether to use Anthropic's format instead of OpenAI's.
    """
    models = [
        _model_fields(name, engine, is_anthropic=anthropic)
        for name, engine in _engine_by_reference(pool).items()
    ]
    if not anthropic:
        return {"object": "list", "data": models}
    first_and_last = (models[0]["id"], models[-1]["id"]) if models else (None, None)
    return {
        "data": models,
        "has_more": False,
        "first_id": first_and_last[0],
        "last_id": first_and_last[1],
    }


def describe_model(pool: EnginePool, name: str, *, anthropic: bool) -> dict[str, Any]:
    """Return the description of a model in one of the two formats.

    Raises:
        ModelNotFoundError: If no model has that name; the message suggests the most similar name.
    """
    engine_by_reference = _engine_by_reference(pool)
    if name not in engine_by_reference:
        raise ModelNotFoundError(
            f"there is no model {short_repr(name)}.{did_you_mean(name, engine_by_reference)}",
            hint="List the models to see all names.",
        )
    return _model_fields(name, engine_by_reference[name], is_anthropic=anthropic)


def _engine_by_reference(pool: EnginePool) -> dict[str, str]:
    """Return the engine's name for each reference: ``engine``, ``engine:model`` or an alias."""
    models = pool.models()
    engine_by_reference: dict[str, str] = {}
    for model in models:
        engine_by_reference.setdefault(model.engine, model.engine)
        engine_by_reference[str(model)] = model.engine
    for alias, target in pool.config.settings.aliases.items():
        engine = target.partition(":")[0]
        if engine in engine_by_reference:
            engine_by_reference.setdefault(alias, engine)
    return engine_by_reference


def _model_fields(name: str, engine: str, *, is_anthropic: bool) -> dict[str, Any]:
    if is_anthropic:
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": _UNKNOWN_CREATION_TIME,
        }
    return {"id": name, "object": "model", "created": 0, "owned_by": engine}
