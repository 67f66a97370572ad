"""Names and describes engines that the caller has created and passed to a pool."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from gatewayx_nb.errors import UsageError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.model_registry.engine_status import EngineStatus
from gatewayx_nb.text import short_repr


def index_by_name(engines: LLMEngine | Iterable[LLMEngine]) -> dict[str, LLMEngine]:
    """Return engines by name; an unnamed `GrokEngine` is called ``grok``.

    Raises:
        UsageError: If two engines have the same name, or one of the objects is not an engine.
    """
    engines_by_name: dict[str, LLMEngine] = {}
    for engine in engines if isinstance(engines, Iterable) else (engines,):
        if not isinstance(engine, LLMEngine):
            raise UsageError(
                f"engines must be instances of a subclass of LLMEngine, got {short_repr(engine)}.",
                hint="For example, `EnginePool(engines=[MyEngine()])`.",
            )
        if inspect.isgeneratorfunction(engine.stream):
            raise UsageError(
                f"{type(engine).__name__}.stream must be `async def`.",
                hint="Write `async` before `def`.",
            )
        if not engine.name:
            # `MyTestEngine` becomes `my_test`, which is a valid reference.
            stem = type(engine).__name__.removesuffix("Engine")
            engine.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()
        if engines_by_name.setdefault(engine.name, engine) is not engine:
            raise UsageError(
                f"two engines have the name {engine.name!r}.",
                hint="Give one of them another `name`.",
            )
    return engines_by_name


def default_model(engine: LLMEngine) -> ModelInfo:
    """Return an engine's default model."""
    return ModelInfo(engine.name, _model_name(engine))


def status(engine: LLMEngine) -> EngineStatus:
    """Return the status of an engine, which is always ready."""
    return EngineStatus(
        engine.name,
        _model_name(engine),
        "not needed",
        "ready",
        "argument",
        loaded=True,
        features=tuple(sorted(engine.features)),
    )


def _model_name(engine: LLMEngine) -> str:
    """Return an engine's model as a str, because its code may set another type."""
    return str(engine.model_name or "")
