"""Scorers that ask a model: `judge` about one answer, `prefer` about two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.calls import CallOptions, check_options
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.evaluation.grid_cell import SCORE_LIMIT, Score
from gatewayx_nb.evaluation.judge_prompt import EXPECTED, JudgePrompt
from gatewayx_nb.evaluation.model_scorer import ModelScorer, Question
from gatewayx_nb.extraction import extract_json
from gatewayx_nb.prompts import is_missing
from gatewayx_nb.text import one_line, short_repr, shorten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, ScoreValue
    from gatewayx_nb.replies import Reply

Labels = Sequence[str] | Mapping[str, bool | float]
"""The verdicts that a judge may give, or a dict that maps each verdict to its score."""

_JUDGE_TASK = """\
You judge the answer that a language model gave to a prompt. You are asked one question about it."""

_PREFER_TASK = """\
You compare two answers that language models gave to the same task. You are asked one question \
about them. The verdict is "first" if it favours the first answer, "second" if it favours the \
second, and "tie" if it favours neither. The order of the answers, their length and the names of \
their tags must not influence your verdict."""

_SCORE_BY_RESULT = {"won": 1.0, "tied": 0.5, "lost": 0.0}

_MAX_REASON_LENGTH = 2_000
"""Maximum number of characters of a reason."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The verdict of a judge.

    Attributes:
        label: The label that the judge chose.
        reason: The judge's reason; empty if there is none.
    """

    label: str
    reason: str


class _VerdictScorer(ModelScorer):
    """A scorer that asks a model for a reason and then a verdict."""

    options: CallOptions = {}  # noqa: RUF012 - replaced, never changed

    def __init__(
        self, question: str, model: str | None, name: str, *, task: str, labels: tuple[str, ...]
    ) -> None:
        _check_text("question", question, 'For example, "Is the answer polite?".')
        _check_text("name", name, 'For example, "polite".')
        if model is not None:
            _check_text("model", model, 'For example, "grok" or "anthropic:claude-sonnet-4-5".')
        self.question, self.model, self.labels = question, model, labels
        self.name = name = one_line(name)
        self._prompt = JudgePrompt(
            task=task, question=question, verdicts=labels, model=model, name=name
        )

    @property
    @override
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the model's answer, in which the reason precedes the verdict."""
        return {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "verdict": {"type": "string", "enum": list(self.labels)},
            },
            "required": ["reason", "verdict"],
            "additionalProperties": False,
        }

    @override
    def check_columns(self, columns: Collection[object]) -> None:
        """Check that the rows have the columns that the question names; see `ModelScorer`."""
        self._prompt.check_columns(columns)

    @override
    def __repr__(self) -> str:
        model = "" if self.model is None else f", model={self.model!r}"
        return f"{type(self).__name__}({shorten(self.question, 60)!r}{model}, name={self.name!r})"

    def _questions_about(
        self,
        cell: GridCell,
        rows: EvaluatedRows,
        tagged_texts: Mapping[str, str],
        *,
        is_swapped: bool = False,
    ) -> Iterator[Question]:
        """Yield the question about a cell, unless it names an expected answer that is missing."""
        row: dict[Any, Any] = rows.row(cell.position)
        if rows.expected is not None:
            row[EXPECTED] = rows.expected_at(cell.position)
        if self._prompt.needs_expected and EXPECTED in row and is_missing(row[EXPECTED]):
            return
        try:
            request = self._prompt.request(row, tagged_texts)
            request.options.update(self.options)
            yield Question(cell, request, is_swapped)
        except GatewayError as error:
            yield Question(cell, error, is_swapped)

    def _read_verdict(self, outcome: Reply[Any] | GatewayError) -> _Verdict | Score:
        """Return the verdict in an answer, or a score whose error says why there is none."""
        if isinstance(outcome, GatewayError):
            # An answer that does not match the schema may still contain a verdict.
            answer, text = _json_in_answer(outcome), getattr(outcome, "partial", "")
            if answer is _NO_JSON:
                return Score(error=f"{type(outcome).__name__}: {outcome.message}")
        else:
            answer, text = outcome.parsed, outcome.text
        if not isinstance(answer, Mapping):
            received = short_repr(text if answer is None else answer)
            return Score(error=f"the judge must answer with a JSON object, got {received}.")
        verdict, reason = answer.get("verdict"), answer.get("reason")
        # A label such as "1" or "true" may be returned as a number or a bool.
        verdict_text = str(verdict) if isinstance(verdict, str | int) else ""
        for label in self.labels:
            if label.strip().casefold() == verdict_text.strip().casefold():
                text = reason if isinstance(reason, str) else ""
                return _Verdict(label, shorten(text, _MAX_REASON_LENGTH))
        labels = ", ".join(map(repr, self.labels))
        received = short_repr(verdict) if "verdict" in answer else f"none in {short_repr(answer)}"
        return Score(error=f"the verdict must be one of {labels}, got {received}.")


