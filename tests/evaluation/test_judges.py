"""The scores of judges: what becomes of any reply, and of two answers in both orders."""

from __future__ import annotations

import doctest
import json
import re
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ContentFilterError, GatewayError, UsageError
from gatewayx_nb.evaluation import judges
from gatewayx_nb.evaluation.grid_cell import GridCell, Score, Variant
from gatewayx_nb.evaluation.judges import judge, prefer
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.replies import Reply
from gatewayx_nb.testing import ScriptedEngine
from tests.evaluation.judging import BASE, OTHER, JudgingEngine, cell, request_of, rows, run


def scripted(*scripts):
    """Return a pool in which `scripted` plays these scripts, and the engine."""
    engine = ScriptedEngine(*scripts)
    return EnginePool(env={}, engines=[engine]), engine


def ask_once(scorer, text):
    """Return the score of one answer if the judge replies with a text, and to a correction too."""
    (question,) = scorer.questions([cell()], rows(), BASE.name)
    pool, _ = scripted([text, Chunk(finish_reason="stop")])
    with pool:
        session = pool.plan_requests(
            [question.request], "judge", schema=scorer.schema, progress=False
        )
        try:
            (outcome,) = session.collect("replies")
        except GatewayError as error:  # a map raises the error if every row fails
            outcome = error
    return scorer.scores([(question, outcome)])[id(question.cell)]


YES_NO = judge("Is it right?", model="scripted")


def answer_of(verdict, reason="Because."):
    return json.dumps({"reason": reason, "verdict": verdict})


@dataclass(frozen=True)
class Case:
    """A judge and its reply.

    Attributes:
        id: What the case shows.
        scorer: The judge.
        text: The reply.
        value: The score.
    """

    id: str
    scorer: Any
    text: str
    value: Any


