"""Typical uses of the public API, type-checked but never run."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

from typing_extensions import override

import gatewayx_nb as gx
from gatewayx_nb import (
    Cassette,
    Chunk,
    Comparison,
    EngineHealth,
    EnginePool,
    EngineStatus,
    Evaluation,
    GatewayError,
    LLMEngine,
    ModelUsage,
    RateLimitError,
    Reply,
    RequestError,
    Table,
    UsageTotals,
)
from gatewayx_nb.llm_engines import OpenAICompatibleEngine, Request


def ask() -> None:
    """`ask` returns a reply."""
    reply = gx.ask("x", model="grok", temperature=0, max_tokens=9, stop=["a"], params={"top_p": 1})
    assert_type(reply, Reply)
    assert_type(reply.text, str)
    assert_type(reply.cost, Decimal | None)
    assert_type(reply.usage.input_tokens, int | None)
    assert_type("Paris" in reply, bool)
    assert_type(reply + "!", str)


@dataclass
class City:
    """A type that answers must match."""

    name: str


async def ask_with_schema(pool: EnginePool) -> None:
    """`schema` determines the type of `parsed`."""
    assert_type(gx.ask("x", "grok", schema=City), Reply[City])
    assert_type(gx.ask("x", schema=City).parsed.name, str)
    assert_type(pool.ask("x", schema=list[City]), Reply[list[City]])
    assert_type(await gx.aask("x", schema=City), Reply[City])
    assert_type(gx.chat("grok").ask("x", schema=City), Reply[City])
    assert_type(gx.ask("x", schema={"type": "object"}), Reply[Any])
    assert_type(gx.ask("x", schema=City | None), Reply[Any])


def misspell_keyword(pool: EnginePool) -> None:
    """A misspelled keyword is an error wherever a model is called."""
    chat = pool.chat()
    gx.ask("x", temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    pool.ask("x", temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    chat.ask("x", temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    chat.stream("x", temprature=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    gx.compare("x", "a", temprature=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    gx.compare_view("x", chat="y")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def conversation() -> None:
    """A prompt may be a list of messages."""
    gx.ask([gx.Message("user", "x"), {"role": "user", "content": "y"}], "grok")
    gx.ask(messages=[{"role": "user", "content": "y"}], images="plot.png", stop="END")
    image = gx.Image("image/png", url="https://example.com/plot.png")
    gx.ask(gx.Message("user", ["x", image, Path("plot.png"), b"png"]))
    call = gx.ask("x").tool_calls[0]
    gx.compare([gx.Message("assistant", [call]), gx.Message("tool", [gx.ToolResult(call.id, "y")])])
    assert_type(gx.Message("user", "x").content, str)
    assert_type(gx.Message("tool", []).tool_results, tuple[gx.ToolResult, ...])
    gx.Message("usr", "x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def reports(pool: EnginePool) -> list[str]:
    """A function that reports on the pool returns a `Table`."""
    assert_type(gx.status(), Table[EngineStatus])
    assert_type(pool.usage(), Table[ModelUsage])
    assert_type(pool.usage("day"), Table[UsageTotals])
    assert_type(gx.usage(by="model", days=7), Table[UsageTotals])
    assert_type(gx.usage(days=7), Table[UsageTotals])
    assert_type(gx.jobs()[0].name, str)
    return [row.engine for row in gx.models()]


def stream(pool: EnginePool) -> Reply:
    """A stream is an iterator of chunks; once exhausted, it has a reply."""
    with pool.stream("x") as stream:
        for chunk in stream:
            assert_type(chunk, Chunk)
    return stream.reply


async def ask_async(pool: EnginePool) -> Reply:
    """Async functions have the prefix `a`."""
    async for chunk in pool.astream("x", model="local"):
        assert_type(chunk.text, str)
    return await pool.aask("x", schema={"type": "object"})


async def compare(pool: EnginePool) -> Comparison:
    """A comparison is a sequence of replies and errors."""
    comparison = gx.compare("x", models=["grok", "local"], temperature=0)
    assert_type(comparison, Comparison)
    assert_type(comparison.fastest, Reply | None)
    for outcome in comparison:
        assert_type(outcome, Reply | GatewayError)
    return await pool.acompare("x", models=["grok"])


async def check_health(pool: EnginePool) -> float | None:
    """`health` returns one result for each engine."""
    assert_type(gx.health(), Table[EngineHealth])
    (row,) = await pool.ahealth("grok")
    return row.latency if row.ok else None


def replay(pool: EnginePool) -> bool:
    """A cassette is a context manager."""
    with gx.cassette("a.jsonl"), pool.cassette("b.jsonl", "replay", speed=2) as cassette:
        assert_type(cassette, Cassette)
        return pool.ask("x", fresh=True).replayed


def handle_errors() -> str:
    """Errors have typed fields."""
    try:
        return str(gx.ask("x"))
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        return error.partial
    except RequestError as error:
        return str(error.hint)


class GenerateEngine(LLMEngine):
    """An engine with `generate`."""

    requires_key = False

    @override
    async def generate(self, prompt: str, **kwargs: Any) -> str:
        return prompt


class StreamEngine(LLMEngine):
    """An engine with `stream`."""

    @override
    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        yield Chunk(text=request.prompt)


class CompatibleEngine(OpenAICompatibleEngine):
    """An engine defined by class attributes."""

    base_url = "https://api.example.com/v1"
    model_name = "m"
    max_tokens_field = "max_completion_tokens"


async def evaluate(rows: list[dict[str, str]], pool: EnginePool) -> None:
    """An evaluation has typed tables; a misspelt keyword is an error."""

    def is_short(text: str) -> tuple[bool, str]:
        return len(text) < 9, "counted"

    result = gx.evaluate(
        rows,
        {"plain": "{{text}}", "function": lambda row: f"Say {row['text']}"},
        ["grok", "local"],
        [is_short, gx.scorers.equals(ignore_case=True), gx.judge("Is it kind?", "grok")],
        expected="label",
        options={"cold": {"temperature": 0}},
        max_cost=1,
        pool=pool,
    )
    assert_type(result, Evaluation)
    assert_type(result.versus()[0].p, float | None)
    assert_type(result.summary()[0].mean, float | None)
    assert_type(result.failures(limit=3)[0].reason, str)
    assert_type(await gx.aevaluate(rows, "{{text}}", samples=2), Evaluation)
    assert_type(gx.load_evaluation("x.json").save("y.csv"), Path)
    assert_type(gx.rows_needed(0.1), int)
    assert_type(gx.preview_evaluation(rows, "{{text}}", "grok").to_ask, int)
    result.check(at_least={"is_short": 0.9}, no_worse_than="base.json")
    gx.evaluate(rows, "x", expcted="label")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
