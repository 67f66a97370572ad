"""The models that can be called, in the formats of OpenAI's and Anthropic's APIs.

Sources: https://platform.openai.com/docs/api-reference/models and
https://platform.claude.com/docs/en/api/models-list
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ModelNotFoundError, did_you_mean
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from gatewayx_nb.engine_pool import EnginePool

_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


def list_models(pool: EnginePool, *, anthropic: bool) -> dict[str, Any]:
    """Return the engines, their models and the aliases of engines that can be called.

    Args:
        pool: The pool.
        anthropic: Whether to use Anthropic's format instead of OpenAI's.
    """
    models = [
        _model_fields(name, engine, is_anthropic=anthropic)
        for name, engine in _owners(pool).items()
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
    """Return one model.

    Raises:
        ModelNotFoundError: If no model has that name; the message suggests the most similar name.
    """
    owners = _owners(pool)
    if name not in owners:
        raise ModelNotFoundError(
            f"there is no model {short_repr(name)}.{did_you_mean(name, owners)}",
            hint="List the models to see all names.",
        )
    return _model_fields(name, owners[name], is_anthropic=anthropic)


def _owners(pool: EnginePool) -> dict[str, str]:
    """Return the engine of each reference: ``engine``, ``engine:model`` or an alias."""
    models = pool.models()
    owners: dict[str, str] = {}
    for model in models:
        owners.setdefault(model.engine, model.engine)
        owners[str(model)] = model.engine
    for alias, target in pool.config.settings.aliases.items():
        engine = target.partition(":")[0]
        if engine in owners:
            owners.setdefault(alias, engine)
    return owners


def _model_fields(name: str, engine: str, *, is_anthropic: bool) -> dict[str, Any]:
    if is_anthropic:
        return {"type": "model", "id": name, "display_name": name, "created_at": _UNKNOWN_TIME}
    return {"id": name, "object": "model", "created": 0, "owned_by": engine}
