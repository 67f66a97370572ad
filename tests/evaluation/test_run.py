import _thread
import asyncio
import threading
import time

import pandas as pd
import polars as pl
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import EngineNotFoundError, ProviderError, UsageError
from gatewayx_nb.evaluation import aevaluate, evaluate

PROMPTS = {"plain": "{{sum}}", "polite": "Please: {{sum}}"}


def is_short(text):
    return len(text) < 3


def test_a_grid_has_every_variant(pool, engine, sums):
    """A variant is one prompt, one model and one set of options; its name is what differs."""
    result = evaluate(
        sums,
        PROMPTS,
        ["solver", "solver:bad"],
        gx.scorers.equals(),
        options={"cold": {"temperature": 0}, "warm": {"temperature": 1}},
        expected="result",
        pool=pool,
    )
    assert len(result.cells) == 12 * 8
    assert result.variant_names[0] == "plain, solver, cold"
    assert result.variant_names[-1] == "polite, solver:bad, warm"
    means = {row.variant: row.mean for row in result.summary()}
    assert means["plain, solver, cold"] == 1
    assert means["polite, solver:bad, warm"] == 0.5
    assert {each.get("temperature") for each in engine.keywords} == {0, 1}
    assert sum(engine.asked.values()) == 12 * 8


def test_one_variant_is_called_by_its_model_or_prompt(pool, sums):
    """If nothing differs, the variant has the name of the prompt, or else of the model."""
    assert evaluate(sums, "{{sum}}", "solver", pool=pool).variant_names == ["solver"]
    named = evaluate(sums, {"plain": "{{sum}}"}, "solver", pool=pool)
    assert named.variant_names == ["plain"]


def test_what_is_finished_is_not_asked_again(pool, engine, sums, project):
    """A second run asks nothing; an added variant is asked alone, also in another process."""
    evaluate(sums, PROMPTS, "solver", pool=pool)
    assert sum(engine.asked.values()) == 24
    evaluate(sums, PROMPTS, "solver", pool=pool)
    evaluate(sums, {"plain": "{{sum}}"}, "solver", is_short, pool=pool)
    assert sum(engine.asked.values()) == 24
    pool.close()
    with project.pool(engines=engine) as other:
        evaluate(sums, {**PROMPTS, "new": "Now: {{sum}}"}, "solver", pool=other)
    assert sum(engine.asked.values()) == 36
    assert engine.asked["good", "0+1"] == 1


def test_a_trial_on_a_few_rows_is_not_asked_again(pool, engine, sums):
    evaluate(sums[:3], PROMPTS, "solver", pool=pool)
    evaluate(sums, PROMPTS, "solver", pool=pool)
    assert set(engine.asked.values()) == {1}


def test_fresh_asks_again(pool, engine, sums):
    evaluate(sums, "{{sum}}", "solver", pool=pool)
    evaluate(sums, "{{sum}}", "solver", pool=pool, fresh=True)
    assert set(engine.asked.values()) == {2}


def test_evaluations_of_different_names_share_no_answers(pool, engine, sums):
    evaluate(sums, "{{sum}}", "solver", pool=pool, name="first")
    evaluate(sums, "{{sum}}", "solver", pool=pool, name="second")
    assert set(engine.asked.values()) == {2}


def test_each_sample_is_asked(pool, engine, sums):
    """Equal requests of different samples are different calls, and each is kept."""
    engine.answers["0+1"] = ["1", "2", "1"]
    result = evaluate(
        sums[:1], "{{sum}}", "solver", gx.scorers.equals(), expected="result", samples=3, pool=pool
    )
    assert sorted(cell.answer for cell in result.cells) == ["1", "1", "2"]
    assert result.summary()[0].mean == pytest.approx(2 / 3)
    evaluate(sums[:1], "{{sum}}", "solver", samples=3, pool=pool)
    assert engine.asked["good", "0+1"] == 3


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, list, iter], ids=["pandas", "polars", "list", "iterator"]
)
def test_rows_are_whatever_map_takes(pool, sums, make):
    result = evaluate(
        make(sums), "{{sum}}", "solver", gx.scorers.equals(), expected="result", pool=pool
    )
    assert result.summary()[0].mean == 1
    assert list(result.to_frame()["result"]) == [row["result"] for row in sums]


