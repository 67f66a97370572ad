"""Validates the options in the settings' ``[engines.<name>]`` tables."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.llm_engines.engine import LLMEngine

_COMMON_OPTIONS = ("base_url", "model")


def check_keywords(engine: type[LLMEngine], options: Iterable[str], name: str) -> None:
    """Check that an engine accepts the options in its settings.

    A class accepts ``base_url``, ``model``, the options listed in its ``keywords`` and the named
    parameters of its own and its bases' ``__init__``. A class with ``keywords = None``, or with its
    own ``__init__`` that takes ``**kwargs`` but no ``keywords``, accepts any option.

    Raises:
        ConfigError: If an option is not accepted; the message suggests the nearest option.
    """
    if _accepts_any(engine):
        return
    known_options = dict.fromkeys(
        [*_COMMON_OPTIONS, *(engine.keywords or ()), *_init_parameters(engine)]
    )
    for option in options:
        if option not in known_options:
            raise ConfigError(
                f"engine {name!r} has no setting {option!r}.{did_you_mean(option, known_options)}",
                hint=f"Fix [engines.{name}] in config/gatewayx.toml; the valid settings are"
                f" {', '.join(known_options)}.",
                engine=name,
            )


def _accepts_any(engine: type[LLMEngine]) -> bool:
    # The nearest class in the MRO that declares its options takes precedence.
    for base in engine.__mro__:
        if "keywords" in vars(base):
            return engine.keywords is None
        if "__init__" in vars(base):
            parameters = inspect.signature(base).parameters.values()
            return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return True


def _init_parameters(engine: type[LLMEngine]) -> list[str]:
    init_methods = [vars(base)["__init__"] for base in engine.__mro__ if "__init__" in vars(base)]
    return [
        name
        for init in init_methods
        if inspect.isfunction(init)
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in ("self", "api_key")
    ]