YES, NO = True, False
GRADES = judge("How good?", "scripted", labels={"bad": 0, "fair": 0.5, "good": 1})
CASES = [
    Case("yes", YES_NO, answer_of("yes"), YES),
    Case("no", YES_NO, answer_of("no"), NO),
    Case("case_and_space", YES_NO, answer_of(" YES\n"), YES),
    Case("fenced", YES_NO, f"Sure!\n```json\n{answer_of('no')}\n```", NO),
    Case("no_first", judge("?", "scripted", labels=["no", "yes"]), answer_of("no"), NO),
    Case(
        "text",
        judge("?", "scripted", labels=["Praise", "Complaint"]),
        answer_of("praise"),
        "Praise",
    ),
    Case("number", GRADES, answer_of("fair"), 0.5),
    Case("bool", judge("?", "scripted", labels={"bad": False, "good": True}), answer_of("bad"), NO),
    Case("digit", judge("?", "scripted", labels={"1": 1, "2": 2}), answer_of(2), 2),
    Case("json_bool", judge("?", "scripted", labels=["true", "false"]), answer_of(NO), "false"),
    Case(
        "three_with_yes",
        judge("?", "scripted", labels=["yes", "no", "unsure"]),
        answer_of("yes"),
        "yes",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_verdict_becomes_a_score_with_its_reason(case):
    score = ask_once(case.scorer, case.text)

    assert score == Score(case.value, "Because.")
    assert type(score.value) is type(case.value)


NONSENSE = {
    answer_of("maybe"): "the verdict must be one of 'yes', 'no', got 'maybe'.",
    answer_of(verdict=True): "the verdict must be one of 'yes', 'no', got True.",
    answer_of(None): "the verdict must be one of 'yes', 'no', got None.",
    answer_of(["yes"]): "the verdict must be one of 'yes', 'no', got ['yes'].",
    '{"reason": "x"}': "the verdict must be one of 'yes', 'no', got none in {'reason': 'x'}.",
    "[1, 2]": "the judge must answer with a JSON object, got [1, 2].",
    "7": "the judge must answer with a JSON object, got 7.",
    "null": "the judge must answer with a JSON object, got 'null'.",
    "I cannot help with that.": "ProviderError: ",
    '{"reason": "x", "verdict": "ye': "ProviderError: ",
    "": "ProviderError: ",
    answer_of("yes") + answer_of("no"): "ProviderError: ",
}


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_is_an_error_and_never_a_score(text):
    score = ask_once(YES_NO, text)

    assert score.value is None
    assert score.error.startswith(NONSENSE[text])
    assert len(score.error) < 300


def test_a_long_invalid_answer_is_not_in_the_error():
    assert len(ask_once(YES_NO, json.dumps(["x" * 10_000])).error) < 200
    assert len(ask_once(YES_NO, answer_of("x" * 10_000)).error) < 200


def test_a_truncated_answer_is_an_error():
    pool, _ = scripted(
        ['{"reason": "It is', Chunk(finish_reason="length")],
        [answer_of("yes"), Chunk(finish_reason="stop")],
    )
    with pool:
        scorer = judge("Is it right?", model="scripted")
        scores = run(pool, scorer, [cell("a"), cell("b")], concurrency=1)

    assert [score.value for score in scores] == [None, True]
    assert scores[0].error.startswith("TruncatedError: ")


def test_a_refused_call_is_an_error():
    pool, _ = scripted(
        [ContentFilterError("the provider refused it.")],
        [answer_of("yes"), Chunk(finish_reason="stop")],
    )
    with pool:
        scorer = judge("Is it right?", model="scripted")
        scores = run(pool, scorer, [cell("a"), cell("b")], concurrency=1)

    assert scores == [
        Score(error="ContentFilterError: the provider refused it."),
        Score(value=True, reason="Because."),
    ]


def test_an_invalid_question_fails_its_cell_alone():
    with EnginePool(env={}, engines=[JudgingEngine(lambda _: "yes")]) as pool:
        scorer = judge("Is it {{tone}}?", model="judging", name="tone")
        scores = run(
            pool, scorer, [cell(), cell(position=1)], rows({"tone": None}, {"tone": "kind"})
        )

    assert scores[0].error.startswith("UsageError: the question of 'tone' cannot be filled in: ")
    assert scores[1].value is True


def test_a_question_that_was_not_asked_gives_no_score():
    (question,) = YES_NO.questions([cell()], rows(), "base")

    assert YES_NO.scores([(question, None)]) == {}


@pytest.mark.parametrize("reason", [None, 3, ["x"]])
def test_a_verdict_without_a_reason_counts(reason):
    assert ask_once(YES_NO, answer_of("yes", reason)) == Score(value=True)


def test_a_reason_is_bounded_and_has_no_control_characters():
    score = ask_once(YES_NO, answer_of("yes", "\x1b[31mred\x1b[0m " + "x" * 100_000))

    assert score.reason.startswith("red x")
    assert len(score.reason) == 2_000


def test_an_unparsed_reply_is_an_error():
    """A reply without parsed data, for example of another schema, has no verdict."""
    (question,) = YES_NO.questions([cell()], rows(), "base")

    scores = YES_NO.scores([(question, Reply("yes", engine="e", model="m"))])

    assert [score.error for score in scores.values()] == [
        "the judge must answer with a JSON object, got 'yes'."
    ]


def test_the_schema_puts_the_reason_before_the_verdict():
    schema = GRADES.schema

    assert list(schema["properties"]) == schema["required"] == ["reason", "verdict"]
    jsonschema.validate(json.loads(answer_of("fair")), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(answer_of("odd")), schema)


def test_two_runs_on_a_cassette_are_equal(tmp_path):
    """A recorded evaluation replays without a model, because its requests are the same."""
    path, scorer = tmp_path / "judge.jsonl", judge("Is it {{tone}}?", model="judging")
    cells, all_rows = [cell("a"), cell("b", position=1)], rows({"tone": "kind"}, {"tone": "rude"})
    engine = JudgingEngine(lambda prompt: "yes" if "kind" in prompt else "no")
    with EnginePool(env={}, engines=[engine]) as pool, pool.cassette(path):
        recorded = run(pool, scorer, cells, all_rows)
    content = path.read_bytes()

    with EnginePool(env={}) as pool, pool.cassette(path, "replay"):
        replayed = run(pool, scorer, cells, all_rows)

    assert [score.value for score in recorded] == [True, False]
    assert replayed == recorded
    assert path.read_bytes() == content
    assert len(engine.requests) == 2


def test_equal_answers_are_judged_once():
    """Two cells with the same prompt and answer are one request."""
    engine = JudgingEngine(lambda _: "yes")
    with EnginePool(env={}, engines=[engine]) as pool:
        scorer = judge("Is it right?", model="judging")
        scores = run(pool, scorer, [cell("a"), cell("a", OTHER)])

    assert [score.value for score in scores] == [True, True]
    assert len(engine.requests) == 1


def prefer_with(decide, *cells):
    """Return the scores of a preference whose judge decides by a function of the prompt."""
    engine = JudgingEngine(decide)
    with EnginePool(env={}, engines=[engine]) as pool:
        scores = run(pool, prefer(model="judging"), cells, rows(*[{} for _ in cells]))
    return scores, engine


def prefer_right(prompt):
    """Return the place of the answer that contains "right"."""
    return "first" if prompt.index("right") < prompt.index("wrong") else "second"


@pytest.mark.parametrize("verdict", ["first", "second"])
def test_a_judge_that_always_chooses_one_place_yields_ties(verdict):
    """Position bias cannot make a variant win or lose."""
    cells = [
        cell(f"{variant.name} {position}", variant, position)
        for position in range(20)
        for variant in (BASE, OTHER)
    ]

    scores, engine = prefer_with(lambda _: verdict, *cells)

    assert len(engine.requests) == 40
    assert scores[::2] == [None] * 20
    assert {score.value for score in scores[1::2]} == {0.5}
    assert all(score.reason.startswith("The verdicts differ: ") for score in scores[1::2])


def test_the_better_answer_wins_in_both_orders():
    scores, _ = prefer_with(prefer_right, cell("wrong"), cell("right", OTHER))

    assert scores == [
        None,
        Score(
            1.0, "It won in both orders. As the second: It is second. As the first: It is first."
        ),
    ]


@pytest.mark.parametrize(
    ("reason", "shown"), [("", "no reason."), ("Short", "Short."), ("A!", "A!")]
)
def test_the_reasons_of_both_orders_are_sentences(reason, shown):
    scorer = prefer()
    questions = scorer.questions([cell("a"), cell("b", OTHER)], rows(), "base")
    tie = Reply("", engine="e", model="m", parsed={"reason": reason, "verdict": "tie"})

    (score,) = scorer.scores([(question, tie) for question in questions]).values()

    assert score.reason == f"It tied in both orders. As the second: {shown} As the first: {shown}"


def test_the_worse_answer_loses_in_both_orders():
    scores, _ = prefer_with(prefer_right, cell("right"), cell("wrong", OTHER))

    assert scores[1].value == 0.0
    assert scores[1].reason.startswith("It lost in both orders. ")


def test_two_ties_are_a_tie():
    scores, _ = prefer_with(lambda _: "tie", cell("a"), cell("b", OTHER))

    assert scores[1].value == 0.5
    assert scores[1].reason.startswith("It tied in both orders. ")


def test_a_tie_and_a_win_are_a_tie():
    scores, _ = prefer_with(
        lambda prompt: "tie" if prompt.index("one") < prompt.index("two") else "first",
        cell("one"),
        cell("two", OTHER),
    )

    assert scores[1].value == 0.5
    assert "it tied as the second and won as the first" in scores[1].reason


def test_equal_answers_are_compared_once_and_tie():
    """Both orders of equal answers are the same request."""
    scores, engine = prefer_with(lambda _: "first", cell("same"), cell("same", OTHER))

    assert scores[1].value == 0.5
    assert len(engine.requests) == 1


def test_an_answer_is_compared_with_that_of_its_row_and_sample():
    cells = [
        cell(f"{variant.name} {position} {sample}", variant, position, sample=sample)
        for position in range(2)
        for sample in range(2)
        for variant in (BASE, OTHER, Variant("third", "p", "m"))
    ]

    questions = prefer().questions(cells, rows({}, {}), "base")

    assert len(questions) == 2 * 2 * 2 * 2
    for question in questions:
        end = f"{question.cell.position} {question.cell.sample}"
        pair = [f"base {end}", question.cell.answer]
        found = re.findall(r"<(first|second)-answer-\w+>\n(.*)\n", question.request.prompt)
        first, second = reversed(pair) if question.is_swapped else pair
        assert found == [("first", first), ("second", second)]


def test_without_one_of_the_answers_there_is_no_question():
    failed = GridCell(0, 0, BASE, error="TransportError: no")

    assert prefer().questions([failed, cell("a", OTHER)], rows(), "base") == []
    assert prefer().questions([cell("a"), GridCell(0, 0, OTHER)], rows(), "base") == []
    assert prefer().questions([cell("a")], rows(), "base") == []


def test_different_prompts_are_both_shown():
    prompt = request_of(prefer(), cell("a", prompt="P"), cell("b", OTHER, prompt="Q")).prompt

    assert re.findall(r"<([a-z-]+)-\w{16}>\n(.*)\n", prompt) == [
        ("first-prompt", "Q"),
        ("first-answer", "b"),
        ("second-prompt", "P"),
        ("second-answer", "a"),
    ]


def test_the_names_of_the_variants_are_not_shown():
    prompt = request_of(prefer(), cell("a"), cell("b", OTHER)).prompt

    assert BASE.name not in prompt
    assert OTHER.name not in prompt


def test_an_error_in_one_order_is_an_error():
    scorer = prefer()
    first, second = scorer.questions([cell("a"), cell("b", OTHER)], rows(), "base")
    won = Reply("", engine="e", model="m", parsed={"reason": "x", "verdict": "second"})
    odd = Reply("", engine="e", model="m", parsed={"reason": "x", "verdict": "third"})

    (score,) = scorer.scores([(first, won), (second, odd)]).values()

    assert score == Score(error="the verdict must be one of 'first', 'second', 'tie', got 'third'.")


@pytest.mark.parametrize("outcome", ["won", "error"])
def test_an_order_that_was_not_asked_gives_no_score(outcome):
    scorer = prefer()
    first, second = scorer.questions([cell("a"), cell("b", OTHER)], rows(), "base")
    won = Reply("", engine="e", model="m", parsed={"reason": "x", "verdict": "second"})
    answer = won if outcome == "won" else ContentFilterError("no")

    assert scorer.scores([(first, answer), (second, None)]) == {}
    assert scorer.scores([(second, None), (first, answer)]) == {}
    assert scorer.scores([(first, answer)]) == {}


INVALID = {
    "judge('')": "question must be a non-empty str, got ''.",
    "judge(' ')": "question must be a non-empty str, got ' '.",
    "judge(3)": "question must be a non-empty str, got 3.",
    "judge('?', model='')": "model must be a non-empty str, got ''.",
    "judge('?', model=['grok'])": "model must be a non-empty str, got ['grok'].",
    "judge('?', name='')": "name must be a non-empty str, got ''.",
    "judge('?', labels='yes')": "labels must be a list of strings or a dict, got 'yes'.",
    "judge('?', labels={'a', 'b'})": "labels must be a list of strings or a dict, got {",
    "judge('?', labels=3)": "labels must be a list of strings or a dict, got 3.",
    "judge('?', labels=['a', ''])": "labels must be non-empty strings, got ['a', ''].",
    "judge('?', labels=[1, 2])": "labels must be non-empty strings, got [1, 2].",
    "judge('?', labels=['a'])": "labels must be at least two strings that differ in more than case",
    "judge('?', labels=['a', 'A '])": "labels must be at least two strings",
    "judge('?', labels={})": "labels must be at least two strings",
    "judge('?', labels={'a': 'x', 'b': 'y'})": "labels must be strings with bools or finite",
    "judge('?', labels={'a': True, 'b': 0.5})": "labels must be strings with bools or finite",
    "judge('?', labels={'a': 1, 'b': float('nan')})": "labels must be strings with bools or",
    "judge('?', label=['a', 'b'])": "Did you mean 'labels'?",
    "prefer('')": "question must be a non-empty str, got ''.",
    "prefer(model=' ')": "model must be a non-empty str, got ' '.",
}


@pytest.mark.parametrize("call", INVALID)
def test_an_invalid_argument_is_an_error_at_once(call):
    with pytest.raises(UsageError, match=re.escape(INVALID[call])):
        eval(call)


def test_the_examples_are_correct():
    outcome = doctest.testmod(judges)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
