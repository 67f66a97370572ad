"""Validates the options of a map and of its calls, and contains their help texts."""

from __future__ import annotations

import re
from collections.abc import Callable  # noqa: TC003 - `get_type_hints` evaluates annotations
from decimal import Decimal  # noqa: TC003 - as above
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.calls import (
    OPTIONS,
    InvalidValueError,
    MapOptions,
    Option,
    check_options,
    check_value,
    checker,
    option_table,
)
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.mcp_server import MCPServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.calls import CallOptions

OnError = Literal["keep", "raise"]
Missing = Literal["error", "blank"]
Output = Literal["same", "columns", "replies"]

_AGE_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)")
_SECONDS_BY_UNIT = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def _one_of(*choices: str) -> Callable[[Any], Any]:
    *names, last = map(repr, choices)
    return checker(f"{', '.join(names)} or {last}", lambda value: value in choices)


def _age_seconds(value: object) -> float:
    if isinstance(value, str) and (match := _AGE_PATTERN.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS_BY_UNIT[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    seconds = getattr(value, "total_seconds", None)  # a timedelta
    if callable(seconds):
        return float(seconds())
    raise InvalidValueError("a number of seconds or a string such as '30d', in s, min, h, d or w")


_non_empty_str = checker(
    "a str that is not empty", lambda name: isinstance(name, str) and bool(name.strip())
)
_positive_int = OPTIONS["max_tokens"].check
_boolean = OPTIONS["allow_unpriced"].check
_dollars = OPTIONS["max_cost"].check


class PreviewKeywords(MapOptions, total=False):
    """The keyword arguments of `preview_map` besides its rows, prompt, model and schema."""

    name: Annotated[
        str | None,
        Option(
            _non_empty_str,
            "name of the job, for `gx.job`; derived from the job's definition if omitted",
            example="tickets",
        ),
    ]
    concurrency: Annotated[
        int | None,
        Option(
            _positive_int,
            "maximum number of calls in flight to an engine; 100 if omitted, 8 for `local`, or"
            " fewer if [limits] concurrency is lower",
            example=20,
        ),
    ]
    missing: Annotated[
        Missing,
        Option(
            _one_of("error", "blank"),
            "'error' fails a row in which a value is missing; 'blank' inserts an empty string",
            example="blank",
            default="error",
        ),
    ]


class ImapKeywords(PreviewKeywords, total=False):
    """The keyword arguments of `imap` besides its rows, prompt, model and schema."""

    on_error: Annotated[
        OnError,
        Option(
            _one_of("keep", "raise"),
            "'keep' keeps the error of a failed row, as in `gx_error`; 'raise' ends the map",
            example="raise",
            default="keep",
        ),
    ]
    fresh: Annotated[
        bool,
        Option(
            _boolean,
            "ask about all rows again, even those that an earlier run or a cassette answered",
            example=True,
            default=False,
        ),
    ]
    max_age: Annotated[
        float | str | None,
        Option(
            _age_seconds,
            "ask again about rows whose answer is older: seconds, or a string such as '30d'",
            example="30d",
        ),
    ]
    max_cost: Annotated[
        float | Decimal | None,
        Option(
            _dollars,
            "maximum cost of the job in US dollars, over all its runs; no limit if omitted",
            example=0.5,
        ),
    ]
    progress: Annotated[
        bool, Option(_boolean, "whether to show the progress", example=False, default=True)
    ]


class MapKeywords(ImapKeywords, total=False):
    """The keyword arguments of `map` besides its rows, prompt, model and schema."""

    output: Annotated[
        Output,
        Option(
            _one_of("same", "columns", "replies"),
            "'same' returns the rows with new columns, 'columns' only the new columns, 'replies'"
            " the replies",
            example="columns",
            default="same",
        ),
    ]
    batch: Annotated[
        bool,
        Option(
            _boolean,
            "submit the rows to the provider's batch API, which answers within a day at half"
            " the price; returns a job, whose `result()` waits",
            example=True,
            default=False,
        ),
    ]


MEANINGS = {
    "rows": "a DataFrame, a Series, or an iterable of strings or dicts",
    "prompt": "a template with `{{column}}`, or a function of the row that returns a string or"
    " a dict of keywords of `ask`; a row that is a string is `{{input}}`",
    "schema": "a type such as City, or a JSON Schema dict, whose fields become columns",
    "system": "the system prompt: a string, a template or a function of the row",
    "approve": "'always', 'never' or a function that permits tool calls; a map cannot ask for"
    " permission",
}
"""The meaning of each parameter that differs from that of `ask`."""

_MAP_OPTIONS = {
    name: option
    for name, option in option_table(MapKeywords).items()
    if name not in MapOptions.__annotations__
}
"""The map's own options, which are not passed to the calls."""


def split_options(
    options: PreviewKeywords, accepted_keywords: type[PreviewKeywords]
) -> tuple[dict[str, Any], MapOptions]:
    """Return the map's own options, validated and with defaults, and the options of its calls.

    Args:
        options: The keyword arguments.
        accepted_keywords: The keywords that the method accepts.

    Raises:
        UsageError: If an option is unknown, or an option of the map is invalid.
    """
    check_keywords(options, {*accepted_keywords.__annotations__, *MEANINGS, "model"})
    map_options: dict[str, Any] = {name: option.default for name, option in _MAP_OPTIONS.items()}
    call_options: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _MAP_OPTIONS:
            call_options[name] = value
        elif value is not None:
            map_options[name] = check_value(_MAP_OPTIONS[name], name, value)
    return map_options, cast("MapOptions", call_options)


def parse_age(age: object) -> float:
    """Return a maximum age in seconds.

    >>> parse_age("30d"), parse_age("12 h"), parse_age(60)
    (2592000.0, 43200.0, 60.0)

    Raises:
        UsageError: If ``age`` is neither a number of seconds nor a str such as ``"30d"``.
    """
    return cast("float", check_value(_MAP_OPTIONS["max_age"], "age", age))


def read_call_options(
    options: MapOptions, model: str | None, schema: object, map_options: Mapping[str, Any]
) -> tuple[CallOptions, object]:
    """Return the normalized options of the calls, and the system prompt, which varies by row.

    ``map_options`` are the options of the map itself.

    Raises:
        UsageError: If an option is invalid, or cannot be combined with an option of the map.
    """
    values: dict[str, Any] = {**options, "model": model, "schema": schema}
    if map_options["fresh"]:  # an open cassette is bypassed, too
        values["fresh"] = True
    system = values.pop("system", None)
    call_options = check_options(cast("CallOptions", values))
    if map_options["batch"] and call_options.get("tools"):
        raise UsageError(
            "tools and batch cannot be combined: a batch answers each row with one request.",
            hint=Hint("omit_option", option="batch"),
        )
    return call_options, system


def uses_servers(options: Mapping[str, Any]) -> bool:
    """Return whether the tools of a map's calls include an MCP server."""
    tools = options.get("tools")
    return any(
        isinstance(tool, MCPServer)
        for tool in (tools if isinstance(tools, list | tuple) else [tools])
    )
