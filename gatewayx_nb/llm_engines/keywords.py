"""Which keywords an engine takes from ``[engines.<name>]`` of the settings."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.llm_engines.engine import LLMEngine

_EVERY = ("base_url", "model")


def check_keywords(engine: type[LLMEngine], options: Iterable[str], name: str) -> None:
    """Look whether an engine takes the keywords that its settings hold.

    A class takes ``base_url``, ``model``, what its ``keywords`` name and what its ``__init__`` and
    those of its bases name. One without ``keywords``, or with an ``__init__`` of its own that takes
    ``**kwargs``, may read any.

    Raises:
        ConfigError: There is a keyword that it does not take; the nearest is named.
    """
    if _takes_any(engine):
        return
    known = dict.fromkeys([*_EVERY, *(engine.keywords or ()), *_named(engine)])
    for option in options:
        if option not in known:
            raise ConfigError(
                f"engine {name!r} takes no {option!r}.{nearest(option, known)}",
                mend=f"Mend [engines.{name}] in config/gatewayx.toml; it takes {', '.join(known)}.",
                engine=name,
            )


def _takes_any(engine: type[LLMEngine]) -> bool:
    for base in engine.__mro__:
        if "keywords" in vars(base):
            return engine.keywords is None
        if "__init__" in vars(base):
            parameters = inspect.signature(base).parameters.values()
            return any(one.kind is one.VAR_KEYWORD for one in parameters)
    return True


def _named(engine: type[LLMEngine]) -> list[str]:
    inits = [vars(base)["__init__"] for base in engine.__mro__ if "__init__" in vars(base)]
    return [
        name
        for init in inits
        if inspect.isfunction(init)
        for name, one in inspect.signature(init).parameters.items()
        if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)
        and name not in ("self", "api_key")
    ]