def test_texts_are_rows(pool):
    """A row that is a text is ``{{input}}``, and has the column ``input``."""
    result = evaluate(["1+1", "2+2"], "{{input}}", "solver", pool=pool)
    assert list(result.to_frame()["input"]) == ["1+1", "2+2"]
    named = pd.Series(["1+1", "2+2"], name="sum")
    assert evaluate(named, "{{sum}}", "solver", pool=pool).cells[1].answer == "4"


def test_a_prompt_may_be_a_function_of_the_row(pool, engine):
    """It returns a text, or a dict of keywords; options of the variant take precedence."""
    result = evaluate(
        ["1+1"],
        {"dict": lambda row: {"prompt": row, "temperature": 0.5, "system": "Add."}},
        "solver",
        options={"cold": {"temperature": 0}},
        pool=pool,
    )
    assert result.cells[0].answer == "2"
    assert engine.keywords[0]["temperature"] == 0
    assert engine.keywords[0]["system"] == "Add."


def test_a_missing_value_is_an_error_of_its_cells(pool, engine, sums):
    """The other cells are asked, and the error counts as a failure of a bool."""
    sums[3]["sum"] = None
    result = evaluate(sums, PROMPTS, "solver", gx.scorers.equals(), expected="result", pool=pool)
    first = result.summary()[0]
    assert (first.n, first.errors, first.mean) == (12, 1, pytest.approx(11 / 12))
    assert "UsageError" in result.failures()[0].error
    assert sum(engine.asked.values()) == 22


def test_an_error_of_a_call_is_kept(pool, engine, sums):
    engine.errors["2+1"] = ProviderError("It broke.", status=400)
    result = evaluate(sums, "{{sum}}", "solver", is_short, pool=pool)
    row = result.summary()[0]
    assert (row.n, row.errors, row.mean) == (12, 1, pytest.approx(11 / 12))
    assert "1 answer failed; the first: ProviderError: It broke." in repr(result)


def test_an_evaluation_in_which_all_answers_fail_raises_the_error(pool, engine, sums):
    for row in sums:
        engine.errors[row["sum"]] = ProviderError("It broke.", status=400)
    with pytest.raises(ProviderError, match="All 12 rows failed"):
        evaluate(sums, "{{sum}}", "solver", is_short, pool=pool)


def test_stop_keeps_what_is_done(pool, engine, sums):
    """Ctrl-C returns what was answered; the next run asks for the rest."""

    class Stopping(dict):
        def get(self, prompt, default=None):
            if prompt == "6+1":
                _thread.interrupt_main()
                time.sleep(0.3)  # on the engine's loop, so that no other call ends before
            return default

    engine.answers = Stopping()
    result = evaluate(sums, "{{sum}}", "solver", is_short, pool=pool, concurrency=1)
    assert 0 < result.missing < 12
    assert f"{result.missing} of 12 cells were not asked" in repr(result)
    assert result.summary()[0].missing == result.missing
    with pytest.raises(AssertionError, match="were not asked"):
        result.check(at_least={"is_short": 0})
    engine.answers = {}
    assert evaluate(sums, "{{sum}}", "solver", is_short, pool=pool).missing == 0


def test_a_replay_gives_equal_bytes(project, engine, sums, tmp_path):
    """Two runs on a cassette save the same file, without a key, an engine or the network."""
    path, files = tmp_path / "evaluation.jsonl", []
    with project.pool(engines=engine) as pool, pool.cassette(path, "record"):
        evaluate(sums, PROMPTS, "solver", is_short, samples=2, pool=pool)
    for number in range(2):
        with project.pool() as pool, pool.cassette(path, "replay"):
            result = evaluate(sums, PROMPTS, "solver", is_short, samples=2, pool=pool)
            files.append(result.save(tmp_path / f"{number}.json").read_bytes())
    assert files[0] == files[1]
    assert sum(engine.asked.values()) == 48


