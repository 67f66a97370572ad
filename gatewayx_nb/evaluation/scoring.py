"""Scores the cells of an evaluation with scorers that are functions."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import decimal
import dis
import enum
import functools
import inspect
import math
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.batch import Row
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.evaluation.grid_cell import SCORE_LIMIT, Score
from gatewayx_nb.evaluation.model_scorer import ModelScorer
from gatewayx_nb.text import one_line, short_repr, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, ScoreValue

SCORER_PARAMETERS = ("reply", "text", "parsed", "row", "expected", "prompt", "variant")
"""The names of the parameters that a scorer may have."""

_MAX_ASYNC_CELLS = 16
"""Maximum number of cells that asynchronous scorers work on at the same time."""

_IMMUTABLE_TYPES = (str, int, float, bytes, type(None), dt.date, decimal.Decimal, enum.Enum)

_MAX_ERROR_LENGTH = 2_000
"""Maximum number of characters of an error's or an assertion's message."""

_PROGRESS_DELAY = 2.0
"""Seconds of scoring after which a progress bar is shown."""

_SCORER_HINT = "For example, `def is_short(text): return len(text) < 100`."


@dataclass(frozen=True, slots=True)
class FunctionScorer:
    """A scorer that is a function.

    Attributes:
        name: Name of the score.
        function: The function.
        parameters: The names of its parameters.
        lower_is_better: Whether a lower score is better.
        needs_expected: Whether it cannot score without expected answers.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    lower_is_better: bool = False
    needs_expected: bool = False

    @property
    def has_assert(self) -> bool:
        """Whether the function contains an ``assert``; it then need not return a value."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        if code is None:
            code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
        return code is not None and any(
            instruction.opname == "LOAD_ASSERTION_ERROR" or instruction.argval == "AssertionError"
            for instruction in dis.get_instructions(code)
        )

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        call = getattr(type(self.function), "__call__", None)  # noqa: B004 - to inspect it
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)


Scorer = FunctionScorer | ModelScorer


class _FailedAssertion(dict[str, Score]):
    """The scores, by key, of an answer for which an assertion failed."""


def read_scorers(scorers: object) -> list[Scorer]:
    """Return the scorers that were passed to `evaluate`.

    Args:
        scorers: One or more functions or judges, or a dict that maps names to these.

    Raises:
        UsageError: If a scorer is not callable, has unknown parameters or no name, or if two have
            the same name.
    """
    scorer_list: list[Scorer]
    if isinstance(scorers, Mapping):
        scorer_list = [_read_scorer(scorer, name) for name, scorer in scorers.items()]
    else:
        is_single = callable(scorers) or isinstance(scorers, ModelScorer | str)
        if not is_single and not isinstance(scorers, Iterable):
            raise UsageError(
                f"scorers must be functions, got {short_repr(scorers)}.", hint=_SCORER_HINT
            )
        listed_scorers = [scorers] if is_single else list(cast("Iterable[object]", scorers))
        scorer_list = [_read_scorer(scorer, None) for scorer in listed_scorers]
    for name, count in Counter(scorer.name for scorer in scorer_list).items():
        if count > 1:
            raise UsageError(
                f"two scorers have the name {name!r}.",
                hint='Give them names: `scorers={"first": …, "second": …}`.',
            )
    return scorer_list


def _read_scorer(scorer: object, name: str | None) -> Scorer:
    if name is not None:
        if not isinstance(name, str) or not one_line(name):
            raise UsageError(
                f"the name of a scorer must be a str with visible characters, got"
                f" {short_repr(name)}."
            )
        name = one_line(name)
    if isinstance(scorer, ModelScorer):
        if name is not None:
            scorer = copy.copy(scorer)
            scorer.name = name
        return scorer
    if getattr(scorer, "is_scorer_factory", False):
        scorer = _call_factory(cast("Callable[[], Any]", scorer))
    if not callable(scorer) or isinstance(scorer, type):
        raise UsageError(
            f"a scorer must be a function, got {short_repr(scorer)}.", hint=_SCORER_HINT
        )
    scorer_name = one_line(str(name or getattr(scorer, "__name__", type(scorer).__name__)))
    if scorer_name == "<lambda>":
        raise UsageError(
            "a scorer must have a name, got a lambda.",
            hint='Name it: `scorers={"short": lambda text: len(text) < 100}`.',
        )
    parameters = _parameter_names(scorer, scorer_name)
    return FunctionScorer(
        scorer_name,
        scorer,
        parameters,
        getattr(scorer, "lower_is_better", False),
        "expected" in parameters and _needs_expected(scorer),
    )


def _needs_expected(scorer: Callable[..., Any]) -> bool:
    """Return whether a scorer needs expected answers.

    The attribute ``needs_expected`` decides; by default, a scorer needs them if its parameter
    ``expected`` has no default. A built-in scorer has the parameter even if it was created with a
    value.
    """
    parameter = inspect.signature(scorer).parameters.get("expected")
    is_required = parameter is not None and parameter.default is parameter.empty
    return bool(getattr(scorer, "needs_expected", is_required))


def check_expected(scorers: Iterable[Scorer]) -> None:
    """Check that no scorer needs expected answers; called if no column contains them.

    Raises:
        UsageError: If a scorer needs expected answers.
    """
    for scorer in scorers:
        if isinstance(scorer, FunctionScorer) and scorer.needs_expected:
            raise UsageError(
                f"the scorer {scorer.name!r} needs expected answers, but `expected` is not set.",
                hint='Name the column that contains them: `expected="label"`.',
            )


def _call_factory(factory: Callable[[], Any]) -> Any:  # noqa: ANN401 - a scorer
    """Return the scorer of a factory that was passed without parentheses."""
    try:
        return factory()
    except TypeError:
        name = getattr(factory, "__name__", "scorer")
        example = {"one_of": '"yes", "no"', "fits": "City"}.get(name, "…")
        raise UsageError(
            f"the scorer {name!r} needs an argument.",
            hint=f"For example, `gx.scorers.{name}({example})`.",
        ) from None


def _parameter_names(scorer: Callable[..., Any], name: str) -> tuple[str, ...]:
    """Return the parameters of a scorer.

    Raises:
        UsageError: If it has a required parameter that no evaluation provides.
    """
    try:
        parameters = inspect.signature(scorer).parameters.values()
    except (TypeError, ValueError):  # some built-in functions
        raise UsageError(
            f"the parameters of the scorer {name!r} cannot be determined.",
            hint="Wrap it in a function: `def score(text): …`.",
        ) from None
    names = []
    for parameter in parameters:
        if parameter.name in SCORER_PARAMETERS and parameter.kind is not parameter.POSITIONAL_ONLY:
            names.append(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            names.extend(name for name in SCORER_PARAMETERS if name not in names)
        elif parameter.kind is parameter.VAR_POSITIONAL or parameter.default is parameter.empty:
            raise UsageError(
                f"the scorer {name!r} has the parameter {str(parameter)!r}, which an evaluation"
                f" does not provide.{did_you_mean(parameter.name, SCORER_PARAMETERS)}",
                hint=f"A scorer may use {', '.join(SCORER_PARAMETERS)}.",
            )
    return tuple(names)


class Scoring:
    """Runs the scorers that are functions.

    Args:
        scorers: The scorers.
        rows: The rows of the evaluation.
        progress: Whether to show a progress bar if scoring takes more than 2 s.

    Attributes:
        rows: The rows of the evaluation.
        is_stopped: Whether Ctrl-C has stopped the scoring; the remaining cells have no scores.
        notes: Caveats, such as a scorer that has never returned a value.
    """

    def __init__(
        self,
        scorers: Iterable[Scorer],
        rows: EvaluatedRows,
        *,
        progress: bool = False,
    ) -> None:
        scorers = list(scorers)
        function_scorers = [scorer for scorer in scorers if isinstance(scorer, FunctionScorer)]
        self._sync_scorers = [scorer for scorer in function_scorers if not scorer.is_async]
        self._async_scorers = [scorer for scorer in function_scorers if scorer.is_async]
        self._scorer_by_score: dict[str, str] = {scorer.name: scorer.name for scorer in scorers}
        self._names_by_key: dict[str, dict[str, str]] = {
            scorer.name: {} for scorer in function_scorers
        }
        self._cells_without_value: dict[str, list[GridCell]] = {
            scorer.name: [] for scorer in function_scorers
        }
        self._asserting_scorers = {scorer.name for scorer in function_scorers if scorer.has_assert}
        self.rows, self._progress = rows, progress
        self._scored_ids: set[int] = set()
        self.is_stopped = False
        self.notes: list[str] = []

    @property
    def has_async_scorers(self) -> bool:
        """Whether a scorer is asynchronous."""
        return bool(self._async_scorers)

    def run(self, cells: Sequence[GridCell]) -> None:
        """Run the synchronous scorers; Ctrl-C stops them, and the scores so far are kept."""
        from tqdm import tqdm  # imported on first use, as for a map

        unscored_cells = [cell for cell in cells if id(cell) not in self._scored_ids]
        is_hidden = not (self._progress and self._sync_scorers)
        try:
            for cell in tqdm(
                unscored_cells, "scoring", leave=False, delay=_PROGRESS_DELAY, disable=is_hidden
            ):
                self.score(cell)
        except KeyboardInterrupt:
            self.is_stopped = True

    def score(self, cell: GridCell) -> None:
        """Run the synchronous scorers on one cell, if it has an answer."""
        if cell.has_answer:
            for scorer in self._sync_scorers:
                self._add_scores(cell, scorer, _call_scorer(scorer, self._arguments(scorer, cell)))
        self._scored_ids.add(id(cell))

    async def arun(self, cells: Sequence[GridCell]) -> None:
        """Run the asynchronous scorers, on several cells at the same time."""
        semaphore = asyncio.Semaphore(_MAX_ASYNC_CELLS)

        async def score(cell: GridCell) -> None:
            async with semaphore:
                for scorer in self._async_scorers:
                    scores = await _acall_scorer(scorer, self._arguments(scorer, cell))
                    self._add_scores(cell, scorer, scores)

        await asyncio.gather(*(score(cell) for cell in cells if cell.has_answer))

    def finish(self, cells: Sequence[GridCell]) -> None:
        """Complete the scores after the last cell.

        An error of a scorer that returns dicts becomes the error of each of its scores. A scorer
        that asserts, itself or in a function that it calls, and never returns a value, scores True
        where no assertion failed. If a score has numbers and labels, values of the rarer kind
        become errors.
        """
        for name, cells_without_value in self._cells_without_value.items():
            for cell in cells_without_value if name in self._asserting_scorers else ():
                cell.scores[name] = Score(value=True)
            if (
                cells_without_value
                and name not in self._asserting_scorers
                and not self._names_by_key[name]
            ):
                self.notes.append(f"{name} has returned no value for any answer.")
        for scorer in (*self._sync_scorers, *self._async_scorers):
            keys = self._names_by_key[scorer.name]
            plain_name = keys.pop("", None)
            if plain_name is None or not keys:
                continue
            for cell in cells:
                error_score = cell.scores.get(plain_name)
                if error_score is not None and error_score.error:
                    del cell.scores[plain_name]
                    cell.scores.update(dict.fromkeys(keys.values(), error_score))
        _reject_rarer_kinds(cells)

    def _arguments(self, scorer: FunctionScorer, cell: GridCell) -> dict[str, Any]:
        """Return the arguments of a scorer, as copies that it may change."""
        return {name: self._argument(name, cell) for name in scorer.parameters}

    def _argument(self, name: str, cell: GridCell) -> object:
        if name == "text":
            return cell.answer
        if name in {"reply", "variant"}:
            return getattr(cell, name)
        if name == "row":
            values = self.rows.inputs[cell.position]
            return Row({column: _copy(value) for column, value in values.items()})
        if name == "expected":
            return _copy(self.rows.expected_at(cell.position))
        return _copy(getattr(cell, name))

    def _add_scores(
        self, cell: GridCell, scorer: FunctionScorer, scores: Mapping[str, Score]
    ) -> None:
        keys = self._names_by_key[scorer.name]
        if not scores and scorer.name in self._cells_without_value:
            self._cells_without_value[scorer.name].append(cell)
        if isinstance(scores, _FailedAssertion):
            self._asserting_scorers.add(scorer.name)
        if any(score.value not in (None, False) for score in scores.values()):
            self._cells_without_value.pop(scorer.name, None)  # the scorer returns values
        for key, score in scores.items():
            if key not in keys:
                # Another scorer may have returned a dict with this key.
                is_taken = bool(key) and self._scorer_by_score.get(key, scorer.name) != scorer.name
                score_name = one_line(f"{scorer.name}.{key}" if is_taken else key)
                keys[key] = score_name or scorer.name
                self._scorer_by_score.setdefault(keys[key], scorer.name)
            cell.scores[keys[key]] = score


def _copy(value: object) -> object:
    """Return a copy of a value, or the value if it cannot change or cannot be copied."""
    if isinstance(value, _IMMUTABLE_TYPES):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a value may contain anything, such as a lock
        return value


def _call_scorer(scorer: FunctionScorer, arguments: dict[str, Any]) -> dict[str, Score]:
    """Call a scorer, and return its scores by key; the key of a single score is empty."""
    try:
        value = scorer.function(**arguments)
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError("it returned an awaitable; declare it with `async def`")  # noqa: TRY301
        return read_value(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a scorer may call `sys.exit`
        return _failure_scores(error)


async def _acall_scorer(scorer: FunctionScorer, arguments: dict[str, Any]) -> dict[str, Score]:
    try:
        return read_value(await cast("Awaitable[Any]", scorer.function(**arguments)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        return _failure_scores(error)


def _failure_scores(error: BaseException) -> dict[str, Score]:
    """Return the score for an exception: False for a failed assertion, else an error."""
    try:
        text = shorten(str(error), _MAX_ERROR_LENGTH)
    except Exception:  # noqa: BLE001 - `__str__` may be the user's
        text = ""
    if isinstance(error, AssertionError):
        return _FailedAssertion({"": Score(value=False, reason=text or "assertion failed")})
    line = _line_text(error.__traceback__)
    return {"": Score(error=f"{type(error).__name__}{': ' if text else ''}{text}{line}")}


def _line_text(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)
    scorer_frames = [frame for frame in frames if frame.filename != __file__]
    return f" (line {scorer_frames[0].lineno})" if scorer_frames else ""


def read_value(value: object) -> dict[str, Score]:
    """Return the scores in a scorer's return value, by key.

    Raises:
        TypeError: If it is not a bool, a number, a label, a dict of these, ``(value, why)`` or
            ``None``.
    """
    if value is None:
        return {}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not key.strip():
                raise TypeError(f"it returned a dict with the key {short_repr(key)}")
        scores = {key: _read_score(key_value) for key, key_value in value.items()}
        return {key: score for key, score in scores.items() if score is not None}
    score = _read_score(value)
    return {} if score is None else {"": score}


def _read_score(value: object) -> Score | None:
    reason = ""
    if isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - a value and its reason
        value, why = value
        if why is not None and not isinstance(why, str):
            raise TypeError(f"the reason must be a str, got {short_repr(why)}")
        reason = why or ""
    if value is None:
        return None
    return Score(_read_score_value(value), reason)


def _read_score_value(value: object) -> ScoreValue:
    if isinstance(value, enum.Enum):
        value = value.value
    type_name = type(value).__name__
    if isinstance(value, bool) or type_name in ("bool_", "bool"):  # NumPy's type
        return bool(value)
    if isinstance(value, str):
        if not value.strip():
            raise TypeError("it returned an empty label")
        return value
    if isinstance(value, Real) or type_name == "Decimal":
        number = float(value)  # type: ignore[arg-type]  # a Decimal
        if not math.isfinite(number):
            raise TypeError(f"it returned {number}; return None if the score does not apply")
        if abs(number) >= SCORE_LIMIT:
            raise TypeError(f"it returned {number:g}; a score must be below {SCORE_LIMIT:g}")
        return number
    raise TypeError(
        f"it returned a {type_name}; expected a bool, a number, a label, a dict of these,"
        " (value, why) or None"
    )


def _reject_rarer_kinds(cells: Iterable[GridCell]) -> None:
    """If a score has both numbers and labels, turn the rarer of the two into errors.

    Bools count as numbers if there are numbers: True is 1.
    """
    counts_by_is_label: dict[str, Counter[bool]] = {}
    for cell in cells:
        for name, score in cell.scores.items():
            if score.value is not None:
                is_label = isinstance(score.value, str)
                counts_by_is_label.setdefault(name, Counter())[is_label] += 1
    is_mostly_labels_by_name = {
        name: counts.most_common(1)[0][0]
        for name, counts in counts_by_is_label.items()
        if len(counts) > 1
    }
    for cell in cells if is_mostly_labels_by_name else ():
        for name, is_mostly_labels in is_mostly_labels_by_name.items():
            mixed_score = cell.scores.get(name)
            if mixed_score is None or mixed_score.value is None:
                continue
            if isinstance(mixed_score.value, str) is not is_mostly_labels:
                majority = "labels" if is_mostly_labels else "numbers"
                text = f"the score is {short_repr(mixed_score.value)}, but most are {majority}"
                cell.scores[name] = Score(error=text, reason=mixed_score.reason)
