import json

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation import Score, evaluate
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.replies import Chunk, Usage


class Arbiter(LLMEngine):
    """Engine that answers with a verdict, at a cost of a cent.

    Attributes:
        asked: The prompts.
        verdict: The verdict, or a function of the prompt that returns it.
        refuses: Whether it answers with prose.
    """

    name = "arbiter"
    model_name = "m"
    requires_key = False
    features = frozenset({"system", "schema", "history", "max_tokens"})

    def __init__(self, api_key="", **options):
        super().__init__(api_key, **options)
        self.asked = []
        self.verdict = "yes"
        self.refuses = False

    def get_cost_per_token(self):
        return 0.001

    async def stream(self, request):
        self.asked.append(request.prompt)
        texts = " ".join(message.content for message in request.messages)
        verdict = self.verdict(texts) if callable(self.verdict) else self.verdict
        answer = json.dumps({"reason": "It says so.", "verdict": verdict})
        if self.refuses:
            answer = "I cannot help with that."
        yield Chunk(answer, finish_reason="stop", usage=Usage(input_tokens=5, output_tokens=5))

    async def generate(self, prompt, **keywords):
        raise NotImplementedError


@pytest.fixture
def arbiter():
    return Arbiter()


@pytest.fixture
def pool(project, engine, arbiter):
    with project.pool(engines=[engine, arbiter]) as pool:
        yield pool


PROMPTS = {"plain": "{{sum}}", "polite": "Please: {{sum}}"}


def test_a_judge_scores_every_answer(pool, arbiter, sums):
    judge = gx.judge("Is it right?", "arbiter", name="right")
    result = evaluate(sums, PROMPTS, "solver", judge, pool=pool)
    assert result.cells[0].scores["right"] == Score(value=True, reason="It says so.")
    assert [row.mean for row in result.summary()] == [1, 1]
    (usage,) = result.judges
    assert (usage.model, usage.questions) == ("arbiter", 24)
    # Each question is asked, even if the answers are equal, because the prompts differ.
    assert len(arbiter.asked) == 24
    assert result.judge_cost == pytest.approx(0.24)
    assert "right asked arbiter 24 questions: $0.24" in repr(result)


def test_a_judge_is_not_asked_again(pool, arbiter, sums, project, engine):
    """Scoring alone asks nothing; another judge asks only its own questions."""
    first = gx.judge("Is it right?", "arbiter", name="right")
    evaluate(sums, PROMPTS, "solver", first, pool=pool)
    evaluate(sums, PROMPTS, "solver", [first, gx.scorers.contains("1")], pool=pool)
    assert len(arbiter.asked) == 24
    pool.close()
    with project.pool(engines=[engine, arbiter]) as other:
        second = gx.judge("Is it short?", "arbiter", name="short")
        evaluate(sums, PROMPTS, "solver", [first, second], pool=other)
    assert len(arbiter.asked) == 48
    assert sum(engine.asked.values()) == 24


def test_a_judge_without_a_model_uses_the_default(pool, arbiter, sums):
    pool.use("arbiter")
    judge = gx.judge("Is it right?")
    result = evaluate(sums, "{{sum}}", "solver", judge, pool=pool)
    assert result.judges[0].model == "arbiter"
    assert judge.model is None


def test_a_judge_that_always_says_first_prefers_nobody(pool, arbiter, sums):
    """Position bias: both orders are asked, and two different verdicts are a tie."""
    arbiter.verdict = "first"
    result = evaluate(sums, PROMPTS, "solver", gx.prefer(model="arbiter"), pool=pool)
    row = next(row for row in result.summary() if row.variant == "polite")
    assert (row.n, row.mean) == (12, 0.5)
    difference = result.versus()[0]
    assert (difference.won, difference.lost, difference.equal) == (0, 0, 12)
    assert difference.verdict == "not told apart"


def test_nonsense_of_a_judge_is_an_error(pool, arbiter, sums):
    def verdict(prompt):
        return "ten out of ten" if "6+1" in prompt else "yes"

    arbiter.verdict = verdict
    result = evaluate(sums, "{{sum}}", "solver", gx.judge("Is it right?", "arbiter"), pool=pool)
    row = result.summary()[0]
    assert (row.n, row.errors, row.mean) == (12, 1, pytest.approx(11 / 12))
    assert "ten out of ten" in result.failures()[0].error


def test_a_judge_of_its_own_family_is_named(pool, sums):
    judge = gx.judge("Is it right?", "arbiter")
    own = evaluate(sums[:2], "{{sum}}", "solver", judge, pool=pool)
    assert "family" not in repr(own)
    same = gx.judge("Is it right?", "solver")  # which gives no verdict
    result = evaluate(sums[:2], "{{sum}}", "solver", same, pool=pool)
    assert "belongs to the same model family as solver" in result.notes[-1]


def test_two_judges_need_two_names(pool, sums):
    judge = gx.judge("Is it right?", "arbiter")
    with pytest.raises(UsageError, match="two scorers have the name 'judge'"):
        evaluate(sums, "{{sum}}", "solver", [judge, judge], pool=pool)
    result = evaluate(sums, "{{sum}}", "solver", {"a": judge, "b": judge}, pool=pool)
    assert result.scores == ["a", "b"]