_NO_JSON: Any = object()


def _json_in_answer(error: GatewayError) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of an answer that did not match the schema; `_NO_JSON` if there is none."""
    if error.help != "invalid-answer":
        return _NO_JSON
    try:
        return extract_json(getattr(error, "partial", ""))
    except ValueError:
        return _NO_JSON


class Judge(_VerdictScorer):
    """A scorer that asks a model one question about each answer, as returned by `judge`.

    Attributes:
        question: The template of the question.
        labels: The verdicts.
        values: The score for each verdict.
    """

    def __init__(
        self, question: str, model: str | None = None, *, labels: Labels, name: str
    ) -> None:
        self.values = _read_labels(labels)
        super().__init__(question, model, name, task=_JUDGE_TASK, labels=tuple(self.values))

    @override
    def questions(
        self, cells: Sequence[GridCell], rows: EvaluatedRows, baseline: str
    ) -> list[Question]:
        """Return a question about each answer; see `ModelScorer.questions`."""
        return [
            question
            for cell in cells
            if cell.has_answer
            for question in self._questions_about(
                cell, rows, {"prompt": cell.prompt, "answer": cell.answer}
            )
        ]

    @override
    def scores(
        self, outcomes: Sequence[tuple[Question, Reply[Any] | GatewayError | None]]
    ) -> dict[int, Score]:
        """Return the score of each cell about which the judge was asked."""
        scores = {}
        for question, outcome in outcomes:
            if outcome is not None:
                verdict = self._read_verdict(outcome)
                if isinstance(verdict, _Verdict):
                    verdict = Score(self.values[verdict.label], verdict.reason)
                scores[id(question.cell)] = verdict
        return scores


class Preference(_VerdictScorer):
    """A scorer that asks a model which of two answers is better, as returned by `prefer`.

    Attributes:
        question: The template of the question.
    """

    is_preference = True

    def __init__(self, question: str, model: str | None = None, *, name: str) -> None:
        super().__init__(
            question, model, name, task=_PREFER_TASK, labels=("first", "second", "tie")
        )

    @override
    def questions(
        self, cells: Sequence[GridCell], rows: EvaluatedRows, baseline: str
    ) -> list[Question]:
        """Return two questions, one per order, about each answer to compare with the baseline."""
        answered_cells = [cell for cell in cells if cell.has_answer]
        baseline_cell_by_key = {
            (cell.position, cell.sample): cell
            for cell in answered_cells
            if cell.variant.name == baseline
        }
        return [
            question
            for cell in answered_cells
            if cell.variant.name != baseline
            and (baseline_cell := baseline_cell_by_key.get((cell.position, cell.sample)))
            is not None
            for is_swapped, pair in ((False, (baseline_cell, cell)), (True, (cell, baseline_cell)))
            for question in self._questions_about(
                cell, rows, _answer_texts(*pair), is_swapped=is_swapped
            )
        ]

    @override
    def scores(
        self, outcomes: Sequence[tuple[Question, Reply[Any] | GatewayError | None]]
    ) -> dict[int, Score]:
        """Return 1.0 for an answer that won in both orders, 0.0 if it lost in both, else 0.5."""
        outcomes_by_cell: dict[int, dict[bool, Reply[Any] | GatewayError | None]] = {}
        for question, outcome in outcomes:
            outcomes_by_cell.setdefault(id(question.cell), {})[question.is_swapped] = outcome
        scores = {
            key: self._score(cell_outcomes) for key, cell_outcomes in outcomes_by_cell.items()
        }
        return {key: score for key, score in scores.items() if score is not None}

    def _score(
        self, outcome_by_swap: Mapping[bool, Reply[Any] | GatewayError | None]
    ) -> Score | None:
        """Return the score from the verdicts in both orders; ``None`` if one was not requested."""
        verdicts: dict[str, _Verdict | Score] = {}
        for ordinal in ("second", "first"):
            if (outcome := outcome_by_swap.get(ordinal == "first")) is None:
                return None
            verdicts[ordinal] = self._read_verdict(outcome)
        results: list[str] = []
        reasons: list[str] = []
        for ordinal, verdict in verdicts.items():
            if isinstance(verdict, Score):
                return verdict
            has_won = verdict.label == ordinal
            results.append("tied" if verdict.label == "tie" else "won" if has_won else "lost")
            period = "" if verdict.reason.endswith((".", "!", "?", "…")) else "."
            reasons.append(f"As the {ordinal}: {verdict.reason or 'no reason'}{period}")
        if results[0] == results[1]:
            result = f"It {results[0]} in both orders."
            return Score(_SCORE_BY_RESULT[results[0]], " ".join([result, *reasons]))
        result = (
            f"The verdicts differ: it {results[0]} as the second and {results[1]} as the first."
        )
        return Score(_SCORE_BY_RESULT["tied"], " ".join([result, *reasons]))


@with_one_line_errors
def judge(
    question: str,
    model: str | None = None,
    *,
    labels: Labels = ("yes", "no"),
    name: str = "judge",
    max_tokens: int | None = None,
) -> Judge:
    """Return a scorer for ``gx.evaluate`` that asks a model one question about each answer.

    The judge reads the prompt, the answer and the question, and replies with a reason and then a
    verdict. The score is the verdict, with the reason. Failed calls and replies without a valid
    verdict are errors of the score; they never count as 0.

    The prompt and the answer are marked as data, between tags that an answer cannot close. A model
    may still follow instructions in an answer, so compare the judge's verdicts with your own before
    you rely on them.

    >>> judge("Is the answer faithful to {{row.source}}?", model="grok")
    Judge('Is the answer faithful to {{row.source}}?', model='grok', name='judge')
    >>> grade = judge("How complete is it?", labels={"not": 0, "partly": 0.5, "fully": 1})
    >>> grade.values["partly"]
    0.5

    Args:
        question: A template that is filled in from the row: ``{{source}}``, ``{{row.source}}`` or
            ``{{row["Subject Line"]}}`` is the value of a column, ``{{expected}}`` the expected
            answer. Rows without an expected answer are not judged if the
            question contains ``{{expected}}``.
        model: Reference of the model that judges; the default model if omitted.
        labels: The verdicts from which the model chooses. For ``yes`` and ``no``, the score is a
            bool; for other verdicts, it is the verdict itself. A dict maps each verdict to its
            score; the scores are all bools or all numbers.
        name: Name of the score.
        max_tokens: Maximum number of tokens of the judge's answer; the model's maximum if omitted.

    Raises:
        UsageError: If an argument is invalid.
    """
    return _with_max_tokens(Judge(question, model, labels=labels, name=name), max_tokens)


@with_one_line_errors
def prefer(
    question: str = "Which answer is better?",
    model: str | None = None,
    *,
    name: str = "prefer",
    max_tokens: int | None = None,
) -> Preference:
    """Return a scorer for ``gx.evaluate`` that compares the answers of two variants.

    For each row and sample, the answer of each variant is compared with that of the first variant,
    which itself has no score. The judge is asked twice, once in each order, because models favour
    the answer that they read first or last. The score is 1.0 if the variant's answer won in both
    orders, 0.0 if it lost in both, and 0.5 if both verdicts are ties or they differ. The mean of
    the scores is the rate at which the variant wins.

    >>> prefer(model="grok")
    Preference('Which answer is better?', model='grok', name='prefer')

    Args:
        question: A template that is filled in from the row, as for `judge`.
        model: Reference of the model that judges; the default model if omitted.
        name: Name of the score.
        max_tokens: Maximum number of tokens of the judge's answer; the model's maximum if omitted.

    Raises:
        UsageError: If an argument is invalid.
    """
    return _with_max_tokens(Preference(question, model, name=name), max_tokens)


_VerdictScorerT = TypeVar("_VerdictScorerT", bound=_VerdictScorer)


def _with_max_tokens(scorer: _VerdictScorerT, max_tokens: int | None) -> _VerdictScorerT:
    """Set the maximum number of tokens of an answer, and return the scorer."""
    if max_tokens is not None:
        scorer.options = check_options({"max_tokens": max_tokens})
    return scorer


def _answer_texts(first: GridCell, second: GridCell) -> dict[str, str]:
    """Return the prompts and answers of two cells by tag, with a common prompt only once."""
    if first.prompt == second.prompt:
        prompts = {"prompt": first.prompt}
        return {**prompts, "first-answer": first.answer, "second-answer": second.answer}
    return {
        "first-prompt": first.prompt,
        "first-answer": first.answer,
        "second-prompt": second.prompt,
        "second-answer": second.answer,
    }


def _read_labels(labels: object) -> dict[str, ScoreValue]:
    """Return the score for each label.

    Raises:
        UsageError: If the labels are not two or more different strings, or their scores are neither
            all bools nor all finite numbers.
    """
    is_list = isinstance(labels, Sequence) and not isinstance(labels, str | bytes)
    if not is_list and not isinstance(labels, Mapping):
        raise _label_error("a list of strings or a dict", labels)
    texts = list(labels)  # type: ignore[call-overload]  # checked above
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise _label_error("non-empty strings", labels)
    folded_labels = {text.strip().casefold() for text in texts}
    if len(texts) < 2 or len(folded_labels) < len(texts):  # noqa: PLR2004 - a choice needs two
        raise _label_error("at least two strings that differ in more than case", labels)
    if isinstance(labels, Mapping):
        return _check_values(labels)
    if folded_labels == {"yes", "no"}:
        return {text: text.strip().casefold() == "yes" for text in texts}
    return {text: text for text in texts}


def _check_values(labels: Mapping[str, Any]) -> dict[str, ScoreValue]:
    values = labels.values()
    are_bools = all(isinstance(value, bool) for value in values)
    are_numbers = all(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and -SCORE_LIMIT < value < SCORE_LIMIT  # False for NaN
        for value in values
    )
    if not are_bools and not are_numbers:
        raise _label_error("strings with bools or finite numbers", labels)
    return dict(labels)


def _label_error(expected: str, labels: object) -> UsageError:
    return UsageError(
        f"labels must be {expected}, got {short_repr(labels)}.",
        hint='For example, `labels=["good", "bad"]` or `labels={"good": 1, "bad": 0}`.',
    )


def _check_text(name: str, value: object, hint: str) -> None:
    if not isinstance(value, str) or not one_line(value):
        raise UsageError(f"{name} must be a non-empty str, got {short_repr(value)}.", hint=hint)
