from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.llm_engines import (
    AnthropicMessagesEngine,
    CohereChatEngine,
    GeminiEngine,
    LLMEngine,
    OpenAICompatibleEngine,
    OpenAIResponsesEngine,
    check_keywords,
)


class Plain(LLMEngine):
    """Engine that may read any keyword from `self.options`."""


class Named(LLMEngine):
    """Engine whose constructor names all its keywords."""

    def __init__(self, api_key="", *, voice=""):
        super().__init__(api_key)


class Seed(OpenAICompatibleEngine):
    """Engine with the constructor of the seed contract."""

    def __init__(self, api_key, **kwargs):
        super().__init__(api_key, **kwargs)


class Declared(LLMEngine):
    """Engine that declares its keywords."""

    keywords = frozenset({"voice"})


@dataclass(frozen=True)
class Case:
    """An engine, a keyword, and the expected error; empty if the keyword is accepted."""

    engine: Callable
    keyword: str
    expected_message: str = ""


@pytest.mark.parametrize(
    "case",
    [
        Case(Plain, "anything"),
        Case(Seed, "anything"),
        Case(Named, "voice"),
        Case(Named, "voise", "Did you mean 'voice'"),
        Case(Declared, "voice"),
        Case(Declared, "voise", "Did you mean 'voice'"),
        Case(AnthropicMessagesEngine, "version"),
        Case(GeminiEngine, "version"),
        Case(OpenAIResponsesEngine, "api"),
        *(
            Case(engine, "base_ur", "Did you mean 'base_url'")
            for engine in (
                AnthropicMessagesEngine,
                CohereChatEngine,
                GeminiEngine,
                OpenAICompatibleEngine,
                OpenAIResponsesEngine,
            )
        ),
    ],
    ids=lambda case: f"{case.engine.__name__}-{case.keyword}",
)
def test_what_an_engine_takes(case):
    """An engine accepts the keywords it names, or any keyword if it may read any."""
    check_keywords(case.engine, ["base_url", "model"], "mine")
    if not case.expected_message:
        check_keywords(case.engine, [case.keyword], "mine")
        return
    with pytest.raises(ConfigError, match=case.expected_message):
        check_keywords(case.engine, [case.keyword], "mine")