def test_a_changed_prompt_is_a_cassette_miss(project, engine, sums, tmp_path):
    path = tmp_path / "evaluation.jsonl"
    with project.pool(engines=engine) as pool, pool.cassette(path, "record"):
        evaluate(sums, PROMPTS, "solver", pool=pool)
    with (
        project.pool() as pool,
        pool.cassette(path, "replay"),
        pytest.raises(gx.CassetteMissError),
    ):
        evaluate(sums, {"plain": "Now: {{sum}}"}, "solver", pool=pool)


@pytest.mark.anyio
async def test_an_evaluation_can_be_awaited(pool, sums):
    """Asynchronous scorers run on the loop of the caller."""
    loop = asyncio.get_running_loop()

    async def is_here(text):
        await asyncio.sleep(0)
        return asyncio.get_running_loop() is loop

    result = await aevaluate(sums, "{{sum}}", "solver", [is_here, is_short], pool=pool)
    assert [row.mean for row in result.summary()] == [1, 1]


def test_asynchronous_scorers_run_beside_a_running_loop(pool, sums):
    """A kernel's loop is running while a cell calls `evaluate`."""

    async def is_digit(text):
        await asyncio.sleep(0.01)
        return text.isdigit()

    async def cell():
        return evaluate(sums, "{{sum}}", "solver", is_digit, pool=pool)

    result = asyncio.run(cell())
    assert result.summary()[0].mean == 1


def test_ctrl_c_ends_an_asynchronous_scorer_that_hangs(pool, sums):
    started = threading.Event()

    async def hang(text):
        started.set()
        await asyncio.sleep(3600)

    def stop():
        started.wait()
        time.sleep(0.2)
        _thread.interrupt_main()

    threading.Thread(target=stop, daemon=True).start()
    result = evaluate(sums, "{{sum}}", "solver", [is_short, hang], pool=pool)
    assert result.scores == ["is_short"]
    assert "Scoring was stopped" in repr(result)


