"""`effort` in the terms of each provider."""

import pytest

from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from gatewayx_nb.messages import EFFORTS
from tests.llm_engines.wire import Wire, body_script

KEYS = "".join(
    f"GATEWAYX_{name}_API_KEY={name.lower()}-0123456789abcdef\n"
    for name in ("OPENAI", "DEEPSEEK", "ANTHROPIC", "GOOGLE", "COHERE")
)

FIELDS = {
    "openai": ("reasoning",),
    "deepseek": ("reasoning_effort",),
    "anthropic": ("thinking", "output_config"),
    "google": ("generationConfig",),
    "cohere": ("thinking",),
}

SENT = {
    ("openai", "none"): [{"effort": "none"}],
    ("openai", "max"): [{"effort": "max"}],
    ("deepseek", "low"): ["low"],
    ("anthropic", "none"): [{"type": "disabled"}, None],
    ("anthropic", "max"): [{"type": "adaptive"}, {"effort": "max"}],
    ("google", "none"): [{"thinkingConfig": {"thinkingLevel": "MINIMAL"}}],
    ("google", "high"): [{"thinkingConfig": {"thinkingLevel": "HIGH"}}],
    ("cohere", "none"): [{"type": "disabled"}],
    ("cohere", "medium"): [{"type": "enabled", "token_budget": 4_096}],
    ("cohere", "max"): [{"type": "enabled"}],
}


@pytest.fixture
def pool(project):
    """Yield a pool with a key for each dialect."""
    project.set_keys(KEYS)
    with project.pool() as pool:
        yield pool


@pytest.mark.parametrize(("engine", "effort"), SENT)
def test_each_provider_gets_its_own_field(pool, engine, effort):
    """Each provider gets the option in its own fields."""
    body = pool.preview("Hello", f"{engine}:m", effort=effort).body

    assert [body.get(field) for field in FIELDS[engine]] == SENT[engine, effort]


@pytest.mark.parametrize("engine", FIELDS)
def test_each_level_is_a_different_request(pool, engine):
    """Each level results in a different request, also different from the one without a level."""
    bodies = [pool.preview("Hello", f"{engine}:m", effort=effort).body for effort in EFFORTS]
    bodies.append(pool.preview("Hello", f"{engine}:m").body)

    assert all(body not in bodies[:index] for index, body in enumerate(bodies))


def test_effort_does_not_replace_a_schema(pool):
    """Anthropic's field for the effort also holds the schema."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = pool.preview("Hello", "anthropic:m", effort="low", schema=schema).body

    assert set(body["output_config"]) == {"format", "effort"}


def test_an_engine_without_reasoning_refuses_effort(pool):
    """The local model does not reason, so the option would have no effect."""
    with pytest.raises(UnsupportedFeatureError, match="'local' does not support 'effort'"):
        pool.preview("Hello", "local", effort="low")


def test_an_unknown_level_is_one_line(pool):
    """The error for an unknown level lists the valid levels."""
    with pytest.raises(UsageError, match=r"effort must be one of 'none', .* got 'extreme'"):
        pool.ask("Hello", "mock", effort="extreme")


REASONING = {
    "openai": ["gpt-5.1", "gpt-6.1-sol", "o3-mini", "gpt-oss-120b", "gpt-40"],
    "deepseek": ["deepseek-v4-flash", "openai/gpt-oss-20b", "qwen/qwen3-32b", "x-ai/grok-3-mini"],
    "anthropic": ["claude-sonnet-5-5", "claude-3-7-sonnet-latest", "claude-opus-4-5-20251101"],
    "google": [
        "gemini-3.8-flash",
        "gemini-2.5-pro",
        "gemini-2.0-flash-thinking-exp",
        "gemma-4-31b",
    ],
    "cohere": ["command-a-reasoning-08-2025", "command-a-plus-05-2026"],
}
PLAIN = {
    "openai": ["gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4.1", "gpt-4-turbo", "gpt-3.5-turbo"],
    "deepseek": ["openai/gpt-4o", "meta-llama/llama-3.3-70b-instruct", "grok-4-fast-non-reasoning"],
    "anthropic": ["claude-3-5-sonnet-20241022", "claude-3-haiku-20240307", "claude-2.1"],
    "google": ["gemini-1.5-pro", "gemini-2.0-flash", "gemini-2.0-flash-lite", "gemma-3-27b-it"],
    "cohere": ["command-a-03-2025", "command-r7b-12-2024", "command-r-plus", "c4ai-aya-expanse-8b"],
}


@pytest.mark.parametrize("engine", PLAIN)
def test_a_model_without_reasoning_refuses_effort(pool, engine):
    """If a model's name says that it does not reason, nothing is sent."""
    for model in PLAIN[engine]:
        with pytest.raises(UnsupportedFeatureError, match="is not a reasoning model") as caught:
            pool.preview("Hello", f"{engine}:{model}", effort="low")
        assert caught.value.code == "effort"
        assert "effort" in str(caught.value.hint)
        pool.preview("Hello", f"{engine}:{model}")
    for model in REASONING[engine]:
        pool.preview("Hello", f"{engine}:{model}", effort="low")


REFUSALS = {
    "openai": {
        "message": "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        "param": "reasoning.effort",
    },
    "deepseek": {"message": "`reasoning_effort` is not supported with this model"},
    "anthropic": {"message": "adaptive thinking is not supported on this model"},
    "google": {"message": "Thinking level is not supported for this model.", "code": 400},
    "cohere": {"message": "invalid request: thinking is not supported by this model"},
}
MORE_REFUSALS = [
    ("anthropic", {"message": "output_config.effort: Extra inputs are not permitted"}),
    ("anthropic", {"message": "This model does not support the effort parameter."}),
    ("google", {"message": "Unable to submit request because thinking is not supported."}),
    ("deepseek", {"message": "Reasoning is not supported by this model"}),
]


@pytest.mark.parametrize(("engine", "error"), [*REFUSALS.items(), *MORE_REFUSALS])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_providers_refusal_names_the_option(tmp_path, engine, error, is_streamed):
    """The error says that `effort` was rejected, and how to omit it."""
    path = "/v1" if engine in ("openai", "deepseek") else ""
    settings = '[engines.openai]\napi = "responses"' if engine == "openai" else ""
    settings += f'\n[engines.{engine}]\nmodel = "m"' if engine != "openai" else ""
    with Wire(tmp_path / "p", engine, path, settings) as wire:
        wire.respond_with(body_script({"error": error}, 400))
        call = wire.stream_text if is_streamed else wire.ask
        with pytest.raises(UnsupportedFeatureError, match="rejects 'effort'") as caught:
            call(effort="low")

    assert "effort" in str(caught.value.hint)
