"""Cost limits per call and per session, and the ledger."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.calls import reply_summary
from gatewayx_nb.engine_pool.budget import apply_cost_limits, input_tokens
from gatewayx_nb.errors import (
    BudgetError,
    ConfigError,
    EngineLoadError,
    ProviderError,
    TransportError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, Message, RejectedParameterError, Request, Usage
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.secure_config import Limits
from gatewayx_nb.testing import ScriptedEngine, Send, Server, reply
from tests.widgets.waiting import wait_until

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=2, output_tokens=3))
CALL_COST = Decimal("0.005")  # five tokens at the price of the scripted engine


class Unpriced(ScriptedEngine):
    """Engine whose price is unknown."""

    def get_cost_per_token(self):
        """Return None."""
        return


@pytest.fixture
def make_pool(project):
    """Yield a function that returns a pool of one engine, with an optional session budget."""
    pools = []

    def make(engine, max_cost=None):
        project.settings(f"[limits]\nmax_cost = {max_cost}" if max_cost else "")
        pools.append(project.pool(engines=[engine]))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_a_call_whose_prompt_may_exceed_its_limit_is_not_sent(make_pool):
    """A call is refused only if its prompt, at one token per byte plus 16, exceeds the limit."""
    engine = ScriptedEngine(["a", END])
    pool = make_pool(engine)

    with pytest.raises(BudgetError, match=r"may cost \$0\.024, and max_cost is \$0\.02;"):
        pool.ask("x" * 8, model="scripted", max_cost=0.02)
    with pytest.raises(BudgetError, match=r"may cost \$0\.04,"):
        pool.ask("日" * 8, model="scripted", max_cost=0.024)
    assert engine.requests == []


@pytest.mark.parametrize("session_limit", [None, 5, "0.0245"])
def test_a_limit_that_the_prompt_nearly_reaches_is_named(make_pool, session_limit):
    """If the prompt fits but no token of an answer does, the error names the call's limit."""
    engine = ScriptedEngine(["a", END])
    message = r"may cost \$0\.024, and max_cost is \$0\.0245, which is not enough for an answer"

    with pytest.raises(BudgetError, match=message):
        make_pool(engine, session_limit).ask("x" * 8, model="scripted", max_cost=0.0245)
    assert engine.requests == []


def test_the_lower_limit_is_named(make_pool):
    """If the session has less left than the call's limit, the error names the session's."""
    pool = make_pool(ScriptedEngine(["a", END]), "0.02")

    with pytest.raises(BudgetError, match=r"has used \$0 of its \$0\.02, .*\[limits\] max_cost"):
        pool.ask("x" * 8, model="scripted", max_cost=0.022)


@pytest.mark.parametrize(
    ("max_cost", "max_tokens", "sent"),
    [
        (1, None, 976),
        (1, 10_000, 976),
        (1, 976, 976),
        (1, 10, 10),
        (2_000, None, None),
        (2_000, 10_000, 10_000),
    ],
)
def test_max_tokens_is_lowered_to_what_the_limit_allows(make_pool, max_cost, max_tokens, sent):
    """An answer that could exceed the limit gets a lower `max_tokens`, and the reply says so."""
    engine = ScriptedEngine(["a", END])

    reply = make_pool(engine).ask(
        "x" * 8, model="scripted", max_cost=max_cost, max_tokens=max_tokens
    )

    assert engine.requests[0].max_tokens == sent
    assert reply.token_cap == (None if sent == max_tokens else sent)
    assert ("cost limit" in reply_summary(reply)) == (sent != max_tokens)