def test_a_schema_is_for_every_answer(pool, engine):
    engine.answers["1+1"] = '{"total": 2}'

    def is_two(parsed):
        return parsed["total"] == 2

    schema = {"type": "object", "properties": {"total": {"type": "integer"}}}
    result = evaluate(["1+1"], "{{input}}", "solver", is_two, schema=schema, pool=pool)
    assert result.cells[0].parsed == {"total": 2}
    assert result.summary()[0].mean == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"rows": []}, "no rows to evaluate"),
        ({"rows": "2+2"}, "rows must be"),
        ({"prompts": {}}, "prompts must not be empty"),
        ({"prompts": ["{{sum}}"]}, "prompts must be"),
        ({"prompts": {"": "{{sum}}"}}, "names in prompts"),
        ({"prompts": "{{smu}}", "rows": pd.DataFrame([{"sum": "1+1"}])}, "'smu'"),
        ({"prompts": "no placeholder"}, "no placeholder"),
        ({"models": []}, "models must not be empty"),
        ({"models": ["solver", "solver"]}, "is listed twice"),
        ({"models": [3]}, "model must be"),
        ({"options": ["cold"]}, "options must be a dict"),
        ({"options": {"cold": 0}}, "must be a dict of options"),
        ({"options": {"cold": {"temprature": 0}}}, "Did you mean 'temperature'"),
        ({"options": {"cold": {"temperature": "hot"}}}, "temperature must be"),
        ({"samples": 0}, "int >= 1"),
        ({"samples": 2000}, "from 1 to 1000"),
        ({"expected": "reslt"}, "Did you mean 'result'"),
        ({"id": "sun"}, "Did you mean 'sum'"),
        ({"cluster": 3}, "cluster must be"),
        ({"scorers": "equals"}, "a scorer must be a function"),
        ({"scorers": 3}, "scorers must be functions"),
        ({"scorers": lambda text: True}, "must have a name"),
        ({"scorers": [is_short, is_short]}, "two scorers have the name"),
        ({"scorers": gx.scorers.one_of}, "needs at least one choice"),
        ({"scorers": {"x": lambda answer: True}}, "does not provide"),
        ({"lower_is_better": 3}, "lower_is_better must be"),
        ({"pool": 3}, "pool must be"),
        ({"expcted": "result"}, "Did you mean 'expected'"),
        ({"chat": "story"}, "chat"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_arguments_are_named(pool, engine, sums, arguments, problem):
    """Each is one UsageError that names what is wrong; nothing is sent."""
    values = {"rows": sums, "prompts": "{{sum}}", "models": "solver", "pool": pool, **arguments}
    with pytest.raises(UsageError) as caught:
        evaluate(**values)
    assert problem in str(caught.value)
    assert not engine.asked


def test_an_unknown_model_ends_it_before_anything_is_sent(pool, engine, sums):
    with pytest.raises(EngineNotFoundError, match="sovler"):
        evaluate(sums, "{{sum}}", ["solver", "sovler"], pool=pool)
    assert not engine.asked


def test_rows_need_unique_ids(pool, sums):
    for row in sums:
        row["name"] = "same"
    with pytest.raises(UsageError, match="rows 0 and 1 have the same ID"):
        evaluate(sums, "{{sum}}", "solver", id="name", pool=pool)
    sums[1]["name"] = None
    with pytest.raises(UsageError, match="row 1 has no ID"):
        evaluate(sums, "{{sum}}", "solver", id="name", pool=pool)


def test_a_prompt_function_must_not_choose_the_model(pool, sums):
    with pytest.raises(UsageError, match="models are part of the grid"):
        evaluate(sums, lambda row: {"prompt": "1+1", "model": "mock"}, "solver", pool=pool)


def test_the_help_shows_every_option():
    """Shift-Tab shows the keywords with their meanings."""
    import inspect

    names = list(inspect.signature(gx.evaluate).parameters)
    assert names[:4] == ["rows", "prompts", "models", "scorers"]
    assert {"expected", "samples", "options", "max_cost", "temperature", "tools"} < set(names)
    assert all(f"    {name}:" in gx.evaluate.__doc__ for name in names)


@pytest.mark.parametrize(
    "models",
    [{"solver": 1}, {"solver", "solver:bad"}, ["solver", None]],
    ids=["dict", "set", "None"],
)
def test_models_are_references_in_an_order(pool, sums, models):
    """The first variant is the baseline, so that a set would change it from run to run."""
    with pytest.raises(UsageError, match="must be"):
        evaluate(sums, "{{sum}}", models, pool=pool)


def test_ids_differ_as_texts(pool):
    """A file holds 1 and "1" as the same ID."""
    rows = [{"sum": "1+1", "key": 1}, {"sum": "2+1", "key": "1"}]
    with pytest.raises(UsageError, match="rows 0 and 1 have the same ID, '1'"):
        evaluate(rows, "{{sum}}", "solver", id="key", pool=pool)


def test_tools_are_for_every_call(project, sums):
    """The model of an evaluation may call functions, as that of a map."""
    calls = []

    def add(left: int, right: int) -> int:
        """Return the sum."""
        calls.append((left, right))
        return left + right

    def used_tool(reply):
        return [step.call.name for step in reply.steps] == ["add"]

    with project.pool() as pool:
        result = evaluate(
            [{"n": number} for number in range(3)],
            'call add {"left": {{n}}, "right": 1}',
            "mock",
            used_tool,
            tools=add,
            pool=pool,
        )
    assert result.summary()[0].mean == 1
    assert sorted(calls) == [(0, 1), (1, 1), (2, 1)]


def test_a_budget_of_zero_sends_nothing_that_may_cost(pool, engine, sums):
    with pytest.raises(gx.BudgetError):
        evaluate(sums, "{{sum}}", "solver", is_short, max_cost=0, pool=pool)
    assert not engine.asked
