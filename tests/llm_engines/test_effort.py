"""`effort` in the terms of each provider."""

import pytest

from gatewayx_nb.errors import UnsupportedFeatureError, UsageError
from gatewayx_nb.messages import EFFORTS

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
def test_each_level_is_a_request_of_its_own(pool, engine):
    """Each level results in a different request, which also differs from that without a level."""
    bodies = [pool.preview("Hello", f"{engine}:m", effort=effort).body for effort in EFFORTS]
    bodies.append(pool.preview("Hello", f"{engine}:m").body)

    assert all(body not in bodies[:index] for index, body in enumerate(bodies))


def test_effort_does_not_replace_a_schema(pool):
    """Anthropic's field for the effort also holds the schema."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    body = pool.preview("Hello", "anthropic:m", effort="low", schema=schema).body

    assert set(body["output_config"]) == {"format", "effort"}


def test_an_engine_without_reasoning_refuses_it(pool):
    """The local model does not reason, so the option would have no effect."""
    with pytest.raises(UnsupportedFeatureError, match="'local' does not support 'effort'"):
        pool.preview("Hello", "local", effort="low")


def test_an_unknown_level_is_one_line(pool):
    """The error for an unknown level lists the valid levels."""
    with pytest.raises(UsageError, match=r"effort must be one of 'none', .* got 'extreme'"):
        pool.ask("Hello", "mock", effort="extreme")
