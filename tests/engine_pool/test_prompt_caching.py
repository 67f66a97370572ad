"""`cache`, as each provider implements it, and its metrics."""

from decimal import Decimal

import pytest

from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from gatewayx_nb.llm_engines import Chunk, Usage

MARK = {"type": "ephemeral"}


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def pool(project):
    """Yield a pool with a key for each provider."""
    project.set_keys(
        "".join(
            f"GATEWAYX_{name}_API_KEY={name.lower()}-0123456789abcdef\n"
            for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "DEEPSEEK", "ROUTER")
        )
        + "GATEWAYX_ROUTER_BASE_URL=http://127.0.0.1:9/v1\n"
    )
    with project.pool() as pool:
        yield pool


def test_anthropic_caches_the_system_prompt_and_the_messages(pool):
    """The end of the system prompt is also marked, because calls with other messages share it."""
    body = pool.preview("Hi", "anthropic:m", system="Be brief.", cache="auto").body

    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    assert body["cache_control"] == MARK
    assert "system" not in pool.preview("Hi", "anthropic:m", cache="auto").body
    assert pool.preview("Hi", "anthropic:m", system="Be brief.").body["system"] == "Be brief."


@pytest.mark.parametrize("options", [{}, {"seed": 1}], ids=["Responses", "Chat Completions"])
def test_requests_to_openai_with_the_same_beginning_have_the_same_key(pool, options):
    """The cache key depends on the model, the system prompt and the tools, not on messages."""

    def key(prompt, model="openai:m", **others):
        return pool.preview(prompt, model, cache="auto", **options, **others).body[
            "prompt_cache_key"
        ]

    shared = key("Hi", system="Be brief.")
    assert shared == key("Bye", system="Be brief.")
    others = {
        key("Hi", system="Be long."),
        key("Hi", "openai:n", system="Be brief."),
        key("Hi", system="Be brief.", params={"tools": [{"type": "web_search"}]}),
        key("Hi", system="Be brief.", tools=weather),
        key("Hi"),
        key("Bye"),
    }
    assert len(others - {shared}) == 6
    assert len(shared) <= 64  # the maximum length of the field


def test_an_entry_may_say_that_its_server_takes_the_key(project, pool):
    """Only an entry that allows the cache key sends it; other servers refuse unknown fields."""
    with pytest.raises(UnsupportedFeatureError, match="'router' does not support 'cache'"):
        pool.preview("Hi", "router:m", cache="auto")

    entry = '[proxy]\nbase_url = "http://127.0.0.1:9/v1"\nrequires_key = false\ncache_key = true\n'
    (project.root / "config" / "engines.toml").write_text(entry)
    pool.refresh()
    assert "prompt_cache_key" in pool.preview("Hi", "proxy:m", cache="auto").body


@pytest.mark.parametrize("engine", ["google", "deepseek", "local"])
def test_an_engine_without_the_option_refuses_it(pool, engine):
    """Providers that always cache do not support the option."""
    with pytest.raises(UnsupportedFeatureError, match=f"'{engine}' does not support 'cache'"):
        pool.preview("Hi", f"{engine}:m" if engine != "local" else engine, cache="auto")


def test_auto_is_the_only_valid_value(pool):
    """Any value of `cache` other than "auto" raises a one-line error."""
    with pytest.raises(UsageError, match="cache must be 'auto', got True"):
        pool.ask("Hi", "mock", cache=True)


@pytest.mark.parametrize(
    ("plain_options", "options", "writes"),
    [
        ({}, {}, False),
        ({}, {"cache": "auto"}, True),
        ({"params": {"other_control": MARK}}, {"params": {"cache_control": MARK}}, True),
    ],
)
def test_the_highest_cost_includes_writing_to_the_cache(pool, plain_options, options, writes):
    """Anthropic charges a quarter more for cache writes, which happen only on request."""
    pytest.importorskip("genai_prices", reason="the package with the prices is not installed")
    call = {"prompt": "Hi" * 500, "model": "anthropic:claude-sonnet-4-5", "max_tokens": 1}
    plain = pool.preview(**call, **plain_options)
    preview = pool.preview(**call, **options)

    input_cost = plain.highest_cost - Decimal("0.000015")  # for the token of the answer
    factor = Decimal("1.25") if writes else 1
    assert preview.highest_cost == input_cost * factor + Decimal("0.000015")


def test_tokens_read_from_the_cache_are_in_the_tables(make_scripted_pool):
    """`usage` and `history` have a column for cached tokens, once there are any."""
    usage = Usage(input_tokens=2_000, output_tokens=1, cached_tokens=1_536)
    pool, _ = make_scripted_pool([Chunk(text="a"), Chunk(finish_reason="stop", usage=usage)])
    pool.ask("Hi", "mock")
    assert "cached" not in repr(pool.usage()) + repr(pool.history())

    pool.ask("Hi", "scripted")

    for table in (pool.usage(), pool.history()):
        assert "cached" in repr(table)
        assert "1,536" in repr(table)
    assert sum(row.cached_tokens for row in pool.usage()) == 1_536