@given(text=st.text(min_size=1), max_cost=st.decimals("0.001", "100", places=3))
def test_the_cost_of_a_call_is_never_above_its_limit(text, max_cost):
    """For any prompt, the maximum number of tokens plus the lowered answer fit the limit."""
    request = Request((Message("user", text),), "script")
    limits = Limits(max_call_cost=max_cost)
    try:
        allowance = asyncio.run(
            apply_cost_limits(ScriptedEngine([]), request, limits, lambda: Decimal(0))
        )
    except BudgetError:
        assert input_tokens(request).high * Decimal("0.001") >= max_cost
        return
    tokens = input_tokens(request).high + (allowance.request.max_tokens or 1_000_000)
    assert tokens * Decimal("0.001") == allowance.cost <= max_cost
    assert input_tokens(request).high >= len(text.encode(errors="replace"))


def test_tools_count_as_input():
    """The provider adds their declarations to the prompt."""
    plain = Request((Message("user", "Hi"),), "m")
    schema = {"type": "object", "properties": {"city": {"description": "x" * 4_000}}}
    declared = replace(plain, tools=(ToolDefinition("weather", "y" * 4_000, schema),))
    low, high = (
        tuple(getattr(input_tokens(each), name) for each in (plain, declared))
        for name in ("low", "high")
    )

    assert low[1] - low[0] > 2_000
    assert high[1] - high[0] > 8_000


class Limited(ScriptedEngine):
    """Engine whose model writes at most 500 tokens and rejects a higher `max_tokens`."""

    async def stream(self, request):
        """Raise a provider's error if `max_tokens` is too high."""
        if (request.max_tokens or 0) > 500:
            raise RejectedParameterError(
                "max_tokens is too large: this model supports at most 500.", code="max_tokens"
            )
        async for chunk in super().stream(request):
            yield chunk


def test_the_lower_limit_of_a_model_is_kept(make_pool):
    """If the model rejects the lowered `max_tokens` as too high, its own limit applies."""
    engine = Limited(["a", END])
    engine.name = "scripted"

    reply = make_pool(engine).ask("hi", model="scripted", max_cost=1)

    assert [request.max_tokens for request in engine.requests] == [500]
    assert reply.token_cap is None


def test_a_correction_must_also_fit_the_limit(make_pool):
    """If a first answer does not match its schema, its cost counts towards the limit."""
    engine = ScriptedEngine(["no", END], ['{"a": 1}', END])
    pool = make_pool(engine)

    assert pool.ask("hi", model="scripted", schema={}, max_cost=1).parsed == {"a": 1}
    first, correction = engine.requests
    assert correction.max_tokens < first.max_tokens


def test_a_first_answer_without_a_usage_counts_as_its_maximum(make_pool):
    """Without a usage, the cost of an answer is unknown, so a correction may no longer fit."""
    no_usage = Chunk(finish_reason="stop")
    engine = ScriptedEngine(["no", no_usage], ['{"a": 1}', no_usage])
    pool = make_pool(engine)

    with pytest.raises(BudgetError):
        pool.ask("hi", model="scripted", schema={}, max_cost=1)

    assert len(engine.requests) == 1


def test_a_call_above_the_session_budget_is_not_sent(make_pool):
    """A call that may exceed the session budget raises an error that states the amounts."""
    engine = ScriptedEngine(["a", END])
    pool = make_pool(engine, max_cost="0.03")
    options = {"model": "scripted", "max_tokens": 5}
    for _ in range(3):
        pool.ask("hi", **options)

    message = (
        r"including running calls, has used \$0\.015 of its \$0\.03, and the prompt alone may cost"
        r" \$0\.018;.*\[limits\] max_cost"
    )
    with pytest.raises(BudgetError, match=message):
        pool.ask("hi", **options)
    with pytest.raises(BudgetError):
        list(pool.stream("hi", **options))
    with pytest.raises(BudgetError):
        asyncio.run(pool.aask("hi", **options))
    assert len(engine.requests) == 3


def test_concurrent_calls_do_not_exceed_the_budget(make_pool):
    """The maximum cost of running calls counts towards the budget."""
    engine = ScriptedEngine([0.2, "a", END])
    pool = make_pool(engine, max_cost="0.07")

    async def call_concurrently():
        calls = [pool.aask("hi", model="scripted", max_tokens=5) for _ in range(10)]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(call_concurrently())

    assert sum(isinstance(outcome, BudgetError) for outcome in outcomes) == 7
    assert pool.usage()[0].cost == 3 * CALL_COST


