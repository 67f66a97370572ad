"""Validation of a call's keywords, and the request built from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.schema import ResponseSchema

if TYPE_CHECKING:
    from gatewayx_nb.conversations import Chat, ChatSlot
    from gatewayx_nb.secure_config import Limits


class CallOptions(TypedDict, total=False):
    """The keywords of every call; those omitted or ``None`` are not sent."""

    model: str | None
    system: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    stop: str | Iterable[str] | None
    seed: int | None
    images: Iterable[object]
    schema: object
    params: Mapping[str, Any]
    timeout: float | None
    max_cost: float | Decimal | None
    allow_unpriced: bool
    fallback: str | Iterable[str]
    chat: str | Chat | ChatSlot | None
    fresh: bool


def build_request(
    prompt: str, model: str, options: CallOptions, shape: ResponseSchema | None, *, streamed: bool
) -> Request:
    """Return the request of a call.

    Raises:
        UsageError: If a keyword is unknown or a value has the wrong type.
    """
    _known(options)
    if not isinstance(prompt, str):
        raise _wrong("prompt", prompt, "a text")
    if not prompt.strip():
        raise UsageError(
            "the prompt is empty; expected a text.",
            hint='For instance `ask("Why is the sky blue?")`.',
        )
    pictures = tuple(map(images.load, options.get("images", ())))
    params = dict(_of(options, "params", Mapping) or {})
    return Request(
        messages=(Message("user", prompt, pictures),),
        model=model,
        system=_of(options, "system", str),
        temperature=_share(options, "temperature", math.inf),
        top_p=_share(options, "top_p", 1),
        max_tokens=_positive(options, "max_tokens"),
        stop=_stop(options.get("stop")),
        seed=_of(options, "seed", int),
        schema=shape.schema if shape else None,
        drop_unsupported=bool(params.pop("drop_unsupported", False)),
        params=params,
        streamed=streamed,
    )


def response_schema(options: CallOptions) -> ResponseSchema | None:
    """Return how to parse the reply, if a schema is set.

    Raises:
        UsageError: If the schema is invalid.
    """
    source = options.get("schema")
    return (
        source if source is None or isinstance(source, ResponseSchema) else ResponseSchema(source)
    )


def call_limits(options: CallOptions, settings: Limits) -> Limits:
    """Return the limits of a call: the settings, overridden by ``timeout`` and ``max_cost``."""
    timeout, most = options.get("timeout"), options.get("max_cost")
    if timeout is None and most is None and not options.get("allow_unpriced"):
        return settings
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        raise _wrong("timeout", timeout, "seconds above 0")
    if most is not None and not _is_dollars(most):
        raise _wrong("max_cost", most, "US dollars")
    return replace(
        settings,
        timeout=settings.timeout if timeout is None else float(timeout),
        max_call_cost=None if most is None else Decimal(str(most)),
        allow_unpriced=bool(options.get("allow_unpriced")),
    )


def _known(options: CallOptions) -> None:
    for name in options:
        if name not in CallOptions.__annotations__:
            known = CallOptions.__annotations__
            raise UsageError(
                f"a call takes no {name!r}.{did_you_mean(name, known)}",
                hint=f"It takes {', '.join(known)}; anything else goes into `params={{…}}`.",
            )


def _of(options: CallOptions, name: str, kind: type) -> Any:  # noqa: ANN401 - of type kind
    value = options.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(name, value, {"Mapping": "a dict"}.get(kind.__name__, kind.__name__))
    return value


def _share(options: CallOptions, name: str, most: float) -> float | None:
    value: Any = options.get(name)
    if value is not None and not (_is_number(value) and 0 <= value <= most and value < math.inf):
        expected = "a number of at least 0" if most == math.inf else f"a number from 0 to {most}"
        raise _wrong(name, value, expected)
    checked: float | None = value
    return checked


def _positive(options: CallOptions, name: str) -> int | None:
    value: int | None = _of(options, name, int)
    if value is not None and value < 1:
        raise _wrong(name, value, "a whole number above 0")
    return value


def _stop(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, Iterable):
        raise _wrong("stop", value, "a text, or several")
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(text, str) and text for text in texts):
        raise _wrong("stop", value, "a text, or several")
    return texts


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_dollars(value: object) -> bool:
    exact = Decimal(str(value)) if _is_number(value) else value
    return isinstance(exact, Decimal) and exact.is_finite() and exact >= 0


def _wrong(name: str, value: object, expected: str) -> UsageError:
    return UsageError(f"{name} is {value!r}; expected {expected}.", hint=f"Mend `{name}=`.")