def test_a_failed_answer_is_not_judged(pool, engine, arbiter, sums):
    engine.errors["3+1"] = gx.ProviderError("It broke.", status=400)
    result = evaluate(sums, "{{sum}}", "solver", gx.judge("Right?", "arbiter"), pool=pool)
    assert len(arbiter.asked) == 11
    assert result.summary()[0].mean == pytest.approx(11 / 12)


def test_a_limit_of_the_cost_stops_a_judge_and_keeps_the_answers(pool, engine, arbiter, sums):
    judge, limited = gx.judge("Right?", "arbiter"), {"max_cost": 0.05, "allow_unpriced": True}
    with pytest.raises(gx.BudgetError, match="was not sent"):
        evaluate(sums, "{{sum}}", "solver", judge, pool=pool, **limited)
    assert arbiter.asked == []
    assert evaluate(sums, "{{sum}}", "solver", judge, pool=pool).missing == 0
    assert sum(engine.asked.values()) == 12


def test_a_judge_is_replayed(project, engine, arbiter, sums, tmp_path):
    path, judge = tmp_path / "judged.jsonl", gx.judge("Right?", "arbiter")
    with project.pool(engines=[engine, arbiter]) as pool, pool.cassette(path, "record"):
        live = evaluate(sums, PROMPTS, "solver", judge, pool=pool)
    with project.pool() as pool, pool.cassette(path, "replay"):
        replayed = evaluate(sums, PROMPTS, "solver", judge, pool=pool)
    assert [cell.scores for cell in replayed.cells] == [cell.scores for cell in live.cells]
    assert len(arbiter.asked) == 24


def test_a_judge_that_never_gives_a_verdict_costs_no_other_score(pool, arbiter, sums):
    """Its refusals are errors of its own score, which then says nothing of the answers."""
    arbiter.refuses = True
    scorers = [gx.scorers.equals, gx.judge("Right?", "arbiter")]
    result = evaluate(sums, "{{sum}}", "solver", scorers, expected="result", pool=pool)
    equals, judged = result.summary()
    assert (equals.score, equals.mean) == ("equals", 1.0)
    assert (judged.score, judged.n, judged.errors, judged.mean) == ("judge", 0, 12, None)
    with pytest.raises(gx.GatewayError, match="must match the schema"):
        evaluate(sums, "{{sum}}", "solver", scorers[1], on_error="raise", pool=pool)


def test_a_preference_with_errors_alone_is_not_lost(pool, arbiter, sums):
    arbiter.verdict = lambda prompt: "ten out of ten"
    result = evaluate(sums, PROMPTS, "solver", gx.prefer(model="arbiter"), pool=pool)
    assert [row.mean for row in result.summary()] == [None, None]
    assert result.versus() == []


def test_a_preference_needs_two_variants(pool, arbiter, engine, sums):
    with pytest.raises(UsageError, match="'prefer' compares variants, but there is only one"):
        evaluate(sums, "{{sum}}", "solver", gx.prefer(model="arbiter"), pool=pool)
    assert not engine.asked


def test_a_key_of_a_scorer_does_not_replace_a_judge(pool, arbiter, sums):
    scorers = {"other": lambda text: {"right": 0.5}, "right": gx.judge("Right?", "arbiter")}
    result = evaluate(sums, "{{sum}}", "solver", scorers, pool=pool)
    assert {row.score: row.mean for row in result.summary()} == {"other.right": 0.5, "right": 1.0}


def test_a_column_that_a_question_names_is_checked_before_anything_is_asked(pool, engine, sums):
    with pytest.raises(UsageError, match="the question of 'judge' refers to") as caught:
        evaluate(sums, "{{sum}}", "solver", gx.judge("Is {{smu}} right?", "arbiter"), pool=pool)
    assert "Did you mean 'sum'" in str(caught.value)
    with pytest.raises(UsageError, match="expected"):
        evaluate(sums, "{{sum}}", "solver", gx.judge("Is it {{expected}}?", "arbiter"), pool=pool)
    assert not engine.asked
    judge = gx.judge("Is it {{expected}}?", "arbiter")
    result = evaluate(sums, "{{sum}}", "solver", judge, expected="result", pool=pool)
    assert result.summary()[0].n == 12


def test_the_length_of_a_verdict_may_be_limited(pool, arbiter, sums):
    sent = []
    arbiter.verdict = "yes"
    stream = arbiter.stream

    async def record(request):
        sent.append(request.max_tokens)
        async for chunk in stream(request):
            yield chunk

    arbiter.stream = record
    judge = gx.judge("Right?", "arbiter", max_tokens=99)
    evaluate(sums[:1], "{{sum}}", "solver", judge, pool=pool)
    assert sent == [99]
    with pytest.raises(UsageError, match="max_tokens must be"):
        gx.judge("Right?", max_tokens=0)
