"""The options of a call: their validation, help texts, flags and recorded form."""

from __future__ import annotations

import json
import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Protocol,
    TypedDict,
    TypeGuard,
    cast,
    get_type_hints,
)

from gatewayx_nb import images
from gatewayx_nb.arguments import unknown_option
from gatewayx_nb.calls.option import InvalidValueError, Option, checker, is_int, positive_int
from gatewayx_nb.calls.tool_options import ToolOptions
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import EFFORTS, Effort, Message, Request
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from gatewayx_nb.images import Image
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.secure_config import Limits

_MAX_TIMEOUT = 604_800
"""A week in seconds; a longer timeout was probably written in milliseconds."""


def _is_number(value: object) -> TypeGuard[float]:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(cast("float", value)) <= sys.float_info.max


_check_boolean = checker("a bool", lambda value: isinstance(value, bool))
_check_string = checker("a str", lambda value: isinstance(value, str))


def _check_reference(value: object) -> object:
    if isinstance(value, list | tuple):
        raise InvalidValueError("one reference (`compare` calls several)")
    # A reference without an engine or a model is probably an f-string with an empty value.
    if not isinstance(value, str) or not all(part.strip() for part in value.split(":", 1)):
        raise InvalidValueError('a reference, "engine" or "engine:model"')
    return value


_check_number = checker("a number >= 0", lambda value: _is_number(value) and 0 <= value < math.inf)
_check_fraction = checker(
    "a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1
)
_check_seconds = checker(
    "a number of seconds > 0 and at most 604,800",
    lambda value: _is_number(value) and 0 < value <= _MAX_TIMEOUT,
    float,
)
_check_integer = checker("an int", is_int, operator.index)


def _check_params(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidValueError("a dict whose keys are str")
    params = dict(value)
    for name in _CHECKED_PARAMS & params.keys():
        params[name] = check_option(name, params[name])
    try:
        json.dumps(params, default=repr)  # a custom engine may accept any object
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"a dict that JSON can represent ({error})") from None
    return params


_CHECKED_PARAMS = frozenset({"temperature", "top_p", "max_tokens", "seed"})
"""Parameters with the same name and meaning as an option, for every provider."""


def _check_effort(value: object) -> object:
    if value not in EFFORTS:
        raise InvalidValueError(f"one of {', '.join(map(repr, EFFORTS))}")
    return value


def _check_cache(value: object) -> object:
    if value != "auto":
        raise InvalidValueError("'auto'")
    return value


def _check_dollars(value: object) -> Decimal:
    if isinstance(value, str) and value.startswith("$"):
        raise InvalidValueError("an amount of US dollars >= 0, without $")
    # `Decimal(0.1)` would be the nearest binary fraction; `str` keeps the typed digits.
    amount = Decimal(str(value)) if _is_number(value) else value
    if not (isinstance(amount, Decimal) and amount.is_finite() and amount >= 0):
        raise InvalidValueError("an amount of US dollars >= 0")
    return amount


def _one_or_several_checker(expected: str) -> Callable[[object], tuple[str, ...]]:
    def check(value: object) -> tuple[str, ...]:
        # A non-iterable value becomes a single item, which the check below refuses.
        is_single = isinstance(value, str) or not isinstance(value, Iterable)
        strings = (value,) if is_single else tuple(cast("Iterable[object]", value))
        if not all(isinstance(string, str) and string for string in strings):
            raise InvalidValueError(f"{expected}, or several of them")
        return cast("tuple[str, ...]", strings)

    return check


_check_strings = _one_or_several_checker("a str that is not empty")
_check_references = _one_or_several_checker("a reference")


def _load_images(value: object) -> tuple[Image, ...]:
    return tuple(map(images.load, images.as_list(value)))


def _as_schema(value: object) -> ResponseSchema:
    return value if isinstance(value, ResponseSchema) else ResponseSchema(value)


def _accept_conversation(value: object) -> object:
    return value  # the pool, which knows the conversations, resolves names