def test_under_a_session_budget_an_answer_has_a_maximum(make_pool):
    """Without `max_tokens`, a call must not reserve the whole remaining budget."""
    engine = ScriptedEngine(["a", END], ["a", Chunk(finish_reason="length")])
    pool = make_pool(engine, max_cost=5_000)

    assert pool.ask("hi", model="scripted").token_cap is None
    assert engine.requests[0].max_tokens == 16_384
    assert pool.ask("hi", model="scripted").token_cap == 16_384


def test_an_unpriced_call_is_refused_if_there_is_a_budget(make_pool):
    """With a budget, an unpriced call raises an error, unless `allow_unpriced` is set."""
    engine = Unpriced(["a", END])
    pool = make_pool(engine, max_cost="1")

    with pytest.raises(BudgetError, match=r"unpriced:script is unknown.*`allow_unpriced=True`"):
        pool.ask("hi", model="unpriced")
    assert pool.ask("hi", model="unpriced", allow_unpriced=True).cost is None
    assert make_pool(engine).ask("hi", model="unpriced").text == "a"


@pytest.mark.parametrize("value", ["1", -1, float("nan"), True, Decimal("nan")])
def test_an_invalid_max_cost_raises_an_error(make_pool, value):
    """An invalid `max_cost` raises an error before anything is sent."""
    with pytest.raises(UsageError, match="max_cost"):
        make_pool(ScriptedEngine(["a", END])).ask("hi", model="scripted", max_cost=value)


def test_usage_is_summed_by_engine_and_model(make_pool):
    """`usage` has one row per engine and model, with its calls, failed calls, tokens and cost."""
    engine = ScriptedEngine(["a", END], [ProviderError("no")], ["a", END])
    pool = make_pool(engine)
    pool.ask("hi", model="scripted")
    with pytest.raises(ProviderError):
        pool.ask("hi", model="scripted")
    pool.ask("hi", model="scripted:other")
    pool.ask("hi", model="mock")

    rows = {(row.engine, row.model): row for row in pool.usage()}
    first = rows["scripted", "script"]
    assert (first.calls, first.failed, first.cost, first.unpriced) == (2, 1, CALL_COST, 0)
    assert (first.input_tokens, first.output_tokens) == (2, 3)
    assert rows["scripted", "other"].calls == rows["mock", "mock"].calls == 1


def test_the_ledger_contains_the_calls_of_all_pools_of_a_project(make_pool, project):
    """The ledger records the calls of all pools of a project, without prompts, replies or keys."""
    engine = ScriptedEngine(["an-answer", END], [ProviderError("an-error")])
    first, second = make_pool(engine), make_pool(ScriptedEngine(["b", END]))
    first.ask("a-prompt", model="scripted", system="a-system")
    with pytest.raises(ProviderError):
        first.ask("a-prompt", model="scripted")
    first.history()
    second.ask("hi", model="mock")

    assert [(entry.engine, entry.outcome) for entry in second.history()] == [
        ("mock", "ok"), ("scripted", "ProviderError"), ("scripted", "ok"),
    ]  # fmt: skip
    assert len(second.history(1)) == 1
    content = (project.root / ".gatewayx" / "store.sqlite").read_bytes()
    for text in (b"a-prompt", b"an-answer", b"a-system", b"an-error"):
        assert text not in content
    assert (project.root / ".gatewayx" / ".gitignore").read_text() == "*\n"


def test_an_interrupted_call_is_in_the_ledger(make_pool):
    """The ledger contains interrupted calls."""
    engine = ScriptedEngine(["a", END, 30.0])
    pool = make_pool(engine)
    with pool.stream("hi", model="scripted") as stream:
        next(stream)
    assert engine.ended.wait(5)
    pool.ask("hi", model="mock")

    assert [entry.outcome for entry in pool.history()] == ["ok", "interrupted"]


