"""Defines, validates and describes the keyword arguments of `evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypedDict, cast

from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.batch import ImapKeywords
from gatewayx_nb.calls import (
    OPTIONS,
    CallOptions,
    InvalidValueError,
    MapOptions,
    Option,
    check_value,
    checker,
    option_table,
)
from gatewayx_nb.engine_pool import EnginePool

_MAX_SAMPLES = 1000


def _check_column(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise InvalidValueError("the name of a column")
    return value


def _check_samples(value: object) -> object:
    count = OPTIONS["max_tokens"].check(value)
    if count > _MAX_SAMPLES:
        raise InvalidValueError(f"an int from 1 to {_MAX_SAMPLES}")
    return count


def _check_score_names(value: object) -> object:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise InvalidValueError("the names of scores")
    return tuple(names)


_check_pool = checker("an EnginePool", lambda value: isinstance(value, EnginePool))


class _EvaluationOnlyKeywords(TypedDict, total=False):
    """The keyword arguments that a map does not have."""

    expected: Annotated[
        str | None, Option(_check_column, "the column of expected answers", example="label")
    ]
    id: Annotated[
        str | None,
        Option(
            _check_column, "the column of unique IDs; the positions if omitted", example="ticket"
        ),
    ]
    samples: Annotated[
        int,
        Option(
            _check_samples, "number of answers of each variant to each row", example=3, default=1
        ),
    ]
    options: Annotated[
        Mapping[str, CallOptions] | None,
        Option(
            lambda value: value,  # the grid checks them
            "what else differs between variants: a dict that maps names to dicts of options",
            example={"cold": {"temperature": 0}, "warm": {"temperature": 1}},
        ),
    ]
    cluster: Annotated[
        str | None,
        Option(
            _check_column,
            "the column that groups rows, for example by document; the groups are then the units of"
            " intervals and tests",
            example="document",
        ),
    ]
    lower_is_better: Annotated[
        str | Iterable[str],
        Option(
            _check_score_names,
            "the names of scores for which lower is better",
            example="length",
            default=(),
        ),
    ]
    schema: Annotated[
        Any,
        Option(
            lambda value: value,  # the map checks it
            "a type such as City, or a JSON Schema dict, that every answer must match",
        ),
    ]
    pool: Annotated[
        EnginePool | None,
        Option(_check_pool, "the pool that makes the calls; the default pool if omitted"),
    ]


class EvaluateKeywords(_EvaluationOnlyKeywords, ImapKeywords, total=False):
    """The keyword arguments of `evaluate` besides rows, prompts, models and scorers."""


MEANINGS = {
    "rows": "a DataFrame, a Series, or an iterable of strings or dicts",
    "prompts": "a template with `{{column}}`, a function of the row that returns a string or a dict"
    " of keywords of `ask`, or a dict that maps names to these",
    "models": "one or more references; the default model if omitted",
    "scorers": "one or more functions, or a dict that maps names to functions; see `scorers`,"
    " `judge` and `prefer`",
    "system": "the system prompt of all variants: a string, a template or a function of the row",
    "name": "name of the evaluation; its answers are shared only with evaluations of this name",
    "max_cost": "maximum cost in US dollars of the answers, over all runs of the evaluation, and"
    " likewise of each judge's questions; no limit if omitted",
    "on_error": "'keep' counts failed answers as errors; 'raise' ends the evaluation",
    "fresh": "request all answers again, even those of an earlier run or a cassette",
    "max_age": "request an answer again if it is older: seconds, or a string such as '30d'",
    "approve": "'always', 'never' or a function that permits tool calls; an evaluation cannot ask"
    " for permission",
}
"""The help texts of parameters that do not have the same meaning as in `map`."""

_EVALUATION_OPTIONS = option_table(_EvaluationOnlyKeywords)
_MAP_OPTIONS = {
    name: option
    for name, option in option_table(ImapKeywords).items()
    if name not in MapOptions.__annotations__
}


def split_keywords(options: EvaluateKeywords) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the evaluation, with defaults, and the options of its calls.

    Raises:
        UsageError: If an option is unknown or invalid.
    """
    table = {**_EVALUATION_OPTIONS, **_MAP_OPTIONS}
    check_keywords(options, {*EvaluateKeywords.__annotations__, *MEANINGS})
    evaluation_options = {name: option.default for name, option in table.items()}
    call_options: dict[str, Any] = {}
    for name, value in cast("Mapping[str, Any]", options).items():
        if name not in table:
            call_options[name] = value
        elif value is not None:
            evaluation_options[name] = check_value(table[name], name, value)
    return evaluation_options, call_options
