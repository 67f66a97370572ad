"""Creates the errors for references that cannot be resolved, with suggestions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    EngineLoadError,
    EngineNotFoundError,
    MissingKeyError,
    UsageError,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import display_path, engine_variable
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry.folders import EngineFile
    from gatewayx_nb.secure_config import Config, Key

_MODEL_PREFIXES = {
    "gpt-": "openai",
    "chatgpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude-": "anthropic",
    "gemini-": "google",
    "grok-": "grok",
    "command-": "cohere",
    "mistral-": "mistral",
    "codestral": "mistral",
    "deepseek-": "deepseek",
    "sonar": "perplexity",
    "kimi-": "moonshot",
    "smollm": "local",
}
"""The engine of each vendor's models, by the prefix of the model's name."""


def engine_not_found(
    name: str,
    config: Config,
    engines: Collection[str],
    list_models: Callable[[], Iterable[ModelInfo]],
) -> EngineNotFoundError:
    """Return the error for an unknown engine name.

    Args:
        name: The name, as typed.
        config: The settings and keys, in which the name may occur.
        engines: Names of all engines.
        list_models: Returns the models that can be called.
    """
    stem = name.partition("/")[0]
    suggestion = _suggestion(name, config, engines, list_models)
    if not suggestion and config.project is None and Path("engines", f"{stem}_engine.py").is_file():
        return EngineNotFoundError(
            f"there is no engine {name!r}: engines/{stem}_engine.py exists, but this folder is not"
            " a project.",
            hint=Hint("make_project"),
            engine=name,
        )
    suggestion = suggestion or did_you_mean(name, [*engines, *config.settings.aliases])
    return EngineNotFoundError(
        f"there is no engine {name!r}.{suggestion}", hint=Hint("list_engines"), engine=name
    )


def _suggestion(
    name: str,
    config: Config,
    engines: Collection[str],
    list_models: Callable[[], Iterable[ModelInfo]],
) -> str:
    """Return a suggestion for an unknown name; empty if nothing similar is known."""
    engine, slash, model = name.partition("/")
    if owner := _engine_of_model(name, engines, list_models()):
        return f" Did you mean {f'{owner}:{name}'!r}?"
    if slash and engine in engines:
        return f" Use a colon: {f'{engine}:{model}'!r}."
    if name.lower() in {*engines, *config.settings.aliases}:
        return f" Engine names are lower-case: {name.lower()!r}."
    if engine_variable(name) in config.keys.variable_names():
        return (
            f" The key {engine_variable(name)} exists, but there is no file {name}_engine.py"
            f" and no {engine_variable(name, 'BASE_URL')}."
        )
    return ""


def _engine_of_model(
    name: str, engines: Collection[str], models: Iterable[ModelInfo]
) -> str | None:
    """Return the engine of the model with this name; ``None`` if there is none."""
    listing_engine = next((model.engine for model in models if model.model == name), None)
    prefix_matches = (engine for start, engine in _MODEL_PREFIXES.items() if name.startswith(start))
    engine = listing_engine or next(prefix_matches, None)
    return engine if engine in engines else None


def reference_type_error(value: object) -> UsageError:
    """Return the error for a reference that is not a string."""
    return UsageError(
        f"model must be a str, got {short_repr(value)}.",
        hint=Hint("set_option", option="model", value="grok"),
    )


def load_error(engine: str, source: EngineFile, problem: str) -> EngineLoadError:
    """Return the error for an engine file that cannot be used."""
    return EngineLoadError(
        f"engine {engine!r} cannot be loaded: {problem}.",
        hint=f"Fix {display_path(source.path)}; it is reloaded on the next call.",
        engine=engine,
    )


def missing_key(
    engine: str, key: Key, key_notes: Iterable[str], alternative: Hint
) -> MissingKeyError:
    """Return the error for an engine whose key is not set.

    Args:
        engine: Name of the engine.
        key: The key, which is missing or a placeholder.
        key_notes: Lines about the key files and about variables with similar names.
        alternative: How to call a model that needs no key.
    """
    variable = key.variable or engine_variable(engine)
    problem = key.fault or ("is a placeholder" if key.state == "placeholder" else "is not set")
    text = f"engine {engine!r} needs a key, but {variable} {problem}"
    text = "; ".join([text, *(line.rstrip(".") for line in key_notes if line)])
    return MissingKeyError(
        text if text.endswith("?") else f"{text}.",
        hint=Hint("set_key", engine=engine) | alternative,
        engine=engine,
    )
