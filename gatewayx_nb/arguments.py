"""Creates one-line errors for arguments that a public function does not accept."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "engine": ("model", "models"),
    "engines": ("models", "model"),
    "system_prompt": ("system",),
    "response_format": ("schema",),
}
"""Maps other libraries' parameter names to the equivalent parameters here."""

_ADVICE: Mapping[str, Hint | str] = {
    "stream": "Call `stream` instead; it yields the answer in chunks.",
    "n": "Repeat the call for several answers; `max_tokens` limits the length of an answer.",
    "api_key": Hint("set_key", engine="NAME"),
}
"""Advice for keywords that only other libraries accept."""


def unknown_option(name: str, known_names: Collection[str]) -> UsageError:
    """Return the error for a keyword that is not an option of a call."""
    options = (
        f"The options are {', '.join(sorted(known_names))}; any others go into `params={{…}}`."
    )
    return UsageError(
        f"{name!r} is not an option of a call.{_suggestion(name, known_names)}",
        hint=_ADVICE.get(name, options),
    )


def check_keywords(options: Iterable[str], known_names: Collection[str]) -> None:
    """Check that every keyword is known; call this before the check for missing arguments.

    Raises:
        UsageError: If a keyword is unknown.
    """
    for name in options:
        if name not in known_names:
            raise unknown_option(name, known_names)


def with_one_line_errors(function: F, name: str = "") -> F:
    """Wrap a function so that invalid arguments raise a one-line error.

    Args:
        function: The function to wrap.
        name: Public name of the wrapped function; by default, its own.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the function's own types
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            problem = argument_problem(error, call, args, kwargs)
        raise problem

    call.__name__ = name or function.__name__
    return cast("F", call)


def argument_problem(
    error: TypeError,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Exception:
    """Return a one-line error if a function does not accept the arguments, else ``error``."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as mismatch:
        parameters = signature.parameters
        # `bind` reports a missing argument first, even if an unknown argument is the actual
        # mistake.
        unknown_name = next((name for name in kwargs if name not in parameters), None)
        problem = f"{mismatch}."
        if unknown_name is not None:
            problem = f"got an unexpected keyword argument {unknown_name!r}."
            problem += _suggestion(unknown_name, parameters)
        untyped_parameters = (
            parameter.replace(annotation=parameter.empty) for parameter in parameters.values()
        )
        return UsageError(
            f"`{function.__name__}` does not accept these arguments: {problem}",
            hint=f"It takes ({shorten(', '.join(map(str, untyped_parameters)), 150)}).",
        )
    return error


def _suggestion(name: str, known_names: Collection[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a synonym or a similar known name, else an empty str."""
    synonyms = [synonym for synonym in _SYNONYMS.get(name, ()) if synonym in known_names]
    if name in _ADVICE:
        return ""
    return f" Did you mean {synonyms[0]!r}?" if synonyms else did_you_mean(name, known_names)