class ConversationSlot(Protocol):
    """The position of a turn in a conversation."""

    @property
    def model(self) -> str | None:
        """Reference of the model to use if the call does not name one."""

    @property
    def has_outside_text(self) -> bool:
        """Whether an earlier turn contains a tool result from outside; see `tool`."""

    def with_history(self, request: Request) -> Request:
        """Return the request with the earlier turns added."""

    def add_turn(self, messages: tuple[Message, ...], reply: Reply) -> None:
        """Add the turn to the conversation."""

    def without_adding(self) -> ConversationSlot:
        """Return the position for a request whose reply is not added to the conversation."""


class Conversation(Protocol):
    """A conversation that a call can join."""

    def slot(self) -> ConversationSlot:
        """Return the position of the next turn."""


class SharedOptions(TypedDict, total=False):
    """The keyword arguments of every call and of each row of a map; ``None`` means "not set"."""

    system: Annotated[
        str | None,
        Option(
            _check_string,
            "the system prompt",
            "-s/--system TEXT",
            "Be brief.",
            "system",
            str,
            group="Sampling",
        ),
    ]
    temperature: Annotated[
        float | None,
        Option(
            _check_number,
            "sampling temperature, a number >= 0; the model's own if omitted",
            "-t/--temperature X",
            0.2,
            to_recorded=float,
            parse_flag=float,
            group="Sampling",
        ),
    ]
    top_p: Annotated[
        float | None,
        Option(
            _check_fraction,
            "nucleus sampling: probability mass of the candidate tokens, from 0 to 1",
            "",
            0.9,
            to_recorded=float,
        ),
    ]
    max_tokens: Annotated[
        int | None,
        Option(
            positive_int,
            "maximum tokens in the answer; the model's own limit if omitted",
            "-n/--max-tokens N",
            500,
            to_recorded=int,
            parse_flag=int,
            group="Sampling",
        ),
    ]
    stop: Annotated[
        str | Iterable[str] | None,
        Option(
            _check_strings, "one or more strings that end the answer", "", "END", to_recorded=tuple
        ),
    ]
    seed: Annotated[
        int | None,
        Option(
            _check_integer,
            "sampling seed, an int, for engines that accept one",
            "",
            1,
            to_recorded=int,
        ),
    ]
    effort: Annotated[
        Effort | None,
        Option(
            _check_effort,
            "how much the model reasons: none, low, medium, high or max; its default if omitted",
            "--effort LEVEL",
            "low",
            to_recorded=str,
            group="Sampling",
        ),
    ]
    cache: Annotated[
        Literal["auto"] | None,
        Option(
            _check_cache,
            "'auto' asks the provider to cache the start of the prompt; its default if omitted",
            "",
            "auto",
        ),
    ]
    images: Annotated[
        object,
        Option(
            _load_images,
            "one or more files, https URLs, bytes, figures or PIL images",
            "--image EXPR",
            "plot.png",
            "images",
            repeatable=True,
            default=(),
            group="Context",
        ),
    ]
    params: Annotated[
        Mapping[str, Any],
        Option(
            _check_params,
            "additional provider parameters, either for all engines or keyed by engine name",
            "-p/--param K=V",
            {"top_p": 0.9},
            to_recorded=dict,
            repeatable=True,
            default={},
            group="Sampling",
        ),
    ]
    timeout: Annotated[
        float | None,
        Option(
            _check_seconds,
            "seconds for the whole call, including retries; [limits] timeout (600) if omitted",
            "--timeout S",
            60,
            parse_flag=float,
            group="Run",
        ),
    ]
    allow_unpriced: Annotated[
        bool,
        Option(
            _check_boolean,
            "send the call even if a cost limit is set and the price is unknown",
            "--allow-unpriced",
            example=True,
            default=False,
            group="Run",
        ),
    ]


class CompareOptions(SharedOptions, ToolOptions, total=False):
    """The keyword arguments of every call, including comparisons."""

    max_cost: Annotated[
        float | Decimal | None,
        Option(
            _check_dollars,
            "maximum cost of the call in US dollars; no limit if omitted",
            "--max-cost USD",
            0.05,
            parse_flag=float,
            group="Run",
        ),
    ]
    fresh: Annotated[
        bool,
        Option(
            _check_boolean,
            "bypass the open cassette, whose entry stays unchanged",
            "--fresh",
            example=True,
            default=False,
            group="Run",
        ),
    ]
    renew: Annotated[
        bool,
        Option(
            _check_boolean,
            "make the call again and replace its entry in the open cassette",
            "--renew",
            example=True,
            default=False,
            group="Run",
        ),
    ]


