"""Runs evaluations: requests the missing answers of a grid, and scores all answers."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import show_options
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.engine_pool import pool as default_pool
from gatewayx_nb.errors import (
    ContentFilterError,
    GatewayError,
    ProviderError,
    TruncatedError,
    UsageError,
    did_you_mean,
)
from gatewayx_nb.evaluation.evaluate_keywords import MEANINGS, EvaluateKeywords, split_keywords
from gatewayx_nb.evaluation.evaluation import Evaluation
from gatewayx_nb.evaluation.grid import (
    Axes,
    Grid,
    GridColumns,
    read_models,
    read_option_sets,
    read_prompts,
)
from gatewayx_nb.evaluation.live_scores import LiveScores
from gatewayx_nb.evaluation.masked import mask_keys
from gatewayx_nb.evaluation.model_family import same_family
from gatewayx_nb.evaluation.model_scorer import JudgeUsage, ModelScorer
from gatewayx_nb.evaluation.score_values import score_names
from gatewayx_nb.evaluation.scoring import (
    FunctionScorer,
    Scorer,
    Scoring,
    check_expected,
    read_scorers,
)
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import counted, one_line, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Unpack

    from gatewayx_nb.batch import MapPreview, MapSession, RowRequest
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.evaluation.model_scorer import Question

    Outcomes = Sequence[Reply[Any] | GatewayError | None]

_MAP_OPTIONS = ("concurrency", "fresh", "max_age", "max_cost", "on_error", "progress")
"""The options that an evaluation passes to its maps."""

_VERDICT_ERRORS = (ProviderError, ContentFilterError, TruncatedError)
"""Errors that mean that a judge refuses to answer, or that its answers are invalid."""

_JOIN_INTERVAL = 0.1
"""Seconds between two checks for Ctrl-C while asynchronous scorers run."""


@show_options(EvaluateKeywords, MEANINGS)
def evaluate(
    rows: Any,  # noqa: ANN401 - a DataFrame of any library, a list or another iterable
    prompts: object,
    models: object = None,
    scorers: object = (),
    **options: Unpack[EvaluateKeywords],
) -> Evaluation:
    """Send each row to each variant, and score the answers.

    See also: the guides ``evaluating`` and ``evaluation-in-ci``.

    A variant is a combination of a prompt, a model and a set of options. Answers are stored: after
    a crash, or with another variant or scorer, only missing answers are requested. If you stop the
    evaluation, it keeps the answers that have arrived. Evaluations whose rows have the same columns
    share their answers, unless their names differ.

    A scorer is a function with some of the parameters ``reply``, ``text``, ``parsed``, ``row``,
    ``expected``, ``prompt`` and ``variant``. It returns a bool, a number, a label, a dict of these,
    ``(value, why)``, or ``None`` if it does not apply. A failed ``assert`` is False; any other
    exception is an error, which is counted separately. `scorers` provides common checks; `judge`
    and `prefer` return scorers that ask a model.

    Raises:
        UsageError: If an argument is invalid; nothing is sent.
        GatewayError: If an error affects every answer, or all answers fail.
    """
    forbid_blocking_call("aevaluate")
    run = EvaluationRun(
        options.get("pool") or default_pool(), rows, prompts, models, scorers, options
    )
    return run.run()


@show_options(EvaluateKeywords, MEANINGS)
async def aevaluate(
    rows: Any,  # noqa: ANN401 - as above
    prompts: object,
    models: object = None,
    scorers: object = (),
    **options: Unpack[EvaluateKeywords],
) -> Evaluation:
    """Send each row to each variant, and score the answers; see `evaluate`.

    Asynchronous scorers run on the current event loop, and synchronous ones in another thread.
    """
    run = EvaluationRun(
        options.get("pool") or default_pool(), rows, prompts, models, scorers, options
    )
    return await run.arun()


@show_options(EvaluateKeywords, MEANINGS)
def preview_evaluation(
    rows: Any,  # noqa: ANN401 - as above
    prompts: object,
    models: object = None,
    scorers: object = (),
    **options: Unpack[EvaluateKeywords],
) -> MapPreview:
    """Return what `evaluate` would send and cost: cells, tokens, US dollars and time; send nothing.

    Scorers do not run. The questions of judges are counted but not priced, because they contain the
    answers.

    Raises:
        UsageError: If an argument is invalid.
    """
    run = EvaluationRun(
        options.get("pool") or default_pool(), rows, prompts, models, scorers, options
    )
    return run.preview()


@dataclass(slots=True)
class _JudgeStage:
    """The questions of one scorer that asks a model, and the map that sends them, if any."""

    scorer: ModelScorer
    model: str
    questions: list[Question]
    session: MapSession | None


class EvaluationRun:
    """One run of an evaluation.

    Args:
        pool: The pool that makes the calls.
        rows: The rows.
        prompts: The prompts.
        models: The models.
        scorers: The scorers.
        options: The options of the evaluation and of all its calls.

    Raises:
        UsageError: If an argument is invalid; nothing is sent.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the arguments of `evaluate`
        self,
        pool: EnginePool,
        rows: object,
        prompts: object,
        models: object,
        scorers: object,
        options: EvaluateKeywords,
    ) -> None:
        evaluation_options, call_options = split_keywords(options)
        self._pool, self._options, self._call_options = pool, evaluation_options, call_options
        self.scorers: list[Scorer] = read_scorers(scorers)
        axes = Axes(
            read_prompts(prompts),
            read_models(models, self._default_model),
            read_option_sets(evaluation_options["options"]),
        )
        self._grid = grid = Grid(
            rows,
            GridColumns(
                evaluation_options["expected"],
                evaluation_options["id"],
                evaluation_options["cluster"],
            ),
            axes,
            samples=evaluation_options["samples"],
            system=call_options.pop("system", None),
            blank=evaluation_options["missing"] == "blank",
        )
        self.rows = grid.rows
        if self.rows.expected is None:
            check_expected(self.scorers)
        self._check_judges()
        self.cells, self._requests = grid.cells()
        self._scoring = Scoring(self.scorers, grid.rows, progress=evaluation_options["progress"])
        self._judges: list[JudgeUsage] = []
        self._notes: list[str] = []
        self._mask: Callable[[str], str] = str
        self._is_stopped = False

    def _default_model(self) -> str:
        # Calls name the default model explicitly, so its permission is checked here.
        return self._pool.default_model(to_call=True)

    def _check_judges(self) -> None:
        columns: list[object] = list(
            dict.fromkeys(name for row in self.rows.inputs for name in row)
        )
        columns += [] if self.rows.expected is None else ["expected"]
        for scorer in self.scorers:
            if isinstance(scorer, ModelScorer):
                scorer.check_columns(columns)
                if scorer.model is None:
                    self._default_model()
            is_preference = isinstance(scorer, ModelScorer) and scorer.is_preference
            if is_preference and len(self._grid.variants) == 1:
                raise UsageError(
                    f"{scorer.name!r} compares variants, but there is only one.",
                    hint="Pass two prompts or models, or use `gx.judge` in place of `gx.prefer`.",
                )

    def preview(self) -> MapPreview:
        """Return the requests and the cost of the answers, without sending anything."""
        compared_cells = len(self.cells) - len(self.cells) // len(self._grid.variants)
        question_texts = []
        for scorer in self.scorers:
            if isinstance(scorer, ModelScorer):
                count = 2 * compared_cells if scorer.is_preference else len(self.cells)
                question_texts.append(f"up to {counted(count, 'question')} of {scorer.name}")
        preview = self._plan_answers()[0].preview()
        return replace(preview, unit="cell", excluded=", ".join(question_texts))

    def run(self) -> Evaluation:
        """Request the missing answers, and score all answers."""
        session, live_scores = self._plan_answers()
        self._set_answers(session.collect("replies", live_scores.add))
        self._scoring.run(self.cells)
        if self._scoring.has_async_scorers and not self._scoring.is_stopped:
            self._run_async_scorers()
        for stage in self._judge_stages():
            try:
                replies = stage.session.collect("replies") if stage.session else []
            except GatewayError as error:
                replies = self._question_errors(stage, error)
            self._finish_judge_stage(stage, replies)
        return self._create_evaluation()

    async def arun(self) -> Evaluation:
        """Request the missing answers, and score all answers; see `run`."""
        session, live_scores = self._plan_answers()
        self._set_answers(await session.acollect("replies", live_scores.add_in_thread))
        await asyncio.to_thread(self._scoring.run, self.cells)
        await self._scoring.arun(self.cells)
        for stage in self._judge_stages():
            try:
                replies = await stage.session.acollect("replies") if stage.session else []
            except GatewayError as error:
                replies = self._question_errors(stage, error)
            self._finish_judge_stage(stage, replies)
        return self._create_evaluation()

    def _row_name(self, position: int) -> str:
        cell = self.cells[position]
        return self._mask(f"row {cell.id}, {cell.variant.name}")

    def _plan_answers(self) -> tuple[MapSession, LiveScores]:
        session = self._plan_map(self._requests, "", self._options["schema"], self._call_options)
        self._mask = session.plan.redact
        session.figures.unit, session.figures.row_name = "cell", self._row_name
        return session, LiveScores(self._scoring, self.cells, session.figures, self._mask)

    def _plan_map(
        self,
        requests: Sequence[RowRequest | GatewayError],
        scorer_name: str,
        schema: object,
        call_options: dict[str, Any],
    ) -> MapSession:
        """Return a map that requests the answers, or asks the questions of a scorer.

        Args:
            requests: The requests, or the errors that prevented them.
            scorer_name: Name of the scorer that asks; empty for the answers.
            schema: The schema of the replies.
            call_options: The options of all calls.
        """
        map_options = {
            name: self._options[name] for name in _MAP_OPTIONS if self._options[name] is not None
        }
        columns = ", ".join(sorted(self._grid.column_names))
        name = self._options["name"] or "evaluation"
        # Runs share answers if this text and the options of all calls are the same.
        definition = f"evaluation {self._options['name'] or ''} [{columns}] {scorer_name}"
        map_options["name"] = f"{name}: {scorer_name}" if scorer_name else name
        return self._pool.plan_requests(
            requests, definition, schema=schema, **map_options, **call_options
        )

    def _set_answers(self, outcomes: Outcomes) -> None:
        for cell, outcome in zip(self.cells, outcomes, strict=True):
            cell.set_outcome(outcome)
        self._is_stopped = any(not cell.was_asked for cell in self.cells)

    def _run_async_scorers(self) -> None:
        """Run the asynchronous scorers on an event loop in another thread."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._scoring.arun(self.cells))
        thread = threading.Thread(target=_run_loop, args=(loop, task), daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_JOIN_INTERVAL)
        except KeyboardInterrupt:
            self._scoring.is_stopped = True
            loop.call_soon_threadsafe(task.cancel)
            thread.join(1)
            return
        task.result()

    def _judge_stages(self) -> Iterator[_JudgeStage]:
        """Yield the questions of each scorer that asks a model, until the evaluation is stopped."""
        for scorer in self.scorers:
            if isinstance(scorer, ModelScorer):
                if self._is_incomplete:
                    return
                yield self._judge_stage(scorer)

    def _judge_stage(self, scorer: ModelScorer) -> _JudgeStage:
        model = scorer.model or self._default_model()
        questions = scorer.questions(self.cells, self.rows, self._grid.variants[0].name)
        requests = [_with_model(question.request, model) for question in questions]
        if all(isinstance(request, GatewayError) for request in requests):
            return _JudgeStage(scorer, model, questions, None)
        session = self._plan_map(requests, scorer.name, scorer.schema, {})
        session.figures.unit = "question"
        return _JudgeStage(scorer, model, questions, session)

    def _question_errors(self, stage: _JudgeStage, error: GatewayError) -> Outcomes:
        """Return an error for every question, if the judge gave no valid answer at all.

        The answers and the other scores are kept. An error that concerns every call, such as a
        wrong key, a cost limit or a cassette without the judge's answers, ends the evaluation.
        """
        if not isinstance(error, _VERDICT_ERRORS) or self._options["on_error"] == "raise":
            raise error
        return [
            question.request if isinstance(question.request, GatewayError) else error
            for question in stage.questions
        ]

    def _finish_judge_stage(self, stage: _JudgeStage, replies: Outcomes) -> None:
        questions, scorer = stage.questions, stage.scorer
        outcomes: Outcomes = replies or [
            question.request if isinstance(question.request, GatewayError) else None
            for question in questions
        ]
        scores = scorer.scores(list(zip(questions, outcomes, strict=True)))
        for cell in self.cells:
            if id(cell) in scores:
                cell.scores[scorer.name] = scores[id(cell)]
        answers = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
        costs = [float(answer.cost) for answer in answers if answer.cost is not None]
        name, cost = self._mask(scorer.name), math.fsum(costs) if costs else None
        self._judges.append(JudgeUsage(name, stage.model, len(answers), cost))
        missing_count = sum(outcome is None for outcome in outcomes)
        if missing_count:
            self._is_stopped = True
            self._notes.append(
                f"{scorer.name}: {missing_count:,} of {len(questions):,} questions were not asked."
            )

    def _create_evaluation(self) -> Evaluation:
        self._scoring.finish(self.cells)
        if self._scoring.is_stopped:
            self._notes.append("Scoring was stopped: some answers have no score.")
        cells, rows, variants = mask_keys(self.cells, self.rows, self._grid.variants, self._mask)
        preferences = {
            scorer.name
            for scorer in self.scorers
            if isinstance(scorer, ModelScorer) and scorer.is_preference
        }
        lower_is_better = {
            scorer.name
            for scorer in self.scorers
            if isinstance(scorer, FunctionScorer) and scorer.lower_is_better
        }
        return Evaluation(
            cells,
            rows,
            variants,
            name=one_line(self._mask(self._options["name"] or "")),
            lower_is_better=map(
                self._mask, lower_is_better | set(map(one_line, self._options["lower_is_better"]))
            ),
            judges=self._judges,
            notes=map(self._mask, self._all_notes()),
            preferences=map(self._mask, preferences),
            is_stopped=self._is_incomplete,
        )

    def _all_notes(self) -> Iterator[str]:
        yield from self._notes
        yield from self._scoring.notes
        yield from self._family_notes()
        scores = score_names(self.cells)
        for name in self._options["lower_is_better"]:
            if name not in scores and not self._is_incomplete:
                yield (
                    f"lower_is_better names {short_repr(name)}, which is not a score."
                    f"{did_you_mean(name, scores)}"
                )

    @property
    def _is_incomplete(self) -> bool:
        return self._is_stopped or self._scoring.is_stopped

    def _family_notes(self) -> Iterator[str]:
        models = list(dict.fromkeys(variant.model for variant in self._grid.variants))
        for judge in self._judges:
            related_models = same_family(judge.model, models)
            if related_models:
                yield (
                    f"{judge.score} asks {judge.model}, which belongs to the same model family as"
                    f" {', '.join(related_models)}: models tend to prefer answers of their own"
                    " family."
                )


def _with_model(request: RowRequest | GatewayError, model: str) -> RowRequest | GatewayError:
    """Return a request with a scorer's model, unless the request already names a model."""
    if isinstance(request, GatewayError) or request.options.get("model"):
        return request
    return replace(request, options={**request.options, "model": model})


def _run_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    try:
        loop.run_until_complete(asyncio.wait([task]))
    finally:
        loop.close()
