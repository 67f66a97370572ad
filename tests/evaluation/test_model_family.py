"""Which models are of the family of a judge."""

from __future__ import annotations

import doctest

import pytest

from gatewayx_nb.evaluation import model_family
from gatewayx_nb.evaluation.model_family import same_family

FAMILIES = {
    ("anthropic", "claude-sonnet-4-5"): True,
    ("openrouter:anthropic/claude-sonnet-4.5", "anthropic:claude-opus-4-1"): True,
    ("openrouter:anthropic/claude-sonnet-4.5", "openrouter:openai/gpt-5"): False,
    ("openai", "azure:gpt-4o"): True,
    ("o3-mini", "groq:openai/gpt-oss-120b"): True,
    ("chatgpt-4o-latest", "ft:gpt-4o-mini:org"): True,
    ("google:gemini-3-pro", "ollama:gemma3:4b"): True,
    ("ollama:llama3:8b", "together:meta-llama/Llama-3.3-70B-Instruct-Turbo"): True,
    ("ollama:qwen2.5", "qwq-32b"): True,
    ("mistral", "codestral-latest"): True,
    ("grok", "xai:grok-4"): True,
    ("grok", "groq:llama-3.3-70b"): False,
    ("cohere", "command-a-03-2025"): True,
    ("bedrock:us.anthropic.claude-3-5-haiku", "anthropic"): True,
    ("fireworks:accounts/fireworks/models/deepseek-v3", "deepseek"): True,
    ("moonshot", "kimi-latest"): True,
    ("local:smollm2-135m", "smollm3"): True,
    ("mock", "mock:mock"): True,
    ("parrot", "mock"): False,
    ("", ""): False,
}


@pytest.mark.parametrize(("judge_model", "model"), FAMILIES)
def test_models_of_one_vendor_are_of_one_family(judge_model, model):
    is_same = FAMILIES[judge_model, model]

    assert same_family(judge_model, [model]) == ([model] if is_same else [])
    assert same_family(model, [judge_model]) == ([judge_model] if is_same else [])


def test_a_model_is_listed_once():
    assert same_family("grok", ["grok:a", "openai", "grok:a", "grok:b"]) == ["grok:a", "grok:b"]


def test_the_example_is_correct():
    outcome = doctest.testmod(model_family)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