def test_a_ledger_that_cannot_be_written_does_not_block_calls(make_pool, project, caplog):
    """If the ledger cannot be written, calls work, and the problem is logged and reported."""
    (project.root / ".gatewayx").write_text("a file instead of a folder")
    pool = make_pool(ScriptedEngine(["a", END]))

    assert pool.ask("hi", model="scripted").text == "a"
    assert pool.history() == []
    assert "cannot be written" in caplog.text
    assert any("cannot be written" in problem for problem in pool.problems)


def test_history_of_a_damaged_ledger_raises_an_error(make_pool, project):
    """If the ledger is damaged, the error of `history` shows how to move the file away.

    A call would move the file away by itself.
    """
    (project.root / ".gatewayx").mkdir()
    (project.root / ".gatewayx" / "store.sqlite").write_bytes(b"x" * 5000)

    with pytest.raises(ConfigError, match=r"store\.sqlite\.off"):
        make_pool(ScriptedEngine(["a", END])).history()


def test_without_a_project_the_ledger_is_in_the_user_folder(tmp_path):
    """Without a project the ledger is in the user data folder."""
    with EnginePool(env={"XDG_DATA_HOME": str(tmp_path)}) as pool:
        pool.ask("hi", model="mock")
        assert len(pool.history()) == 1

    assert (tmp_path / "gatewayx" / "store.sqlite").is_file()


PARAMS = [
    {"max_tokens": 9_000},
    {"max_completion_tokens": 9_000},
    {"n": 10},
    {"candidateCount": 8},
    {"generationConfig": {"maxOutputTokens": 9_000}},
]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_parameters_cannot_bypass_a_cost_limit(make_pool, params):
    """A provider's own parameter for the maximum length would override the lowered one."""
    engine = ScriptedEngine(["a", END])

    with pytest.raises(BudgetError, match=r"params must not contain .* if a cost limit is set"):
        make_pool(engine).ask("hi", model="scripted", max_cost=1, params=params)
    assert engine.requests == []


class Rejecting(ScriptedEngine):
    """Engine that rejects any `max_tokens` with a message."""

    message = ""

    async def stream(self, request):
        """Raise the provider's error, once."""
        if request.max_tokens is not None and not self.requests:
            self.requests.append(request)
            raise RejectedParameterError(self.message, code="max_tokens")
        async for chunk in super().stream(request):
            yield chunk


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("max_tokens is too large: this model supports at most 500 tokens.", 500),
        ("max_tokens must be between 1 and 4,096.", None),
        ("Unsupported parameter: max_tokens.", None),
    ],
)
@pytest.mark.parametrize("drop_unsupported", [False, True])
def test_a_rejected_maximum_is_never_omitted(make_pool, message, sent, drop_unsupported):
    """After a rejection, the call is sent again only if the model's own limit is lower."""
    engine = Rejecting(["a", END])
    engine.name, engine.message = "scripted", message
    params = {"drop_unsupported": True} if drop_unsupported else {}
    pool = make_pool(engine)

    if sent is None:
        with pytest.raises(RejectedParameterError):
            pool.ask("hi", model="scripted", max_cost=1, params=params)
        assert len(engine.requests) == 1
    else:
        pool.ask("hi", model="scripted", max_cost=1, params=params)
        assert engine.requests[-1].max_tokens == sent


def test_a_preview_is_displayed_like_a_dry_run(project):
    """`gx.preview` shows a table of tokens and cost, the prompt and the body of the request."""
    preview = gx.preview("How many\nlines?", "mock", max_tokens=3)

    table, prompt, body = repr(preview).split("\n\n")
    row = " ".join(table.splitlines()[2].split())
    assert row == "mock:mock this process 4 to 31 at most 3 $0"
    assert prompt == "How many\nlines?"
    assert json.loads(body) == {"prompt": "How many\nlines?", "max_tokens": 3}
    assert "Request body, as JSON" in preview._repr_html_()