class MapOptions(SharedOptions, ToolOptions, total=False):
    """The keyword arguments that apply to each row of a map."""

    fallback: Annotated[
        str | Iterable[str],
        Option(
            _check_references,
            "one or more engines to try in turn if the call fails before any output",
            "--fallback REF",
            ["anthropic", "local"],
            repeatable=True,
            default=(),
            group="Run",
        ),
    ]


class AskOptions(CompareOptions, MapOptions, total=False):
    """The keyword arguments of a call to one model."""

    chat: Annotated[
        str | Conversation | ConversationSlot | None,
        Option(
            _accept_conversation,
            "the conversation to continue, or its name; a new name starts one",
            "-c/--chat NAME",
            "story",
            group="Context",
        ),
    ]


class CallOptions(AskOptions, total=False):
    """All options of a call, including the named parameters of `Caller.ask`."""

    model: Annotated[
        str | None,
        Option(
            _check_reference,
            '"engine" or "engine:model"; the default model if omitted',
            example="grok",
        ),
    ]
    schema: Annotated[
        object,
        Option(
            _as_schema,
            "a type such as City or list[City], or a JSON Schema dict; sets `reply.parsed`",
            "--schema NAME",
            to_recorded=dict,
            group="Shape",
        ),
    ]


def option_table(options: type[Any]) -> dict[str, Option]:
    """Return the options by name, from the annotations of a TypedDict."""
    hints = get_type_hints(options, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


OPTIONS: Mapping[str, Option] = option_table(CallOptions)
"""The options by name, from the annotations of `CallOptions`."""

PARAM_OPTIONS: Mapping[str, Option] = {
    name: option for name, option in OPTIONS.items() if not option.flag and name != "model"
}
"""The options without a flag; a cell sets them with ``-p``, as in ``-p seed=1``."""

_LIMIT_FIELDS = {
    "timeout": "timeout",
    "max_cost": "max_call_cost",
    "allow_unpriced": "allow_unpriced",
}
"""Maps options to the fields of `Limits` that they override."""


def check_options(options: CallOptions) -> CallOptions:
    """Return the options that are set, normalized; this function is idempotent.

    Raises:
        UsageError: If an option is unknown or a value is invalid.
    """
    return cast(
        "CallOptions",
        {name: check_option(name, value) for name, value in options.items() if value is not None},
    )


def call_limits(options: CallOptions, settings: Limits) -> Limits:
    """Return the limits of a call: its options take precedence over the settings."""
    # Test for `None`, because `max_cost=0` and `allow_unpriced=False` are also limits.
    overrides: dict[str, Any] = {
        field: value
        for name, field in _LIMIT_FIELDS.items()
        if (value := options.get(name)) is not None
    }
    return replace(settings, **overrides) if overrides else settings


def check_option(name: str, value: object, flag: str = "") -> object:
    """Return the normalized value of one option.

    Args:
        name: The option.
        value: The value.
        flag: The flag with which the option was typed, such as ``-t`` or ``-p seed=``, for the
            error message.

    Raises:
        UsageError: If the option is unknown or the value is invalid.
    """
    option = OPTIONS.get(name)
    if option is None:
        raise unknown_option(name, OPTIONS)
    return check_value(option, name, value, flag)


def check_value(option: Option, name: str, value: object, flag: str = "") -> object:
    """Return the normalized value of an option, which need not be in `OPTIONS`."""
    try:
        return option.check(value)
    except InvalidValueError as error:
        example: Hint | str = Hint("set_option", option=name, value=option.example)
        if flag:
            space = "" if flag.endswith("=") else " "
            example = f"For example, `{flag}{space}{option.example}`."
        raise UsageError(
            f"{f'`{flag}`' if flag else name} must be {error}, got {short_repr(value)}.",
            hint=example,
        ) from None
