"""Identifies the parameters that a model rejects, and removes them from a request."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    GatewayError,
    ProviderError,
    UnsupportedFeatureError,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.llm_engines.engine import LLMEngine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.messages import Request

# Mistral sends 422: https://docs.mistral.ai/api
_REJECTION_STATUSES = (400, 422)

_NUMBER_PATTERN = re.compile(r"(?<![\w.-])\d[\d,]{0,15}(?!\w)")
"""A number that is not part of a name, unlike the date in a model name."""

_PROVIDER_NAMES_BY_OPTION = {
    "temperature": ("temperature",),
    "top_p": ("top_p", "topP", "p"),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"),
    "stop": ("stop", "stop_sequences", "stopSequences"),
    "seed": ("seed", "random_seed"),
    "effort": (
        *("reasoning_effort", "effort", "reasoning", "Reasoning", "thinkingLevel", "thinking"),
        *("Thinking", "thinking_level", "thinkingConfig", "thinking_config", "output_config"),
        *("token_budget", "output_config.effort", "reasoning.effort"),
    ),
    "cache": ("prompt_cache_key", "cache_control"),
}
"""The names that providers use for each parameter."""


class RejectedParameterError(UnsupportedFeatureError):
    """The model rejected a parameter; ``code`` is the name that the caller used.

    Attributes:
        numbers: The numbers in the provider's message; ``None`` if an engine raised the error.
    """

    numbers: tuple[int, ...] | None = None


def check_supported(engine: LLMEngine, request: Request) -> None:
    """Check that the engine supports every parameter that the caller set.

    Raises:
        RejectedParameterError: If the provider or the model does not support a parameter, if
            ``params`` contains an unknown name, or if the engine's `generate` does not accept a
            keyword.
    """
    # The names are sorted so that several unsupported parameters always give the same message.
    for name in sorted(engine.unsupported_options):
        if _is_set(request, name):
            raise _rejection(engine, request, name, "does not support")
    pattern = engine.models_without_effort
    if request.effort is not None and pattern is not None and pattern.search(request.model):
        raise RejectedParameterError(
            f"{engine.name}:{request.model} is not a reasoning model, so it does not support"
            " 'effort'; nothing was sent.",
            hint=_hint("effort"),
            engine=engine.name,
            model=request.model,
            code="effort",
        )
    known_params = engine.params
    if known_params is not None:
        for name in request.params:
            if name not in known_params:
                raise _rejection(engine, request, name, "has no parameter", known_params)
    accepted_keywords = _generate_keywords(type(engine))
    if accepted_keywords is not None:
        for name in request.keywords():
            if name not in accepted_keywords:
                raise _rejection(engine, request, name, "does not take", accepted_keywords)


def takes(engine: LLMEngine, name: str) -> bool:
    """Return whether an engine accepts a keyword such as ``system`` or ``messages``."""
    accepted_keywords = _generate_keywords(type(engine))
    return accepted_keywords is None or name in accepted_keywords


def _rejection(
    engine: LLMEngine, request: Request, name: str, problem: str, known_names: Iterable[str] = ()
) -> RejectedParameterError:
    hint = _hint(name)
    if name in request.params:
        hint = Hint("omit_param", param=name, known=", ".join(sorted(known_names)))
    return RejectedParameterError(
        f"engine {engine.name!r} {problem} {name!r}; nothing was sent."
        f"{did_you_mean(name, known_names)}",
        hint=hint,
        engine=engine.name,
        model=request.model,
        code=name,
    )


def _generate_keywords(engine: type[LLMEngine]) -> frozenset[str] | None:
    """Return the keywords that an engine's `generate` accepts; ``None`` if it accepts any."""
    if engine.stream is not LLMEngine.stream:  # only the base class's method calls `generate`
        return None
    # The first two parameters are `self` and the prompt.
    parameters = list(inspect.signature(engine.generate).parameters.values())[2:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def explain_rejection(error: GatewayError, request: Request, data: bytes) -> GatewayError:
    """Return an error that names the rejected parameter, or ``error`` itself.

    A parameter counts as rejected if the caller set it and it is named in the provider's ``param``
    field or appears as a whole word in the message. The providers' reasons vary too much for a
    closer check: "Unsupported parameter", "Extra inputs are not permitted", "is not supported with
    this model".
    """
    if not isinstance(error, ProviderError) or error.status not in _REJECTION_STATUSES:
        return error
    name = _named_param(request, data)
    if name is None:
        return error
    rejection = RejectedParameterError(
        f"{error.engine}:{request.model} rejects {name!r}: {error.message}",
        hint=_hint(name),
        engine=error.engine,
        model=error.model,
        status=error.status,
        code=name,
    )
    rejection.numbers = _numbers(json_body.rejected_param(data)[1])
    return rejection


def model_token_limit(error: RejectedParameterError, sent_limit: int) -> int | None:
    """Return the model's limit if it rejected ``max_tokens`` for exceeding that limit.

    Args:
        error: The rejection.
        sent_limit: The ``max_tokens`` that was sent.
    """
    if error.code != "max_tokens":
        return None
    # The message also contains the name of the model and the HTTP status, so it is searched only if
    # an engine raised the error.
    numbers = _numbers(error.message) if error.numbers is None else error.numbers
    return max((number for number in numbers if 1 < number < sent_limit), default=None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number.replace(",", "")) for number in _NUMBER_PATTERN.findall(text))


def _hint(name: str) -> Hint:
    drop_hint = Hint("set_option", option="params", value={"drop_unsupported": True})
    return Hint("omit_option", option=name) | drop_hint


def without_param(request: Request, name: str) -> Request:
    """Return the request without one parameter."""
    if name in request.params:
        return replace(request, params={k: v for k, v in request.params.items() if k != name})
    if name == "stop":
        return replace(request, stop=())
    unset_value: dict[str, Any] = {name: None}
    return replace(request, **unset_value)


def _is_set(request: Request, name: str) -> bool:
    """Return whether the caller set a parameter; 0 counts as set."""
    return getattr(request, name) not in (None, ())


def _named_param(request: Request, data: bytes) -> str | None:
    """Return the caller's name for the parameter that an error body names."""
    param, message = json_body.rejected_param(data)
    names_by_option = {
        name: names for name, names in _PROVIDER_NAMES_BY_OPTION.items() if _is_set(request, name)
    }
    names_by_param = {name: (name,) for name in request.params}
    for name, provider_names in {**names_by_option, **names_by_param}.items():
        for provider_name in provider_names:
            mention = re.search(rf"(?<![\w.]){re.escape(provider_name)}(?![\w])", message)
            # In prose, a single letter such as Cohere's "p" need not be the parameter.
            if param.rpartition(".")[2] == provider_name or (mention and len(provider_name) > 1):
                return name
    return None