def test_a_preview_has_the_default_maximum_of_the_engine(make_pool):
    """The engine's own maximum bounds the cost, unless the call replaces it."""
    engine = ScriptedEngine(["a", END])
    engine.default_max_tokens = 7
    pool = make_pool(engine)

    previews = [
        pool.preview("hi", "scripted"),
        pool.preview("hi", "scripted", max_tokens=3),
        pool.preview("hi", "scripted", params={"max_output_tokens": 9}),
    ]

    assert [preview.max_tokens for preview in previews] == [7, 3, None]
    assert [preview.highest_cost is None for preview in previews] == [False, False, True]


def test_a_preview_asks_no_server_for_its_models(tmp_path):
    """A preview sends nothing, even if the model that the server offers is not known."""
    with Server([]) as server:
        env = {"GATEWAYX_BOX_BASE_URL": server.url, "GATEWAYX_BOX_API_KEY": "box-key-0123456789"}
        with EnginePool(tmp_path, env=env) as pool:
            pool.preview("hi", "box")
        assert server.requests == []


def test_a_preview_has_the_limits_of_a_call(make_pool):
    """A preview shows the lowered maximum, and raises the error that the call would raise."""
    pool = make_pool(ScriptedEngine(["a", END]))

    preview = pool.preview("hi", "scripted", max_cost=1)

    assert preview.body["max_tokens"] == preview.max_tokens == 982
    assert preview.highest_cost <= 1
    with pytest.raises(BudgetError):
        pool.preview("hi" * 1_000, "scripted", max_cost=1)


def test_the_tokens_of_failed_attempts_count(make_pool):
    """Tokens that a provider reported before the connection broke are part of the cost."""
    used = Chunk(usage=Usage(input_tokens=2, output_tokens=3))
    engine = ScriptedEngine([used, TransportError("broken.")], ["a", END])

    reply = make_pool(engine).ask("hi", model="scripted")

    assert (reply.attempts, reply.cost) == (2, 2 * CALL_COST)


def test_a_stopped_call_is_unpriced_unless_the_engine_is_free(make_pool):
    """A provider bills a stopped call, although it reports no tokens for it."""
    pool = make_pool(ScriptedEngine(["a", 30.0]))
    for model in ("scripted", "mock"):
        stream = pool.stream(
            "one two", model=model, params={"rate": 0.1} if model == "mock" else {}
        )
        next(stream)
        stream.close()
        costs = {"scripted": None, "mock": 0}
        assert stream.reply.cost == costs[model]
    wait_until(lambda: len(pool.usage()) == 2)

    assert {row.engine: row.unpriced for row in pool.usage()} == {"scripted": 1, "mock": 0}


@pytest.mark.parametrize("price", ["x", float("nan"), -1, (1, 2)])
def test_an_engines_invalid_price_is_named(make_pool, price):
    """A price that is not a number raises an error that names the method."""
    engine = Unpriced(["a", END])
    engine.get_cost_per_token = lambda: price

    with pytest.raises(EngineLoadError, match="`get_cost_per_token` in engine 'unpriced' must"):
        make_pool(engine).ask("hi", model="unpriced")


def test_a_reported_model_without_a_price_costs_as_the_requested_one(project):
    """Otherwise, a proxy that renames its models would bypass every limit."""
    body = json.dumps(
        {
            "model": "renamed-by-a-proxy",
            "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1_000, "completion_tokens": 1_000},
        }
    ).encode()
    with Server(lambda _: [Send(reply(body))]) as server:
        project.set_keys(f"GATEWAYX_OPENAI_API_KEY=k\nGATEWAYX_OPENAI_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            answer = pool.ask("hi", model="openai:gpt-4o-mini", max_tokens=100)
            rows = pool.usage()

    assert answer.model == "renamed-by-a-proxy"
    assert sum(row.cost for row in rows) == answer.cost > 0
    assert sum(row.unpriced for row in rows) == 0
