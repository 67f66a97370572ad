"""Parameters that a model rejects: which one it was, and asking again without it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import GatewayError, ProviderError, UnsupportedFeatureError
from gatewayx_nb.llm_engines import body

if TYPE_CHECKING:
    from gatewayx_nb.messages import Request

_STATUSES = (400, 422)

_SPELLINGS = {
    "temperature": ("temperature",),
    "top_p": ("top_p", "topP", "p"),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"),
    "stop": ("stop", "stop_sequences", "stopSequences"),
    "seed": ("seed", "random_seed"),
}
"""How the providers spell what a caller sets."""


_MEND = "Leave it out, or let it be left out: `-p drop_unsupported=true`."


class RejectedParameterError(UnsupportedFeatureError):
    """The model rejects a parameter; ``code`` is the name under which the caller set it."""


def refuse(request: Request, lacks: frozenset[str], engine: str) -> None:
    """Refuse a parameter that the caller set and the provider does not have.

    Raises:
        RejectedParameterError: It names the first of them.
    """
    for name in sorted(lacks):
        if _is_set(request, name):
            raise RejectedParameterError(
                f"engine {engine!r} has no parameter {name!r}; nothing was sent.",
                mend=_MEND,
                engine=engine,
                model=request.model,
                code=name,
            )


def explained(error: GatewayError, request: Request, data: bytes) -> GatewayError:
    """Give an error that names the parameter which was rejected, or the error itself.

    A parameter counts as rejected where the caller set it and the provider's ``param`` field, or
    its message as a whole word, names it. The reasons that providers give vary too much for more:
    "Unsupported parameter", "Extra inputs are not permitted", "is not supported with this model".
    """
    if not isinstance(error, ProviderError) or error.status not in _STATUSES:
        return error
    name = _named(request, data)
    if name is None:
        return error
    return RejectedParameterError(
        f"{error.engine}:{request.model} rejects {name!r}: {error.what}",
        mend=_MEND,
        engine=error.engine,
        model=error.model,
        status=error.status,
        code=name,
    )


def without(request: Request, name: str) -> Request:
    """Give the request without one parameter."""
    if name in request.params:
        return replace(request, params={k: v for k, v in request.params.items() if k != name})
    if name == "stop":
        return replace(request, stop=())
    unset: dict[str, Any] = {name: None}
    return replace(request, **unset)


def _is_set(request: Request, name: str) -> bool:
    """Tell whether the caller set it; 0 is a value too."""
    return getattr(request, name) not in (None, ())


def _named(request: Request, data: bytes) -> str | None:
    """Give the parameter of the caller's that an error body names."""
    param, message = body.rejection(data)
    ours = {name: spelt for name, spelt in _SPELLINGS.items() if _is_set(request, name)}
    theirs = {name: (name,) for name in request.params}
    for name, spellings in {**ours, **theirs}.items():
        for spelling in spellings:
            quoted = re.search(rf"(?<![\w.]){re.escape(spelling)}(?![\w])", message)
            if param.rpartition(".")[2] == spelling or (quoted and len(spelling) > 1):
                return name
    return None
